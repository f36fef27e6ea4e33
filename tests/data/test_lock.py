"""The lock: one live writer per folder, no lock that outlives its owner."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slimwave.data import generation, lock
from slimwave.data.generation import generate
from slimwave.data.lock import FolderLockedError, Owner, folder_lock, is_lock
from slimwave.data.scenarios import GenerateConfig, Scenario

HOLDER = """
import sys, time
from pathlib import Path
from slimwave.data.lock import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""
CONTENDER = """
import sys
from pathlib import Path
from slimwave.data.lock import FolderLockedError, folder_lock
print("ready", flush=True)
sys.stdin.readline()
try:
    with folder_lock(Path(sys.argv[1])):
        print("in", flush=True)
        sys.stdin.readline()
except FolderLockedError:
    print("refused", flush=True)
"""


@pytest.fixture(autouse=True)
def without_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LONGEST_DELAY", 0.0)


@contextmanager
def holder(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Hold the lock in another process."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=60)


def locks(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if is_lock(path)]


def test_held_and_released(tmp_path: Path) -> None:
    with folder_lock(tmp_path):
        assert [Owner.of(path) for path in locks(tmp_path)] == [Owner.this_process()]
        with pytest.raises(FolderLockedError, match=f"written by process {os.getpid()} on "):
            folder_lock(tmp_path).__enter__()
        assert len(locks(tmp_path)) == 1
    assert not locks(tmp_path)


def test_released_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), folder_lock(tmp_path):
        raise KeyboardInterrupt
    assert not locks(tmp_path)


def test_second_generator_is_refused_before_it_touches_anything(
    dataset: Path, small_config: GenerateConfig
) -> None:
    """Even with --overwrite, which would delete what the first one writes."""
    before = sorted(path for path in dataset.rglob("*"))
    with holder(dataset) as first:
        for overwrite in (False, True):
            config = replace(small_config, output=dataset, overwrite=overwrite)
            with pytest.raises(FolderLockedError, match=f"process {first.pid} on .*choose another --output"):
                generate(config)
        assert [path for path in sorted(dataset.rglob("*")) if not is_lock(path)] == before


def test_lock_of_a_killed_process_is_swept_away(dataset: Path, small_config: GenerateConfig) -> None:
    with holder(dataset) as process:
        process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        process.wait()
    assert len(locks(dataset)) == 1
    assert generate(replace(small_config, output=dataset)).new_trajectories == 0
    assert not locks(dataset)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's process table")
def test_number_of_a_dead_process_given_to_another(tmp_path: Path) -> None:
    """The number of a live process, but another start: the owner is gone."""
    me = Owner.this_process()
    (tmp_path / replace(me, start=me.start + 1).name).touch()
    with folder_lock(tmp_path):
        assert len(locks(tmp_path)) == 1


def test_owner_on_another_machine_is_believed(tmp_path: Path) -> None:
    (tmp_path / Owner("elsewhere", 7, 0).name).touch()
    with pytest.raises(FolderLockedError, match=r"process 7 on elsewhere.*delete .*elsewhere\.7\.0\.lock"):
        folder_lock(tmp_path).__enter__()
    assert len(locks(tmp_path)) == 1


def test_of_many_at_once_at_most_one_gets_in(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CONTENDER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    crowd = [subprocess.Popen(command, **pipes) for _ in range(4)]  # type: ignore[call-overload]
    assert [process.stdout.readline() for process in crowd] == ["ready\n"] * 4
    for process in crowd:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.stdout.readline().strip() for process in crowd]
    for process in crowd:
        process.communicate("done\n", timeout=60)
    assert answers.count("in") <= 1
    assert set(answers) <= {"in", "refused"}
    assert not locks(tmp_path)


def test_overwriting_keeps_the_lock(
    dataset: Path, small_config: GenerateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is emptied while it is held; the lock stays until the end."""
    held: list[int] = []
    draw = generation.draw_scenario

    def watch(*arguments: Any) -> Scenario:
        held.append(len(locks(dataset)))
        return draw(*arguments)

    monkeypatch.setattr(generation, "draw_scenario", watch)
    generate(replace(small_config, output=dataset, seed=6, overwrite=True))
    assert held == [1] * 12
