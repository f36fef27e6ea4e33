"""Media too fast for a model are refused before any work, by every job; up to the limit waves keep theirs."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slimwave.data.distributions import MediumConfig
from slimwave.data.generation import generate
from slimwave.data.scenarios import GenerateConfig
from slimwave.surrogates.comparison import compare
from slimwave.surrogates.comparison_settings import CompareConfig
from slimwave.surrogates.forecasting import rollout
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.networks import build_network
from slimwave.surrogates.pruning import prune
from slimwave.surrogates.pruning_settings import PruneConfig
from slimwave.surrogates.rollout_settings import RolloutConfig
from slimwave.surrogates.speed_limit import require_speed
from slimwave.surrogates.task import WaveTask
from slimwave.surrogates.training import TrainResult, train
from slimwave.surrogates.training_settings import TrainConfig

TASK = WaveTask(0.02, (1 / 63, 1 / 63), 2.0, (0.1, 1.0), (0.02, 0.3), 1.5, 0.3)
WALLS = torch.ones(1, 4, dtype=torch.float64)


def network(name: str, task: WaveTask = TASK, **shape: Any) -> Any:
    torch.manual_seed(0)
    return build_network(NetworkConfig(name=name, **shape), task).double().eval()


def stiffness(model: Any, wave_speed: torch.Tensor) -> torch.Tensor:
    """What the context of a stepped network holds of the medium, over what a step without a limit has."""
    with torch.no_grad():
        context = model.encode(wave_speed, WALLS)
    dt = TASK.macro_step / model.shape.substeps
    if model.config.name == "macro_step":
        return context.gates_x / dt**2
    return context.along_x * (TASK.spacing[0] / dt) ** 2


@pytest.mark.parametrize("time_order", [2, 4])
@pytest.mark.parametrize("name", ["leapfrog", "macro_step"])
def test_a_stepped_network_keeps_waves_up_to_its_limit_and_slows_them_beyond(
    name: str, time_order: int
) -> None:
    model = network(name, time_order=time_order, substeps=5)
    limit = model.max_wave_speed
    assert limit > TASK.max_speed
    for share in (0.5, 1.0):
        medium = torch.full((1, 1, 64, 64), share * limit, dtype=torch.float64)
        assert float(stiffness(model, medium).min()) == pytest.approx((share * limit) ** 2, rel=1e-9)
    medium = torch.full((1, 1, 64, 64), 1.2 * limit, dtype=torch.float64)
    assert float(stiffness(model, medium).max()) < (1.1 * limit) ** 2
    require_speed(model, limit, "here")
    with pytest.raises(
        ValueError, match=r"^here: expected a wave speed of at most .* --network\.substeps 6$"
    ):
        require_speed(model, 1.2 * limit, "here")


def test_a_small_fast_spot_is_refused_since_it_slows_the_whole_medium() -> None:
    model = network("leapfrog")
    spot = torch.ones(1, 1, 64, 64, dtype=torch.float64)
    spot[..., 30:33, 30:33] = 6.0
    assert float(stiffness(model, spot)[..., 0, 0]) < 0.3
    with pytest.raises(
        ValueError, match=r"at most 2\.2, .* got 6; train .* such media and use --network\.substeps 9"
    ):
        require_speed(model, float(spot.max()), "--wave_speed")


@pytest.mark.parametrize(
    ("name", "limit", "told", "remedy"),
    [
        ("residual_cnn", 6 / 63 / 0.02, "4.76", "use --network.depth 4 or --network.kernel_size 7"),
        (
            "space_time",
            12 / 4 / 63 / 0.02,
            "2.38",
            "use --network.depth 8 or --network.kernel_size 7 or fewer --network.frames",
        ),
        ("unet", 23 / 63 / 0.02, "18.2", "use --network.levels 4 or --network.kernel_size 5"),
    ],
)
def test_a_cnn_must_reach_as_far_as_a_wave_goes(name: str, limit: float, told: str, remedy: str) -> None:
    """And a network with the first flag of the remedy reaches that far."""
    model, faster = network(name), 1.3 * limit
    assert model.max_wave_speed == pytest.approx(limit)
    require_speed(model, limit, "here")
    expected = (
        f"here: expected a wave speed of at most {told}, .*, got {faster:g}; train .* such media and {remedy}"
    )
    with pytest.raises(ValueError, match=f"^{expected}$"):
        require_speed(model, faster, "here")
    flag, value = remedy.split()[1:3]
    require_speed(network(name, **{flag.removeprefix("--network."): int(value)}), faster, "here")


@pytest.mark.parametrize("max_speed", [float("nan"), float("inf"), 1e30, 5000.0])
def test_a_slip_of_units_is_refused_without_a_network_to_match(max_speed: float) -> None:
    with pytest.raises(ValueError, match=r"at most 18\.2, .* train a model on such media$"):
        require_speed(network("unet"), max_speed, "here")


@pytest.fixture(scope="module")
def fast(dataset_settings: Callable[..., GenerateConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny dataset, but with media up to twice as fast."""
    root = tmp_path_factory.mktemp("fast") / "data"
    generate(dataset_settings(root, medium=MediumConfig(min_speed=3.0, max_speed=4.0)))
    return root


@pytest.fixture(scope="module")
def folders(
    trained: TrainResult, training: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A CNN and a leapfrog network for speeds up to 2."""
    stepped = training(
        tmp_path_factory.mktemp("stepped") / "run", network=NetworkConfig(name="leapfrog", substeps=2)
    )
    return {"cnn": trained.folder, "leapfrog": train(stepped).folder}


@pytest.mark.parametrize("name", ["cnn", "leapfrog"])
def test_every_job_refuses_media_that_are_too_fast(
    name: str, folders: dict[str, Path], fast: Path, tmp_path: Path
) -> None:
    model, output = folders[name], tmp_path / "out"
    field = tmp_path / "field.npy"
    np.save(field, np.zeros((17, 13)))
    refused = (
        r"expected a wave speed of at most 2\.\d+, .* got [34](\.\d+)?; train a model on such media and use"
    )
    with pytest.raises(ValueError, match=f"^--wave_speed: {refused}"):
        rollout(RolloutConfig(model=model, output=output, initial=field, wave_speed=4.0, steps=2))
    with pytest.raises(ValueError, match=f"^trajectory 1 of test in .*: {refused}"):
        rollout(RolloutConfig(model=model, data=fast, output=output, trajectory=1))
    with pytest.raises(ValueError, match=f"^--models 'one': split test: {refused}"):
        compare(CompareConfig(data=fast, models={"one": model}, output=output, coarse_elements=()))
    with pytest.raises(ValueError, match=f"^the dataset .*: {refused}"):
        prune(PruneConfig(model=model, data=fast, output=output, rounds=1))
    assert not output.exists()


def test_a_comparison_asks_for_the_splits_that_it_judges(
    folders: dict[str, Path],
    dataset_settings: Callable[..., GenerateConfig],
    tmp_path: Path,
) -> None:
    """Only the split out of distribution is too fast here."""
    settings = dataset_settings(tmp_path / "data")
    ood = dataclasses.replace(settings.splits.ood, medium=MediumConfig(min_speed=3.0, max_speed=4.0))
    generate(dataclasses.replace(settings, splits=dataclasses.replace(settings.splits, ood=ood)))
    judged = CompareConfig(
        data=tmp_path / "data",
        models={"one": folders["cnn"]},
        output=tmp_path / "out",
        coarse_elements=(),
        latency_steps=2,
        device="cpu",
    )
    with pytest.raises(ValueError, match=r"--models 'one': split ood: expected a wave speed of at most 2\.5"):
        compare(judged)
    assert compare(dataclasses.replace(judged, splits=("test",))).rows
