"""Datasets in PDEBench's layout, for code that was written for it.

PDEBench (Takamoto et al., NeurIPS 2022, datasets and benchmarks) keeps time-dependent 2D fields in one file
per dataset, a group per trajectory. Here a file holds a split, and the medium is a channel::

    <output>/wave2d_<split>.h5
        /0000/data      (T, nx, ny, 3) float32: u, v, c
        /0000/grid/t    (T,)
        /0000/grid/x    (nx,)
        /0000/grid/y    (ny,)
        /0001/…

Each group also has the attributes ``channels`` and ``walls`` (left, right, bottom, top: −1 Dirichlet,
+1 Neumann), which PDEBench's own readers pass over. One trajectory is in memory at a time.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from slimwave.data.durable import durable_file
from slimwave.data.reading import DatasetInfo, dataset_info, open_shard
from slimwave.data.run_folders import require_writable
from slimwave.data.scenarios import Split
from slimwave.data.schema import FIELDS, Float32, ShardHeader

CHANNELS = (*FIELDS, "c")


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
    info, output = dataset_info(root), Path(output)
    if seed not in (None, info.config.seed):
        raise ValueError(f"--seed: {root} was generated from seed {info.config.seed}, expected {seed}")
    require_writable(output)
    return [_export_split(info, split, output / f"wave2d_{split}.h5") for split in info.splits]


def _export_split(info: DatasetInfo, split: Split, path: Path) -> Path:
    with durable_file(path) as raw:
        _fill(raw, info, split)
    return path


def _fill(raw: BinaryIO, info: DatasetInfo, split: Split) -> None:
    """Write through an ordinary file: on a full disk HDF5's own file access can crash the interpreter."""
    with h5py.File(raw, "w") as file:
        for index, values, walls, header in _trajectories(info, split):
            group = file.create_group(f"{index:04d}")
            group["data"] = values
            group["grid/t"], group["grid/x"], group["grid/y"] = header.times, header.x, header.y
            group.attrs["channels"] = list(CHANNELS)
            group.attrs["walls"] = walls


def _trajectories(info: DatasetInfo, split: Split) -> Iterator[tuple[int, Float32, Float32, ShardHeader]]:
    """Yield the index, u, v and c as (T, nx, ny, 3), the walls (4,), and the header of the shard."""
    for entry in info.shards(split):
        file, header = open_shard(info.root, entry, info.config)
        with file:
            fields = file["t0_fields"]
            for row, index in enumerate(header.indices):
                values = np.empty((header.snapshots, header.nx, header.ny, len(CHANNELS)), np.float32)
                for channel, name in enumerate(CHANNELS):
                    values[..., channel] = fields[name][row]
                yield index, values, header.walls[row], header
