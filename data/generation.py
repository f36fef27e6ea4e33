"""From a configuration to a dataset folder: durable, resumable, the same on any number of processes.

>>> from slimwave.data.scenarios import GenerateConfig
>>> summary = generate(GenerateConfig(output="runs/data", workers=2))  # doctest: +SKIP

A shard is the unit of work: a process solves its trajectories, writes the file durably and reports its hash,
which goes into the manifest. Killed at any moment, the folder holds finished shards and at worst a temporary
file; the same call continues with what is missing, taking up shards that the manifest does not list yet, and
ends with the same bytes.
"""

import time
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock

from slimwave import __version__
from slimwave.data.cluster import run_on_cluster
from slimwave.data.durable import remove_parts, write_bytes, write_pieces
from slimwave.data.guard import open_guarded
from slimwave.data.headers import read_header
from slimwave.data.lock import folder_lock
from slimwave.data.moments import FieldMoments, moments_of
from slimwave.data.processes import run_tasks
from slimwave.data.progress import progress_bar
from slimwave.data.reading import STATS, read_stats
from slimwave.data.run_folders import RunFolder, require_writable
from slimwave.data.scenarios import GenerateConfig, draw_scenario
from slimwave.data.schema import shard_image
from slimwave.data.shards import (
    MANIFEST,
    NOT_DATA,
    DatasetError,
    Manifest,
    ShardEntry,
    ShardTask,
    data_settings,
    hash_of,
    sha256_of,
    sha256_of_pieces,
    shard_tasks,
)
from slimwave.data.statistics import write_statistics

LIST_EVERY = 1.0
"""Seconds between two writings of the manifest, which grows with the dataset."""


@dataclass(frozen=True)
class GenerationSummary:
    """What a call of :func:`generate` did.

    Attributes
    ----------
    root
        Dataset folder.
    trajectories, shards
        Size of the finished dataset.
    new_trajectories
        Trajectories that this call solved; the others were there already.
    bytes
        Size of all shards.
    cpu_seconds
        Process time of the solutions, over all processes and interrupted calls.
    config_hash
        SHA-256 of the settings that define the data.
    """

    root: Path
    trajectories: int
    shards: int
    new_trajectories: int
    bytes: int
    cpu_seconds: float
    config_hash: str


def generate(config: GenerateConfig, *, progress: bool = False) -> GenerationSummary:
    """Generate a dataset, or continue the unfinished one of the same settings in ``config.output``.

    Parameters
    ----------
    config
        What to generate. With ``workers > 1`` a script needs the guard ``if __name__ == "__main__":``.
    progress
        Show a bar with throughput and remaining time on standard error.

    Raises
    ------
    OSError
        If the output folder cannot be written or another process is writing into it (both found before any
        work), or the disk is full; finished shards stay.
    ValueError
        If the folder holds something else.
    RuntimeError
        If a worker process died.
    ImportError
        If a cluster is asked for without Dask.
    """
    require_writable(config.output)
    with folder_lock(config.output):
        folder = _prepare(config)
        try:
            return _generate(config, folder, progress=progress)
        finally:
            remove_parts(folder.path)


def _generate(config: GenerateConfig, folder: RunFolder, *, progress: bool) -> GenerationSummary:
    tasks = shard_tasks(config)
    manifest = _finished(folder.path, config, tasks)
    listed = {entry.file for entry in manifest.shards}
    missing = [task for task in tasks if task.file not in listed]
    moments: dict[str, FieldMoments] = {}
    written = time.monotonic()
    with (
        progress_bar(
            _count(tasks),
            "generate",
            "trajectory",
            shown=progress,
            initial=_count(tasks) - _count(missing),
        ) as bar,
        closing(_made(missing, config)) as made,
    ):
        for shard in made:
            folder.log(
                file=shard.entry.file, trajectories=shard.entry.trajectories, cpu_seconds=shard.cpu_seconds
            )
            manifest = replace(manifest, shards=(*manifest.shards, shard.entry))
            if time.monotonic() >= written + LIST_EVERY:
                manifest.write(folder.path)
                written = time.monotonic()
            moments[shard.entry.file] = shard.moments
            bar.update(shard.entry.trajectories)
    if not manifest.complete:
        write_statistics(folder.path, manifest, moments)
        manifest = replace(manifest, complete=True, stats_sha256=sha256_of(folder.path / STATS))
        manifest.write(folder.path)
    summary = GenerationSummary(
        root=folder.path,
        trajectories=_count(tasks),
        shards=len(tasks),
        new_trajectories=_count(missing),
        bytes=sum(entry.size for entry in manifest.shards),
        cpu_seconds=sum({record["file"]: record["cpu_seconds"] for record in folder.records()}.values()),
        config_hash=manifest.config_hash,
    )
    folder.finish(**vars(summary))
    return summary


def _prepare(config: GenerateConfig) -> RunFolder:
    """Take the output folder, proven to be writable."""
    folder = RunFolder.prepare(
        config.output,
        command="generate",
        config=config,
        existing="overwrite" if config.overwrite else "resume",
        may_differ=NOT_DATA,
    )
    for split in config.split_names:
        require_writable(folder.path / "data" / split)
    remove_parts(folder.path)
    return folder


@dataclass(frozen=True)
class _Shard:
    """A shard that was solved: its manifest entry, what it adds to the statistics, and its process time."""

    entry: ShardEntry
    moments: FieldMoments
    cpu_seconds: float


def _made(missing: list[ShardTask], config: GenerateConfig) -> Generator[_Shard, None, None]:
    """Make shards here, in worker processes that write them too, or on a cluster that only computes."""
    config_hash = hash_of(data_settings(config))
    if config.scheduler is None:
        with closing(run_tasks(partial(_make_shard, config, config_hash), missing, config.workers)) as made:
            yield from made
        return
    solve = partial(_solve_for, __version__, config, config_hash)
    with closing(run_on_cluster(solve, missing, config.scheduler)) as solved:
        for shard, content in solved:
            write_bytes(config.output / shard.entry.file, content)
            yield shard


def _make_shard(config: GenerateConfig, config_hash: str, task: ShardTask) -> _Shard:
    """Solve a shard and write it."""
    shard, image = _solve_shard(config, config_hash, task)
    write_pieces(config.output / task.file, image)
    return shard


_one_at_a_time = Lock()


def _solve_for(
    version: str, config: GenerateConfig, config_hash: str, task: ShardTask
) -> tuple[_Shard, bytes]:
    """Solve a shard on a cluster, where a worker may have several threads; the solver works in one."""
    if version != __version__:
        raise RuntimeError(
            f"a worker of the cluster has slimwave {__version__}, expected {version}; update it"
        )
    with _one_at_a_time:
        shard, image = _solve_shard(config, config_hash, task)
    return shard, b"".join(image)


def _solve_shard(
    config: GenerateConfig, config_hash: str, task: ShardTask
) -> tuple[_Shard, list[memoryview]]:
    """Solve the trajectories of a shard; return it with its bytes, in pieces."""
    from slimwave.data.solving import solve_scenarios  # where others solve, the solver need not be loaded

    snapshots = config.split(task.split).snapshots
    scenarios = [draw_scenario(config, task.split, index) for index in task.indices]
    solved = solve_scenarios(scenarios, config, snapshots=snapshots)
    image = shard_image(solved, split=task.split, indices=task.indices, config_hash=config_hash)
    speeds = min(float(one.c.min()) for one in solved), max(float(one.c.max()) for one in solved)
    entry = _entry(task, snapshots, speeds, sum(piece.nbytes for piece in image), sha256_of_pieces(image))
    training = solved if task.split == "train" else []
    moments = moments_of(one.fields for one in training)
    return _Shard(entry, moments, sum(one.cpu_seconds for one in solved)), image


def _entry(
    task: ShardTask, snapshots: int, speeds: tuple[float, float], size: int, sha256: str
) -> ShardEntry:
    return ShardEntry(task.file, task.split, task.first, task.trajectories, snapshots, speeds, size, sha256)


def _finished(root: Path, config: GenerateConfig, tasks: Iterable[ShardTask]) -> Manifest:
    """Return a manifest of the shards that are there and whole; the others will be made again."""
    settings = data_settings(config)
    manifest = Manifest(__version__, settings)
    if (root / MANIFEST).is_file():
        manifest = Manifest.read(root)
        _require_continuable(root, manifest, settings)
    listed = {entry.file: entry for entry in manifest.shards}
    kept = [
        entry
        for task in tasks
        if (root / task.file).is_file()
        and (entry := listed.get(task.file) or _unlisted(root, config, task)) is not None
        and sha256_of(root / task.file) == entry.sha256
    ]
    whole = manifest.complete and len(kept) == len(listed) and _has_statistics(root, manifest)
    return replace(manifest, shards=tuple(kept), complete=whole)


def _has_statistics(root: Path, manifest: Manifest) -> bool:
    try:
        read_stats(root, manifest)
    except DatasetError:
        return False
    return True


def _require_continuable(root: Path, manifest: Manifest, settings: dict[str, object]) -> None:
    if manifest.config_hash != hash_of(settings):
        raise DatasetError(
            root / MANIFEST,
            "dataset of other settings",
            f"config_hash {hash_of(settings)[:12]}…",
            f"{manifest.config_hash[:12]}…",
            "choose another --output, or --overwrite",
        )
    if not manifest.complete and manifest.version != __version__:
        raise DatasetError(
            root / MANIFEST,
            "unfinished dataset of another version of slimwave",
            __version__,
            manifest.version,
            "finish it with that version, or --overwrite",
        )


def _unlisted(root: Path, config: GenerateConfig, task: ShardTask) -> ShardEntry | None:
    """Take up a shard that was written just before a crash, before the manifest could list it."""
    path = root / task.file
    try:
        with open_guarded(path) as file:
            header = read_header(file, path)
            c = file["t0_fields/c"][()]
    except DatasetError:
        return None
    place = (header.split, header.indices, header.config_hash)
    if place != (task.split, tuple(task.indices), hash_of(data_settings(config))):
        return None
    speeds = float(c.min()), float(c.max())
    return _entry(task, header.snapshots, speeds, path.stat().st_size, sha256_of(path))


def _count(tasks: Iterable[ShardTask]) -> int:
    return sum(task.trajectories for task in tasks)
