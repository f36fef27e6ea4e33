"""Random scenarios of the 2D wave equation as typed configuration.

A scenario is everything one trajectory needs: the medium c(x, y), the initial field u(x, y, 0) with
u_t(x, y, 0) = 0, and the condition of each wall, for

    u_tt = ∇·(c² ∇u)    on the rectangle [0, width] × [0, height].

Each class below holds one concern and is frozen, free of torch and scikit-fem, and built from plain types, so
that the command line can read it and YAML can store it. A flag is the path through the classes:
``GenerateConfig.medium.correlation_length`` is ``--medium.correlation_length``.

>>> config = GenerateConfig(seed=1, medium=MediumConfig(correlation_length=0.1))
>>> scenario = draw_scenario(config, "train", 0)
>>> scenario.walls["left"]
'dirichlet'
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from slimwave.data.plain import to_plain
from slimwave.data.ranges import require_at_least, require_positive, require_positive_range
from slimwave.fem.boundaries import CONDITIONS, SIDES, Condition, wall_signs
from slimwave.fem.media import (
    Medium,
    draw_inclusion_medium,
    draw_layered_medium,
    draw_smooth_random_medium,
)
from slimwave.fem.sources import GaussianPulses, draw_gaussian_pulses

MediumKind = Literal["random", "layers", "inclusions"]
WallCondition = Literal["dirichlet", "neumann", "random"]
Split = Literal["train", "valid", "test", "ood", "ood_pulses", "ood_media", "ood_long", "ood_loud"]

SPLITS: tuple[Split, ...] = get_args(Split)
"""Names of the splits; their order is part of the random streams: new ones go to the end."""
REQUIRED_SPLITS: tuple[Split, ...] = ("train", "valid", "test", "ood")
SMALLEST_GRID = 8
WIDTHS_ACROSS = 4


@dataclass(frozen=True)
class DomainConfig:
    """Rectangle [0, width] × [0, height] and the uniform grid of the snapshots.

    Parameters
    ----------
    width, height
        Lengths of the sides, in units of length.
    nx, ny
        Grid nodes along x and y; the first and last lie on the walls.
    """

    width: float = 1.0
    height: float = 1.0
    nx: int = 64
    ny: int = 64

    def __post_init__(self) -> None:
        require_positive("domain.width", self.width)
        require_positive("domain.height", self.height)
        require_at_least("domain.nx", self.nx, SMALLEST_GRID)
        require_at_least("domain.ny", self.ny, SMALLEST_GRID)


@dataclass(frozen=True)
class MediumConfig:
    """Distribution of the wave speed c(x, y).

    Parameters
    ----------
    kinds
        Families to draw from. Trajectory i of a split takes ``kinds[i % len(kinds)]``, so that every split
        holds them in equal shares.
    min_speed, max_speed
        Bounds of c, in units of length per unit of time.
    correlation_length
        Length over which a ``random`` medium varies (Gaussian correlation).
    interface_width
        Length over which c changes across an interface of ``layers`` and ``inclusions``.
    """

    kinds: tuple[MediumKind, ...] = ("random", "layers", "inclusions")
    min_speed: float = 1.0
    max_speed: float = 2.0
    correlation_length: float = 0.15
    interface_width: float = 0.02

    def __post_init__(self) -> None:
        if not self.kinds:
            raise ValueError("--medium.kinds: expected at least one of random, layers, inclusions, got none")
        if not 0 < self.min_speed <= self.max_speed < math.inf:
            raise ValueError(
                "--medium.min_speed and --medium.max_speed: expected 0 < min_speed <= max_speed, finite, "
                f"got {self.min_speed} and {self.max_speed}"
            )
        require_positive("medium.correlation_length", self.correlation_length)
        require_positive("medium.interface_width", self.interface_width)


@dataclass(frozen=True)
class PulseConfig:
    """Distribution of the initial field: a sum of Gaussian pulses a exp(−r² / 2σ²) at random places.

    Parameters
    ----------
    count
        Fewest and most pulses of one field.
    width
        Smallest and largest σ, in units of length.
    amplitude
        Smallest and largest absolute value of a; the sign is random.
    """

    count: tuple[int, int] = (1, 3)
    width: tuple[float, float] = (0.06, 0.10)
    amplitude: tuple[float, float] = (0.5, 1.0)

    def __post_init__(self) -> None:
        require_positive_range("pulses.count", self.count)
        require_positive_range("pulses.width", self.width)
        require_positive_range("pulses.amplitude", self.amplitude)


@dataclass(frozen=True)
class WallConfig:
    """Condition of each wall.

    ``dirichlet`` holds u = 0, ``neumann`` holds ∂u/∂n = 0, and ``random`` draws one of the two for every
    trajectory.
    """

    left: WallCondition = "dirichlet"
    right: WallCondition = "dirichlet"
    bottom: WallCondition = "dirichlet"
    top: WallCondition = "dirichlet"


@dataclass(frozen=True)
class TimeConfig:
    """Time between two snapshots, in units of time: the macro step of a surrogate."""

    step: float = 0.02

    def __post_init__(self) -> None:
        require_positive("time.step", self.step)


@dataclass(frozen=True)
class SolverConfig:
    """Finite-element discretisation of the trajectories.

    On the unit square the default leaves an error of u after 100 macro steps of 7e-5 (median) and 7e-4
    (worst of the first 12 training scenarios); of u_t, 6e-4 and 5e-3.

    Parameters
    ----------
    order
        Polynomial order of the GLL spectral elements.
    elements
        Elements along x and y.
    dtype
        Floating-point type of the time stepping.
    """

    order: int = 5
    elements: tuple[int, int] = (24, 24)
    dtype: Literal["float32", "float64"] = "float32"

    def __post_init__(self) -> None:
        require_at_least("solver.order", self.order, 1)
        if min(self.elements) < 1:
            raise ValueError(
                f"--solver.elements: expected at least one per axis, e.g. [24, 24], got {list(self.elements)}"
            )


@dataclass(frozen=True)
class SplitConfig:
    """Size of a split, and where it departs from the dataset's distributions.

    Parameters
    ----------
    trajectories
        Number of trajectories; 0 leaves an optional split out.
    snapshots
        Snapshots per trajectory, the initial state included.
    medium, pulses
        Distributions of this split; None means the dataset's own.
    """

    trajectories: int = 96
    snapshots: int = 61
    medium: MediumConfig | None = None
    pulses: PulseConfig | None = None

    def __post_init__(self) -> None:
        require_at_least("splits.<split>.trajectories", self.trajectories, 0)
        require_at_least("splits.<split>.snapshots", self.snapshots, 2)


@dataclass(frozen=True)
class SplitsConfig:
    """The splits: three of the dataset's distribution, and one or more outside it.

    ``train`` is short; ``valid``, ``test`` and ``ood`` run longer, since forecasts are judged beyond the
    horizon of the training. ``ood`` leaves the distribution in two ways at once: sharper pulses in media that
    vary faster. The optional splits, each left out until it is given trajectories
    (``--splits.ood_long.trajectories 12``), depart from it in one way, so that a failure has one cause:

    ``ood_pulses``
        sharper pulses
    ``ood_media``
        media that vary faster
    ``ood_long``
        a horizon five times that of the training
    ``ood_loud``
        larger amplitudes
    """

    train: SplitConfig = SplitConfig(trajectories=96, snapshots=61)
    valid: SplitConfig = SplitConfig(trajectories=12, snapshots=101)
    test: SplitConfig = SplitConfig(trajectories=18, snapshots=101)
    ood: SplitConfig = SplitConfig(
        trajectories=18,
        snapshots=101,
        medium=MediumConfig(correlation_length=0.08),
        pulses=PulseConfig(width=(0.04, 0.05)),
    )
    ood_pulses: SplitConfig = SplitConfig(0, 101, pulses=PulseConfig(width=(0.04, 0.05)))
    ood_media: SplitConfig = SplitConfig(0, 101, medium=MediumConfig(correlation_length=0.08))
    ood_long: SplitConfig = SplitConfig(0, 301)
    ood_loud: SplitConfig = SplitConfig(0, 101, pulses=PulseConfig(amplitude=(2.0, 4.0)))

    def __post_init__(self) -> None:
        for name in REQUIRED_SPLITS:
            require_at_least(f"splits.{name}.trajectories", getattr(self, name).trajectories, 1)


@dataclass(frozen=True)
class GenerateConfig:
    """Everything ``slimwave generate`` needs.

    Output, workers, scheduler, overwrite and device do not change the data.

    Parameters
    ----------
    output
        Folder of the dataset; created, or continued if it holds an unfinished run of the same settings.
    workers
        Worker processes.
    scheduler
        Address of a Dask scheduler whose workers solve the scenarios (extra ``cluster``), such as
        ``tcp://head:8786``; None solves them on this machine.
    overwrite
        Delete an earlier dataset in ``output`` instead of continuing it.
    device
        ``auto`` or ``cpu``: the finite elements run on the processor.
    seed
        Seed of the scenarios.
    trajectories_per_shard
        Trajectories per HDF5 file: the unit of work, of durability and of resuming.
    """

    output: Path = Path("runs/data")
    workers: int = 1
    scheduler: str | None = None
    overwrite: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0
    domain: DomainConfig = field(default_factory=DomainConfig)
    medium: MediumConfig = field(default_factory=MediumConfig)
    pulses: PulseConfig = field(default_factory=PulseConfig)
    walls: WallConfig = field(default_factory=WallConfig)
    time: TimeConfig = field(default_factory=TimeConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)
    splits: SplitsConfig = field(default_factory=SplitsConfig)
    trajectories_per_shard: int = 6

    def __post_init__(self) -> None:
        if self.device == "cuda":
            raise ValueError(
                "--device: expected auto or cpu, got cuda: the finite elements run on the processor"
            )
        require_at_least("seed", self.seed, 0)
        require_at_least("workers", self.workers, 1)
        if self.scheduler is not None and self.workers > 1:
            raise ValueError(
                f"--workers: expected 1 together with --scheduler, whose workers are used, got {self.workers}"
            )
        require_at_least("trajectories_per_shard", self.trajectories_per_shard, 1)
        for name in self.split_names:
            self._require_room(name)
        object.__setattr__(self, "output", Path(self.output))

    def _require_room(self, name: Split) -> None:
        pulses = self.pulses_of(name)
        flag = "pulses.width" if self.split(name).pulses is None else f"splits.{name}.pulses.width"
        room = min(self.domain.width, self.domain.height) / WIDTHS_ACROSS
        if not pulses.width[1] < room:
            raise ValueError(
                f"--{flag}: expected less than {room:g}, so that {WIDTHS_ACROSS} widths fit across the "
                f"domain of {self.domain.width:g} x {self.domain.height:g}, got {pulses.width[1]:g}"
            )

    @property
    def split_names(self) -> tuple[Split, ...]:
        """Names of the splits that hold trajectories."""
        return tuple(name for name in SPLITS if self.split(name).trajectories > 0)

    def split(self, name: Split) -> SplitConfig:
        """Return the settings of one split."""
        split: SplitConfig = getattr(self.splits, name)
        return split

    def medium_of(self, name: Split) -> MediumConfig:
        """Return the distribution of media that a split draws from."""
        return self.split(name).medium or self.medium

    def pulses_of(self, name: Split) -> PulseConfig:
        """Return the distribution of pulses that a split draws from."""
        return self.split(name).pulses or self.pulses


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
