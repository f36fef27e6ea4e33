"""Training: it learns, repeats, resumes bit by bit after an interruption, and keeps its best model at NaN."""

import dataclasses
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from slimwave.data.run_folders import RunFolder
from slimwave.surrogates import fitting
from slimwave.surrogates.checkpoints import load_model, load_tensors, load_training
from slimwave.surrogates.fitting import (
    Fitter,
    TrainingDivergedError,
    learning_rate,
    relative_loss,
    unrolled_steps,
)
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.training import TrainResult, train
from slimwave.surrogates.training_settings import FitConfig, TrainConfig, ValidationConfig

Settings = Callable[..., TrainConfig]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_training(folder / "training.safetensors")[0]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Press Ctrl-C in the middle of an optimiser step, after the weights have changed."""
    original = Fitter._update_average

    def interrupted(self: Fitter) -> None:
        if self.position.step == step:
            raise KeyboardInterrupt
        original(self)

    monkeypatch.setattr(Fitter, "_update_average", interrupted)


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


def test_an_interruption_between_log_and_state_repeats_no_log_line(
    training: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C after a validation was logged, before the position was saved: the validation is done again."""
    run = training(tmp_path / "run", fit=FitConfig(steps=6, batch_size=2, warmup=1, unroll=(1, 2)))

    def interrupted(_self: Fitter, _path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Fitter, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(run)
    train(run)
    assert [record["step"] for record in RunFolder.open(tmp_path / "run").records()] == [2, 4, 6]


@pytest.mark.parametrize(
    "fit",
    [
        FitConfig(steps=6, batch_size=2, warmup=1, unroll=(1, 2)),
        FitConfig(steps=6, batch_size=2, warmup=1, unroll=(2,), noise=0.05, ema=0.5),
    ],
    ids=["plain", "noise-ema"],
)
def test_resume_after_an_interruption_repeats_the_uninterrupted_run_bit_by_bit(
    training: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: FitConfig
) -> None:
    whole = train(training(tmp_path / "whole", fit=fit))
    broken = training(tmp_path / "broken", fit=fit)
    with monkeypatch.context() as patch:
        interrupt_at(patch, step=3)
        with pytest.raises(KeyboardInterrupt):
            train(broken)
    position = load_training(tmp_path / "broken" / "training.safetensors")[1]
    assert position.step == 2
    assert not RunFolder.open(tmp_path / "broken").done
    resumed = train(broken)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "broken"))
    for name in ("model.safetensors", "early.safetensors", "initial.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()
    assert (whole.rollout_error, whole.best_step) == (resumed.rollout_error, resumed.best_step)
    logs = [
        [{**record, "cpu_seconds": 0} for record in RunFolder.open(tmp_path / name).records()]
        for name in ("whole", "broken")
    ]
    assert logs[0] == logs[1]


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


def test_nan_stops_names_the_step_and_keeps_the_last_good_model(
    training: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = fitting.relative_loss
    calls = []

    def poisoned(*arguments: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return original(*arguments) * (math.nan if len(calls) == 4 else 1.0)

    monkeypatch.setattr(fitting, "relative_loss", poisoned)
    with pytest.raises(TrainingDivergedError, match=r"diverged at step 4: loss nan.* from step 2, is kept"):
        train(training(tmp_path / "run"))
    good = load_model(tmp_path / "run")
    assert all(torch.isfinite(value).all() for value in good.state_dict().values())
    assert load_training(tmp_path / "run" / "training.safetensors")[1].step == 2


def test_nan_before_the_first_validation_says_so(
    training: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "relative_loss", lambda f, *_: f.mean() * math.nan)
    with pytest.raises(TrainingDivergedError, match=r"step 1: .*no checkpoint had been validated yet"):
        train(training(tmp_path / "run"))


def test_a_resume_with_other_settings_is_refused_by_name(training: Settings, tmp_path: Path) -> None:
    train(training(tmp_path / "run"))
    other = training(tmp_path / "run", network=NetworkConfig(width=5, depth=2, kernel_size=3))
    with pytest.raises(ValueError, match=r"--network\.width was 4, now 5"):
        train(other)
    result = train(dataclasses.replace(other, overwrite=True))
    assert result.parameters == sum(
        t.numel() for t in load_tensors(tmp_path / "run" / "model.safetensors").values()
    )


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


def test_loss_weighs_u_and_v_by_their_scales_and_forgets_the_amplitude() -> None:
    """An error of ε σ in one of the two channels of a target of size r costs ε / (√2 r)."""
    scale = torch.tensor([0.2, 3.0]).reshape(1, 2, 1, 1)
    target = torch.randn(2, 1, 2, 6, 6) * scale
    size = (target / scale).square().mean(dim=(1, 2, 3, 4)).sqrt()
    expected = float((0.01 / math.sqrt(2) / size).mean())
    for channel in (0, 1):
        forecast = target.clone()
        forecast[:, :, channel] += 0.01 * scale[0, channel]
        for amplitude in (1, 50):
            loss = relative_loss(amplitude * forecast, amplitude * target, scale)
            assert loss.item() == pytest.approx(expected, rel=1e-3)


def test_loss_has_a_finite_slope_at_a_perfect_forecast_and_at_rest() -> None:
    for target in (torch.randn(1, 1, 2, 6, 6), torch.zeros(1, 1, 2, 6, 6)):
        forecast = target.clone().requires_grad_()
        relative_loss(forecast, target, torch.ones(1, 2, 1, 1)).backward()  # type: ignore[no-untyped-call]
        assert forecast.grad is not None
        assert bool(torch.isfinite(forecast.grad).all())


def test_schedule_and_curriculum() -> None:
    fit = FitConfig(steps=90, learning_rate=1.0, warmup=9, unroll=(1, 2, 4))
    rates = [learning_rate(fit, step) for step in range(90)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(rates[9], rel=0.01)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[9:]))
    assert rates[-1] < 0.02
    assert [unrolled_steps(fit, step) for step in (0, 29, 30, 59, 60, 89)] == [1, 1, 2, 2, 4, 4]
