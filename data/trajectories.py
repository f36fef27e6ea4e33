"""Whole trajectories in memory, for rollouts.

>>> data = load_trajectories("runs/data", "test", limit=4)  # doctest: +SKIP
>>> data.u.shape  # doctest: +SKIP
torch.Size([4, 101, 64, 64])
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from slimwave.data.reading import DatasetInfo, dataset_info, open_shard
from slimwave.data.schema import DAMPING, Float32, Float64
from slimwave.data.shards import ShardEntry


@dataclass(frozen=True)
class Trajectories:
    """Whole trajectories of a split.

    Attributes
    ----------
    u, v
        Shape (n, T, nx, ny), float32.
    c
        Wave speed, (n, nx, ny), float32.
    walls
        (n, 4), float32: −1 Dirichlet, +1 Neumann, 0 absorbing, for left, right, bottom, top.
    energy
        Energy of the finite-element solution, (n, T), float64.
    times, x, y
        (T,), (nx,), (ny,), float64.
    damping
        γ, (n, nx, ny), float32, or None in a dataset without damping.
    """

    u: Tensor
    v: Tensor
    c: Tensor
    walls: Tensor
    energy: Tensor
    times: Tensor
    x: Tensor
    y: Tensor
    damping: Tensor | None = None

    def at(self, snapshots: range) -> "Trajectories":
        """Return the trajectories at some of their snapshots."""
        kept = slice(snapshots.start, snapshots.stop, snapshots.step)
        return replace(
            self,
            u=self.u[:, kept],
            v=self.v[:, kept],
            energy=self.energy[:, kept],
            times=self.times[kept],
        )


def load_trajectories(
    root: Path | str, split: str, limit: int | None = None, snapshots: int | None = None
) -> Trajectories:
    """Read whole trajectories into memory.

    Parameters
    ----------
    root, split
        Dataset folder and split.
    limit
        Read the first ``limit`` trajectories, or all if there are fewer; None reads all.
    snapshots
        Read the first ``snapshots`` of each; None reads all.

    Raises
    ------
    FileNotFoundError
        If there is no dataset.
    DatasetError
        If it is unfinished or damaged.
    ValueError
        For an unknown split, or if more snapshots are asked for than exist.
    """
    info = dataset_info(root)
    entries = info.shards(split)
    available = sum(entry.trajectories for entry in entries)
    count = available if limit is None else min(limit, available)
    length = entries[0].snapshots if snapshots is None else snapshots
    if min(count, length) < 1:
        raise ValueError(f"limit and snapshots: expected at least 1, got {limit} and {snapshots}")
    require_snapshots(info.root, split, entries[0].snapshots, length, f"{length} snapshots")
    arrays = _Arrays(
        u=np.empty((count, length, *info.grid), np.float32),
        v=np.empty((count, length, *info.grid), np.float32),
        c=np.empty((count, *info.grid), np.float32),
        walls=np.empty((count, 4), np.float32),
        energy=np.empty((count, length)),
        damping=np.empty((count, *info.grid), np.float32) if info.damped else None,
    )
    for entry in entries:
        if entry.first < count:
            arrays.fill(info, entry)
    return Trajectories(
        **{name: torch.from_numpy(array) for name, array in vars(arrays).items() if array is not None},
        times=info.macro_step * torch.arange(length, dtype=torch.float64),
        x=torch.linspace(0.0, info.config.domain.width, info.grid[0], dtype=torch.float64),
        y=torch.linspace(0.0, info.config.domain.height, info.grid[1], dtype=torch.float64),
    )


@dataclass(frozen=True)
class _Arrays:
    """Room for trajectories 0, 1, … of a split, filled shard by shard without copies."""

    u: Float32
    v: Float32
    c: Float32
    walls: Float32
    energy: Float64
    damping: Float32 | None

    def fill(self, info: DatasetInfo, entry: ShardEntry) -> None:
        count, length = self.energy.shape
        taken = min(entry.trajectories, count - entry.first)
        rows = np.s_[entry.first : entry.first + taken]
        file, header = open_shard(info.root, entry, info.config)
        with file:
            fields = file["t0_fields"]
            fields["u"].read_direct(self.u, np.s_[:taken, :length], rows)
            fields["v"].read_direct(self.v, np.s_[:taken, :length], rows)
            fields["c"].read_direct(self.c, np.s_[:taken], rows)
            if self.damping is not None:
                fields[DAMPING].read_direct(self.damping, np.s_[:taken], rows)
        self.walls[rows] = header.walls[:taken]
        self.energy[rows] = header.energy[:taken, :length]


def require_snapshots(root: Path | str, split: str, available: int, needed: int, asked: str) -> None:
    """Require that the trajectories of a split are long enough.

    Raises
    ------
    ValueError
        Naming the flag of the generation.
    """
    if needed > available:
        raise ValueError(
            f"{root}: {asked}: expected at least {needed} snapshots in split '{split}', got {available}; "
            f"ask for less or generate with --splits.{split}.snapshots {needed}"
        )
