"""Statistics of the training split in The Well's ``stats.yaml``: no other split leaks into a normalisation.

Mean, standard deviation and root mean square of u, v, c and the damping, and of the change of u and v
between two snapshots. One trajectory is in memory at a time.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from numpy.typing import NDArray

from slimwave.data.durable import write_text
from slimwave.data.info import Stats
from slimwave.data.moments import FieldMoments, add_moments, moments_of, stats_of
from slimwave.data.reading import STATS, manifest_config, open_shard, shards_of
from slimwave.data.shards import Manifest, ShardEntry


def field_statistics(
    root: Path, manifest: Manifest, known: Mapping[str, FieldMoments] | None = None
) -> Stats:
    """Compute the statistics of the training split.

    Parameters
    ----------
    root, manifest
        The dataset.
    known
        Moments by file, of shards that need not be read; the result is the same with and without.
    """
    total: FieldMoments = {}
    for entry in shards_of(manifest, "train"):
        moments = (known or {}).get(entry.file) or moments_of(_fields(root, manifest, entry))
        for name, part in moments.items():
            add_moments(total, name, part)
    return stats_of(total)


def write_statistics(
    root: Path, manifest: Manifest, known: Mapping[str, FieldMoments] | None = None
) -> Stats:
    """Compute the statistics and write ``stats.yaml`` durably."""
    stats = field_statistics(root, manifest, known)
    write_text(root / STATS, yaml.safe_dump(stats))
    return stats


def _fields(root: Path, manifest: Manifest, entry: ShardEntry) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the fields of the trajectories of a shard, one trajectory at a time."""
    file, header = open_shard(root, entry, manifest_config(root, manifest))
    with file:
        for row in range(entry.trajectories):
            yield {name: file["t0_fields"][name][row] for name in header.fields}
