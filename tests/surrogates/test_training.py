"""Training: it learns, repeats, logs epochs, ends early, and refuses what does not fit before any work."""

import dataclasses
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from slimwave.data.run_folders import RunFolder
from slimwave.surrogates.checkpoints import load_tensors, load_training
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.networks import build_network
from slimwave.surrogates.runtimes import MissingExtraError
from slimwave.surrogates.task import WaveTask
from slimwave.surrogates.training import TrainResult, train
from slimwave.surrogates.training_settings import FitConfig, LogConfig, TrainConfig, ValidationConfig
from slimwave.surrogates.unrolling import Unrolled

Settings = Callable[..., TrainConfig]
TASK = WaveTask(0.05, (0.0625, 0.0625), 2.0, (0.2, 1.5), (0.08, 0.7), 1.5, 0.3)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_training(folder / "training.safetensors")[0]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_training_lowers_the_rollout_error_below_persistence(training: Settings, tmp_path: Path) -> None:
    """120 steps of a tiny network on four trajectories; persistence is wrong by more than 100 %."""
    fit = FitConfig(steps=120, batch_size=4, learning_rate=1e-2, warmup=5, unroll=(1, 2))
    network = NetworkConfig(width=8, depth=2, kernel_size=5)
    result = train(
        training(tmp_path / "run", fit=fit, network=network, validation=ValidationConfig(every=40, steps=4))
    )
    records = list(RunFolder.open(tmp_path / "run").records())
    assert [record["step"] for record in records] == [40, 80, 120]
    assert records[-1]["loss"] < 0.5 * records[0]["loss"]
    assert result.rollout_error == min(record["rollout_error"] for record in records) < 0.8


def test_two_runs_of_one_seed_are_equal_and_another_seed_differs(training: Settings, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train(training(tmp_path / name, seed=seed))
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_a_finished_run_is_not_trained_again(training: Settings, tmp_path: Path) -> None:
    config = training(tmp_path / "run")
    first = train(config)
    before = (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns
    again = train(config)
    assert again == first
    assert (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns == before


def test_the_folder_holds_the_best_validated_model(training: Settings, tmp_path: Path) -> None:
    """Errors rise after step 2, so the model of step 2 is kept although training goes on."""
    config = training(tmp_path / "run")
    errors = iter([0.3, 0.5, 0.4])
    seen = []

    def validate(_: object, model: torch.nn.Module) -> float:
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return next(errors)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("slimwave.surrogates.training.RolloutValidator.__call__", validate)
        result = train(config)
    assert (result.best_step, result.rollout_error) == (2, 0.3)
    assert same(load_tensors(tmp_path / "run" / "model.safetensors"), seen[0])


def test_more_snapshots_than_exist_are_refused(training: Settings, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected at least 101 snapshots in split 'valid', got 8"):
        train(training(tmp_path / "a", validation=ValidationConfig(steps=100)))
    with pytest.raises(ValueError, match=r"at least 21 snapshots in split 'train', got 8"):
        train(training(tmp_path / "b", fit=FitConfig(steps=2, unroll=(20,))))


def test_a_missing_dataset_and_an_unwritable_output_are_found_before_any_work(
    training: Settings, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        train(training(tmp_path / "run", data=tmp_path / "nowhere"))
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="cannot write into the output folder"):
        train(training(tmp_path / "file" / "run"))


def test_a_network_that_cannot_do_the_task_is_refused(training: Settings, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"reaches 1 cells"):
        train(training(tmp_path / "run", network=NetworkConfig(width=4, depth=1, kernel_size=3)))
    assert not (tmp_path / "run").exists()


def test_the_run_folder_tells_what_was_done(trained: TrainResult) -> None:
    run = json.loads((trained.folder / "run.json").read_text())
    assert (run["command"], run["status"], run["seed"]) == ("train", "done", 0)
    assert run["summary"]["rollout_error"] == pytest.approx(trained.rollout_error)


def test_the_log_tells_every_epoch(training: Settings, tmp_path: Path) -> None:
    """5 steps of 3 windows in epochs of 2 steps; 4 trajectories have 6 windows each."""
    fit = FitConfig(steps=5, batch_size=3, warmup=1, unroll=(1, 2), energy_weight=0.1, gradient_weight=0.2)
    result = train(training(tmp_path / "run", fit=fit))
    records = [json.loads(line) for line in (result.folder / "log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert [record["step"] for record in records] == [2, 4, 5]
    assert [record["passes"] for record in records] == pytest.approx([6 / 24, 12 / 24, 15 / 24])
    assert [record["unroll"] for record in records] == [1, 2, 2]
    for record in records:
        total = record["state_loss"] + 0.1 * record["energy_loss"] + 0.2 * record["gradient_loss"]
        assert record["loss"] == pytest.approx(total, rel=1e-5)
        assert 0 < record["gradient_norm"] <= record["largest_gradient_norm"]
        assert record["samples_per_second"] > 0 < record["seconds"]


@pytest.mark.parametrize(("patience", "steps"), [(1, 8), (2, 10), (None, 20)])
def test_the_last_stage_ends_after_as_many_validations_without_a_better_one(
    training: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int | None, steps: int
) -> None:
    """The rollout error is smallest at step 6."""
    errors = {2: 0.6, 4: 0.5, 6: 0.4}
    calls = []

    def validate(*_: object) -> float:
        calls.append(1)
        return errors.get(2 * len(calls), 0.45)

    monkeypatch.setattr("slimwave.surrogates.training.RolloutValidator.__call__", validate)
    fit = FitConfig(steps=20, batch_size=2, warmup=1, unroll=(1,), patience=patience)
    config = training(tmp_path / "run", fit=fit)
    result = train(config)
    assert (result.steps, result.best_step, result.rollout_error) == (steps, 6, 0.4)
    assert train(config) == result


def test_no_stage_but_the_last_ends_early(
    training: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error only rises from step 2 on, but the last stage, from step 10 on, is given its chance."""
    errors = iter(range(1, 100))
    monkeypatch.setattr(
        "slimwave.surrogates.training.RolloutValidator.__call__", lambda *_: float(next(errors))
    )
    fit = FitConfig(steps=20, batch_size=2, warmup=1, unroll=(1, 2), patience=2)
    assert train(training(tmp_path / "run", fit=fit)).steps == 14


def test_windows_read_one_by_one_train_the_same_model(training: Settings, tmp_path: Path) -> None:
    fit = FitConfig(steps=4, batch_size=2, warmup=1, unroll=(1, 2))
    for name, in_memory in (("memory", True), ("files", False)):
        train(training(tmp_path / name, fit=dataclasses.replace(fit, in_memory=in_memory)))
    assert same(weights(tmp_path / "memory"), weights(tmp_path / "files"))


def test_mixed_precision_trains_weights_in_single_precision(training: Settings, tmp_path: Path) -> None:
    """A few steps in bfloat16 end near those in float32, and not at the same numbers."""
    fit = FitConfig(steps=4, batch_size=2, warmup=1, unroll=(2,))
    losses = {}
    for precision in ("float32", "bfloat16"):
        result = train(training(tmp_path / precision, fit=dataclasses.replace(fit, precision=precision)))
        losses[precision] = [record["loss"] for record in RunFolder.open(result.folder).records()]
        assert all(value.dtype == torch.float32 for value in weights(result.folder).values())
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)
    assert losses["bfloat16"] != losses["float32"]


def test_compilation_without_a_compiler_is_refused_with_a_remedy(
    training: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no_such_compiler")
    with pytest.raises(ValueError, match=r"--fit\.compile: .* found no no_such_compiler; install g\+\+"):
        train(training(tmp_path / "run", fit=FitConfig(steps=2, compile=True, unroll=(1,))))
    assert not (tmp_path / "run").exists()


def test_compilation_does_not_warn_of_the_question_whether_a_side_absorbs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The graph breaks there, once per medium; other warnings of the same logger are still told."""
    monkeypatch.setattr("slimwave.surrogates.unrolling.require_compiler", lambda _: None)
    monkeypatch.setattr(torch, "compile", lambda function: function)
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("torch._dynamo.variables.tensor")
    logger.addHandler(handler)
    try:
        Unrolled(build_network(NetworkConfig(width=2), TASK), FitConfig(compile=True))
        logger.warning("Graph break from `Tensor.item()`, consider setting: …")
        logger.warning("another")
    finally:
        logger.removeHandler(handler)
    assert told == ["another"]


def test_curves_for_tensorboard_hold_the_log(training: Settings, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    result = train(training(tmp_path / "run", log=LogConfig(tensorboard=True)))
    curves = accumulator.EventAccumulator(str(result.folder / "tensorboard")).Reload()
    records = list(RunFolder.open(result.folder).records())
    for name in ("loss", "rollout_error", "learning_rate"):
        found = [(event.step, event.value) for event in curves.Scalars(name)]
        assert found == [(record["step"], pytest.approx(record[name])) for record in records]


def test_tensorboard_that_is_not_installed_is_told_before_any_work(
    training: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"--log\.tensorboard needs .* 'slimwave\[tensorboard\]'"):
        train(training(tmp_path / "run", log=LogConfig(tensorboard=True)))
    assert not (tmp_path / "run").exists()
