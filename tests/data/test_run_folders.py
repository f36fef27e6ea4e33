"""Run folders: refused before any work, continued only with the same settings, never half-written."""

import json
import math
import os
from pathlib import Path

import pytest

from slimwave.data.durable import remove_parts, write_bytes
from slimwave.data.plain import differences
from slimwave.data.run_folders import RunFolder, RunFolderError
from slimwave.data.scenarios import GenerateConfig, MediumConfig

CONFIG = {"output": "a", "seed": 3, "network": {"width": 8}}


def prepare(path: Path, config: object = CONFIG, **options: object) -> RunFolder:
    return RunFolder.prepare(path, command="train", config=config, **options)  # type: ignore[arg-type]


def test_fresh_folder_records_what_was_asked(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "deep" / "run")
    assert not folder.resumed
    assert folder.config == CONFIG
    assert folder.run["status"] == "running"
    assert folder.run["seed"] == 3
    assert folder.run["versions"]["slimwave"]
    assert not folder.done
    folder.finish(error=0.5)
    assert folder.done
    assert folder.run["summary"] == {"error": 0.5}


def test_config_keeps_every_value_of_a_dataclass(tmp_path: Path) -> None:
    config = GenerateConfig(output=tmp_path, medium=MediumConfig(correlation_length=1e-5))
    written = prepare(tmp_path / "run", config).config
    assert written["medium"]["correlation_length"] == 1e-5
    assert written["medium"]["kinds"] == ["random", "layers", "inclusions"]
    assert written["output"] == str(tmp_path)
    assert prepare(tmp_path / "run", config).resumed


def test_log_is_one_json_object_per_line_and_survives_a_torn_line(tmp_path: Path) -> None:
    folder = prepare(tmp_path)
    folder.log(step=1, loss=math.nan)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert list(folder.records()) == [{"step": 1, "loss": None}]
    again = prepare(tmp_path)
    again.log(step=2, loss=0.5)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


def test_resume_needs_the_same_settings(tmp_path: Path) -> None:
    prepare(tmp_path)
    assert prepare(tmp_path, {**CONFIG, "output": "b"}).resumed
    with pytest.raises(RunFolderError, match=r"--network\.width was 8, now 16.*choose another --output"):
        prepare(tmp_path, {**CONFIG, "network": {"width": 16}})
    assert prepare(tmp_path, {**CONFIG, "seed": 4}, may_differ=("seed",)).resumed


def test_refuse_and_overwrite(tmp_path: Path) -> None:
    prepare(tmp_path).finish()
    (tmp_path / "model.safetensors").write_bytes(b"old")
    with pytest.raises(RunFolderError, match="already holds a run of 'train'"):
        prepare(tmp_path, existing="refuse")
    folder = prepare(tmp_path, {**CONFIG, "seed": 9}, existing="overwrite")
    assert not folder.resumed
    assert folder.run["seed"] == 9
    assert not (tmp_path / "model.safetensors").exists()


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    for existing in ("refuse", "resume", "overwrite"):
        with pytest.raises(RunFolderError, match=r"foreign files \(thesis\.tex\)"):
            prepare(tmp_path, existing=existing)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_run_of_another_command_is_refused(tmp_path: Path) -> None:
    prepare(tmp_path)
    with pytest.raises(RunFolderError, match="holds a run of 'train', not of 'prune'"):
        RunFolder.prepare(tmp_path, command="prune", config={}, existing="overwrite")
    with pytest.raises(RunFolderError, match="holds a run of 'train', expected 'generate'"):
        RunFolder.open(tmp_path, command="generate")


def test_open_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"not a run folder: expected run\.json"):
        RunFolder.open(tmp_path / "missing")


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe"])
def test_damaged_run_file_is_named(tmp_path: Path, content: bytes) -> None:
    prepare(tmp_path)
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(RunFolderError, match=r"run\.json.*restore it or start a new folder"):
        RunFolder.open(tmp_path, command="train")


@pytest.mark.parametrize("content", [b"a: [", b"- 1", b"\xff\xfe"])
def test_damaged_config_is_named(tmp_path: Path, content: bytes) -> None:
    prepare(tmp_path)
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(RunFolderError, match=r"config\.yaml.*restore it or start a new folder"):
        prepare(tmp_path)


def test_unwritable_output_is_found_at_once(tmp_path: Path) -> None:
    """A folder below a regular file cannot be made, whoever runs the test."""
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OSError, match=r"cannot write into the output folder.*choose another --output"):
            prepare(path)


def test_read_only_file_system_is_found_at_once() -> None:
    """The kernel's own file system takes no new files, not even from root."""
    if not Path("/proc/self").is_dir():
        pytest.skip("needs a /proc file system")
    with pytest.raises(OSError, match=r"cannot write into the output folder /proc/slimwave"):
        prepare(Path("/proc/slimwave"))


def test_failed_write_keeps_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    write_bytes(path, b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["run.json"]


def test_parts_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".shard.hdf5.7.part").write_bytes(b"half")
    (tmp_path / "data" / "shard.hdf5").write_bytes(b"whole")
    remove_parts(tmp_path)
    assert [item.name for item in (tmp_path / "data").iterdir()] == ["shard.hdf5"]


def test_differences_are_named_by_their_path() -> None:
    before = {"a": 1, "b": {"c": 2, "d": 3}}
    assert differences(before, {"a": 1, "b": {"c": 5}, "e": 0}) == {
        "b.c": (2, 5),
        "b.d": (3, None),
        "e": (None, 0),
    }
