"""The training job: a dataset and a configuration in, a model folder out.

The run folder holds the best model so far (``model.json``, ``model.safetensors``), the weights at the start
and after a tenth of the steps for rewinding (``initial.safetensors``, ``early.safetensors``), the position
for resuming (``training.safetensors``), and the log with one JSON line per validation.

>>> result = train(TrainConfig(data="runs/data", output="runs/full"))  # doctest: +SKIP
>>> result.rollout_error  # doctest: +SKIP
0.041
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from slimwave.compression.counting import count_parameters
from slimwave.data.run_folders import RunFolder
from slimwave.data.windows import WaveWindows, dataset_info
from slimwave.surrogates.checkpoints import save_model, save_tensors
from slimwave.surrogates.devices import cpu_threads, resolve_device
from slimwave.surrogates.fitting import Fitter
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.networks import build_network
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.task import WaveTask
from slimwave.surrogates.training_settings import TrainConfig
from slimwave.surrogates.validation import RolloutValidator

INITIAL, EARLY, STATE = "initial.safetensors", "early.safetensors", "training.safetensors"
EARLY_SHARE = 0.1
MAY_DIFFER = ("data", "output", "device", "threads", "overwrite")


@dataclass(frozen=True)
class TrainResult:
    """Outcome of a training.

    Attributes
    ----------
    folder
        Run folder with the best model.
    rollout_error
        Validation rollout error of the best model, and the step it is from.
    best_step, steps
        Step of the best model; steps in all.
    parameters
        Parameters of the model.
    cpu_seconds
        Process time of the fit.
    """

    folder: Path
    rollout_error: float
    best_step: int
    steps: int
    parameters: int
    cpu_seconds: float


def train(config: TrainConfig, *, progress: bool = False) -> TrainResult:
    """Train a surrogate, or continue the unfinished training of the same settings in ``config.output``.

    Raises
    ------
    ValueError
        If the dataset does not fit the settings, or the network cannot do the task.
    OSError
        If the output folder cannot be written.
    TrainingDivergedError
        If the loss is no longer finite; the best checkpoint so far is kept.
    """
    device = resolve_device(config.device)
    task = WaveTask.of_dataset(dataset_info(config.data))
    model = initial_network(config.network, task, config.seed).to(device)
    folder = RunFolder.prepare(
        config.output,
        command="train",
        config=config,
        existing="overwrite" if config.overwrite else "resume",
        may_differ=MAY_DIFFER,
    )
    with cpu_threads(config.threads):
        return _train(config, model, folder, progress=progress)


def initial_network(config: NetworkConfig, task: WaveTask, seed: int) -> Surrogate:
    """Construct a network whose fresh weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_network(config, task)


def _train(config: TrainConfig, model: Surrogate, folder: RunFolder, *, progress: bool) -> TrainResult:
    windows = WaveWindows(config.data, "train", horizon=max(config.fit.unroll), in_memory=True)
    fitter = Fitter(model, windows, config.fit, seed=config.seed)
    validate = RolloutValidator(config.data, config.validation, fitter.device)
    if not (folder.path / STATE).is_file():
        save_tensors(folder.path / INITIAL, model.state_dict())
    early = _early_step(config)
    logged = {entry["step"] for entry in folder.records()}  # one more than saved, if stopped in between

    def on_validation(record: dict[str, float], best: bool) -> None:
        if best:
            save_model(folder.path, model)
        if record["step"] == early:
            save_tensors(folder.path / EARLY, model.state_dict())
        if record["step"] not in logged:
            folder.log(**record, best=best)

    position = fitter.run(
        validate,
        every=config.validation.every,
        on_validation=on_validation,
        state_file=folder.path / STATE,
        progress=progress,
        label=f"train {folder.path.name}",
    )
    assert position.best_error is not None
    result = TrainResult(
        folder.path,
        position.best_error,
        position.best_step,
        position.step,
        count_parameters(model),
        position.cpu_seconds,
    )
    folder.finish(**vars(result))
    return result


def _early_step(config: TrainConfig) -> int:
    """First validated step at or after a tenth of the training."""
    every = config.validation.every
    wanted = max(1, round(EARLY_SHARE * config.fit.steps))
    return min(-(-wanted // every) * every, config.fit.steps)
