"""Tasks: the scales come from the training split, survive JSON, and refuse other data; devices by name."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from slimwave.data.generation import generate
from slimwave.data.scenarios import DampingConfig, GenerateConfig, MediumConfig, SourceConfig
from slimwave.data.windows import WaveWindows, dataset_info, load_trajectories
from slimwave.surrogates.devices import cpu_threads, resolve_device
from slimwave.surrogates.task import WaveTask

TASK = WaveTask(0.05, (0.0625, 0.0625), 2.0, (0.2, 1.5), (0.08, 0.7), 1.5, 0.3)


def test_scales_are_those_of_the_training_split(dataset: Path) -> None:
    task = WaveTask.of_windows(WaveWindows(dataset, "train"))
    data = load_trajectories(dataset, "train")
    for channel, field in enumerate((data.u.double(), data.v.double())):
        assert task.scale[channel] == pytest.approx(float(field.square().mean().sqrt()), rel=1e-5)
        change = float(field.diff(dim=1).square().mean().sqrt())
        assert task.increment[channel] == pytest.approx(change, rel=1e-5)
    assert task.speed_mean == pytest.approx(float(data.c.mean()), rel=1e-5)
    assert task.macro_step == 0.05
    assert task.spacing == pytest.approx((1 / 16, 0.75 / 12))
    assert task.cells_per_step == pytest.approx(task.max_speed * 0.05 * 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"damping": DampingConfig(kinds=("uniform",))},
            "the dataset .* has damping, which no surrogate takes",
        ),
        (
            {"sources": SourceConfig(count=(1, 1), width=(0.06, 0.08))},
            r"the dataset .* has sources, which .* --sources\.count 0,0",
        ),
    ],
)
def test_what_no_network_is_told_of_is_refused(
    dataset_settings: Callable[..., GenerateConfig], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    config = dataset_settings(tmp_path / "data", **changes)
    generate(config)
    with pytest.raises(ValueError, match=message):
        WaveTask.of_windows(WaveWindows(config.output, "train"))
    with pytest.raises(ValueError, match=message):
        TASK.snapshots_per_step(dataset_info(config.output), "the dataset x")


def test_a_longer_macro_step_has_increments_of_its_own(dataset: Path) -> None:
    task = WaveTask.of_windows(WaveWindows(dataset, "train", stride=3))
    data = load_trajectories(dataset, "train")
    assert task.macro_step == pytest.approx(0.15)
    for channel, field in enumerate((data.u.double(), data.v.double())):
        change = field[:, 3:] - field[:, :-3]
        assert task.increment[channel] == pytest.approx(float(change.square().mean().sqrt()), rel=1e-5)


def test_a_macro_step_is_one_or_several_snapshots() -> None:
    assert TASK.stride_in(TASK.spacing, 0.0125, "data") == 4
    for step in (0.02, 0.1, 0.06):
        with pytest.raises(ValueError, match=rf"data has a snapshot every {step}, but .* steps of 0\.05"):
            TASK.stride_in(TASK.spacing, step, "data")


def test_a_homogeneous_medium_gives_a_usable_scale(
    dataset_settings: Callable[..., GenerateConfig], tmp_path: Path
) -> None:
    config = dataset_settings(tmp_path / "data", medium=MediumConfig(min_speed=1.5, max_speed=1.5))
    generate(config)
    task = WaveTask.of_windows(WaveWindows(config.output, "train"))
    assert (task.speed_mean, task.speed_std) == pytest.approx((1.5, 0.015))


def test_a_task_survives_json() -> None:
    assert WaveTask.from_json(json.loads(json.dumps(TASK.to_json()))) == TASK


@pytest.mark.parametrize("name", ["macro_step", "max_speed", "speed_std"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_impossible_numbers_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected a positive, finite number"):
        dataclasses.replace(TASK, **{name: value})


def test_rounding_of_spacing_and_step_is_no_difference() -> None:
    assert TASK.stride_in((0.06250001, 0.0625), 0.0500001, "data") == 1
    with pytest.raises(ValueError, match=r"data has grid spacing \(0\.0625, 0\.08\)"):
        TASK.stride_in((0.0625, 0.08), 0.05, "data")


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match=r"--device cuda: torch finds no CUDA GPU .* --device cpu"):
        resolve_device("cuda")


@pytest.fixture
def tf32() -> Iterator[None]:
    """TF32 everywhere; afterwards as it was."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = True
    yield
    convolutions.allow_tf32, products.allow_tf32 = before


@pytest.mark.usefixtures("tf32")
@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_a_gpu_computes_in_single_precision_not_in_tf32(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("cpu") == torch.device("cpu")
    assert torch.backends.cudnn.allow_tf32
    assert resolve_device(name) == torch.device("cuda")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_threads_are_given_back() -> None:
    with cpu_threads(2):
        assert torch.get_num_threads() == 2
        with cpu_threads(None):
            assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 1
