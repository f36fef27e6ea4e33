"""The training job: a dataset and a configuration in, a model folder out.

The run folder holds the best model so far (``model.json``, ``model.safetensors``), the weights at the start
and after a tenth of the steps for rewinding (``initial.safetensors``, ``early.safetensors``), the position
for resuming (``training.safetensors``), and the log with one JSON line per epoch.

>>> result = train(TrainConfig(data="runs/data", output="runs/full"))  # doctest: +SKIP
>>> result.rollout_error  # doctest: +SKIP
0.041
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from slimwave.compression.counting import count_parameters
from slimwave.data.plain import differences, to_plain
from slimwave.data.run_folders import RunFolder
from slimwave.surrogates.batches import training_windows
from slimwave.surrogates.checkpoints import DESCRIPTION, load_model, save_model, save_tensors
from slimwave.surrogates.devices import cpu_threads, resolve_device
from slimwave.surrogates.encodable import require_encodable, require_trainable
from slimwave.surrogates.fitting import Fitter
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.networks import build_network
from slimwave.surrogates.processes import Processes, joined
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.task import WaveTask
from slimwave.surrogates.training_log import require_tensorboard, training_logs
from slimwave.surrogates.training_settings import TrainConfig
from slimwave.surrogates.validation import RolloutValidator

INITIAL, EARLY, STATE = "initial.safetensors", "early.safetensors", "training.safetensors"
EARLY_SHARE = 0.1
MAY_DIFFER = ("data", "output", "device", "threads", "overwrite", "fit.in_memory", "log.tensorboard")


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

    Under `torchrun` all its processes train together, see :mod:`slimwave.surrogates.processes`.

    Raises
    ------
    ValueError
        If the dataset does not fit the settings, or the network cannot do the task.
    OSError
        If the output folder cannot be written.
    TrainingDivergedError
        If the loss is no longer finite or has exploded, or no validation was finite; the best checkpoint so
        far is kept.
    MissingExtraError
        If TensorBoard is asked for and not installed.
    """
    if config.seeds:
        raise ValueError("seeds: expected none for a single training; slimwave.train_seeds trains several")
    with joined(resolve_device(config.device)) as (processes, device), cpu_threads(config.threads):
        return _Job(config, device, processes, progress=progress).run()


def initial_network(config: NetworkConfig, task: WaveTask, seed: int) -> Surrogate:
    """Construct a network whose fresh weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_network(config, task)


def resolved_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Write out the defaults of the network in the plain settings of a training, where it knows them."""
    try:
        network = NetworkConfig(**settings["network"]).resolved()
    except (KeyError, TypeError, ValueError):  # of another version
        return settings
    return {**settings, "network": to_plain(network)}


class _Job:
    """One training; whatever does not fit is refused before the run folder is touched."""

    def __init__(
        self, config: TrainConfig, device: torch.device, processes: Processes, *, progress: bool
    ) -> None:
        self.config, self.processes = config, processes
        self.progress = progress and processes.leads
        fit = config.fit
        if config.log.tensorboard:
            require_tensorboard()
        self.windows = training_windows(
            config.data, config.network, fit, stride=config.stride, processes=processes.count
        )
        task = WaveTask.of_windows(self.windows)
        self.model = initial_network(config.network, task, config.seed).to(device)
        self.fitter = Fitter(self.model, self.windows, fit, seed=config.seed, processes=processes)
        self.validate = RolloutValidator(
            config.data, config.validation, device, frames=self.model.frames, stride=config.stride
        )
        require_trainable(self.model, self.windows)
        require_encodable(self.model, self.validate.wave_speed, self.validate.walls)
        self.folder = self._prepare()

    def run(self) -> TrainResult:
        """Fit, keep the best model, and close the run folder."""
        with training_logs(self.folder, self.config.log, write=self.processes.leads) as self.log:
            position = self.fitter.run(
                self.validate,
                every=self.config.validation.every,
                on_validation=self._keep,
                state_file=self.folder.path / STATE,
                progress=self.progress,
                label=f"train {self.folder.path.name}",
            )
        assert position.best_error is not None
        result = TrainResult(
            self.folder.path,
            position.best_error,
            position.best_step,
            position.step,
            count_parameters(self.model),
            position.cpu_seconds,
        )
        if self.processes.leads:
            self.folder.finish(**vars(result))
        return result

    def _prepare(self) -> RunFolder:
        """Take the run folder; the leader writes it, the others wait until it stands."""
        if not self.processes.leads:
            if not self.processes.from_leader(math.nan):
                raise RuntimeError("the leading process could not prepare the run folder")
            return RunFolder(Path(self.config.output))
        prepared = False
        try:
            folder = self._prepared()
            prepared = True
        finally:
            self.processes.from_leader(float(prepared))
        return folder

    def _prepared(self) -> RunFolder:
        config = self.config
        if not config.overwrite:
            _require_same_data(Path(config.output), self.model.task, config.data)
        folder = RunFolder.prepare(
            config.output,
            command="train",
            config=config,
            existing="overwrite" if config.overwrite else "resume",
            may_differ=MAY_DIFFER,
            resolve=resolved_settings,
        )
        if not (folder.path / STATE).is_file():
            save_tensors(folder.path / INITIAL, self.model.state_dict())
        return folder

    def _keep(self, record: dict[str, Any], best: bool) -> None:
        """Keep what an epoch has brought."""
        if not self.processes.leads:
            return
        if best:
            save_model(self.folder.path, self.model)
        if record["step"] == _early_step(self.config):
            save_tensors(self.folder.path / EARLY, self.model.state_dict())
        self.log(record | {"best": best})


def _require_same_data(folder: Path, task: WaveTask, data: Path) -> None:
    """Refuse to continue a training on data with another grid, macro step or other statistics."""
    if not (folder / DESCRIPTION).is_file():
        return
    before = load_model(folder).task
    changed = differences(before.to_json(), task.to_json())
    if changed:
        listed = "; ".join(f"{name} was {old}, now {new}" for name, (old, new) in sorted(changed.items())[:3])
        raise ValueError(
            f"--data {data} is not the dataset that {folder} was trained on so far ({listed}); "
            "give that dataset, or train anew with --overwrite"
        )


def _early_step(config: TrainConfig) -> int:
    """First validated step at or after a tenth of the training."""
    every = config.validation.every
    wanted = max(1, round(EARLY_SHARE * config.fit.steps))
    return min(-(-wanted // every) * every, config.fit.steps)
