"""Statistics of the training split in The Well's ``stats.yaml``: no other split leaks into a normalisation.

Mean, standard deviation and root mean square of u, v and c, and of the change of u and v between two
snapshots. One trajectory is in memory at a time; the moments of the parts are merged without cancellation
(Chan, Golub, LeVeque, Updating formulae and a pairwise algorithm, 1979).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from slimwave.data.durable import write_text
from slimwave.data.reading import STATS, Stats, manifest_config, open_shard, shards_of
from slimwave.data.schema import FIELDS
from slimwave.data.shards import Manifest


@dataclass(frozen=True)
class Moments:
    """Number of values, their mean, and the sum of the squared distances from it."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: NDArray[Any]) -> "Moments":
        """Return the moments of an array, in float64."""
        wide = values.astype(np.float64).reshape(-1)
        mean = float(wide.mean())
        wide -= mean
        return cls(wide.size, mean, float(np.einsum("i,i->", wide, wide)))

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


def field_statistics(root: Path, manifest: Manifest) -> Stats:
    """Compute the statistics of the training split."""
    moments: dict[tuple[str, str], Moments] = {}
    for name, values in _training_arrays(root, manifest):
        parts = {"": values}
        if name in FIELDS:
            parts["_delta"] = np.subtract(values[1:], values[:-1], dtype=np.float64)
        for tag, part in parts.items():
            moments[name, tag] = moments.get((name, tag), Moments()) + Moments.of(part)
    stats: Stats = {}
    for (name, tag), total in moments.items():
        for key in ("mean", "std", "rms"):
            stats.setdefault(key + tag, {})[name] = float(getattr(total, key))
    return stats


def write_statistics(root: Path, manifest: Manifest) -> Stats:
    """Compute the statistics and write ``stats.yaml`` durably."""
    stats = field_statistics(root, manifest)
    write_text(root / STATS, yaml.safe_dump(stats))
    return stats


def _training_arrays(root: Path, manifest: Manifest) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield every field of every training trajectory: (T, nx, ny), and (nx, ny) for c."""
    config = manifest_config(root, manifest)
    for entry in shards_of(manifest, "train"):
        file, _ = open_shard(root, entry, config)
        with file:
            for name in (*FIELDS, "c"):
                data = file["t0_fields"][name]
                yield from ((name, data[i]) for i in range(entry.trajectories))
