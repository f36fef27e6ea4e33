"""Random scenarios of the 2D wave equation, drawn from typed settings.

A scenario is everything one trajectory needs: the medium c(x, y), the initial field u(x, y, 0) with
u_t(x, y, 0) = 0, and the condition of each wall, for

    u_tt = ∇·(c² ∇u)    on the rectangle [0, width] × [0, height].

The settings live in :mod:`slimwave.data.settings`, :mod:`slimwave.data.distributions` and
:mod:`slimwave.data.splits`; their names can also be imported from here.

>>> config = GenerateConfig(seed=1, medium=MediumConfig(correlation_length=0.1))
>>> scenario = draw_scenario(config, "train", 0)
>>> scenario.walls["left"]
'dirichlet'
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from slimwave.data.distributions import MediumConfig, PulseConfig, WallCondition, WallConfig
from slimwave.data.plain import to_plain
from slimwave.data.settings import (
    WIDTHS_ACROSS,
    DomainConfig,
    GenerateConfig,
    SolverConfig,
    TimeConfig,
)
from slimwave.data.splits import REQUIRED_SPLITS, SPLITS, Split, SplitConfig, SplitsConfig
from slimwave.fem.boundaries import CONDITIONS, SIDES, Condition, wall_signs
from slimwave.fem.media import (
    Medium,
    draw_inclusion_medium,
    draw_layered_medium,
    draw_smooth_random_medium,
)
from slimwave.fem.sources import GaussianPulses, draw_gaussian_pulses

__all__ = [
    "REQUIRED_SPLITS",
    "SPLITS",
    "WIDTHS_ACROSS",
    "DomainConfig",
    "GenerateConfig",
    "MediumConfig",
    "PulseConfig",
    "Scenario",
    "SolverConfig",
    "Split",
    "SplitConfig",
    "SplitsConfig",
    "TimeConfig",
    "WallConfig",
    "draw_scenario",
]


@dataclass(frozen=True)
class Scenario:
    """One random scenario; the initial velocity u_t(x, y, 0) is zero.

    Attributes
    ----------
    split, index
        Place of the trajectory in the dataset.
    wave_speed
        Medium c(x, y), callable on arrays of one shape.
    u0
        Initial field u(x, y, 0), callable alike; it obeys the walls.
    walls
        Condition of each side, in the order of :data:`slimwave.fem.boundaries.SIDES`.
    """

    split: Split
    index: int
    wave_speed: Medium
    u0: GaussianPulses
    walls: Mapping[str, Condition]

    @property
    def wall_signs(self) -> tuple[float, ...]:
        """Mirror sign of each wall: −1 Dirichlet (odd), +1 Neumann (even)."""
        return wall_signs(self.walls)

    @property
    def parameters(self) -> dict[str, Any]:
        """Every drawn number, as plain values: enough to rebuild the scenario by hand."""
        return {
            "medium": {"kind": type(self.wave_speed).__name__, **to_plain(self.wave_speed)},
            "pulses": to_plain(self.u0),
            "walls": dict(self.walls),
        }


def draw_scenario(config: GenerateConfig, split: Split, index: int) -> Scenario:
    """Draw a scenario: a function of the configuration, its seed, the split and the index alone.

    Medium, pulses and walls have random streams of their own, so that changing the distribution of one leaves
    the others as they were.

    Parameters
    ----------
    config
        Distributions and seed.
    split, index
        Place of the trajectory; streams of different places are independent.
    """
    place = np.random.SeedSequence(config.seed, spawn_key=(SPLITS.index(split), index))
    for_medium, for_pulses, for_walls = (np.random.default_rng(child) for child in place.spawn(3))
    walls = _draw_walls(for_walls, config.walls)
    return Scenario(
        split,
        index,
        _draw_medium(for_medium, config.medium_of(split), config.domain, index),
        _draw_pulses(for_pulses, config.pulses_of(split), config.domain, walls),
        walls,
    )


def _draw_walls(rng: np.random.Generator, walls: WallConfig) -> dict[str, Condition]:
    drawn = [CONDITIONS[i] for i in rng.integers(len(CONDITIONS), size=len(SIDES))]
    wanted: list[WallCondition] = [getattr(walls, side) for side in SIDES]
    return {
        side: random if condition == "random" else condition
        for side, condition, random in zip(SIDES, wanted, drawn, strict=True)
    }


def _draw_medium(rng: np.random.Generator, medium: MediumConfig, domain: DomainConfig, index: int) -> Medium:
    low, high = medium.min_speed, medium.max_speed
    kind = medium.kinds[index % len(medium.kinds)]
    if kind == "random":
        return draw_smooth_random_medium(
            rng, correlation_length=medium.correlation_length, min_speed=low, max_speed=high
        )
    draw = draw_layered_medium if kind == "layers" else draw_inclusion_medium
    return draw(
        rng,
        min_speed=low,
        max_speed=high,
        interface_width=medium.interface_width,
        width=domain.width,
        height=domain.height,
    )


def _draw_pulses(
    rng: np.random.Generator, pulses: PulseConfig, domain: DomainConfig, walls: Mapping[str, Condition]
) -> GaussianPulses:
    return draw_gaussian_pulses(
        rng,
        count=pulses.count,
        pulse_width=pulses.width,
        amplitude=pulses.amplitude,
        boundaries=walls,
        width=domain.width,
        height=domain.height,
    )
