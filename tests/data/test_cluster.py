"""Generation on a Dask cluster: the same bytes, also when a worker is killed.

Each cluster lives in a process of its own, with workers in further processes.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from slimwave.data import cluster
from slimwave.data.generation import generate
from slimwave.data.plain import to_plain
from slimwave.data.scenarios import GenerateConfig, SplitConfig

pytest.importorskip("distributed")

SCRIPT = """
import os, signal, sys, threading, time
from dataclasses import replace
from pathlib import Path
import yaml
from distributed import LocalCluster
from slimwave.data.generation import generate
from slimwave.data.plain import build
from slimwave.data.scenarios import GenerateConfig

config = build(GenerateConfig, yaml.safe_load(sys.argv[1]))

def kill_a_worker(cluster):
    while len(list(config.output.rglob("*.hdf5"))) < 2:
        time.sleep(0.01)
    os.kill(cluster.workers[0].pid, signal.SIGKILL)
    print("killed", flush=True)

with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
    threading.Thread(target=kill_a_worker, args=[cluster], daemon=True).start()
    summary = generate(replace(config, scheduler=cluster.scheduler_address))
    print(summary.new_trajectories, summary.cpu_seconds > 0, flush=True)
"""


def data_files(root: Path) -> dict[str, bytes]:
    files = [*root.rglob("*.hdf5"), root / "manifest.json", root / "stats.yaml"]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_same_bytes_on_a_cluster_that_loses_a_worker(small_config: GenerateConfig, tmp_path: Path) -> None:
    """One of two workers gets SIGKILL once two shards are there: the run completes."""
    splits = replace(small_config.splits, train=SplitConfig(trajectories=40, snapshots=41))
    config = replace(small_config, splits=splits)
    there, here = replace(config, output=tmp_path / "there"), replace(config, output=tmp_path / "here")
    command = [sys.executable, "-c", SCRIPT, yaml.safe_dump(to_plain(there))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["killed", "47 True"]
    generate(here)
    assert data_files(there.output) == data_files(here.output)
    assert not list(there.output.rglob("*.part"))


def test_no_scheduler_at_the_address(
    small_config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ANSWER_WITHIN", 0.2)
    with pytest.raises(
        OSError, match=r"--scheduler: no Dask scheduler answers at tcp://127\.0\.0\.1:1; start"
    ):
        generate(replace(small_config, output=tmp_path, scheduler="tcp://127.0.0.1:1"))


def test_without_dask(small_config: GenerateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"--scheduler needs Dask: pip install 'slimwave\[cluster\]'"):
        generate(replace(small_config, output=tmp_path, scheduler="tcp://127.0.0.1:1"))


def test_complete_dataset_needs_no_cluster(dataset: Path, small_config: GenerateConfig) -> None:
    config = replace(small_config, output=dataset, scheduler="tcp://127.0.0.1:1")
    assert generate(config).new_trajectories == 0
