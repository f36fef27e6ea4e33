"""Windows of trajectories for training, and whole trajectories for rollouts.

>>> windows = WaveWindows("runs/data", "train", horizon=4)  # doctest: +SKIP
>>> loader = torch.utils.data.DataLoader(windows, batch_size=8, shuffle=True)  # doctest: +SKIP
>>> next(iter(loader))["targets"].shape  # doctest: +SKIP
torch.Size([8, 4, 2, 64, 64])
"""

import os
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from slimwave.data.reading import DatasetInfo, dataset_info, open_shard
from slimwave.data.schema import FIELDS, Float32, Float64
from slimwave.data.shards import ShardEntry

__all__ = ["DatasetInfo", "Trajectories", "WaveWindows", "dataset_info", "load_trajectories"]

MOST_OPEN = 64
"""Shards that one process keeps open."""


class WaveWindows(Dataset[dict[str, Tensor]]):
    """Every window of ``horizon + 1`` states of a split.

    Window i starts at snapshot ``i % windows_per_trajectory`` of trajectory ``i // windows_per_trajectory``.
    Each item is a dict of float32 tensors:

    ``state``
        (2, nx, ny): u and v at the start
    ``targets``
        (horizon, 2, nx, ny): the states ``stride``, 2 · ``stride``, … snapshots later
    ``wave_speed``
        (1, nx, ny)
    ``walls``
        (4,): −1 Dirichlet, +1 Neumann, for left, right, bottom, top

    Parameters
    ----------
    root
        Dataset folder.
    split
        ``train``, ``valid``, ``test`` or ``ood``.
    horizon
        Number of target states.
    stride
        Snapshots between two states of a window.
    in_memory
        Read the whole split once. Otherwise files are opened lazily, in each process by itself, and memory
        does not grow with the dataset.

    Raises
    ------
    FileNotFoundError
        If there is no dataset.
    DatasetError
        If it is unfinished or damaged.
    ValueError
        If the trajectories are shorter than a window.
    """

    def __init__(
        self, root: Path | str, split: str, *, horizon: int = 1, stride: int = 1, in_memory: bool = False
    ) -> None:
        if min(horizon, stride) < 1:
            raise ValueError(f"horizon and stride: expected at least 1, got {horizon} and {stride}")
        self.info = dataset_info(root)
        self.split, self.horizon, self.stride = split, horizon, stride
        self.shards = self.info.shards(split)
        _require_snapshots(self.info, split, horizon * stride + 1, f"horizon {horizon} × stride {stride}")
        self._firsts = [entry.first for entry in self.shards]
        self.windows_per_trajectory = self.shards[0].snapshots - horizon * stride
        self._files = _OpenShards(self.info)
        self._memory = _states(load_trajectories(root, split)) if in_memory else None

    def __len__(self) -> int:
        return self.windows_per_trajectory * sum(entry.trajectories for entry in self.shards)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index}: expected an index below {len(self)}")
        trajectory, start = divmod(index % len(self), self.windows_per_trajectory)
        window = slice(start, start + self.horizon * self.stride + 1, self.stride)
        states, wave_speed, walls = (
            self._read(trajectory, window) if self._memory is None else _cut(self._memory, trajectory, window)
        )
        return {"state": states[0], "targets": states[1:], "wave_speed": wave_speed[None], "walls": walls}

    def _read(self, trajectory: int, window: slice) -> tuple[Tensor, Tensor, Tensor]:
        entry = self.shards[bisect_right(self._firsts, trajectory) - 1]
        row = trajectory - entry.first
        shard = self._files.get(entry)
        states = np.empty((self.horizon + 1, len(FIELDS), *self.info.grid), dtype=np.float32)
        for channel, name in enumerate(FIELDS):
            shard.fields[name].read_direct(states, np.s_[row, window], np.s_[:, channel])
        wave_speed, walls = shard.fields["c"][row], shard.walls[row].copy()
        return torch.from_numpy(states), torch.from_numpy(wave_speed), torch.from_numpy(walls)


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
        (n, 4), float32: −1 Dirichlet, +1 Neumann, for left, right, bottom, top.
    energy
        Energy of the finite-element solution, (n, T), float64.
    times, x, y
        (T,), (nx,), (ny,), float64.
    """

    u: Tensor
    v: Tensor
    c: Tensor
    walls: Tensor
    energy: Tensor
    times: Tensor
    x: Tensor
    y: Tensor


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
    _require_snapshots(info, split, length, f"{length} snapshots")
    arrays = _Arrays(
        u=np.empty((count, length, *info.grid), np.float32),
        v=np.empty((count, length, *info.grid), np.float32),
        c=np.empty((count, *info.grid), np.float32),
        walls=np.empty((count, 4), np.float32),
        energy=np.empty((count, length)),
    )
    for entry in entries:
        if entry.first < count:
            arrays.fill(info, entry)
    return Trajectories(
        **{name: torch.from_numpy(array) for name, array in vars(arrays).items()},
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
        self.walls[rows] = header.walls[:taken]
        self.energy[rows] = header.energy[:taken, :length]


@dataclass(frozen=True)
class _OpenShard:
    file: h5py.File
    fields: dict[str, h5py.Dataset]
    walls: Float32


class _OpenShards:
    """Open shards of this process; a forked or pickled copy opens its own."""

    def __init__(self, info: DatasetInfo) -> None:
        self.info = info
        self.owner = os.getpid()
        self.shards: dict[str, _OpenShard] = {}

    def get(self, entry: ShardEntry) -> _OpenShard:
        """Return a shard, opened on first use."""
        if self.owner != os.getpid():
            self.owner, self.shards = os.getpid(), {}
        if entry.file not in self.shards:
            if len(self.shards) >= MOST_OPEN:
                self.shards.pop(next(iter(self.shards))).file.close()
            self.shards[entry.file] = self._open(entry)
        return self.shards[entry.file]

    def _open(self, entry: ShardEntry) -> _OpenShard:
        file, header = open_shard(self.info.root, entry, self.info.config)
        fields = {name: file["t0_fields"][name] for name in (*FIELDS, "c")}
        return _OpenShard(file, fields, header.walls)

    def __getstate__(self) -> dict[str, Any]:
        return {"info": self.info, "owner": 0, "shards": {}}


def _states(data: Trajectories) -> tuple[Tensor, Tensor, Tensor]:
    """Return the states (n, T, 2, nx, ny), the wave speeds and the walls."""
    return torch.stack([data.u, data.v], dim=2), data.c, data.walls


def _cut(
    memory: tuple[Tensor, Tensor, Tensor], trajectory: int, window: slice
) -> tuple[Tensor, Tensor, Tensor]:
    states, wave_speed, walls = memory
    return states[trajectory, window], wave_speed[trajectory], walls[trajectory]


def _require_snapshots(info: DatasetInfo, split: str, needed: int, asked: str) -> None:
    available = info.shards(split)[0].snapshots
    if needed > available:
        raise ValueError(
            f"{info.root}: {asked} needs {needed} snapshots, but the trajectories of split '{split}' have "
            f"{available}; ask for less or generate with --splits.{split}.snapshots {needed}"
        )
