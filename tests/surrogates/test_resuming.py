"""A training stopped at any moment goes on as if it had not been; one that fails keeps its best model."""

import dataclasses
import math
import multiprocessing
import os
import pkgutil
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from slimwave.data import durable
from slimwave.data.generation import generate
from slimwave.data.run_folders import RunFolder
from slimwave.data.scenarios import GenerateConfig
from slimwave.surrogates import losses
from slimwave.surrogates.checkpoints import CheckpointError, load_model, load_tensors, load_training
from slimwave.surrogates.fitting import TrainingDivergedError
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.training import TrainResult, train
from slimwave.surrogates.training_settings import FitConfig, TrainConfig

Settings = Callable[..., TrainConfig]

PLAIN = FitConfig(steps=6, batch_size=2, warmup=1, unroll=(1, 2))
EVERYTHING = FitConfig(
    steps=6,
    batch_size=5,
    warmup=1,
    unroll=(2,),
    noise=0.05,
    ema=0.5,
    energy_weight=0.1,
    gradient_weight=0.1,
    patience=3,
    precision="bfloat16",
)
MEASURED = ("cpu_seconds", "seconds", "samples_per_second")

MOMENTS = [
    ("slimwave.surrogates.batches:Batches.draw", 1),
    ("slimwave.surrogates.fitting:Fitter._update_average", 3),
    ("slimwave.surrogates.validation:RolloutValidator.__call__", 2),
    ("slimwave.surrogates.training:save_model", 1),
    ("slimwave.data.run_folders:RunFolder.log", 2),
    ("slimwave.surrogates.fitting:save_training", 1),
    ("slimwave.surrogates.fitting:save_training", 3),
    ("slimwave.data.run_folders:RunFolder.finish", 1),
]


def assert_same_runs(one: Path, other: Path) -> None:
    """Weights, moments, average, best model and log agree bit by bit, but for what a clock says."""
    positions = []
    tensors = []
    for folder in (one, other):
        found, position = load_training(folder / "training.safetensors")
        tensors.append(found)
        positions.append(dataclasses.replace(position, cpu_seconds=0.0))
    assert positions[0] == positions[1]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(value, tensors[1][name]) for name, value in tensors[0].items())
    for name in ("model.safetensors", "early.safetensors", "initial.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    logs = [
        [{**record, **dict.fromkeys(MEASURED, 0)} for record in RunFolder.open(folder).records()]
        for folder in (one, other)
    ]
    assert logs[0] == logs[1]


@pytest.fixture(scope="module")
def whole(training: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainResult]:
    """Uninterrupted trainings."""
    root = tmp_path_factory.mktemp("whole")
    return {
        name: train(training(root / name, fit=fit)) for name, fit in (("plain", PLAIN), ("all", EVERYTHING))
    }


def stop_at(patch: pytest.MonkeyPatch, target: str, call: int, *, after: bool) -> None:
    """Press Ctrl-C right before or after a call of ``module:function`` or ``module:Class.method``."""
    function = pkgutil.resolve_name(target)
    calls: list[int] = []

    def stopped(*arguments: Any, **keywords: Any) -> Any:
        calls.append(1)
        if len(calls) == call and not after:
            raise KeyboardInterrupt
        outcome = function(*arguments, **keywords)
        if len(calls) == call:
            raise KeyboardInterrupt
        return outcome

    patch.setattr(target.replace(":", "."), stopped)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("target", "call"), MOMENTS, ids=[f"{t.split('.')[-1]}-{n}" for t, n in MOMENTS])
def test_a_run_stopped_at_any_moment_ends_as_the_uninterrupted_one(
    training: Settings, tmp_path: Path, whole: dict[str, TrainResult], target: str, call: int, after: bool
) -> None:
    config = training(tmp_path / "run", fit=EVERYTHING)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, target, call, after=after)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    train(config)
    assert_same_runs(whole["all"].folder, tmp_path / "run")


def train_and_report(config: TrainConfig) -> None:
    """In a process of its own, which is going to be killed."""
    torch.set_num_threads(1)
    train(config)


def test_a_run_killed_again_and_again_ends_as_the_uninterrupted_one(
    training: Settings, tmp_path: Path, whole: dict[str, TrainResult]
) -> None:
    """SIGKILL right after each of the first two epochs is logged, while the process works on."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["slimwave.surrogates.training"])
    config = training(tmp_path / "run", fit=PLAIN)
    log = tmp_path / "run" / "log.jsonl"
    for epochs in (1, 2):
        process = context.Process(target=train_and_report, args=[config])
        process.start()
        while process.is_alive() and (not log.is_file() or log.read_text().count("\n") < epochs):
            time.sleep(0.001)
        process.kill()
        process.join()
    assert log.read_text().count("\n") >= 2
    train(config)
    assert_same_runs(whole["plain"].folder, tmp_path / "run")


def test_nan_stops_names_the_step_and_keeps_the_last_good_model(
    training: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, call=4, factor=math.nan)
    with pytest.raises(TrainingDivergedError, match=r"diverged at step 4: loss nan.* from step 2, is kept"):
        train(training(tmp_path / "run"))
    good = load_model(tmp_path / "run")
    assert all(torch.isfinite(value).all() for value in good.state_dict().values())
    assert load_training(tmp_path / "run" / "training.safetensors")[1].step == 2


def test_an_exploding_loss_stops_the_training_too(
    training: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, call=3, factor=1e6)
    with pytest.raises(TrainingDivergedError, match=r"diverged at step 3: loss \d+.* from step 2, is kept"):
        train(training(tmp_path / "run"))
    monkeypatch.undo()
    assert train(training(tmp_path / "run")).steps == 6


def test_nan_before_the_first_validation_says_so(
    training: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, call=1, factor=math.nan)
    with pytest.raises(TrainingDivergedError, match=r"step 1: .*no checkpoint had a finite .* error yet"):
        train(training(tmp_path / "run"))


def test_a_validation_that_has_blown_up_is_never_the_best(training: Settings, tmp_path: Path) -> None:
    """One huge step: its loss, from before it, is finite, but no rollout of what it leaves is."""
    fit = FitConfig(steps=1, batch_size=2, learning_rate=1e10, warmup=0, unroll=(1,))
    with pytest.raises(TrainingDivergedError, match=r"no validation up to step 1 .*--overwrite"):
        train(training(tmp_path / "run", fit=fit))
    assert not list((tmp_path / "run").glob("model*"))
    assert not (tmp_path / "run" / "training.safetensors").exists()
    assert not RunFolder.open(tmp_path / "run").done


def test_a_fit_that_has_blown_up_does_not_replace_its_last_good_position(
    training: Settings, tmp_path: Path
) -> None:
    """Validated at steps 2, 4 and 6; the run goes on from step 2, and a smaller rate needs --overwrite."""
    with pytest.MonkeyPatch.context() as patch:
        errors = iter([0.3, math.inf, math.nan])
        patch.setattr("slimwave.surrogates.training.RolloutValidator.__call__", lambda *_: next(errors))
        result = train(training(tmp_path / "run"))
    assert (result.best_step, result.rollout_error, result.steps) == (2, 0.3, 6)
    assert load_training(tmp_path / "run" / "training.safetensors")[1].step == 2
    bests = [record["best"] for record in RunFolder.open(tmp_path / "run").records()]
    assert bests == [True, False, False]


def spoil(patch: pytest.MonkeyPatch, call: int, factor: float) -> None:
    """Multiply the loss of one optimiser step."""
    calls: list[int] = []
    original = losses.relative_loss

    def spoilt(*arguments: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return original(*arguments) * (factor if len(calls) == call else 1.0)

    patch.setattr(losses, "relative_loss", spoilt)


def test_a_resume_with_other_settings_is_refused_by_name(
    training: Settings, tmp_path: Path, whole: dict[str, TrainResult]
) -> None:
    folder = Path(shutil.copytree(whole["plain"].folder, tmp_path / "run"))
    other = training(folder, fit=PLAIN, network=NetworkConfig(width=5, depth=2, kernel_size=3))
    with pytest.raises(ValueError, match=r"--network\.width was 4, now 5"):
        train(other)
    with pytest.raises(ValueError, match=r"settings \(--network\.kernel_size was 3, now 5\);"):
        train(training(folder, fit=PLAIN, network=NetworkConfig(width=4, depth=2)))
    with pytest.raises(ValueError, match=r"--network\.name was residual_cnn, now leapfrog"):
        train(training(folder, fit=PLAIN, network=NetworkConfig("leapfrog")))
    with pytest.raises(ValueError, match=r"--fit\.energy_weight was 0\.0, now 0\.5"):
        train(training(folder, fit=dataclasses.replace(PLAIN, energy_weight=0.5)))
    result = train(dataclasses.replace(other, overwrite=True))
    assert result.parameters == sum(t.numel() for t in load_tensors(folder / "model.safetensors").values())


def test_a_default_that_is_written_out_is_the_same_setting(training: Settings, tmp_path: Path) -> None:
    network = NetworkConfig(width=4, depth=2, kernel_size=3)
    first = train(training(tmp_path / "run", network=network))
    assert train(training(tmp_path / "run", network=network.resolved())) == first


def test_a_resume_on_other_data_is_refused_by_what_differs(
    training: Settings,
    dataset_settings: Callable[..., GenerateConfig],
    tmp_path: Path,
    whole: dict[str, TrainResult],
) -> None:
    folder = Path(shutil.copytree(whole["plain"].folder, tmp_path / "run"))
    other = dataset_settings(tmp_path / "other", seed=5)
    generate(other)
    with pytest.raises(
        ValueError, match=r"other is not the dataset that .*run was trained on .* was .*, now"
    ):
        train(training(folder, fit=PLAIN, data=other.output))


def test_a_resume_by_another_number_of_processes_is_refused(
    training: Settings, tmp_path: Path, whole: dict[str, TrainResult]
) -> None:
    folder = Path(shutil.copytree(whole["plain"].folder, tmp_path / "run"))
    state = folder / "training.safetensors"
    state.write_bytes(state.read_bytes().replace(b'\\"processes\\": 1', b'\\"processes\\": 2'))
    with pytest.raises(CheckpointError, match=r"written by 2 process\(es\), now there are 1"):
        train(training(folder, fit=PLAIN))


def test_a_full_disk_leaves_the_last_position_readable(
    training: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, TrainResult]
) -> None:
    """The second position does not fit any more; with room again the run goes on from the first."""
    original = os.fsync
    calls: list[int] = []

    def full(descriptor: int) -> None:
        calls.append(1)
        if len(calls) == 20:
            raise OSError(28, "No space left on device")
        original(descriptor)

    monkeypatch.setattr(durable.os, "fsync", full)
    config = training(tmp_path / "run", fit=PLAIN)
    with pytest.raises(OSError, match="No space left"):
        train(config)
    monkeypatch.undo()
    assert not list((tmp_path / "run").glob("*.part"))
    train(config)
    assert_same_runs(whole["plain"].folder, tmp_path / "run")
