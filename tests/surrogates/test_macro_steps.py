"""Macro steps of several snapshots, and blocks of frames: in training, pruning, rollout and comparison."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from slimwave.compression.counting import count_macs
from slimwave.data.generation import generate
from slimwave.data.reading import ShardedInfo
from slimwave.data.scenarios import GenerateConfig, SplitConfig, SplitsConfig, draw_scenario
from slimwave.data.solving import solve_fields
from slimwave.data.windows import WaveWindows, dataset_info, load_trajectories
from slimwave.surrogates.augmentation import Windows
from slimwave.surrogates.batches import training_windows
from slimwave.surrogates.checkpoints import load_model
from slimwave.surrogates.comparison import Comparison, compare
from slimwave.surrogates.comparison_settings import CompareConfig
from slimwave.surrogates.counting import count_parameters_by_use
from slimwave.surrogates.forecasting import rollout
from slimwave.surrogates.metrics import relative_l2
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.pruning import prune
from slimwave.surrogates.pruning_settings import PruneConfig
from slimwave.surrogates.rollout import states
from slimwave.surrogates.rollout_settings import RolloutConfig
from slimwave.surrogates.runtimes import StepModule
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.training import TrainResult, train
from slimwave.surrogates.training_settings import FitConfig, TrainConfig, ValidationConfig

LONG = NetworkConfig(width=4, depth=2, kernel_size=5)
BLOCK = NetworkConfig(name="space_time", width=3, depth=2, kernel_size=5, frames=2)
Training = Callable[..., TrainConfig]
Snapshots = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(scope="module")
def folders(
    trained: TrainResult, training: Training, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Three models: of one snapshot a step, of two, and of blocks of two."""
    root = tmp_path_factory.mktemp("steps")
    validation = ValidationConfig(every=3, steps=3)
    train(training(root / "long", network=LONG, stride=2, validation=validation))
    train(training(root / "block", network=BLOCK, validation=validation))
    return {"full": trained.folder, "long": root / "long", "block": root / "block"}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, Surrogate]:
    return {name: load_model(folder) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def comparison(folders: dict[str, Path], dataset: Path) -> Comparison:
    output = folders["long"].parent / "compare"
    settings = CompareConfig(data=dataset, models=folders, splits=("test",), output=output, device="cpu")
    return compare(dataclasses.replace(settings, coarse_elements=(4,), latency_steps=2))


def snapshots(dataset: Path, split: str) -> Snapshots:
    data = load_trajectories(dataset, split)
    return torch.stack([data.u, data.v], dim=2), data.c[:, None], data.walls


def solved(dataset: Path, at: tuple[int, ...]) -> Tensor:
    """U by the mesh of the dataset, asked for some snapshots alone: so its own steps may be longer."""
    info = dataset_info(dataset)
    assert isinstance(info, ShardedInfo)
    drawn = [draw_scenario(info.config, "test", n) for n in range(info.splits["test"].trajectories)]
    return torch.stack(
        [torch.from_numpy(solve_fields(one, info.config, at, elements=(4, 3)).u) for one in drawn]
    )


def forecast(model: Surrogate, known: Tensor, wave_speed: Tensor, walls: Tensor, steps: int) -> Tensor:
    """U and v after macro steps 1 … ``steps`` from the snapshots (batch, frames, 2, nx, ny)."""
    ahead = states(model, known.flatten(1, 2), wave_speed, walls)
    return torch.stack([next(ahead) for _ in range(steps)], dim=1)


@pytest.mark.parametrize(("name", "stride", "frames"), [("long", 2, 1), ("block", 1, 2)])
def test_training_judges_what_follows_the_known_snapshots(
    name: str, stride: int, frames: int, folders: dict[str, Path], models: dict[str, Surrogate], dataset: Path
) -> None:
    assert models[name].task.macro_step == pytest.approx(0.05 * stride)
    truth, wave_speed, walls = snapshots(dataset, "valid")
    seen = truth[:, ::stride]
    ahead = forecast(models[name], seen[:, :frames], wave_speed, walls, 3)
    expected = relative_l2(ahead[:, :, 0], seen[:, frames : frames + 3, 0]).mean()
    told = json.loads((folders[name] / "run.json").read_text())["summary"]["rollout_error"]
    assert told == pytest.approx(float(expected), rel=1e-5)


def test_windows_hold_the_block_and_all_that_is_unrolled(dataset: Path) -> None:
    windows = training_windows(dataset, BLOCK, FitConfig(unroll=(1, 2)))
    assert (windows.history, windows.horizon) == (2, 4)
    batch = Windows.collated({name: values[None] for name, values in windows[3].items()}, 2)
    source = WaveWindows(dataset, "train", horizon=4, history=2)[3]
    assert batch.targets.shape[1] == 2
    assert torch.equal(batch.state[0, :2], source["past"][0])
    assert torch.equal(batch.state[0, 2:], source["state"])


@pytest.mark.parametrize(("name", "stride", "frames"), [("long", 2, 1), ("block", 1, 2)])
def test_a_rollout_starts_from_what_the_model_reads(
    name: str,
    stride: int,
    frames: int,
    folders: dict[str, Path],
    models: dict[str, Surrogate],
    dataset: Path,
    tmp_path: Path,
) -> None:
    settings = RolloutConfig(model=folders[name], data=dataset, output=tmp_path, trajectory=1, start=1)
    result = rollout(settings)
    truth, wave_speed, walls = snapshots(dataset, "test")
    seen = truth[1:2, 1::stride]
    steps = seen.shape[1] - frames
    ahead = forecast(models[name], seen[:, :frames], wave_speed[1:2], walls[1:2], steps)
    assert np.array_equal(result.reference, seen[0, frames - 1 :].numpy())
    assert np.allclose(result.forecast[1:], ahead[0].numpy(), atol=1e-6)
    assert result.times[1] == pytest.approx(0.05 * stride)
    assert result.latency.calls == -(-steps // frames)


def test_a_block_that_leaves_the_trajectory_is_refused(folders: dict[str, Path], dataset: Path) -> None:
    with pytest.raises(ValueError, match=r"--start 10: there are 10 snapshots in test"):
        rollout(RolloutConfig(model=folders["block"], data=dataset, trajectory=0, start=9))


def test_a_block_of_the_user_s_own(folders: dict[str, Path], tmp_path: Path) -> None:
    field = tmp_path / "field.npy"
    settings = RolloutConfig(model=folders["block"], output=tmp_path / "run", initial=field, steps=3)
    np.save(field, np.zeros((2, 17, 13)))
    expected = r"--initial: .* shape \(2, 2, nx, ny\) .* the 2 frames that the model reads, got \(2, 17, 13\)"
    with pytest.raises(ValueError, match=expected):
        rollout(settings)
    known = np.zeros((2, 2, 17, 13), np.float32)
    known[:, :, 4:9, 4:9] = 1
    np.save(field, known)
    result = rollout(settings)
    assert result.forecast.shape == (4, 2, 17, 13)
    assert np.array_equal(result.forecast[0], known[1])


def test_models_are_judged_at_common_multiples_of_their_steps(
    comparison: Comparison, models: dict[str, Surrogate], dataset: Path
) -> None:
    """The block is known up to snapshot 1, and from there every second snapshot is common to all."""
    truth, wave_speed, walls = snapshots(dataset, "test")
    seen = truth[:, 1::2, 0]
    starts = {"full": (1, 2, 8, 2), "long": (1, 2, 4, 1), "block": (0, 2, 8, 2)}
    for name, (first, last, steps, every) in starts.items():
        ahead = forecast(models[name], truth[:, first:last], wave_speed, walls, steps)
        expected = relative_l2(ahead[:, every - 1 :: every, 0], seen[:, 1:])
        assert np.allclose(comparison.errors["test"][name], expected.numpy(), rtol=1e-4)
    expected = relative_l2(seen[:, :1].expand(-1, 4, -1, -1), seen[:, 1:])
    assert np.allclose(comparison.errors["test"]["persistence"], expected.numpy())
    expected = relative_l2(solved(dataset, at=(1, 3, 5, 7, 9))[:, 1:], seen[:, 1:])
    assert np.allclose(comparison.errors["test"]["FE 4 × 3"], expected.numpy(), atol=1e-6)
    assert comparison.macro_step == pytest.approx(0.1)
    assert comparison.steps == {"test": [1, 4]}
    assert comparison.sample.times.tolist() == pytest.approx([0.05, 0.15, 0.25, 0.35, 0.45])


def test_costs_are_those_of_the_common_macro_step(
    comparison: Comparison, models: dict[str, Surrogate]
) -> None:
    """Two calls of the full model, one of the others."""
    for row, calls in zip(comparison.rows, (2, 1, 1), strict=False):
        model = models[row.name]
        with torch.no_grad():
            context = model.encode(torch.ones(1, 1, 17, 13), torch.ones(1, 4))
        state = torch.zeros(1, 2 * model.frames, 17, 13)
        assert row.macs == calls * count_macs(StepModule(model, context), state, *context)
        assert row.step_parameters == count_parameters_by_use(model).per_step


def test_a_split_too_short_for_one_common_step_is_refused(
    folders: dict[str, Path], dataset_settings: Callable[..., GenerateConfig], tmp_path: Path
) -> None:
    short = SplitConfig(trajectories=1, snapshots=3)
    generate(dataset_settings(tmp_path, splits=SplitsConfig(short, short, short, short)))
    settings = CompareConfig(data=tmp_path, models=folders, splits=("test",), output=tmp_path / "out")
    with pytest.raises(ValueError, match=r"2 snapshots after the 2 that .* needs 4, but .* test have 3"):
        compare(settings)


def test_a_block_network_is_pruned_like_any_other(
    folders: dict[str, Path], dataset: Path, tmp_path: Path
) -> None:
    fit, validation = FitConfig(steps=2, batch_size=2, unroll=(1, 2)), ValidationConfig(every=2, steps=3)
    settings = PruneConfig(model=folders["block"], data=dataset, output=tmp_path, rounds=1, tolerance=None)
    result = prune(dataclasses.replace(settings, fit=fit, validation=validation, device="cpu"))
    assert result.nonzeros < result.parameters
