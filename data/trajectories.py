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

from slimwave.data.datasets import open_source
from slimwave.data.schema import FIELDS


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
        Energy of the finite-element solution, or on the grid in a dataset of The Well's, (n, T), float64.
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
    source = open_source(root, split)
    info = source.info
    count = source.trajectories if limit is None else min(limit, source.trajectories)
    length = source.snapshots if snapshots is None else snapshots
    if min(count, length) < 1:
        raise ValueError(f"limit and snapshots: expected at least 1, got {limit} and {snapshots}")
    require_snapshots(info.root, split, source.snapshots, length, f"{length} snapshots")
    u, v = (np.empty((count, length, *info.grid), np.float32) for _ in FIELDS)
    c, walls = np.empty((count, *info.grid), np.float32), np.empty((count, 4), np.float32)
    damping = np.zeros_like(c)
    energy = np.empty((count, length))
    for row in range(count):
        read = source.read(row, range(length))
        u[row], v[row] = read.states[:, 0], read.states[:, 1]
        c[row], walls[row], energy[row] = read.wave_speed, read.walls, source.energy(row, read)
        if read.damping is not None:
            damping[row] = read.damping
    x, y = map(torch.from_numpy, info.axes)
    return Trajectories(
        u=torch.from_numpy(u),
        v=torch.from_numpy(v),
        c=torch.from_numpy(c),
        walls=torch.from_numpy(walls),
        energy=torch.from_numpy(energy),
        times=info.macro_step * torch.arange(length, dtype=torch.float64),
        x=x,
        y=y,
        damping=torch.from_numpy(damping) if info.damped else None,
    )


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
