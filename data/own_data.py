"""Bring your own data: trajectories of another solver, or measured ones, as a dataset like any other.

>>> splits = {"train": trajectories, "valid": few, "test": more, "ood": others}  # doctest: +SKIP
>>> write_dataset("runs/mine", splits, width=1.0, height=0.5, macro_step=0.02)  # doctest: +SKIP

The folder is that of ``slimwave generate``: shards in The Well's layout, statistics, and a manifest, which
says that its trajectories were given. What such a dataset cannot do is to solve its scenarios again. The
waves may be damped and absorbed, but not driven: f = 0.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from slimwave import __version__
from slimwave.data.distributions import SideCondition
from slimwave.data.durable import write_pieces
from slimwave.data.grid_energy import grid_energy
from slimwave.data.lock import folder_lock
from slimwave.data.reading import STATS, ShardedInfo, sharded_info, spacing
from slimwave.data.run_folders import Existing, RunFolder, require_writable
from slimwave.data.scenarios import (
    REQUIRED_SPLITS,
    WIDTHS_ACROSS,
    DampingConfig,
    DomainConfig,
    GenerateConfig,
    MediumConfig,
    PulseConfig,
    Split,
    SplitConfig,
    SplitsConfig,
    TimeConfig,
    WallConfig,
)
from slimwave.data.schema import Trajectory, shard_image
from slimwave.data.shards import (
    Manifest,
    ShardEntry,
    ShardTask,
    data_settings,
    hash_of,
    sha256_of,
    sha256_of_pieces,
    shard_tasks,
)
from slimwave.data.statistics import write_statistics
from slimwave.fem.boundaries import SIDES, wall_signs

CONDITION_OF: dict[float, SideCondition] = {-1.0: "dirichlet", 0.0: "absorbing", 1.0: "neumann"}


@dataclass(frozen=True)
class OwnTrajectory:
    """One trajectory on a uniform grid whose first and last nodes lie on the walls.

    Attributes
    ----------
    u, v
        Field and its velocity u_t, (T, nx, ny), x along axis 1.
    c
        Wave speed, (nx, ny).
    walls
        ``dirichlet``, ``neumann`` or ``absorbing``, or a mapping from left, right, bottom and top to them.
    parameters
        Anything worth keeping, as plain values.
    damping
        γ ≥ 0, a number or (nx, ny); None means that there is none.
    """

    u: Any
    v: Any
    c: Any
    walls: str | Mapping[str, str] = "dirichlet"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    damping: Any = None


def write_dataset(
    root: Path | str,
    splits: Mapping[Split, Sequence[OwnTrajectory]],
    *,
    width: float,
    height: float,
    macro_step: float,
    trajectories_per_shard: int = 6,
    overwrite: bool = False,
) -> ShardedInfo:
    """Write trajectories as a dataset.

    Parameters
    ----------
    root
        Folder of the dataset; created.
    splits
        Trajectories of ``train``, ``valid``, ``test``, ``ood`` and possibly further splits. A sequence may
        make its items on demand: one shard is in memory at a time.
    width, height
        Lengths of the domain's sides.
    macro_step
        Time between two snapshots.
    trajectories_per_shard
        Trajectories per HDF5 file.
    overwrite
        Delete an earlier dataset in ``root``.

    Raises
    ------
    ValueError
        For a missing split, arrays of the wrong shape or type, values that are not finite, or a folder that
        holds something else.
    OSError
        If the folder cannot be written.
    """
    root = Path(root)
    config = _settings(root, splits, (width, height), macro_step, trajectories_per_shard)
    require_writable(root)
    with folder_lock(root):
        existing: Existing = "overwrite" if overwrite else "refuse"
        folder = RunFolder.prepare(root, command="import", config=data_settings(config), existing=existing)
        entries = tuple(_write_shard(root, config, task, splits[task.split]) for task in shard_tasks(config))
        manifest = Manifest(__version__, data_settings(config), entries, origin="given")
        write_statistics(root, manifest)
        replace(manifest, complete=True, stats_sha256=sha256_of(root / STATS)).write(root)
        folder.finish(shards=len(entries))
    return sharded_info(root)


def _settings(
    root: Path,
    splits: Mapping[Split, Sequence[OwnTrajectory]],
    sides: tuple[float, float],
    macro_step: float,
    trajectories_per_shard: int,
) -> GenerateConfig:
    """Return settings that fit the data: sizes, grid, step and the range of speeds."""
    missing = [name for name in REQUIRED_SPLITS if not splits.get(name)]
    if missing:
        raise ValueError(
            f"splits: expected trajectories for each of {', '.join(REQUIRED_SPLITS)}, none for {missing[0]}"
        )
    shape = np.shape(splits["train"][0].u)
    if len(shape) != 3:
        raise ValueError(f"train 0: expected u of shape (T, nx, ny), got {shape}")
    found = _Found()
    for name, one in _named(splits):
        found.add(one, name, shape[1:])
    room = min(sides) / WIDTHS_ACROSS
    return GenerateConfig(
        output=root,
        domain=DomainConfig(*sides, *shape[1:]),
        medium=MediumConfig(min_speed=min(found.speeds), max_speed=max(found.speeds)),
        damping=found.damping,
        pulses=PulseConfig(width=(room / 4, room / 2)),
        walls=found.walls,
        time=TimeConfig(macro_step),
        splits=SplitsConfig(
            **{name: SplitConfig(len(given), len(given[0].u)) for name, given in splits.items()}
        ),
        trajectories_per_shard=trajectories_per_shard,
    )


@dataclass
class _Found:
    """What the trajectories have between them.

    Attributes
    ----------
    speeds, strengths
        Least and largest c and γ of each; γ only where it was given.
    sides
        Conditions of left, right, bottom, top that occur.
    """

    speeds: list[float] = field(default_factory=list)
    strengths: list[float] = field(default_factory=list)
    sides: tuple[set[SideCondition], ...] = field(default_factory=lambda: tuple(set() for _ in SIDES))

    def add(self, given: OwnTrajectory, name: str, grid: tuple[int, ...]) -> None:
        c = _array(given.c, f"{name}: c", grid)
        self.speeds += [float(c.min()), float(c.max())]
        if given.damping is not None:
            damping = _damping(given, name, grid)
            self.strengths += [float(damping.min()), float(damping.max())]
        for conditions, sign in zip(self.sides, _walls(given, name), strict=True):
            conditions.add(CONDITION_OF[sign])

    @property
    def damping(self) -> DampingConfig:
        if not self.strengths:
            return DampingConfig()
        return DampingConfig(kinds=("random",), strength=(min(self.strengths), max(self.strengths)))

    @property
    def walls(self) -> WallConfig:
        sides: dict[str, Any] = {
            side: next(iter(conditions)) if len(conditions) == 1 else "random"
            for side, conditions in zip(SIDES, self.sides, strict=True)
        }
        drawn = sorted(set().union(*(conditions for conditions in self.sides if len(conditions) > 1)))
        return WallConfig(**sides, random_from=tuple(drawn) or WallConfig().random_from)


def _named(
    splits: Mapping[Split, Sequence[OwnTrajectory]],
) -> Iterator[tuple[str, OwnTrajectory]]:
    for split, given in splits.items():
        yield from ((f"{split} {i}", given[i]) for i in range(len(given)))


def _write_shard(
    root: Path, config: GenerateConfig, task: ShardTask, given: Sequence[OwnTrajectory]
) -> ShardEntry:
    snapshots = config.split(task.split).snapshots
    made = [_trajectory(given[i], f"{task.split} {i}", config, snapshots) for i in task.indices]
    image = shard_image(
        made, split=task.split, indices=task.indices, config_hash=hash_of(data_settings(config))
    )
    (root / task.file).parent.mkdir(parents=True, exist_ok=True)
    write_pieces(root / task.file, image)
    speeds = min(float(one.c.min()) for one in made), max(float(one.c.max()) for one in made)
    size, digest = sum(piece.nbytes for piece in image), sha256_of_pieces(image)
    return ShardEntry(task.file, task.split, task.first, task.trajectories, snapshots, speeds, size, digest)


def _trajectory(given: OwnTrajectory, name: str, config: GenerateConfig, snapshots: int) -> Trajectory:
    grid = config.domain.nx, config.domain.ny
    u, v = (
        _array(values, f"{name}: {label}", (snapshots, *grid))
        for label, values in (("u", given.u), ("v", given.v))
    )
    c = _array(given.c, f"{name}: c", grid)
    walls = np.array(_walls(given, name), dtype=np.float32)
    return Trajectory(
        times=config.time.step * np.arange(snapshots, dtype=np.float64),
        x=np.linspace(0.0, config.domain.width, grid[0]),
        y=np.linspace(0.0, config.domain.height, grid[1]),
        u=u,
        v=v,
        c=c,
        walls=walls,
        energy=grid_energy(u, v, c, walls, spacing(config)),
        parameters=dict(given.parameters),
        setup_cpu_seconds=0.0,
        solve_cpu_seconds=0.0,
        damping=_damping(given, name, grid) if config.damped else None,
    )


def _walls(given: OwnTrajectory, name: str) -> tuple[float, ...]:
    try:
        return wall_signs(given.walls)
    except ValueError as error:
        raise ValueError(f"{name}: walls: {error}") from error


def _damping(given: OwnTrajectory, name: str, grid: tuple[int, ...]) -> Any:
    """Return γ on the grid; a number stands for the same everywhere."""
    values = 0.0 if given.damping is None else given.damping
    damping = _array(np.full(grid, values) if np.ndim(values) == 0 else values, f"{name}: damping", grid)
    if damping.min() < 0:
        raise ValueError(f"{name}: damping: expected values of at least 0, got {damping.min():g}")
    return damping


def _array(values: Any, name: str, shape: tuple[int, ...]) -> Any:
    array = np.asarray(values)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise ValueError(
            f"{name}: expected finite real numbers, got type {array.dtype}, or some that are not finite"
        )
    return array.astype(np.float32)
