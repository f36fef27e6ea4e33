"""The files of a dataset folder: names of the shards, their manifest, and the error for what is wrong.

    <root>/data/<split>/wave2d_<split>_<number>.hdf5
    <root>/stats.yaml
    <root>/manifest.json

The manifest lists every shard with its SHA-256 and holds the settings that define the data. It is a function
of these settings alone, without times or machine names: two runs give the same manifest.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal, Self, get_args

from slimwave.data.durable import write_text
from slimwave.data.plain import build, to_plain
from slimwave.data.scenarios import SPLITS, GenerateConfig, Split, WallConfig

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
REGENERATE = "delete the file and run 'slimwave generate' again with the same settings"
NOT_DATA = ("output", "workers", "scheduler", "overwrite", "device")
"""Settings that do not define the data."""

SHARD_NAME = re.compile(rf"data/({'|'.join(SPLITS)})/wave2d_\1_\d{{5,}}\.hdf5")


Origin = Literal["generated", "given"]


class DatasetError(ValueError):
    """A dataset, or a file of one, that is not as it should be.

    Attributes
    ----------
    file
        The file or folder.
    what
        What is wrong.
    expected, got
        The two values, where there are two.
    remedy
        What to do.
    """

    def __init__(
        self, file: Path | str, what: str, expected: object = "", got: object = "", remedy: str = REGENERATE
    ) -> None:
        super().__init__(file, what, expected, got, remedy)
        self.file, self.what, self.remedy = str(file), what, remedy
        self.expected, self.got = str(expected), str(got)

    def __str__(self) -> str:
        values = f": expected {self.expected}, got {self.got}" if self.expected else ""
        return f"{self.file}: {self.what}{values}; {self.remedy}"


@dataclass(frozen=True)
class ShardTask:
    """A shard to be made: trajectories ``first … first + trajectories − 1`` of a split."""

    split: Split
    file: str
    first: int
    trajectories: int

    @property
    def indices(self) -> range:
        """Places of the trajectories in their split."""
        return range(self.first, self.first + self.trajectories)


@dataclass(frozen=True)
class ShardEntry:
    """Line of the manifest about one shard.

    Attributes
    ----------
    file
        Path below the dataset folder, with forward slashes.
    split, first, trajectories
        The shard holds the trajectories ``first … first + trajectories − 1`` of the split.
    snapshots
        Snapshots per trajectory.
    wave_speed
        Least and largest c on the grid.
    size, sha256
        Bytes of the file and their hash.
    """

    file: str
    split: Split
    first: int
    trajectories: int
    snapshots: int
    wave_speed: tuple[float, float]
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Content of ``manifest.json``.

    Attributes
    ----------
    version
        Version of slimwave that wrote the dataset.
    config
        The settings that define the data, seed included, as plain values.
    shards
        Finished shards, sorted by file.
    complete
        Whether every shard and the statistics are there.
    stats_sha256
        SHA-256 of ``stats.yaml``, once it is there.
    origin
        ``generated``: the settings draw and solve every scenario again. ``given``: the settings describe
        sizes and ranges of data that came from elsewhere (:mod:`slimwave.data.own_data`).
    """

    version: str
    config: Mapping[str, Any]
    shards: tuple[ShardEntry, ...] = ()
    complete: bool = False
    stats_sha256: str = ""
    origin: Origin = "generated"

    @property
    def config_hash(self) -> str:
        """SHA-256 of the settings that define the data."""
        return hash_of(self.config)

    def write(self, root: Path) -> None:
        """Write ``manifest.json`` durably."""
        content = {
            "format": "slimwave dataset",
            "format_version": FORMAT_VERSION,
            "version": self.version,
            "complete": self.complete,
            "origin": self.origin,
            "seed": self.config["seed"],
            "config_hash": self.config_hash,
            "config": dict(self.config),
            "stats_sha256": self.stats_sha256,
            "shards": [asdict(entry) for entry in sorted(self.shards, key=lambda entry: entry.file)],
        }
        write_text(root / MANIFEST, json.dumps(content, indent=1) + "\n")

    @classmethod
    def read(cls, root: Path) -> Self:
        """Read and check ``manifest.json``.

        Raises
        ------
        FileNotFoundError
            If there is no dataset at ``root``.
        DatasetError
            If the manifest is damaged, inconsistent or of a newer format.
        """
        path = root / MANIFEST
        if not path.is_file():
            raise FileNotFoundError(
                f"no dataset at {root}: expected {MANIFEST} in it; check the path or run 'slimwave generate'"
            )
        content = _read_object(path)
        _require_version(path, content.get("format_version"))
        try:
            manifest = cls(
                version=str(content["version"]),
                config=dict(content["config"]),
                shards=tuple(build(ShardEntry, entry) for entry in content["shards"]),
                complete=content["complete"] is True,
                stats_sha256=str(content["stats_sha256"]),
                origin=content["origin"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(path, f"damaged manifest ({error})") from error
        _require_consistent(path, manifest, content.get("config_hash"))
        return manifest


def shard_file(split: Split, number: int) -> str:
    """Return the path of a shard below the dataset folder."""
    return f"data/{split}/wave2d_{split}_{number:05d}.hdf5"


def shard_tasks(config: GenerateConfig) -> list[ShardTask]:
    """Return the shards of a dataset, split by split."""
    size = config.trajectories_per_shard
    return [
        ShardTask(
            split, shard_file(split, number), first, min(size, config.split(split).trajectories - first)
        )
        for split in config.split_names
        for number, first in zip(count(), range(0, config.split(split).trajectories, size), strict=False)
    ]


def data_settings(config: GenerateConfig) -> dict[str, Any]:
    """Return the settings that define the data, as plain values.

    A split without trajectories is no data, nor is a concern that does not act: settings that came later do
    not change the hash of what was generated before.
    """
    settings = {key: value for key, value in to_plain(config).items() if key not in NOT_DATA}
    settings["splits"] = {name: settings["splits"][name] for name in config.split_names}
    for name, unused in (("damping", not config.damping.acts), ("sources", not config.sources.acts)):
        if unused:
            del settings[name]
        for split in settings["splits"].values():
            if split[name] is None:
                del split[name]
    if "random" not in config.walls.sides or config.walls.random_from == WallConfig().random_from:
        del settings["walls"]["random_from"]
    return settings


def hash_of(settings: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain settings, whatever the order of their keys."""
    text = json.dumps({"format_version": FORMAT_VERSION, **settings}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_pieces(pieces: Iterable[bytes | memoryview]) -> str:
    """Return the SHA-256 of the pieces of a file, one after the other."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(path, "not readable as JSON") from error
    if not isinstance(content, dict):
        raise DatasetError(path, "damaged manifest", "a JSON object", type(content).__name__)
    return content


def _require_version(path: Path, found: object) -> None:
    if not isinstance(found, int) or found < 1:
        raise DatasetError(path, "format_version", f"an integer from 1 to {FORMAT_VERSION}", found)
    if found > FORMAT_VERSION:
        raise DatasetError(
            path, "newer format", f"format_version {FORMAT_VERSION} or less", found, "update slimwave"
        )


def _require_consistent(path: Path, manifest: Manifest, config_hash: object) -> None:
    if manifest.origin not in get_args(Origin):
        raise DatasetError(path, "origin", " or ".join(get_args(Origin)), manifest.origin)
    if config_hash != manifest.config_hash:
        raise DatasetError(path, "config_hash does not fit the settings", manifest.config_hash, config_hash)
    for entry in manifest.shards:
        name = SHARD_NAME.fullmatch(entry.file)
        if name is None or name[1] != entry.split:
            raise DatasetError(path, "foreign shard name", f"data/{entry.split}/wave2d_….hdf5", entry.file)
    if len({entry.file for entry in manifest.shards}) < len(manifest.shards):
        raise DatasetError(path, "a shard is listed twice")
