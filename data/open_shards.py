"""Open shards for reading windows of snapshots at the price of the bytes themselves.

A shard keeps each field as one contiguous block of float32. HDF5 says once where the blocks lie, after the
file has passed every check of :func:`slimwave.data.reading.open_shard`; from then on a window is one ordinary
read per field, straight into the tensor's memory (measured: a tenth of the processor time of reads through
h5py). A file that is cut short while it is open is an error, never a crash, as a memory map would be.
"""

import os
import sys
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from slimwave.data.handles import Handles
from slimwave.data.reading import ShardedInfo, open_shard, sharded_info
from slimwave.data.schema import DAMPING, FIELDS, Float32, Float64
from slimwave.data.shards import DatasetError, ShardEntry
from slimwave.data.snapshots import Snapshots

MOST_BUFFERS = 512
"""Buffers per system call; systems allow at least 1024."""


class ShardSource:
    """Snapshots of a split of a slimwave dataset; see :class:`slimwave.data.datasets.Source`.

    Parameters
    ----------
    root, split
        Dataset folder and split.
    """

    def __init__(self, root: Path | str, split: str) -> None:
        self.info = sharded_info(root)
        self.entries = self.info.shards(split)
        self.firsts = [entry.first for entry in self.entries]
        self.trajectories = sum(entry.trajectories for entry in self.entries)
        self.snapshots = self.entries[0].snapshots
        self.handles = Handles(partial(OpenShard, self.info))

    def read(self, trajectory: int, snapshots: range) -> Snapshots:
        """Return some snapshots of a trajectory."""
        entry = self.entries[bisect_right(self.firsts, trajectory) - 1]
        shard, row = self.handles.get(entry), trajectory - entry.first
        return Snapshots(
            shard.read_states(row, snapshots),
            shard.read_constant("c", row),
            shard.walls[row].copy(),
            shard.read_constant(DAMPING, row) if self.info.damped else None,
        )

    def energy(self, trajectory: int, read: Snapshots) -> Float64:
        """Return the energies (n,) of the first snapshots of a trajectory by finite elements."""
        entry = self.entries[bisect_right(self.firsts, trajectory) - 1]
        return self.handles.get(entry).energy[trajectory - entry.first, : len(read.states)].copy()


class OpenShard:
    """One open shard; closed with the object.

    Attributes
    ----------
    walls
        Shape (trajectories, 4).
    energy
        Shape (trajectories, snapshots).
    """

    def __init__(self, info: ShardedInfo, entry: ShardEntry) -> None:
        self.path = info.root / entry.file
        self.entry, self.grid = entry, info.grid
        file, header = open_shard(info.root, entry, info.config)
        with file:
            self.offsets = {name: _offset(file["t0_fields"][name], self.path) for name in header.fields}
            self.walls: Float32 = header.walls
            self.energy: Float64 = header.energy
        self.descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def read_states(self, row: int, snapshots: range) -> Float32:
        """Return u and v of some snapshots of a trajectory, (len(snapshots), 2, nx, ny)."""
        states = np.empty((len(snapshots), len(FIELDS), *self.grid), dtype=np.float32)
        size = 4 * self.grid[0] * self.grid[1]
        first = row * self.entry.snapshots
        for channel, name in enumerate(FIELDS):
            targets = [states[k, channel].data.cast("B") for k in range(len(snapshots))]
            if snapshots.step == 1:
                self._fill(targets, self.offsets[name] + size * (first + snapshots.start))
            else:
                for target, snapshot in zip(targets, snapshots, strict=True):
                    self._fill([target], self.offsets[name] + size * (first + snapshot))
        return states

    def read_constant(self, name: str, row: int) -> Float32:
        """Return a field of a trajectory that does not vary in time, (nx, ny)."""
        values = np.empty(self.grid, dtype=np.float32)
        self._fill([values.data.cast("B")], self.offsets[name] + row * values.nbytes)
        return values

    def _fill(self, targets: Sequence[memoryview], offset: int) -> None:
        """Fill buffers from consecutive bytes of the file."""
        for first in range(0, len(targets), MOST_BUFFERS):
            part = targets[first : first + MOST_BUFFERS]
            wanted = sum(target.nbytes for target in part)
            if _read(self.descriptor, part, offset) != wanted:
                raise DatasetError(self.path, "file was cut short while it was being read")
            offset += wanted


def _offset(data: h5py.Dataset, path: Path) -> int:
    """Return where the values of a dataset begin in the file."""
    offset = data.id.get_offset()
    if offset is None or data.dtype != np.dtype("<f4") or sys.byteorder != "little":
        raise DatasetError(path, f"storage of {data.name}", "contiguous little-endian float32", data.dtype)
    if offset + data.nbytes > path.stat().st_size:
        raise DatasetError(path, f"{data.name} ends beyond the end of the file")
    return int(offset)


def _read(descriptor: int, targets: Sequence[memoryview], offset: int) -> int:
    """Read into several buffers; return the number of bytes."""
    if sys.platform == "win32":
        os.lseek(descriptor, offset, os.SEEK_SET)
        content = os.read(descriptor, sum(target.nbytes for target in targets))
        done = 0
        for target in targets:
            part = content[done : done + target.nbytes]
            target[: len(part)] = part
            done += len(part)
        return done
    return os.preadv(descriptor, targets, offset)
