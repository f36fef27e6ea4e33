"""Datasets in PDEBench's layout, for code that was written for it.

PDEBench (Takamoto et al., NeurIPS 2022, datasets and benchmarks) keeps time-dependent 2D fields in one file
per dataset, a group per trajectory. Here a file holds a split, and the medium is a channel, as is the damping
gamma of a dataset that may be damped::

    <output>/wave2d_<split>.h5
        /0000/data      (T, nx, ny, 3) float32: u, v, c; or (T, nx, ny, 4): u, v, c, gamma
        /0000/grid/t    (T,)
        /0000/grid/x    (nx,)
        /0000/grid/y    (ny,)
        /0000/sources   one dataset per scalar of The Well's layout: source0 (T,), source0_x (), …
        /0001/…

Each group also has the attributes ``channels`` and ``walls`` (left, right, bottom, top: −1 Dirichlet,
+1 Neumann, 0 absorbing), and in a dataset with sources a group of their strengths, places and widths;
PDEBench's own readers pass over both. One trajectory is in memory at a time.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from slimwave.data.durable import durable_file
from slimwave.data.headers import ShardHeader
from slimwave.data.reading import ShardedInfo, open_shard, sharded_info
from slimwave.data.run_folders import require_writable
from slimwave.data.scenarios import Split
from slimwave.data.schema import Float32


def export_pdebench(root: Path | str, output: Path | str, *, seed: int | None = None) -> list[Path]:
    """Copy every split of a dataset into a file of PDEBench's layout; return the files.

    Parameters
    ----------
    root
        Dataset folder.
    output
        Folder of the files; created. A file of an earlier export is replaced.
    seed
        Seed that the dataset is expected to have been generated from; None takes any.

    Raises
    ------
    FileNotFoundError
        If there is no dataset.
    DatasetError
        If it is unfinished or damaged.
    ValueError
        If it has another seed.
    OSError
        If the output cannot be written; a file that is not whole is not left.
    """
    info, output = sharded_info(root), Path(output)
    if seed not in (None, info.config.seed):
        raise ValueError(f"--seed: {root} was generated from seed {info.config.seed}, expected {seed}")
    require_writable(output)
    return [_export_split(info, split, output / f"wave2d_{split}.h5") for split in info.splits]


def _export_split(info: ShardedInfo, split: Split, path: Path) -> Path:
    with durable_file(path) as raw:
        _fill(raw, info, split)
    return path


def _fill(raw: BinaryIO, info: ShardedInfo, split: Split) -> None:
    """Write through an ordinary file: on a full disk HDF5's own file access can crash the interpreter."""
    with h5py.File(raw, "w") as file:
        for shard, header, row in _trajectories(info, split):
            group = file.create_group(f"{header.indices[row]:04d}")
            group["data"] = _channels(shard, header, row)
            group["grid/t"], group["grid/x"], group["grid/y"] = header.times, header.x, header.y
            for name in header.scalars:
                group[f"sources/{name}"] = shard["scalars"][name][row]
            group.attrs["channels"] = list(header.fields)
            group.attrs["walls"] = header.walls[row]


def _trajectories(info: ShardedInfo, split: Split) -> Iterator[tuple[h5py.File, ShardHeader, int]]:
    """Yield the shard of each trajectory, open, with its header and the trajectory's row."""
    for entry in info.shards(split):
        file, header = open_shard(info.root, entry, info.config)
        with file:
            yield from ((file, header, row) for row in range(header.trajectories))


def _channels(shard: h5py.File, header: ShardHeader, row: int) -> Float32:
    """Return the fields of one trajectory, (T, nx, ny, channels), constant ones repeated in time."""
    values = np.empty((header.snapshots, header.nx, header.ny, len(header.fields)), np.float32)
    for channel, name in enumerate(header.fields):
        values[..., channel] = shard["t0_fields"][name][row]
    return values
