"""The demo on a tiny problem: interrupted by Ctrl-C, run again, and what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

TINY = """
generate:
  domain: {nx: 20, ny: 20}
  pulses: {width: [0.12, 0.16]}
  solver: {elements: [6, 6]}
  trajectories_per_shard: 2
  splits:
    train: {trajectories: 4, snapshots: 13}
    valid: {trajectories: 2, snapshots: 13}
    test: {trajectories: 2, snapshots: 13}
    ood: {trajectories: 2, snapshots: 13}
full: &train
  network: &network {width: 6, depth: 2}
  fit: &fit {steps: 300, unroll: [1, 2]}
  validation: {every: 50, steps: 10}
one_way:
  <<: *train
  network: {<<: *network, conv: cp, rank: 4}
prune:
  rounds: 1
  fit: {<<: *fit, steps: 30}
  validation: {every: 30, steps: 10}
compare: {coarse_elements: [2, 3], latency_steps: 5}
"""
NAMES = ["full CNN", "one-way CNN", "one-way CNN + SAP", "persistence", "FE 2 × 2", "FE 3 × 3"]


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    (folder / "tiny.yaml").write_text(TINY)
    return [
        sys.executable, "-m", "slimwave", "demo", "--config", str(folder / "tiny.yaml"),
        "--output", str(folder / "run"), "--seed", "3", "--json",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def interrupted(command):
    """Run the demo, press Ctrl-C once the first training has been validated, and return how it ended."""
    log = folder_of(command) / "full" / "log.jsonl"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (log.is_file() and log.stat().st_size) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


@pytest.fixture(scope="module")
def finished(command, interrupted):
    """Run the same command again, to its end."""
    kept = (folder_of(command) / "data" / "manifest.json").stat().st_mtime_ns
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert (folder_of(command) / "data" / "manifest.json").stat().st_mtime_ns == kept
    return json.loads(done.stdout)


def folder_of(command) -> Path:
    return Path(command[command.index("--output") + 1])


def test_ctrl_c_ends_with_130_and_one_sentence(interrupted):
    code, output, errors = interrupted
    assert code == 130
    assert output == ""
    assert "run the same command again" in errors
    assert "Traceback" not in errors


def test_the_second_run_continues_the_first(command, finished):
    """The log of the interrupted training holds every validation once, the first one from before Ctrl-C."""
    lines = (folder_of(command) / "full" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [50, 100, 150, 200, 250, 300]


def test_json_is_one_object_with_the_whole_table(finished):
    assert [row["name"] for row in finished["rows"]] == NAMES
    assert Path(finished["report"]).is_file()
    for row in finished["rows"]:
        assert row["errors"]["test"].keys() == {"1", "10", "12"}


def test_every_run_folder_keeps_settings_version_and_seed(command, finished):
    root = folder_of(command)
    for name in ("data", "full", "one_way", "pruned", "rollout", "compare"):
        run = json.loads((root / name / "run.json").read_text())
        assert run["status"] == "done"
        assert run["seed"] == 3
        assert run["versions"]["slimwave"]
        assert isinstance(yaml.safe_load((root / name / "config.yaml").read_text()), dict)
        assert all(json.loads(line) for line in (root / name / "log.jsonl").read_text().splitlines())


def test_the_report_is_self_contained_and_has_every_picture(command, finished):
    page = Path(finished["report"]).read_text()
    assert page.count("data:image/png;base64") == 6
    assert page.count("data:image/gif;base64") == 1
    assert 'src="http' not in page
    assert all(name in page for name in NAMES)
    pictures = {path.name for path in (folder_of(command) / "compare" / "pictures").iterdir()}
    assert pictures == {
        "animation.gif", "error_against_latency.png", "error_against_parameters.png", "errors_ood.png",
        "errors_test.png", "fields.png", "pruning_0.png",
    }  # fmt: skip
