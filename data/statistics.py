"""Statistics of the training split in The Well's ``stats.yaml``: no other split leaks into a normalisation.

Mean, standard deviation and root mean square of u, v, c and the damping, and of the change of u and v
between two snapshots. One trajectory is in memory at a time. The moments of one snapshot are taken in two
passes while it is in the fastest cache, all in float64, and are merged without cancellation (Chan, Golub,
LeVeque, Updating formulae and a pairwise algorithm, 1979).
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from slimwave.data.durable import write_text
from slimwave.data.reading import STATS, Stats, manifest_config, open_shard, shards_of
from slimwave.data.schema import FIELDS, Float64
from slimwave.data.shards import Manifest, ShardEntry

DELTA = "_delta"


@dataclass(frozen=True)
class Moments:
    """Number of values, their mean, and the sum of the squared distances from it."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: NDArray[Any]) -> "Moments":
        """Return the moments of an array, in float64."""
        from slimwave.data.moment_kernels import row_moments  # readers of data need not wait for a compiler

        rows = values.reshape(len(values) if values.ndim > 2 else 1, -1)
        return cls._of_rows(rows.shape[1], *row_moments(rows))

    @classmethod
    def of_changes(cls, values: NDArray[Any]) -> "Moments":
        """Return the moments of values[1:] − values[:-1], in float64; at least two rows."""
        from slimwave.data.moment_kernels import row_changes

        rows = values.reshape(len(values), -1)
        return cls._of_rows(rows.shape[1], *row_changes(rows))

    @classmethod
    def _of_rows(cls, length: int, means: Float64, squares: Float64) -> "Moments":
        """Merge the moments of rows of one length."""
        mean = float(means.mean())
        between = float(np.square(means - mean).sum())
        return cls(length * len(means), mean, float(squares.sum()) + length * between)

    def __add__(self, other: "Moments") -> "Moments":
        count = self.count + other.count
        if count == 0:
            return self
        shift = other.mean - self.mean
        mean = self.mean + shift * other.count / count
        squares = self.squares + other.squares + shift**2 * self.count * other.count / count
        return Moments(count, mean, squares)

    @property
    def std(self) -> float:
        """Standard deviation of the population."""
        return math.sqrt(self.squares / self.count)

    @property
    def rms(self) -> float:
        """Root mean square."""
        return math.hypot(self.mean, self.std)


ShardMoments = dict[str, Moments]
"""Moments by field, and by field + ``_delta`` for its change between two snapshots."""


def moments_of(trajectories: Iterable[Mapping[str, NDArray[Any]]]) -> ShardMoments:
    """Return the moments of the trajectories of a shard, each given by the names of its fields."""
    total: ShardMoments = {}
    for fields in trajectories:
        for name, values in fields.items():
            _add(total, name, Moments.of(values))
            if name in FIELDS:
                _add(total, name + DELTA, Moments.of_changes(values))
    return total


def field_statistics(
    root: Path, manifest: Manifest, known: Mapping[str, ShardMoments] | None = None
) -> Stats:
    """Compute the statistics of the training split.

    Parameters
    ----------
    root, manifest
        The dataset.
    known
        Moments by file, of shards that need not be read; the result is the same with and without.
    """
    total: ShardMoments = {}
    for entry in shards_of(manifest, "train"):
        moments = (known or {}).get(entry.file) or moments_of(_fields(root, manifest, entry))
        for name, part in moments.items():
            _add(total, name, part)
    stats: Stats = {}
    for name, moments_of_name in total.items():
        field, delta, _ = name.partition(DELTA)
        for key in ("mean", "std", "rms"):
            stats.setdefault(key + delta, {})[field] = float(getattr(moments_of_name, key))
    return stats


def write_statistics(
    root: Path, manifest: Manifest, known: Mapping[str, ShardMoments] | None = None
) -> Stats:
    """Compute the statistics and write ``stats.yaml`` durably."""
    stats = field_statistics(root, manifest, known)
    write_text(root / STATS, yaml.safe_dump(stats))
    return stats


def _add(total: ShardMoments, name: str, part: Moments) -> None:
    total[name] = total.get(name, Moments()) + part


def _fields(root: Path, manifest: Manifest, entry: ShardEntry) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the fields of the trajectories of a shard, one trajectory at a time."""
    file, header = open_shard(root, entry, manifest_config(root, manifest))
    with file:
        for row in range(entry.trajectories):
            yield {name: file["t0_fields"][name][row] for name in header.fields}
