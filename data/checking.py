"""Everything that can be wrong with a dataset folder, found and named: the work of ``slimwave check``.

>>> report = check_dataset("runs/data")  # doctest: +SKIP
>>> report.ok, report.problems  # doctest: +SKIP
(True, ())

Files come first: manifest, hashes, layout. A file whose hash is wrong is not opened. Then the physics, see
:mod:`slimwave.data.plausibility`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from slimwave.data.durable import PART
from slimwave.data.headers import ShardHeader, layout_faults
from slimwave.data.plausibility import ROUNDING, Fault, solution_faults, trajectory_faults
from slimwave.data.reading import (
    STATS,
    manifest_config,
    open_shard,
    read_stats,
    require_covered,
    require_hash,
)
from slimwave.data.scenarios import GenerateConfig
from slimwave.data.schema import FIELDS
from slimwave.data.shards import MANIFEST, DatasetError, Manifest, ShardEntry
from slimwave.data.statistics import field_statistics


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes
    ----------
    file
        Where.
    what
        What is wrong.
    expected, got
        The two values, empty where there are none.
    """

    file: str
    what: str
    expected: str = ""
    got: str = ""

    def __str__(self) -> str:
        values = f": expected {self.expected}, got {self.got}" if self.expected else ""
        return f"{self.file}: {self.what}{values}"


@dataclass(frozen=True)
class CheckReport:
    """Outcome of :func:`check_dataset`: what was looked at, and the problems found."""

    root: Path
    shards: int
    trajectories: int
    seed: int | None
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def check_dataset(root: Path | str) -> CheckReport:
    """Check a dataset folder.

    Raises
    ------
    FileNotFoundError
        If there is no dataset at ``root``.
    """
    root = Path(root)
    try:
        manifest = Manifest.read(root)
        config = manifest_config(root, manifest)
    except DatasetError as error:
        return CheckReport(root, 0, 0, None, (_problem(error),))
    problems = (*_check_folder(root, manifest, config), *_check_shards(root, manifest, config))
    if not problems:
        problems = tuple(_check_statistics(root, manifest))
    trajectories = sum(entry.trajectories for entry in manifest.shards)
    return CheckReport(root, len(manifest.shards), trajectories, config.seed, problems)


def _check_folder(root: Path, manifest: Manifest, config: GenerateConfig) -> Iterator[Problem]:
    """Look at the list of files."""
    if not manifest.complete:
        yield Problem(str(root / MANIFEST), "unfinished dataset", "complete", "not complete")
    else:
        try:
            require_covered(root, manifest, config)
        except DatasetError as error:
            yield _problem(error)
    listed = {entry.file for entry in manifest.shards}
    for path in sorted((root / "data").rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and name not in listed:
            stale = path.name.endswith(PART)
            yield Problem(str(path), "temporary file of a killed run" if stale else "not in the manifest")


def _check_shards(root: Path, manifest: Manifest, config: GenerateConfig) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for entry in manifest.shards:
        path = root / entry.file
        try:
            if path.is_file():
                require_hash(path, entry.sha256)
            file, header = open_shard(root, entry, config)
        except (DatasetError, FileNotFoundError) as error:
            yield _problem(error, path)
            continue
        with file:
            faults = [
                *layout_faults(file, header),
                *_header_faults(header, manifest, config),
                *_listed_speed_faults(file, entry),
            ]
            yield from (Problem(str(path), *fault) for fault in faults)
            yield from _check_trajectories(path, file, header, config, seen)
            if manifest.origin == "generated":  # data that was given may lose energy
                yield from _check_solutions(path, file, header)


def _header_faults(header: ShardHeader, manifest: Manifest, config: GenerateConfig) -> Iterator[Fault]:
    if header.config_hash != manifest.config_hash:
        yield "config_hash differs from the manifest", manifest.config_hash[:12], header.config_hash[:12]
    domain = config.domain
    axes = {
        "time": (header.times, config.time.step * (header.snapshots - 1)),
        "x": (header.x, domain.width),
        "y": (header.y, domain.height),
    }
    for name, (values, end) in axes.items():
        if not np.allclose(values, np.linspace(0.0, end, len(values)), rtol=ROUNDING, atol=ROUNDING * end):
            yield f"/dimensions/{name}", f"even steps from 0 to {end:g}", f"{values[0]:g} … {values[-1]:g}"


def _listed_speed_faults(file: h5py.File, entry: ShardEntry) -> Iterator[Fault]:
    c = file["t0_fields/c"][()]
    found = float(c.min()), float(c.max())
    if found != entry.wave_speed:
        yield "least and largest wave speed differ from the manifest", str(entry.wave_speed), str(found)


def _check_trajectories(
    path: Path, file: h5py.File, header: ShardHeader, config: GenerateConfig, seen: dict[str, str]
) -> Iterator[Problem]:
    for row, index in enumerate(header.indices):
        values = {name: file["t0_fields"][name][row] for name in header.fields}
        scalars = {name: file["scalars"][name][row] for name in header.scalars}
        where = f"trajectory {index}: "
        for what, expected, got in trajectory_faults(values, scalars, header, row, config):
            yield Problem(str(path), where + what, expected, got)
        start = {**values, **{name: values[name][0] for name in FIELDS}, **scalars}
        initial = hashlib.sha256(b"".join(part.tobytes() for part in (*start.values(), header.walls[row])))
        twin = seen.setdefault(initial.hexdigest(), f"{header.split} {index}")
        if twin != f"{header.split} {index}":
            yield Problem(str(path), f"{where}the same scenario as trajectory {twin}")


def _check_solutions(path: Path, file: h5py.File, header: ShardHeader) -> Iterator[Problem]:
    for row, index in enumerate(header.indices):
        for what, expected, got in solution_faults(file, header, row):
            yield Problem(str(path), f"trajectory {index}: {what}", expected, got)


def _check_statistics(root: Path, manifest: Manifest) -> Iterator[Problem]:
    try:
        stored = read_stats(root, manifest)
    except DatasetError as error:
        yield _problem(error)
        return
    for key, values in field_statistics(root, manifest).items():
        for name, value in values.items():
            if not np.isclose(stored[key][name], value, rtol=ROUNDING, atol=1e-9):
                yield Problem(str(root / STATS), f"{key} of {name}", f"{value:g}", f"{stored[key][name]:g}")


def _problem(error: DatasetError | FileNotFoundError, path: Path | None = None) -> Problem:
    if isinstance(error, DatasetError):
        return Problem(error.file, error.what, error.expected, error.got)
    return Problem(str(path), "missing file")
