"""Generation: real physics, the same bytes however it is run, and no finished shard lost.

The interrupted runs happen in processes of their own, which are killed at seeded random moments.
"""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from slimwave.data import generation
from slimwave.data.checking import check_dataset
from slimwave.data.generation import generate
from slimwave.data.guard import open_guarded
from slimwave.data.headers import read_header
from slimwave.data.plain import to_plain
from slimwave.data.run_folders import RunFolder, RunFolderError
from slimwave.data.scenarios import (
    DomainConfig,
    GenerateConfig,
    MediumConfig,
    SolverConfig,
    SplitConfig,
    TimeConfig,
    WallConfig,
    draw_scenario,
)
from slimwave.data.shards import DatasetError
from slimwave.data.solving import solve_scenario, solve_scenarios

KEPT = ("manifest.json", "stats.yaml")


def contents(root: Path) -> dict[str, bytes]:
    """Return the files that make up the dataset, which must not depend on how it was generated."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in files
        if path.suffix == ".hdf5" or path.name in KEPT
    }


def parts(root: Path) -> list[Path]:
    return list(root.rglob("*.part"))


def relative(values: np.ndarray, reference: np.ndarray) -> float:
    return float(np.linalg.norm(values - reference) / np.linalg.norm(reference))


@pytest.mark.parametrize("index", range(3))
def test_default_settings_resolve_the_default_scenarios(index: int) -> None:
    """One scenario of each medium, against finer elements: u within 0.5 % at the last of 101 snapshots."""
    config = GenerateConfig()
    fine = replace(config, solver=SolverConfig(order=6, elements=(32, 32), dtype="float64"))
    scenario = draw_scenario(config, "test", index)
    solved, reference = (solve_scenario(scenario, each, snapshots=101) for each in (config, fine))
    assert relative(solved.u[-1], reference.u[-1]) < 5e-3
    assert relative(solved.v[-1], reference.v[-1]) < 2e-2
    assert np.abs(solved.energy / solved.energy[0] - 1).max() < 1e-4


def test_plane_standing_wave_between_mixed_walls() -> None:
    """U = sin(3πx/2) cos(3πct/2), left Dirichlet, the rest Neumann, c = 1.5: exact at every snapshot."""
    config = GenerateConfig(
        domain=DomainConfig(nx=33, ny=17),
        medium=MediumConfig(min_speed=1.5, max_speed=1.5),
        walls=WallConfig("dirichlet", "neumann", "neumann", "neumann"),
        solver=SolverConfig(order=6, elements=(8, 4), dtype="float64"),
    )
    drawn = draw_scenario(config, "train", 0)
    scenario = replace(drawn, u0=lambda x, y: np.sin(1.5 * np.pi * x) + 0 * y)  # type: ignore[arg-type]
    solved = solve_scenario(scenario, config, snapshots=21)
    phase = 1.5 * np.pi * 1.5 * solved.times[:, None, None]
    shape = np.sin(1.5 * np.pi * solved.x)[None, :, None] * np.ones(17)
    assert np.abs(solved.u - np.cos(phase) * shape).max() < 1e-5
    assert np.abs(solved.v + 2.25 * np.pi * np.sin(phase) * shape).max() < 1e-4
    assert solved.walls.tolist() == [-1.0, 1.0, 1.0, 1.0]


def test_coarser_elements_are_worse() -> None:
    config = GenerateConfig(solver=SolverConfig(order=4, elements=(20, 20)))
    scenario = draw_scenario(config, "test", 0)
    reference = solve_scenario(scenario, config, snapshots=51)
    errors = []
    for elements in ((10, 10), (6, 6)):
        coarse = solve_scenario(scenario, config, snapshots=51, elements=elements)
        assert coarse.u.shape == reference.u.shape
        errors.append(relative(coarse.u, reference.u))
    assert 0 < errors[0] < errors[1] / 3


def test_summary_and_run_folder(pristine: Path, small_config: GenerateConfig) -> None:
    run = RunFolder.open(pristine, command="generate")
    summary = run.run["summary"]
    assert run.done
    assert run.run["seed"] == 5
    assert (summary["trajectories"], summary["shards"], summary["new_trajectories"]) == (12, 7, 12)
    records = list(run.records())
    assert sum(record["trajectories"] for record in records) == 12
    assert summary["cpu_seconds"] == pytest.approx(sum(record["cpu_seconds"] for record in records))
    assert summary["bytes"] == sum(path.stat().st_size for path in pristine.rglob("*.hdf5"))
    assert run.config == {**to_plain(small_config), "output": str(pristine)}


def test_manifest_is_a_function_of_the_settings(pristine: Path) -> None:
    manifest = json.loads((pristine / "manifest.json").read_text())
    assert manifest["complete"] is True
    assert manifest["seed"] == 5
    assert "output" not in manifest["config"]
    assert "workers" not in manifest["config"]
    assert [entry["file"] for entry in manifest["shards"]] == sorted(
        path.relative_to(pristine).as_posix() for path in pristine.rglob("*.hdf5")
    )


def test_shards_keep_the_scenarios(pristine: Path, small_config: GenerateConfig) -> None:
    with h5py.File(pristine / "data/ood/wave2d_ood_00000.hdf5") as file:
        stored = [json.loads(text) for text in file["slimwave/parameters"].asstr()]
    assert stored == [draw_scenario(small_config, "ood", index).parameters for index in range(2)]


def test_same_bytes_on_several_processes(
    pristine: Path, small_config: GenerateConfig, tmp_path: Path
) -> None:
    summary = generate(replace(small_config, output=tmp_path, workers=2))
    assert summary.new_trajectories == 12
    assert summary.cpu_seconds > 0
    assert contents(tmp_path) == contents(pristine)


def by_trajectory(root: Path) -> dict[tuple[str, int], dict[str, bytes]]:
    """Return all that is stored of each trajectory, by its split and place."""
    found = {}
    for path in root.rglob("*.hdf5"):
        with h5py.File(path) as file:
            stored = [*file["t0_fields"].values(), *file["slimwave"].values()]
            for row, index in enumerate(file["slimwave/indices"][()].tolist()):
                found[path.parent.name, index] = {
                    data.name: np.asarray(data[row]).tobytes() for data in stored
                }
    return found


@pytest.mark.parametrize(("size", "workers"), [(1, 1), (3, 2), (100, 1)])
def test_trajectories_do_not_depend_on_the_size_of_shards(
    pristine: Path, small_config: GenerateConfig, tmp_path: Path, size: int, workers: int
) -> None:
    """Solved alone, in pairs (the reference) or all at once: the same bytes of every trajectory."""
    generate(replace(small_config, output=tmp_path, trajectories_per_shard=size, workers=workers))
    assert by_trajectory(tmp_path) == by_trajectory(pristine)


def test_scenarios_of_two_splits_are_not_solved_together(small_config: GenerateConfig) -> None:
    scenarios = [draw_scenario(small_config, split, 0) for split in ("train", "ood")]
    with pytest.raises(ValueError, match=r"expected some of one split, got splits \['ood', 'train'\]"):
        solve_scenarios(scenarios, small_config, snapshots=2)


def test_complete_dataset_is_left_as_it_is(dataset: Path, small_config: GenerateConfig) -> None:
    before = contents(dataset)
    summary = generate(replace(small_config, output=dataset, workers=3))
    assert (summary.trajectories, summary.new_trajectories) == (12, 0)
    assert contents(dataset) == before


def lose_a_shard(root: Path) -> None:
    (root / "data/valid/wave2d_valid_00000.hdf5").unlink()


def flip_a_bit(root: Path) -> None:
    path = root / "data/train/wave2d_train_00001.hdf5"
    content = bytearray(path.read_bytes())
    content[5000] ^= 4
    path.write_bytes(content)


def truncate_unlisted(root: Path) -> None:
    (root / "manifest.json").unlink()
    path = root / "data/train/wave2d_train_00001.hdf5"
    path.write_bytes(path.read_bytes()[:5000])


def lose_the_statistics(root: Path) -> None:
    (root / "stats.yaml").unlink()


def damage_the_statistics(root: Path) -> None:
    (root / "stats.yaml").write_text("mean: {u: 1e-5}")


def leave_a_part(root: Path) -> None:
    (root / "data/train/.wave2d_train_00001.hdf5.1.part").write_bytes(b"half")
    lose_a_shard(root)


@pytest.mark.parametrize(
    ("damage", "made_anew"),
    [
        (lose_a_shard, 2),
        (flip_a_bit, 2),
        (truncate_unlisted, 2),
        (lose_the_statistics, 0),
        (damage_the_statistics, 0),
        (leave_a_part, 2),
        (lambda root: (root / "manifest.json").unlink(), 0),
    ],
)
def test_damage_is_repaired_to_the_same_bytes(
    dataset: Path, small_config: GenerateConfig, damage: Callable[[Path], object], made_anew: int
) -> None:
    before = contents(dataset)
    damage(dataset)
    summary = generate(replace(small_config, output=dataset))
    assert summary.new_trajectories == made_anew
    assert contents(dataset) == before
    assert not parts(dataset)
    assert check_dataset(dataset).ok


def test_other_settings_are_refused(dataset: Path, small_config: GenerateConfig) -> None:
    with pytest.raises(RunFolderError, match=r"--time\.step was 0\.02, now 0\.03\); choose another --output"):
        generate(replace(small_config, output=dataset, time=TimeConfig(step=0.03)))
    config = yaml.safe_load((dataset / "config.yaml").read_text())
    (dataset / "config.yaml").write_text(yaml.safe_dump({**config, "seed": 6}))
    with pytest.raises(DatasetError, match=r"dataset of other settings.*choose another --output"):
        generate(replace(small_config, output=dataset, seed=6))


def test_unfinished_dataset_of_another_version(dataset: Path, small_config: GenerateConfig) -> None:
    content = json.loads((dataset / "manifest.json").read_text())
    (dataset / "manifest.json").write_text(json.dumps({**content, "version": "0.0.1", "complete": False}))
    with pytest.raises(DatasetError, match=r"another version of slimwave: expected 0\.1\.0, got 0\.0\.1"):
        generate(replace(small_config, output=dataset))


def test_overwrite_starts_anew(dataset: Path, small_config: GenerateConfig) -> None:
    other = replace(small_config, output=dataset, seed=6, overwrite=True)
    assert generate(other).new_trajectories == 12
    assert check_dataset(dataset).seed == 6


def test_unwritable_output_is_found_before_any_work(
    small_config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below a regular file nothing can be made, not even by root."""

    def no_work(*arguments: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(generation, "draw_scenario", no_work)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="cannot write into the output folder"):
        generate(replace(small_config, output=tmp_path / "file" / "data"))


def test_blocked_split_folder_is_found_before_any_work(dataset: Path, small_config: GenerateConfig) -> None:
    for path in (dataset / "data/ood").iterdir():
        path.unlink()
    (dataset / "data/ood").rmdir()
    (dataset / "data/ood").write_text("in the way")
    with pytest.raises(OSError, match=r"cannot write into the output folder .*data/ood"):
        generate(replace(small_config, output=dataset))


def test_full_disk_keeps_what_is_finished(
    small_config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at the third shard; with room again the run goes on from the second."""
    config = replace(small_config, output=tmp_path)
    write = generation.write_pieces

    def write_until_full(path: Path, content: list[memoryview]) -> None:
        if path.name == "wave2d_train_00002.hdf5":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr(generation, "write_pieces", write_until_full)
    with pytest.raises(OSError, match="No space left"):
        generate(config)
    assert len(list(tmp_path.rglob("*.hdf5"))) == 2
    monkeypatch.undo()
    assert generate(config).new_trajectories == 8


def test_progress_goes_to_standard_error_or_nowhere(
    dataset: Path, small_config: GenerateConfig, capfd: pytest.CaptureFixture[str]
) -> None:
    config = replace(small_config, output=dataset)
    lose_a_shard(dataset)
    generate(config)
    assert capfd.readouterr() == ("", "")
    lose_a_shard(dataset)
    generate(config, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "generate: 100%" in err
    assert "trajectory/s" in err or "s/trajectory" in err


SCRIPT = """
import sys
import yaml
from slimwave.data.generation import generate
from slimwave.data.plain import build
from slimwave.data.scenarios import GenerateConfig
print("ready", flush=True)
generate(build(GenerateConfig, yaml.safe_load(sys.argv[1])))
"""


@contextmanager
def running(config: GenerateConfig) -> Iterator["subprocess.Popen[str]"]:
    """Run a generation in a process group of its own, begun when this returns."""
    command = [sys.executable, "-c", SCRIPT, yaml.safe_dump(to_plain(config))]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        yield process
    finally:
        process.communicate(timeout=60)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"timed out waiting for {what}"
        time.sleep(0.005)


def group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture(scope="module")
def long_config(small_config: GenerateConfig) -> GenerateConfig:
    """Work for about a second, so that a signal arrives in the middle of it."""
    train = SplitConfig(trajectories=120, snapshots=41)
    return replace(small_config, splits=replace(small_config.splits, train=train))


@pytest.fixture(scope="module")
def undisturbed(long_config: GenerateConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("undisturbed") / "data"
    generate(replace(long_config, output=root))
    return contents(root)


@pytest.mark.skipif(os.name != "posix", reason="needs kill -9")
def test_killed_at_20_random_moments(
    long_config: GenerateConfig, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """From before the first file to the middle of a shard; the last run ends with the same bytes."""
    config = replace(long_config, output=tmp_path / "data")
    moments = random.Random(0)
    finished, endings = 0, []
    for attempt in range(20):
        with running(config) as process:
            if attempt % 2:  # every other time during the start, when what is there is taken up
                wait_for(partial(progressed, process, config.output, finished), "a shard")
            time.sleep(moments.uniform(0, 0.06 if attempt % 2 else 0.3))
            process.kill()
        endings.append(process.returncode)
        shards = len(list(config.output.rglob("*.hdf5")))
        assert shards >= finished, "a finished shard was lost"
        finished = shards
    assert endings.count(-signal.SIGKILL) >= 10
    assert finished > 0
    assert generate(config).new_trajectories <= 127 - 2 * finished + 1
    assert contents(config.output) == undisturbed
    assert not parts(config.output)
    assert check_dataset(config.output).ok


FULL = """
import resource, signal, sys
from slimwave.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (75_000, 75_000))
sys.exit(main(["generate", "--config", sys.argv[1], "--workers", sys.argv[2]]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
@pytest.mark.parametrize("workers", [1, 2])
def test_full_disk_of_a_command(
    pristine: Path, small_config: GenerateConfig, tmp_path: Path, workers: int
) -> None:
    """A limit on the size of files lets the short training shards through, and none of the longer ones."""
    config = replace(small_config, output=tmp_path / "data")
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(to_plain(config)))
    command = [sys.executable, "-c", FULL, str(tmp_path / "settings.yaml"), str(workers)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("slimwave: ")]
    assert "File too large" in sentence
    assert "Traceback" not in done.stderr
    assert not parts(config.output)
    kept = sorted(path.relative_to(config.output) for path in config.output.rglob("*.hdf5"))
    assert all("train" in path.parts for path in kept)
    for path in kept:
        with open_guarded(config.output / path) as file:
            read_header(file, path)
    assert generate(config).new_trajectories == 12 - sum(
        2 if "00002" not in path.name else 1 for path in kept
    )
    assert contents(config.output) == contents(pristine)


def progressed(process: "subprocess.Popen[str]", root: Path, before: int) -> bool:
    return len(list(root.rglob("*.hdf5"))) > before or process.poll() is not None


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_stopped_parent_takes_its_workers_along(
    long_config: GenerateConfig, undisturbed: dict[str, bytes], tmp_path: Path, stop: signal.Signals
) -> None:
    """Two workers; only the parent gets the signal. No process stays, and the run can be continued."""
    config = replace(long_config, output=tmp_path / "data", workers=2)
    with running(config) as process:
        wait_for(partial(progressed, process, config.output, 0), "the first shard")
        process.send_signal(stop)
    assert process.returncode == -stop
    wait_for(partial(group_is_gone, process.pid), "the workers' end")
    assert 0 < generate(replace(config, workers=1)).new_trajectories < 127
    assert contents(config.output) == undisturbed
    assert not parts(config.output)


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize(
    ("stop", "workers", "code", "word"),
    [(signal.SIGINT, 1, 130, "interrupted"), (signal.SIGTERM, 2, 143, "terminated")],
)
def test_command_stopped_by_a_signal(
    long_config: GenerateConfig, tmp_path: Path, stop: signal.Signals, workers: int, code: int, word: str
) -> None:
    """The whole process group gets the signal, as from a terminal or a batch system."""
    config = replace(long_config, output=tmp_path / "data", workers=workers)
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(to_plain(config)))
    command = [sys.executable, "-m", "slimwave", "generate", "--config", str(tmp_path / "settings.yaml")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(partial(progressed, process, config.output, 0), "the first shard")
    os.killpg(process.pid, stop)
    _, words = process.communicate(timeout=60)
    assert process.returncode == code, words
    assert words.splitlines()[-1].startswith(f"slimwave: {word}: nothing half-written; run the same command")
    assert "Traceback" not in words
    assert not parts(config.output)
    assert not list(config.output.glob(".*.lock"))
    assert 0 < generate(replace(config, workers=1)).new_trajectories < 127


def test_interrupt_leaves_nothing_half_written(
    pristine: Path, small_config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of writing a shard."""
    config = replace(small_config, output=tmp_path / "data")
    sync, calls = os.fsync, iter(range(100))

    def interrupted_sync(descriptor: int) -> None:
        if next(calls) == 12:
            raise KeyboardInterrupt
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", interrupted_sync)
    with pytest.raises(KeyboardInterrupt):
        generate(config)
    assert not parts(config.output)
    assert not RunFolder.open(config.output).done
    monkeypatch.undo()
    generate(config)
    assert contents(config.output) == contents(pristine)
