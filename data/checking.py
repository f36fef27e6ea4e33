"""Everything that can be wrong with a dataset folder, found and named: the work of ``slimwave check``.

>>> report = check_dataset("runs/data")  # doctest: +SKIP
>>> report.ok, report.problems  # doctest: +SKIP
(True, ())

Files come first: manifest, hashes, layout. A file whose hash is wrong is not opened. Then the physics: values
are finite, speeds lie in their range, u vanishes on Dirichlet walls, and the energy of the sampled fields is
that of the finite-element solution, at all times the same.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from slimwave.data.durable import PART
from slimwave.data.grid_energy import grid_energy
from slimwave.data.reading import (
    STATS,
    manifest_config,
    open_shard,
    read_stats,
    require_covered,
    require_hash,
    spacing,
)
from slimwave.data.scenarios import GenerateConfig, Split
from slimwave.data.schema import FIELDS, ShardHeader, layout_faults
from slimwave.data.shards import MANIFEST, DatasetError, Manifest, ShardEntry
from slimwave.data.statistics import field_statistics

ENERGY_DRIFT = 1e-3
"""Largest relative change of the finite-element energy over a trajectory."""
GRID_ENERGY_GAP = 0.1
"""Largest relative gap between the energy on the grid and the finite-element energy."""
SNAPSHOTS_JUDGED = 12
"""Snapshots per trajectory whose energy is computed anew."""
ROUNDING = 1e-5
"""Relative tolerance for stored float32 values."""


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
                *layout_faults(file),
                *_header_faults(header, manifest, config),
                *_listed_speed_faults(file, entry),
            ]
            yield from (Problem(str(path), *fault) for fault in faults)
            yield from _check_trajectories(path, file, header, config, seen)
            if manifest.origin == "generated":  # data that was given may lose energy
                yield from _check_drift(path, header)


Fault = tuple[str, str, str]
"""What is wrong, expected, got."""


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
    fields = file["t0_fields"]
    for row, index in enumerate(header.indices):
        u, v, c = (fields[name][row] for name in (*FIELDS, "c"))
        where = f"trajectory {index}: "
        for what, expected, got in _trajectory_faults(u, v, c, header, row, config):
            yield Problem(str(path), where + what, expected, got)
        initial = hashlib.sha256(b"".join(part.tobytes() for part in (u[0], v[0], c, header.walls[row])))
        twin = seen.setdefault(initial.hexdigest(), f"{header.split} {index}")
        if twin != f"{header.split} {index}":
            yield Problem(str(path), f"{where}the same scenario as trajectory {twin}")


def _check_drift(path: Path, header: ShardHeader) -> Iterator[Problem]:
    """Look at the energy of the finite-element solution, which a wave without losses keeps."""
    for index, energy in zip(header.indices, header.energy, strict=True):
        drift = np.abs(energy / energy[0] - 1.0).max() if energy[0] > 0 else 0.0
        if drift > ENERGY_DRIFT:
            what = f"trajectory {index}: energy of the solution changes"
            yield Problem(str(path), what, f"at most {ENERGY_DRIFT:.1%}", f"{drift:.1%}")


def _trajectory_faults(
    u: Any, v: Any, c: Any, header: ShardHeader, row: int, config: GenerateConfig
) -> Iterator[Fault]:
    for name, values in (("u", u), ("v", v), ("c", c)):
        if not np.isfinite(values).all():
            yield f"values of {name}", "finite", f"{np.count_nonzero(~np.isfinite(values))} that are not"
            return
    yield from _speed_faults(c, header, config)
    yield from _wall_faults(u, header.walls[row])
    yield from _energy_faults(u, v, c, header, row, config)


def _speed_faults(c: Any, header: ShardHeader, config: GenerateConfig) -> Iterator[Fault]:
    split: Split = header.split  # type: ignore[assignment]  # checked against the manifest on opening
    medium = config.medium_of(split)
    low, high = medium.min_speed * (1 - ROUNDING), medium.max_speed * (1 + ROUNDING)
    if c.min() < low or c.max() > high:
        yield "wave speed", f"[{medium.min_speed:g}, {medium.max_speed:g}]", f"[{c.min():g}, {c.max():g}]"


def _wall_faults(u: Any, walls: Any) -> Iterator[Fault]:
    sides = {"left": u[:, 0], "right": u[:, -1], "bottom": u[:, :, 0], "top": u[:, :, -1]}
    limit = ROUNDING * np.abs(u).max()
    for (name, values), sign in zip(sides.items(), walls, strict=True):
        if sign < 0 and np.abs(values).max() > limit:
            yield f"u on the Dirichlet wall {name}", "0", f"up to {np.abs(values).max():.3g}"


def _energy_faults(
    u: Any, v: Any, c: Any, header: ShardHeader, row: int, config: GenerateConfig
) -> Iterator[Fault]:
    energy = header.energy[row]
    if not (np.isfinite(energy).all() and (energy > 0).all()):
        yield "energy", "positive, finite", f"{energy.min():g} … {energy.max():g}"
        return
    judged = np.unique(np.linspace(0, len(u) - 1, SNAPSHOTS_JUDGED).round().astype(int))
    sampled = grid_energy(u[judged], v[judged], c, header.walls[row], spacing(config))
    gap = np.abs(sampled / energy[judged] - 1.0)
    if gap.max() > GRID_ENERGY_GAP:
        where = f"at snapshot {judged[gap.argmax()]} (damaged fields, or a grid too coarse for the pulses)"
        yield (
            f"energy on the grid departs from the solution's {where}",
            f"{GRID_ENERGY_GAP:.0%}",
            f"{gap.max():.1%}",
        )


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
