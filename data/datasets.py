"""A dataset by its folder, whoever wrote it: slimwave, or The Well's acoustic_scattering datasets.

>>> info = dataset_info("runs/data")  # doctest: +SKIP
>>> source = open_source("the_well/acoustic_scattering_maze", "train")  # doctest: +SKIP
>>> source.read(0, range(5)).states.shape  # doctest: +SKIP
(5, 2, 256, 256)
"""

from pathlib import Path
from typing import Protocol

from slimwave.data.acoustics import AcousticSource, acoustic_info, is_acoustic
from slimwave.data.info import DatasetInfo, Float64
from slimwave.data.open_shards import ShardSource
from slimwave.data.reading import sharded_info
from slimwave.data.snapshots import Snapshots


class Source(Protocol):
    """Where the snapshots of a split come from."""

    @property
    def info(self) -> DatasetInfo:
        """What the dataset holds."""

    @property
    def trajectories(self) -> int:
        """Number of trajectories."""

    @property
    def snapshots(self) -> int:
        """Number of snapshots in each."""

    def read(self, trajectory: int, snapshots: range) -> Snapshots:
        """Return some snapshots of a trajectory, in arrays of the caller's own."""

    def energy(self, trajectory: int, read: Snapshots) -> Float64:
        """Return the energies (n,) of the first snapshots of a trajectory, which have been read."""


def dataset_info(root: Path | str) -> DatasetInfo:
    """Read what a dataset holds.

    Raises
    ------
    FileNotFoundError
        If there is no dataset at ``root``.
    DatasetError
        If it is unfinished or damaged.
    """
    return acoustic_info(root) if is_acoustic(Path(root)) else sharded_info(root)


def open_source(root: Path | str, split: str) -> Source:
    """Return the snapshots of a split.

    Raises
    ------
    FileNotFoundError
        If there is no dataset at ``root``.
    DatasetError
        If it is unfinished or damaged.
    ValueError
        If it has no such split.
    """
    return AcousticSource(root, split) if is_acoustic(Path(root)) else ShardSource(root, split)
