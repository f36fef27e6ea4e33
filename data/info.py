"""What every dataset says of itself, whoever wrote it; `slimwave.data.datasets.dataset_info` reads it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from slimwave.data.splits import Split

Float64 = NDArray[np.float64]

Stats = dict[str, dict[str, float]]


@dataclass(frozen=True)
class SplitInfo:
    """Size of a split: trajectories, and snapshots per trajectory."""

    trajectories: int
    snapshots: int


class DatasetInfo(Protocol):
    """What a dataset holds; :class:`slimwave.data.reading.ShardedInfo` is slimwave's own."""

    @property
    def root(self) -> Path:
        """Dataset folder."""

    @property
    def splits(self) -> Mapping[Split, SplitInfo]:
        """Size of each split."""

    @property
    def grid(self) -> tuple[int, int]:
        """Nodes (nx, ny)."""

    @property
    def spacing(self) -> tuple[float, float]:
        """Grid spacing (dx, dy), in units of length."""

    @property
    def axes(self) -> tuple[Float64, Float64]:
        """Coordinates of the nodes, (nx,) and (ny,)."""

    @property
    def macro_step(self) -> float:
        """Time between two snapshots."""

    @property
    def stats(self) -> Stats:
        """Statistics of the training split.

        ``stats["std"]["u"]``; keys mean, std and rms of u, v, c and, where the dataset is damped, gamma; and
        mean_delta, std_delta and rms_delta of the change of u and v between two snapshots.
        """

    @property
    def max_speed(self) -> float:
        """Largest wave speed on the grid."""

    @property
    def damped(self) -> bool:
        """Whether any trajectory may be damped."""

    @property
    def driven(self) -> bool:
        """Whether any trajectory may have a source."""

    @property
    def absorbing(self) -> bool:
        """Whether a side of any trajectory may absorb."""


def info_fingerprint(info: DatasetInfo) -> str:
    """Return a SHA-256 of what a dataset says of itself: its sizes, its steps and its statistics.

    Another dataset has another one, wherever the folders lie; not every change of a field is seen.
    """
    sizes = {str(name): [size.trajectories, size.snapshots] for name, size in info.splits.items()}
    told = [sizes, info.grid, info.spacing, info.macro_step, info.max_speed, info.stats]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
