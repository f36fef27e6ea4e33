"""Scores: every metric under its name, medians at steps and over windows as a plain loop finds them."""

import math

import numpy as np
import pytest
import torch

from slimwave.surrogates.metrics import relative_l2
from slimwave.surrogates.scores import median_valid_time, reported_steps, step_errors, summarise


def test_every_metric_comes_per_step_and_is_perfect_for_a_perfect_forecast() -> None:
    reference = torch.randn(3, 5, 16, 12)
    errors = step_errors(reference, reference, torch.ones(3, 4), (0.1, 0.1))
    assert all(values.shape == (3, 5) for values in errors.values())
    assert torch.allclose(errors.pop("correlation"), torch.ones(3, 5))
    assert all(bool((values == 0).all()) for values in errors.values())
    assert len(errors) == 11


@pytest.mark.parametrize(
    ("last", "steps"), [(0, []), (1, [1]), (9, [1, 9]), (50, [1, 10, 50]), (60, [1, 10, 50, 60])]
)
def test_reported_steps_end_at_the_last(last: int, steps: list[int]) -> None:
    assert reported_steps(last) == steps


def test_the_summary_holds_medians_at_steps_and_over_windows() -> None:
    prediction, reference = torch.randn(2, 4, 30, 10, 8, dtype=torch.float64)
    told = summarise(step_errors(prediction, reference, -torch.ones(4, 4), (0.1, 0.1)))
    errors = relative_l2(prediction, reference).numpy()
    assert told["relative_l2"].keys() == {"1", "10", "30", "6-12", "13-30"}
    assert told["relative_l2"]["10"] == pytest.approx(np.median(errors[:, 9]))
    assert told["relative_l2"]["6-12"] == pytest.approx(np.median(errors[:, 5:12].mean(1)))
    assert told["vrmse_mean"].keys() == {"6-12", "13-30"}


def test_windows_beyond_the_reference_are_left_out() -> None:
    told = summarise({"vrmse": torch.ones(2, 12)})
    assert told == {"vrmse": {"1": 1.0, "10": 1.0, "12": 1.0, "6-12": 1.0}, "vrmse_mean": {"6-12": 1.0}}


def test_medians_survive_a_forecast_that_has_blown_up() -> None:
    errors = {"relative_l2": torch.tensor([[0.1, 0.1], [0.1, 0.2], [0.3, math.inf]])}
    assert summarise(errors)["relative_l2"] == pytest.approx({"1": 0.1, "2": 0.2})
    assert median_valid_time(errors, 0.5, threshold=0.25) == 1.0
