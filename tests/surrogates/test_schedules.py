"""Rates, stages and random numbers as functions of the optimiser step."""

import itertools

import pytest
import torch

from slimwave.surrogates.schedules import (
    average_decay,
    generator_of,
    last_stage,
    learning_rate,
    unrolled_steps,
)
from slimwave.surrogates.training_settings import FitConfig


def test_schedule_and_curriculum() -> None:
    fit = FitConfig(steps=90, learning_rate=1.0, warmup=9, unroll=(1, 2, 4))
    rates = [learning_rate(fit, step) for step in range(90)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(rates[9], rel=0.01)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[9:]))
    assert rates[-1] < 0.02
    assert [unrolled_steps(fit, step) for step in (0, 29, 30, 59, 60, 89)] == [1, 1, 2, 2, 4, 4]


@pytest.mark.parametrize(("steps", "stages"), [(90, 3), (10, 3), (7, 4), (2, 3), (5, 1)])
def test_the_last_stage_begins_where_the_last_entry_is_first_unrolled(steps: int, stages: int) -> None:
    fit = FitConfig(steps=steps, unroll=tuple(range(1, stages + 1)))
    unrolled = [unrolled_steps(fit, step) for step in range(steps)]
    first = unrolled.index(stages) if stages in unrolled else steps
    assert last_stage(fit) == first


def test_the_average_forgets_the_fresh_weights_at_first() -> None:
    fit = FitConfig(ema=0.99)
    decays = [average_decay(fit, step) for step in range(2000)]
    assert decays[0] == 0.1
    assert decays == sorted(decays)
    assert decays[-1] == 0.99


def test_random_numbers_of_different_steps_and_purposes_are_independent() -> None:
    names = [(0, 1), (1, 0), (0, 1, 1), (0, 2), (1, 1)]
    drawn = [torch.randn(50, generator=generator_of(*name)) for name in names]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(drawn, 2))
    assert torch.equal(drawn[0], torch.randn(50, generator=generator_of(0, 1)))
