"""The settings of a dataset: domain, grid, distributions, time, solver and splits.

Their path is their flag: ``GenerateConfig.medium.correlation_length`` is ``--medium.correlation_length``.

>>> GenerateConfig(seed=1).split_names
('train', 'valid', 'test', 'ood')
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from slimwave.data.distributions import (
    DampingConfig,
    MediumConfig,
    PulseConfig,
    SourceConfig,
    WallConfig,
)
from slimwave.data.ranges import require_at_least, require_positive
from slimwave.data.splits import SPLITS, Split, SplitConfig, SplitsConfig

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
class TimeConfig:
    """When snapshots are taken.

    Parameters
    ----------
    step
        Time between two snapshots, in units of time: the macro step of a surrogate.
    """

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
    damping: DampingConfig = field(default_factory=DampingConfig)
    pulses: PulseConfig = field(default_factory=PulseConfig)
    sources: SourceConfig = field(default_factory=SourceConfig)
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
        for name in ("medium", "damping", "pulses", "sources", "walls"):
            getattr(self, name).check(name)
        for split in self.split_names:
            self._require_room(split)
            self._require_waves(split)
        object.__setattr__(self, "output", Path(self.output))

    def _require_room(self, name: Split) -> None:
        """Pulses and sources must fit between the walls, in which they are mirrored."""
        room = min(self.domain.width, self.domain.height) / WIDTHS_ACROSS
        for kind, drawn in (("pulses", self.pulses_of(name)), ("sources", self.sources_of(name))):
            flag = (
                f"{kind}.width" if getattr(self.split(name), kind) is None else f"splits.{name}.{kind}.width"
            )
            unused = kind == "sources" and not self.sources_of(name).acts
            if not (unused or drawn.width[1] < room):
                raise ValueError(
                    f"--{flag}: expected less than {room:g}, so that {WIDTHS_ACROSS} widths fit across the "
                    f"domain of {self.domain.width:g} x {self.domain.height:g}, got {drawn.width[1]:g}"
                )

    def _require_waves(self, name: Split) -> None:
        """Each trajectory must have a pulse, or a source that begins before its end."""
        if self.pulses_of(name).count[0] > 0:
            return
        sources, end = self.sources_of(name), self.time.step * (self.split(name).snapshots - 1)
        if sources.count[0] == 0:
            raise ValueError(
                f"--pulses.count: expected at least 1 where --sources.count begins at 0, got "
                f"{list(self.pulses_of(name).count)} in split {name}: a trajectory could stay at rest"
            )
        if not sources.onset[1] < end:
            raise ValueError(
                f"--sources.onset: expected less than {end:g}, where split {name} ends, got "
                f"{list(sources.onset)}: without pulses a trajectory could stay at rest"
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

    def damping_of(self, name: Split) -> DampingConfig:
        """Return the distribution of damping that a split draws from."""
        return self.split(name).damping or self.damping

    def sources_of(self, name: Split) -> SourceConfig:
        """Return the distribution of sources that a split draws from."""
        return self.split(name).sources or self.sources

    @property
    def damped(self) -> bool:
        """Whether any trajectory is damped: then all of them hold γ."""
        return any(self.damping_of(name).acts for name in self.split_names)

    @property
    def most_sources(self) -> int:
        """Most sources of a trajectory: room for so many is in all of them."""
        return max(self.sources_of(name).count[1] for name in self.split_names)
