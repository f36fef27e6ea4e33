"""Random scenarios of the 2D wave equation, drawn from typed settings.

A scenario is everything one trajectory needs: the medium c(x, y), the damping γ(x, y), the initial field
u(x, y, 0) with u_t(x, y, 0) = 0, the source term f(x, y, t), and the condition of each side, for

    u_tt + γ u_t = ∇·(c² ∇u) + f    on the rectangle [0, width] × [0, height].

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

from slimwave.data.distributions import (
    DampingConfig,
    MediumConfig,
    PulseConfig,
    SideCondition,
    SourceConfig,
    WallConfig,
)
from slimwave.data.plain import to_plain
from slimwave.data.settings import (
    WIDTHS_ACROSS,
    DomainConfig,
    GenerateConfig,
    SolverConfig,
    TimeConfig,
)
from slimwave.data.source_terms import SourceTerm, draw_sources, plain_sources
from slimwave.data.splits import REQUIRED_SPLITS, SPLITS, Split, SplitConfig, SplitsConfig
from slimwave.fem.boundaries import SIDES, Condition, wall_signs
from slimwave.fem.damping import Damping, SpongeDamping, UniformDamping, draw_random_damping
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
    "DampingConfig",
    "DomainConfig",
    "GenerateConfig",
    "MediumConfig",
    "PulseConfig",
    "Scenario",
    "SolverConfig",
    "SourceConfig",
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
    damping
        γ(x, y), callable alike; None where there is none.
    sources
        The source term f is their sum.
    """

    split: Split
    index: int
    wave_speed: Medium
    u0: GaussianPulses
    walls: Mapping[str, SideCondition]
    damping: Damping | None = None
    sources: tuple[SourceTerm, ...] = ()

    @property
    def wall_signs(self) -> tuple[float, ...]:
        """Code of each side: −1 Dirichlet (odd image), +1 Neumann (even image), 0 absorbing (no image)."""
        return wall_signs(self.walls)

    @property
    def parameters(self) -> dict[str, Any]:
        """Every drawn number, as plain values: enough to rebuild the scenario by hand."""
        parameters = {
            "medium": {"kind": type(self.wave_speed).__name__, **to_plain(self.wave_speed)},
            "pulses": to_plain(self.u0),
            "walls": dict(self.walls),
        }
        if self.damping is not None:
            parameters["damping"] = {"kind": type(self.damping).__name__, **to_plain(self.damping)}
        if self.sources:
            parameters["sources"] = plain_sources(self.sources)
        return parameters


def draw_scenario(config: GenerateConfig, split: Split, index: int) -> Scenario:
    """Draw a scenario: a function of the configuration, its seed, the split and the index alone.

    Medium, pulses, walls, damping and sources have random streams of their own, so that changing the
    distribution of one leaves the others as they were.

    Parameters
    ----------
    config
        Distributions and seed.
    split, index
        Place of the trajectory; streams of different places are independent.
    """
    place = np.random.SeedSequence(config.seed, spawn_key=(SPLITS.index(split), index))
    medium, pulses, for_walls, damping, sources = (np.random.default_rng(child) for child in place.spawn(5))
    domain = config.domain
    walls = _draw_walls(for_walls, config.walls)
    room: dict[str, Any] = {"boundaries": _mirrors(walls), "width": domain.width, "height": domain.height}
    return Scenario(
        split,
        index,
        _draw_medium(medium, config.medium_of(split), domain, index),
        _draw_pulses(pulses, config.pulses_of(split), room),
        walls,
        _draw_damping(damping, config.damping_of(split), domain),
        draw_sources(sources, config.sources_of(split), **room),
    )


def _draw_walls(rng: np.random.Generator, walls: WallConfig) -> dict[str, SideCondition]:
    drawn = [walls.random_from[i] for i in rng.integers(len(walls.random_from), size=len(SIDES))]
    return {
        side: random if condition == "random" else condition
        for side, condition, random in zip(SIDES, walls.sides, drawn, strict=True)
    }


def _mirrors(walls: Mapping[str, SideCondition]) -> dict[str, Condition]:
    """Condition in which a field at rest is mirrored at each side.

    At an absorbing side it is ∂u/∂n = 0: there c ∂u/∂n = −u_t, which is zero at first. A pulse cut off by the
    side would send a jump of u_t into the domain.
    """
    return {side: "dirichlet" if name == "dirichlet" else "neumann" for side, name in walls.items()}


def _draw_damping(rng: np.random.Generator, config: DampingConfig, domain: DomainConfig) -> Damping | None:
    kind = config.kinds[rng.integers(len(config.kinds))]
    strength = float(rng.uniform(*config.strength))
    if kind == "none":
        return None
    if kind == "uniform":
        return UniformDamping(strength)
    if kind == "sponge":
        return SpongeDamping(strength, config.thickness, domain.width, domain.height)
    return draw_random_damping(rng, correlation_length=config.correlation_length, strength=strength)


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


def _draw_pulses(rng: np.random.Generator, pulses: PulseConfig, room: Mapping[str, Any]) -> GaussianPulses:
    return draw_gaussian_pulses(
        rng, count=pulses.count, pulse_width=pulses.width, amplitude=pulses.amplitude, **room
    )
