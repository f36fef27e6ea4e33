"""What only an encoding, a runtime or a fit refuses is refused before a run folder is touched."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slimwave.data.generation import generate
from slimwave.data.run_folders import RunFolder
from slimwave.data.scenarios import GenerateConfig, WallConfig
from slimwave.surrogates.comparison import compare
from slimwave.surrogates.comparison_settings import CompareConfig
from slimwave.surrogates.forecasting import rollout
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.pruning import prune
from slimwave.surrogates.pruning_settings import PruneConfig
from slimwave.surrogates.rollout_settings import RolloutConfig
from slimwave.surrogates.training import TrainResult, train
from slimwave.surrogates.training_settings import FitConfig, TrainConfig, ValidationConfig

MACRO = NetworkConfig(name="macro_step", width=1, substeps=4)
Training = Callable[..., TrainConfig]
Job = Callable[[Path, bool], object]


@pytest.fixture(scope="module")
def absorbing(
    dataset_settings: Callable[..., GenerateConfig], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tiny dataset, but that in some trajectories a side absorbs."""
    root = tmp_path_factory.mktemp("absorbing") / "data"
    walls = WallConfig(*4 * ["random"], random_from=("dirichlet", "absorbing"))
    generate(dataset_settings(root, walls=walls))
    return root


@pytest.fixture(scope="module")
def macro(training: Training, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that refuses absorbing sides."""
    return train(training(tmp_path_factory.mktemp("macro") / "run", network=MACRO)).folder


@pytest.fixture(scope="module")
def leapfrog(training: Training, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network without convolution layers in a step."""
    network = NetworkConfig(name="leapfrog", substeps=2)
    return train(training(tmp_path_factory.mktemp("leapfrog") / "run", network=network)).folder


@pytest.fixture
def jobs(training: Training, absorbing: Path, macro: Path, leapfrog: Path, tmp_path: Path) -> dict[str, Job]:
    """Jobs that are refused, by what refuses them: ``job(output, overwrite)``."""
    field = tmp_path / "field.npy"
    np.save(field, np.zeros((3, 13)))
    fit = FitConfig(steps=2, batch_size=2, unroll=(1,))
    validation = ValidationConfig(every=2, steps=4)
    train_config = training(Path(), network=MACRO, data=absorbing)
    prune_config = PruneConfig(model=macro, data=absorbing, fit=fit, validation=validation)
    rollout_config = RolloutConfig(model=macro, data=absorbing, trajectory=1)
    compare_config = CompareConfig(
        data=absorbing, models={"long": macro}, coarse_elements=(), latency_steps=2
    )

    def job(run: Callable[..., object], config: object, **changes: object) -> Job:
        return lambda output, overwrite: run(
            dataclasses.replace(config, output=output, overwrite=overwrite, device="cpu", **changes)  # type: ignore[type-var]
        )

    return {
        "train": job(train, train_config),
        "prune": job(prune, prune_config),
        "rollout": job(rollout, rollout_config),
        "compare": job(compare, compare_config),
        "grid": job(rollout, rollout_config, initial=field, steps=2),
        "sparse": job(rollout, rollout_config, model=leapfrog, runtime="sparse"),
        "unroll": job(prune, prune_config, fit=dataclasses.replace(fit, unroll=(20,))),
    }


REFUSALS = [
    ("train", r"macro_step.* between absorbing sides; use leapfrog"),
    ("prune", r"macro_step.* between absorbing sides; use leapfrog"),
    ("rollout", r"macro_step.* between absorbing sides; use leapfrog"),
    ("compare", r"--models 'long': .*macro_step.* between absorbing sides; use leapfrog"),
    ("grid", r"expected at least 4 nodes .* got \(3, 13\)"),
    (
        "sparse",
        r"^--runtime sparse: this network has no convolution layers in a step; use --runtime eager or onnx$",
    ),
    ("unroll", r"at least 21 snapshots in split 'train', got 8"),
]


@pytest.mark.parametrize(("name", "message"), REFUSALS, ids=[name for name, _ in REFUSALS])
def test_a_refusal_leaves_no_folder(jobs: dict[str, Job], name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        jobs[name](tmp_path / "run", False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("name", "message"), REFUSALS, ids=[name for name, _ in REFUSALS])
def test_a_refusal_spares_what_overwrite_would_have_replaced(
    jobs: dict[str, Job], name: str, message: str, tmp_path: Path
) -> None:
    command = name if name in ("train", "prune", "compare") else {"unroll": "prune"}.get(name, "rollout")
    earlier = RunFolder.prepare(tmp_path / "run", command=command, config={})
    (earlier.path / "model.safetensors").write_bytes(b"precious")
    earlier.finish()
    with pytest.raises(ValueError, match=message):
        jobs[name](tmp_path / "run", True)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == b"precious"
    assert earlier.done


def test_a_network_that_knows_absorbing_sides_is_not_refused(
    training: Training, absorbing: Path, tmp_path: Path
) -> None:
    result: TrainResult = train(training(tmp_path / "run", data=absorbing))
    assert rollout(RolloutConfig(model=result.folder, data=absorbing, output=tmp_path / "r", device="cpu"))


def test_other_data_do_not_reopen_a_finished_training(
    training: Training, absorbing: Path, tmp_path: Path
) -> None:
    """The refusal leaves the run done, as it found it."""
    result = train(training(tmp_path / "run"))
    with pytest.raises(ValueError, match="is not the dataset that"):
        train(training(tmp_path / "run", data=absorbing))
    assert RunFolder.open(result.folder).done
