"""Forecasts from datasets and from the user's own fields, beyond the reference; every mistake in words."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slimwave.commands import rollout as rollout_command
from slimwave.data.generation import generate
from slimwave.data.scenarios import DomainConfig, GenerateConfig, TimeConfig, WallConfig
from slimwave.data.shards import DatasetError
from slimwave.data.windows import load_trajectories
from slimwave.surrogates.checkpoints import load_model
from slimwave.surrogates.forecasting import rollout
from slimwave.surrogates.metrics import energy, relative_l2, vrmse
from slimwave.surrogates.rollout import rollout as roll_out
from slimwave.surrogates.rollout_settings import RolloutConfig, RolloutWalls
from slimwave.surrogates.training import TrainResult
from slimwave.tables import percent

Settings = Callable[..., RolloutConfig]


@pytest.fixture
def forecasting(trained: TrainResult, dataset: Path, tmp_path: Path) -> Settings:
    """Settings of a rollout: ``forecasting(**changes)``."""

    def settings(**changes: Any) -> RolloutConfig:
        defaults: dict[str, Any] = {
            "model": trained.folder,
            "data": dataset,
            "output": tmp_path / "rollout",
            "device": "cpu",
        }
        return RolloutConfig(**(defaults | changes))

    return settings


def pulse(nx: int = 17, ny: int = 13) -> np.ndarray:
    x, y = np.linspace(0, 1, nx)[:, None], np.linspace(0, 1, ny)[None, :]
    return np.asarray(np.sin(np.pi * x) ** 2 * np.sin(np.pi * y) ** 2)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[np.ndarray], Path]:
    """Save an array and return its path."""

    def save(values: np.ndarray) -> Path:
        path = tmp_path / f"field_{len(list(tmp_path.glob('field_*')))}.npy"
        np.save(path, values)
        return path

    return save


def test_a_dataset_forecast_is_the_model_s_own_iteration(forecasting: Settings, dataset: Path) -> None:
    """Step by step with ``model(…)``, from snapshot 2 of test trajectory 1."""
    result = rollout(forecasting(trajectory=1, start=2))
    model = load_model(forecasting().model)
    data = load_trajectories(dataset, "test")
    state = torch.stack([data.u[1:2, 2], data.v[1:2, 2]], dim=1)
    assert np.array_equal(result.forecast[0], state[0].numpy())
    assert result.forecast.shape == result.reference.shape == (8, 2, 17, 13)
    for step in range(1, 8):
        with torch.no_grad():
            state = model(state, data.c[1:2, None], data.walls[1:2])
        assert np.allclose(result.forecast[step], state[0].numpy(), atol=1e-6)
        truth = torch.stack([data.u[1, 2 + step], data.v[1, 2 + step]])
        assert np.allclose(result.relative_l2[step - 1], relative_l2(state[0], truth).numpy(), rtol=1e-4)
        assert np.allclose(result.vrmse[step - 1], vrmse(state[0], truth).numpy(), rtol=1e-4)
    assert np.allclose(result.times, 0.05 * np.arange(8))
    expected = energy(torch.from_numpy(result.reference), data.c[1], (0.0625, 0.0625))
    assert np.allclose(result.reference_energy, expected)
    assert result.latency.calls == 7
    assert 0 < result.latency.median <= result.latency.p95


def test_a_forecast_goes_on_beyond_the_reference(forecasting: Settings) -> None:
    result = rollout(forecasting(steps=25))
    assert result.forecast.shape[0] == result.energy.shape[0] == 26
    assert result.reference.shape[0] == 10
    assert result.relative_l2.shape == result.vrmse.shape == (9, 2)
    told = result.summary()
    assert (
        told["relative_l2"].keys() == told["correlation"].keys() == told["within_short"].keys() == {"1", "9"}
    )
    assert told["reference_steps"] == 9
    assert told["energy_drift"]["largest"] >= abs(told["energy_drift"]["last"])
    assert told["reference_energy_drift"]["largest"] < 0.2
    lines = [json.loads(line) for line in (result.folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 26))
    assert lines[8]["relative_l2"] == pytest.approx(float(result.relative_l2[8, 0]))
    assert lines[8]["at_walls"] == pytest.approx(float(result.errors["at_walls"][8]))
    assert lines[9]["relative_l2"] is lines[9]["long"] is None


def test_energy_that_should_leave_is_a_drift_and_no_error(
    forecasting: Settings, dataset_settings: Callable[..., GenerateConfig], tmp_path: Path
) -> None:
    """Between absorbing sides E(t) / E(0) − 1 goes to −1; the error is the distance from the reference."""
    data = dataset_settings(tmp_path / "data", walls=WallConfig(*4 * ["absorbing"]))
    generate(data)
    result = rollout(forecasting(data=data.output, trajectory=0))
    own, true = result.energy[1:10], result.reference_energy[1:]
    told = result.summary()
    assert told["energy_drift"]["last"] == pytest.approx(own[-1] / result.energy[0] - 1, rel=1e-5)
    assert told["reference_energy_drift"]["last"] == pytest.approx(true[-1] / result.energy[0] - 1, rel=1e-5)
    expected = np.abs(own - true) / result.reference_energy[0]
    assert np.allclose(result.errors["energy_error"], expected, rtol=1e-4)
    assert told["energy_error"]["9"] == pytest.approx(expected[-1], rel=1e-4)
    assert told["energy_error"]["largest"] == pytest.approx(expected.max(), rel=1e-4)
    lines = [json.loads(line) for line in (result.folder / "log.jsonl").read_text().splitlines()]
    assert lines[3]["energy_error"] == pytest.approx(expected[3], rel=1e-4)


def test_the_command_prints_the_error_of_the_energy_or_its_drift_without_a_reference(
    forecasting: Settings,
) -> None:
    with_reference = rollout_command(forecasting(animation=False))
    largest = with_reference.record["energy_error"]["largest"]
    assert f"largest energy error {percent(largest)}" in with_reference.text
    assert "drift" not in with_reference.text
    without = rollout_command(forecasting(start=9, steps=4, animation=False, overwrite=True))
    drift = without.record["energy_drift"]["largest"]
    assert f"no reference to compare with; largest energy drift {percent(drift)}" in without.text


def test_the_fields_are_kept(forecasting: Settings) -> None:
    result = rollout(forecasting(steps=3))
    with np.load(result.folder / "rollout.npz") as kept:
        assert np.array_equal(kept["forecast"], result.forecast)
        assert set(kept.files) >= {"times", "x", "y", "reference", "wave_speed", "walls", "relative_l2"}


def test_a_user_s_field_needs_no_dataset(
    forecasting: Settings, saved: Callable[[np.ndarray], Path], tmp_path: Path
) -> None:
    u = pulse(20, 15)
    config = forecasting(
        data=tmp_path / "nowhere",
        initial=saved(u),
        wave_speed=1.5,
        walls=RolloutWalls(left="neumann"),
        steps=4,
    )
    result = rollout(config)
    assert result.forecast.shape == (5, 2, 20, 15)
    assert np.allclose(result.forecast[0, 0], u, atol=1e-6)
    assert not result.forecast[0, 1].any()
    assert result.walls.tolist() == [1.0, -1.0, -1.0, -1.0]
    assert result.relative_l2.shape == (0, 2)
    assert result.valid_time is None
    assert result.summary()["relative_l2"] == {}
    assert np.all(result.forecast[1:, 0, -1, :] == 0)


def test_a_user_s_velocity_and_medium_are_used(
    forecasting: Settings, saved: Callable[[np.ndarray], Path]
) -> None:
    state = np.stack([pulse(), 3 * pulse()])
    speed = 1 + pulse()
    result = rollout(forecasting(initial=saved(state), wave_speed=saved(speed), steps=3))
    assert np.allclose(result.forecast[0], state, atol=1e-6)
    assert np.allclose(result.wave_speed, speed, atol=1e-6)
    inputs = [torch.from_numpy(a).float() for a in (state[None], speed[None, None])]
    walls = -torch.ones(1, 4)
    expected = roll_out(load_model(forecasting().model), *inputs, walls, steps=3)
    assert np.allclose(result.forecast[1:], expected[0].numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (np.zeros(5), r"--initial: expected .* \(nx, ny\) for u or \(2, nx, ny\) .* got \(5,\)"),
        (np.zeros((3, 17, 13)), r"got \(3, 17, 13\)"),
        (np.full((17, 13), np.nan), r"--initial: .* holds NaN or infinity"),
        (np.zeros((17, 13), dtype=complex), r"must hold one array of real numbers"),
        (np.ones((17, 13)), r"--initial: u must vanish on Dirichlet walls, got 1 of at most 1"),
        (np.stack([pulse(), np.ones((17, 13))]), r"--initial: u_t must vanish on Dirichlet walls, got 1 of "),
        (np.zeros((1, 5)), r"--initial: expected at least 2 nodes along each axis, got \(1, 5\)"),
    ],
)
def test_a_field_that_cannot_start_a_forecast_is_refused(
    forecasting: Settings, saved: Callable[[np.ndarray], Path], field: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        rollout(forecasting(initial=saved(field), steps=2))


@pytest.mark.parametrize(
    ("speed", "message"),
    [
        (-pulse() - 1, r"--wave_speed: expected positive values, got a minimum of -2"),
        (np.full((17, 13), np.nan), r"--wave_speed: .* holds NaN or infinity"),
        (np.ones((13, 17)), r"expected a number or an array of .* \(17, 13\), got \(13, 17\)"),
        (
            np.full((17, 13), 9.0),
            r"--wave_speed: expected a wave speed of at most 2\.5, .* got 9; .* --network\.depth 8",
        ),
    ],
)
def test_a_medium_that_does_not_fit_is_refused(
    forecasting: Settings, saved: Callable[[np.ndarray], Path], speed: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        rollout(forecasting(initial=saved(pulse()), wave_speed=saved(speed), steps=2))


def test_files_that_are_no_arrays_are_refused(forecasting: Settings, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"--initial: .*nowhere\.npy does not exist"):
        rollout(forecasting(initial=tmp_path / "nowhere.npy", steps=2))
    broken = tmp_path / "broken.npy"
    for content in (b"", b"hello", b"\x93NUMPY\x01\x00"):
        broken.write_bytes(content)
        with pytest.raises(ValueError, match=r"--initial: .* is not a readable \.npy file"):
            rollout(forecasting(initial=broken, steps=2))
    np.save(broken, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="is not a readable"):
        rollout(forecasting(initial=broken, steps=2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "ood_loud"}, r"has the splits train, valid, test, ood, got ood_loud"),
        ({"trajectory": 2}, r"--trajectory 2: there are 2 trajectories in test; expected 0 to 1"),
        ({"start": 10}, r"--start 10: there are 10 snapshots in test; expected 0 to 9"),
        ({"start": 9}, r"--start 9 is the last snapshot"),
    ],
)
def test_a_start_that_does_not_exist_is_refused(
    forecasting: Settings, changes: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        rollout(forecasting(**changes))


def test_the_last_snapshot_can_start_a_forecast_without_a_reference(forecasting: Settings) -> None:
    assert rollout(forecasting(start=9, steps=4)).relative_l2.shape == (0, 2)


def test_a_dataset_on_another_spacing_or_macro_step_is_refused_but_another_size_is_not(
    forecasting: Settings, dataset_settings: Callable[..., GenerateConfig], tmp_path: Path
) -> None:
    finer = dataset_settings(tmp_path / "finer", domain=DomainConfig(1.0, 0.75, nx=33, ny=25))
    slower = dataset_settings(tmp_path / "slower", time=TimeConfig(step=0.06))
    larger = dataset_settings(tmp_path / "larger", domain=DomainConfig(1.25, 1.0, nx=21, ny=17))
    for config in (finer, slower, larger):
        generate(config)
    with pytest.raises(
        ValueError, match=r"finer has grid spacing \(0\.03125, 0\.03125\), .* \(0\.0625, 0\.0625\)"
    ):
        rollout(forecasting(data=finer.output))
    with pytest.raises(ValueError, match=r"slower has a snapshot every 0\.06, .* 0\.05, .* --time\.step"):
        rollout(forecasting(data=slower.output))
    assert rollout(forecasting(data=larger.output)).forecast.shape[-2:] == (21, 17)


def test_a_dataset_without_a_field_is_refused(
    forecasting: Settings, dataset_settings: Callable[..., GenerateConfig], tmp_path: Path
) -> None:
    h5py = pytest.importorskip("h5py")
    config = dataset_settings(tmp_path / "data")
    generate(config)
    for path in (tmp_path / "data" / "data" / "test").glob("*.hdf5"):
        with h5py.File(path, "a") as file:
            del file["t0_fields/v"]
    with pytest.raises(DatasetError, match=r"v"):
        rollout(forecasting(data=config.output))


def test_sparse_loops_give_the_same_forecast(forecasting: Settings, tmp_path: Path) -> None:
    eager = rollout(forecasting(steps=6))
    sparse = rollout(forecasting(steps=6, runtime="sparse", output=tmp_path / "sparse"))
    assert sparse.runtime == "sparse"
    assert np.allclose(eager.forecast, sparse.forecast, atol=1e-5 * np.abs(eager.forecast).max())


def test_onnx_runtime_gives_the_same_forecast(forecasting: Settings, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    eager = rollout(forecasting(steps=6))
    onnx = rollout(forecasting(steps=6, runtime="onnx", output=tmp_path / "onnx"))
    assert onnx.runtime == "onnx"
    assert np.allclose(eager.forecast, onnx.forecast, atol=1e-5 * np.abs(eager.forecast).max())


def test_a_second_rollout_replaces_the_log(forecasting: Settings) -> None:
    for _ in range(2):
        result = rollout(forecasting(steps=3))
    assert len((result.folder / "log.jsonl").read_text().splitlines()) == 3
    with pytest.raises(ValueError, match=r"--steps was 3, now 4"):
        rollout(forecasting(steps=4))
    assert len(rollout(dataclasses.replace(forecasting(steps=4), overwrite=True)).times) == 5
