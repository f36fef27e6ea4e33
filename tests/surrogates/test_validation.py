"""The judge: mean rollout error over trajectories and steps; zero if perfect, infinite if it blows up."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from slimwave.data.windows import WaveWindows, load_trajectories
from slimwave.surrogates.metrics import relative_l2
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.surrogate import Context, Surrogate
from slimwave.surrogates.task import WaveTask
from slimwave.surrogates.training_settings import ValidationConfig
from slimwave.surrogates.validation import RolloutValidator


class Scripted(Surrogate):
    """Returns given states one after the other."""

    def __init__(self, task: WaveTask, script: list[Tensor]) -> None:
        super().__init__(NetworkConfig(), task)
        self.script = iter(script)

    @property
    def reach(self) -> int:
        return 100

    def encode(self, wave_speed: Tensor, walls: Tensor) -> Context:
        return (wave_speed, walls)

    def step(self, state: Tensor, context: Context) -> Tensor:
        del state, context
        return next(self.script)


@pytest.fixture
def judged(dataset: Path) -> tuple[RolloutValidator, WaveTask, Tensor]:
    """A validator of five steps, the task, and the true states (trajectories, 8, 2, nx, ny)."""
    data = load_trajectories(dataset, "valid")
    validator = RolloutValidator(dataset, ValidationConfig(steps=5), torch.device("cpu"))
    return validator, WaveTask.of_windows(WaveWindows(dataset, "train")), torch.stack([data.u, data.v], dim=2)


def test_a_perfect_model_has_no_error(judged: tuple[RolloutValidator, WaveTask, Tensor]) -> None:
    validator, task, truth = judged
    assert validator(Scripted(task, [truth[:, step] for step in range(1, 6)])) == 0.0


def test_the_error_is_the_mean_over_trajectories_and_steps(
    judged: tuple[RolloutValidator, WaveTask, Tensor],
) -> None:
    validator, task, truth = judged
    expected = relative_l2(truth[:, :1, 0].expand(-1, 5, -1, -1), truth[:, 1:6, 0]).mean()
    assert validator(Scripted(task, [truth[:, 0]] * 5)) == pytest.approx(float(expected), rel=1e-5)


def test_a_rollout_that_blows_up_is_infinitely_wrong(
    judged: tuple[RolloutValidator, WaveTask, Tensor],
) -> None:
    validator, task, truth = judged
    script = [truth[:, 1], *[truth[:, 1] * math.nan] * 4]
    assert validator(Scripted(task, script)) == math.inf


def test_one_trajectory_can_be_enough(dataset: Path) -> None:
    config = ValidationConfig(steps=3, trajectories=1)
    assert len(RolloutValidator(dataset, config, torch.device("cpu")).initial) == 1
