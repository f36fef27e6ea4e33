"""Two processes train as one with the doubled batch would, and process 0 alone writes."""

import dataclasses
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from slimwave.cli import USAGE, main
from slimwave.data.plain import to_plain
from slimwave.surrogates.checkpoints import load_tensors, load_training
from slimwave.surrogates.training import train
from slimwave.surrogates.training_settings import FitConfig, TrainConfig

Settings = Callable[..., TrainConfig]

FIT = FitConfig(steps=6, batch_size=2, warmup=1, unroll=(1, 2), noise=0.05, ema=0.5, energy_weight=0.1)


@pytest.fixture(scope="module")
def together(training: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A training under torchrun, and what its two processes printed."""
    root = tmp_path_factory.mktemp("together")
    settings = to_plain(training(root / "run", fit=FIT))
    (root / "settings.yaml").write_text(yaml.safe_dump(settings))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    done = subprocess.run(
        [*launcher, "-m", "slimwave", "train", f"--config={root / 'settings.yaml'}"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return root / "run", done.stdout


def test_two_processes_train_as_one_with_the_doubled_batch(
    training: Settings, tmp_path: Path, together: tuple[Path, str]
) -> None:
    alone = train(training(tmp_path / "alone", fit=dataclasses.replace(FIT, batch_size=4)))
    logs = []
    for folder in (together[0], alone.folder):
        lines = (folder / "log.jsonl").read_text().splitlines()
        logs.append([json.loads(line) for line in lines])
    assert [[entry["step"] for entry in log] for log in logs] == [[2, 4, 6]] * 2
    for two, one in zip(*logs, strict=True):
        for name in ("passes", "loss", "state_loss", "energy_loss", "gradient_norm", "rollout_error"):
            assert two[name] == pytest.approx(one[name], rel=1e-4)
    pair = (load_tensors(folder / "model.safetensors") for folder in (together[0], alone.folder))
    for two, one in zip(*(list(tensors.values()) for tensors in pair), strict=True):
        assert torch.allclose(two, one, rtol=1e-3, atol=1e-5)


def test_process_0_alone_writes_and_speaks(together: tuple[Path, str]) -> None:
    folder, printed = together
    assert len(printed.splitlines()) == 1
    assert json.loads((folder / "run.json").read_text())["status"] == "done"
    assert load_training(folder / "training.safetensors")[1].processes == 2
    assert not list(folder.glob("*.part"))


def as_rank(rank: int, port: int, config: TrainConfig) -> None:
    """One of two processes, with the environment that torchrun gives it."""
    names = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": 2,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    os.environ.update({name: str(value) for name, value in names.items()}, TORCHELASTIC_RUN_ID="test")
    torch.set_num_threads(1)
    train(config)


def start_pair(config: TrainConfig) -> list[multiprocessing.process.BaseProcess]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["slimwave.surrogates.training"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pair = [context.Process(target=as_rank, args=[rank, port, config]) for rank in range(2)]
    for process in pair:
        process.start()
    return list(pair)


def test_a_killed_pair_goes_on_bit_by_bit(
    training: Settings, tmp_path: Path, together: tuple[Path, str]
) -> None:
    config = training(tmp_path / "run", fit=FIT)
    log = tmp_path / "run" / "log.jsonl"
    pair = start_pair(config)
    while all(process.is_alive() for process in pair) and not (log.is_file() and log.read_text()):
        time.sleep(0.001)
    for process in pair:
        process.kill()
        process.join()
    again = start_pair(config)
    for process in again:
        process.join(120)
    assert [process.exitcode for process in again] == [0, 0]
    expected, found = (
        load_training(folder / "training.safetensors")[0] for folder in (together[0], tmp_path / "run")
    )
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_other_commands_are_refused_under_torchrun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("WORLD_SIZE", "2"), ("RANK", "0")):
        monkeypatch.setenv(name, value)
    assert main(["prune", "--model", "x"]) == USAGE
    assert "only 'train' under torchrun; start it without torchrun" in capsys.readouterr().err
