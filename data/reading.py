"""What a finished dataset of slimwave's own holds, and its shards as checked open files.

>>> info = sharded_info("runs/data")  # doctest: +SKIP
>>> info.splits["train"].trajectories, info.macro_step  # doctest: +SKIP
(96, 0.02)
"""

import math
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from slimwave.data.guard import open_file
from slimwave.data.headers import ShardHeader, read_header
from slimwave.data.info import Float64, SplitInfo, Stats
from slimwave.data.plain import build
from slimwave.data.run_folders import read_yaml
from slimwave.data.scenarios import SPLITS, GenerateConfig, Split
from slimwave.data.schema import DAMPING, FIELDS
from slimwave.data.shards import MANIFEST, DatasetError, Manifest, ShardEntry, sha256_of, shard_tasks

STATS = "stats.yaml"
FIELD_KEYS = ("mean", "std", "rms")
DELTA_KEYS = ("mean_delta", "std_delta", "rms_delta")


@dataclass(frozen=True)
class ShardedInfo:
    """What a finished dataset of slimwave's own holds; see :class:`slimwave.data.info.DatasetInfo`.

    Attributes
    ----------
    root
        Dataset folder.
    config
        The settings it was generated with (``output`` is ``root``).
    splits
        Size of each split.
    stats
        Statistics of the training split: ``stats["std"]["u"]``; keys mean, std and rms of u, v, c and, where
        the dataset is damped, gamma; and mean_delta, std_delta and rms_delta of the change of u and v between
        two snapshots.
    max_speed
        Largest wave speed on the grid in any split.
    manifest
        Its shards, and whether the settings can solve its scenarios again.
    """

    root: Path
    config: GenerateConfig
    splits: dict[Split, SplitInfo]
    stats: Stats
    max_speed: float
    manifest: Manifest

    @property
    def grid(self) -> tuple[int, int]:
        """Nodes (nx, ny)."""
        return self.config.domain.nx, self.config.domain.ny

    @property
    def spacing(self) -> tuple[float, float]:
        """Grid spacing (dx, dy), in units of length."""
        return spacing(self.config)

    @property
    def axes(self) -> tuple[Float64, Float64]:
        """Coordinates of the nodes, (nx,) and (ny,)."""
        domain = self.config.domain
        return np.linspace(0.0, domain.width, domain.nx), np.linspace(0.0, domain.height, domain.ny)

    @property
    def macro_step(self) -> float:
        """Time between two snapshots."""
        return self.config.time.step

    @property
    def damped(self) -> bool:
        """Whether any trajectory may be damped."""
        return self.config.damped

    @property
    def driven(self) -> bool:
        """Whether any trajectory may have a source."""
        return self.config.most_sources > 0

    @property
    def absorbing(self) -> bool:
        """Whether a side of any trajectory may absorb."""
        return self.config.walls.absorb

    def shards(self, split: str) -> tuple[ShardEntry, ...]:
        """Return the shards of a split in the order of their trajectories.

        Raises
        ------
        ValueError
            For an unknown split, or one that this dataset does not have.
        """
        if split not in SPLITS:
            raise ValueError(f"unknown split '{split}'; choose one of {', '.join(SPLITS)}")
        if split not in self.splits:
            raise ValueError(
                f"{self.root} has no split '{split}', only {', '.join(self.splits)}; choose one of these or "
                f"generate with --splits.{split}.trajectories"
            )
        return shards_of(self.manifest, split)


def sharded_info(root: Path | str) -> ShardedInfo:
    """Read what a dataset of slimwave's own holds from its manifest and statistics.

    Raises
    ------
    FileNotFoundError
        If there is no dataset at ``root``.
    DatasetError
        If the dataset is unfinished or its manifest or statistics are damaged.
    """
    root = Path(root)
    manifest = Manifest.read(root)
    config = manifest_config(root, manifest)
    if not manifest.complete:
        raise DatasetError(
            root,
            f"unfinished dataset, {len(manifest.shards)} shards so far",
            remedy="run the same 'slimwave generate' again, which continues it",
        )
    require_covered(root, manifest, config)
    splits = {
        name: SplitInfo(config.split(name).trajectories, config.split(name).snapshots)
        for name in config.split_names
    }
    max_speed = max(entry.wave_speed[1] for entry in manifest.shards)
    return ShardedInfo(root, config, splits, read_stats(root, manifest), max_speed, manifest)


def manifest_config(root: Path, manifest: Manifest) -> GenerateConfig:
    """Return the settings in a manifest as a :class:`GenerateConfig`.

    Raises
    ------
    DatasetError
        If they are not settings of this version.
    """
    try:
        return build(GenerateConfig, {**manifest.config, "output": str(root)})
    except ValueError as error:
        raise DatasetError(root / MANIFEST, f"settings not understood ({error})") from error


def require_covered(root: Path, manifest: Manifest, config: GenerateConfig) -> None:
    """Require that the listed shards are those of the settings.

    Raises
    ------
    DatasetError
        Naming a missing or a foreign shard.
    """
    expected = {(task.file, task.first, task.trajectories) for task in shard_tasks(config)}
    listed = {(entry.file, entry.first, entry.trajectories) for entry in manifest.shards}
    for file, first, count in sorted(expected ^ listed)[:1]:
        state = "missing from" if (file, first, count) in expected else "foreign to"
        raise DatasetError(
            root / MANIFEST,
            f"{file} with {count} trajectories from number {first} is {state} the settings' list of shards",
            remedy="run the same 'slimwave generate' again, which makes what is missing",
        )


def shards_of(manifest: Manifest, split: str) -> tuple[ShardEntry, ...]:
    """Return the listed shards of a split in the order of their trajectories."""
    listed = [entry for entry in manifest.shards if entry.split == split]
    return tuple(sorted(listed, key=lambda entry: entry.first))


def spacing(config: GenerateConfig) -> tuple[float, float]:
    """Grid spacing (dx, dy), in units of length."""
    domain = config.domain
    return domain.width / (domain.nx - 1), domain.height / (domain.ny - 1)


def open_shard(root: Path, entry: ShardEntry, config: GenerateConfig) -> tuple[h5py.File, ShardHeader]:
    """Open a listed shard for reading; the caller closes it.

    Raises
    ------
    FileNotFoundError
        If the file is gone.
    DatasetError
        If it is damaged, hostile, or not the shard that the manifest lists.
    """
    path = root / entry.file
    file = open_file(path)
    try:
        header = read_header(file, path)
        _require_listed(path, header, entry, config)
    except BaseException:
        file.close()
        raise
    return file, header


def _require_listed(path: Path, header: ShardHeader, entry: ShardEntry, config: GenerateConfig) -> None:
    last = entry.first + entry.trajectories
    pairs = {
        "file size": (entry.size, path.stat().st_size),
        "grid size": ((config.domain.nx, config.domain.ny), (header.nx, header.ny)),
        "snapshots": (entry.snapshots, header.snapshots),
        "split": (entry.split, header.split),
        "damping": (config.damped, header.damped),
        "number of sources": (config.most_sources, header.sources),
        "list of trajectories": (tuple(range(entry.first, last)), header.indices),
    }
    for what, (expected, got) in pairs.items():
        if expected != got:
            raise DatasetError(path, f"{what} differs from the manifest", expected, got)


def read_stats(root: Path, manifest: Manifest) -> Stats:
    """Read and check ``stats.yaml``.

    Raises
    ------
    DatasetError
        If it is missing, damaged, incomplete, or not the file that the manifest lists.
    """
    path = root / STATS
    if not path.is_file():
        raise DatasetError(path, "missing file")
    try:
        stats = read_yaml(path)
    except ValueError as error:
        raise DatasetError(path, "not readable as YAML") from error
    damped = manifest_config(root, manifest).damped
    constant = (*FIELDS, "c", DAMPING) if damped else (*FIELDS, "c")
    for key in (*FIELD_KEYS, *DELTA_KEYS):
        for name in FIELDS if key in DELTA_KEYS else constant:
            _require_number(path, stats, key, name)
    require_hash(path, manifest.stats_sha256)
    return stats


def require_hash(path: Path, expected: str) -> None:
    """Require the SHA-256 that the manifest lists.

    Raises
    ------
    DatasetError
        If the file has another.
    """
    found = sha256_of(path)
    if found != expected:
        raise DatasetError(path, "SHA-256 differs from the manifest", expected[:12], found[:12])


def _require_number(path: Path, stats: Stats, key: str, name: str) -> None:
    values = stats.get(key)
    value = values.get(name) if isinstance(values, dict) else None
    if not isinstance(value, float) or not math.isfinite(value):
        raise DatasetError(path, f"{key}: {name}", "a finite number", value)
