"""Mean, standard deviation and root mean square of fields, from parts that need not be in memory together.

The moments of one snapshot are taken in two passes while it is in the fastest cache, all in float64, and are
merged without cancellation (Chan, Golub, LeVeque, Updating formulae and a pairwise algorithm, 1979).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimwave.data.info import Stats
from slimwave.data.schema import FIELDS, Float64

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


FieldMoments = dict[str, Moments]
"""Moments by field, and by field + ``_delta`` for its change between two snapshots."""


def moments_of(trajectories: Iterable[Mapping[str, NDArray[Any]]]) -> FieldMoments:
    """Return the moments of trajectories, each given by the names of its fields."""
    total: FieldMoments = {}
    for fields in trajectories:
        for name, values in fields.items():
            add_moments(total, name, Moments.of(values))
            if name in FIELDS:
                add_moments(total, name + DELTA, Moments.of_changes(values))
    return total


def add_moments(total: FieldMoments, name: str, part: Moments) -> None:
    """Add the moments of a part of a field."""
    total[name] = total.get(name, Moments()) + part


def stats_of(total: FieldMoments) -> Stats:
    """Return moments by the keys of The Well's ``stats.yaml``."""
    stats: Stats = {}
    for name, moments in total.items():
        field, delta, _ = name.partition(DELTA)
        for key in ("mean", "std", "rms"):
            stats.setdefault(key + delta, {})[field] = float(getattr(moments, key))
    return stats
