"""The comparison: honest rows, errors that other code confirms, and a result that JSON can hold."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slimwave.commands import compare as compare_command
from slimwave.compression.counting import count_macs
from slimwave.data.generation import generate
from slimwave.data.scenarios import GenerateConfig, PulseConfig, SplitConfig, TimeConfig
from slimwave.data.windows import load_trajectories
from slimwave.surrogates.checkpoints import load_model
from slimwave.surrogates.comparison import Comparison, compare
from slimwave.surrogates.comparison_settings import CompareConfig
from slimwave.surrogates.counting import count_nonzero_macs
from slimwave.surrogates.metrics import energy, relative_l2
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.pruning import prune
from slimwave.surrogates.pruning_settings import PruneConfig
from slimwave.surrogates.rollout import rollout
from slimwave.surrogates.scores import step_errors
from slimwave.surrogates.training import TrainResult, train
from slimwave.surrogates.training_settings import FitConfig, TrainConfig, ValidationConfig


@pytest.fixture(scope="module")
def settings(
    trained: TrainResult,
    training: Callable[..., TrainConfig],
    dataset: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> CompareConfig:
    """A full model, a one-way model and the one-way model pruned."""
    root = tmp_path_factory.mktemp("models")
    network = NetworkConfig(width=4, depth=2, kernel_size=3, conv="cp", rank=2)
    train(training(root / "one_way", network=network))
    prune(
        PruneConfig(
            model=root / "one_way",
            data=dataset,
            output=root / "pruned",
            rounds=2,
            tolerance=None,
            fit=FitConfig(steps=2, batch_size=2, unroll=(1,)),
            validation=ValidationConfig(every=2, steps=4),
            device="cpu",
        )
    )
    return CompareConfig(
        data=dataset,
        models={"full": trained.folder, "one-way": root / "one_way", "pruned": root / "pruned"},
        coarse_elements=(2, 4),
        latency_steps=3,
        output=root / "compare",
        device="cpu",
    )


@pytest.fixture(scope="module")
def comparison(settings: CompareConfig) -> Comparison:
    return compare(settings)


def test_every_competitor_has_a_row(comparison: Comparison) -> None:
    assert [(row.name, row.kind) for row in comparison.rows] == [
        ("full", "model"),
        ("one-way", "model"),
        ("pruned", "model"),
        ("persistence", "persistence"),
        ("FE 2 × 2", "finite elements"),
        ("FE 4 × 3", "finite elements"),
    ]
    assert comparison.steps == {"test": [1, 9], "ood": [1, 9]}
    assert comparison.trajectories == {"test": 2, "ood": 2}


@pytest.mark.parametrize("split", ["test", "ood"])
def test_model_errors_are_those_of_a_rollout(
    comparison: Comparison, settings: CompareConfig, split: str
) -> None:
    data = load_trajectories(settings.data, split)
    state = torch.stack([data.u[:, 0], data.v[:, 0]], dim=1)
    forecast = rollout(load_model(settings.models["one-way"]), state, data.c[:, None], data.walls, steps=9)
    expected = relative_l2(forecast[:, :, 0], data.u[:, 1:]).numpy()
    assert np.allclose(comparison.errors[split]["one-way"], expected, rtol=1e-5)
    row = comparison.rows[1]
    assert row.errors is not None
    assert row.errors[split] == pytest.approx(
        {"1": np.median(expected[:, 0]), "9": np.median(expected[:, 8])}
    )


def test_every_metric_is_told_of_every_row(comparison: Comparison, settings: CompareConfig) -> None:
    data = load_trajectories(settings.data, "test")
    state = torch.stack([data.u[:, 0], data.v[:, 0]], dim=1)
    medium = data.c[:, None], data.walls
    forecast = rollout(load_model(settings.models["full"]), state, *medium, steps=9)
    expected = step_errors(forecast[:, :, 0], data.u[:, 1:], data.walls, (0.0625, 0.0625))
    judged = comparison.judged["test"]["full"]
    assert judged.keys() == {*expected, "energy_error"}
    for name, values in expected.items():
        assert np.allclose(judged[name], values.numpy(), rtol=1e-3, atol=1e-6), name
    true = energy(torch.stack([data.u, data.v], dim=2), medium[0], (0.0625, 0.0625))
    error = (energy(forecast, medium[0], (0.0625, 0.0625)) - true[:, 1:]).abs() / true[:, :1]
    assert np.allclose(judged["energy_error"], error.numpy(), rtol=1e-3)
    row = comparison.rows[0]
    assert row.scores is not None
    assert row.scores["test"]["at_walls"]["9"] == pytest.approx(np.median(judged["at_walls"][:, 8]))


def test_the_solver_keeps_the_energy(comparison: Comparison) -> None:
    errors = {name: metrics["energy_error"].max() for name, metrics in comparison.judged["test"].items()}
    assert errors["FE 4 × 3"] < 1e-5
    assert errors["FE 2 × 2"] < 0.5


def test_persistence_repeats_the_first_snapshot(comparison: Comparison, settings: CompareConfig) -> None:
    u = load_trajectories(settings.data, "test").u
    expected = relative_l2(u[:, :1].expand_as(u[:, 1:]), u[:, 1:]).numpy()
    assert np.allclose(comparison.errors["test"]["persistence"], expected)


def test_finite_elements_on_the_dataset_s_own_mesh_reproduce_it(
    settings: CompareConfig, tmp_path: Path
) -> None:
    """The dataset's rectangle of 1 × 0.75 was meshed with 4 × 3 elements."""
    coarse_elements = (2, 3, 4)
    own = compare(
        dataclasses.replace(
            settings, coarse_elements=coarse_elements, output=tmp_path / "own", trajectories=1
        )
    )
    names = ("FE 2 × 2", "FE 3 × 2", "FE 4 × 3")
    coarse, finer, same = (float(own.errors["test"][name].max()) for name in names)
    assert same < 1e-6 < finer < coarse


def test_sizes_and_costs(comparison: Comparison, settings: CompareConfig) -> None:
    full, one_way, pruned = comparison.rows[:3]
    assert full.parameters == full.nonzeros
    assert one_way.parameters == pruned.parameters
    assert pruned.nonzeros < one_way.nonzeros < full.nonzeros  # type: ignore[operator]
    assert one_way.macs == pruned.macs
    assert pruned.nonzero_macs < pruned.macs  # type: ignore[operator]
    assert (full.macs, one_way.macs) == (full.nonzero_macs, one_way.nonzero_macs)
    assert full.bytes == (settings.models["full"] / "model.safetensors").stat().st_size
    assert pruned.bytes == (settings.models["pruned"] / "model.sparse.slim").stat().st_size


def test_nonzero_macs_of_a_half_empty_layer() -> None:
    layer = torch.nn.Conv2d(2, 4, 3, groups=2, bias=False)
    inputs = torch.zeros(1, 2, 8, 7)
    assert count_nonzero_macs(layer, inputs) == count_macs(layer, inputs) == 4 * 9 * 6 * 5
    with torch.no_grad():
        layer.weight[:2] = 0
    assert count_nonzero_macs(layer, inputs) == 2 * 9 * 6 * 5


def test_latency_of_models_and_solver(comparison: Comparison) -> None:
    for row in comparison.rows:
        if row.kind == "model":
            assert row.latency is not None
            assert {"eager", "onnx", "sparse"} >= row.latency.keys() >= {"eager", "sparse"}
        if row.kind == "finite elements":
            assert row.latency is not None
            assert row.latency["solver"].calls == 4
        if row.kind != "persistence":
            assert row.setup_ms is not None
            assert row.setup_ms > 0
            assert all(latency.cpu_median > 0 for latency in row.latency.values())  # type: ignore[union-attr]


def test_the_report_s_arrays(comparison: Comparison, settings: CompareConfig) -> None:
    sample, data = comparison.sample, load_trajectories(settings.data, "test")
    assert np.array_equal(sample.reference, data.u[sample.trajectory].numpy())
    assert np.array_equal(sample.wave_speed, data.c[sample.trajectory].numpy())
    assert sample.forecasts.keys() == {row.name for row in comparison.rows}
    assert all(field.shape == sample.reference.shape for field in sample.forecasts.values())
    for name in ("full", "one-way", "pruned", "persistence"):
        assert np.array_equal(sample.forecasts[name][0], sample.reference[0])
    assert [record["round"] for record in comparison.pruning["pruned"]] == [0, 1, 2]
    assert comparison.pruning.keys() == {"pruned"}


def test_the_result_is_kept_as_json(comparison: Comparison) -> None:
    kept = json.loads((comparison.folder / "comparison.json").read_text())
    assert [row["name"] for row in kept["rows"]] == [row.name for row in comparison.rows]
    curves = kept["median_curves"]["ood"]["full"]
    assert len(curves) == 13
    assert all(len(values) == 9 for values in curves.values())
    assert kept["rows"][0]["scores"]["ood"]["within_short"].keys() == {"1", "9"}
    assert len((comparison.folder / "log.jsonl").read_text().splitlines()) == 6


@pytest.fixture(scope="module")
def named_splits(
    dataset_settings: Callable[..., GenerateConfig], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tiny dataset with two of the optional splits, one of them longer than the others."""
    root = tmp_path_factory.mktemp("named") / "data"
    settings = dataset_settings(root)
    splits = dataclasses.replace(
        settings.splits, ood_long=SplitConfig(1, 14), ood_loud=SplitConfig(2, 10, pulses=PulseConfig((1, 1)))
    )
    generate(dataclasses.replace(settings, splits=splits))
    return root


def test_every_split_out_of_distribution_judges(
    settings: CompareConfig, named_splits: Path, tmp_path: Path
) -> None:
    """Each as far as its reference reaches; the report and the printed text show all of them."""
    models = {"full": settings.models["full"]}
    config = dataclasses.replace(
        settings, data=named_splits, models=models, coarse_elements=(), output=tmp_path / "run"
    )
    comparison = compare(config)
    assert comparison.trajectories == {"test": 2, "ood": 2, "ood_long": 1, "ood_loud": 2}
    assert comparison.steps["ood_long"] == [1, 10, 13]
    assert comparison.errors["ood_long"]["full"].shape == (1, 13)
    text = compare_command(dataclasses.replace(config, overwrite=True)).text
    page = (tmp_path / "run" / "report.html").read_text()
    for name, title in (("ood_long, 1", "a longer horizon"), ("ood_loud, 2", "other amplitudes")):
        assert f"{name} trajectories:" in text
        assert title in page


def test_splits_can_be_chosen(settings: CompareConfig, named_splits: Path, tmp_path: Path) -> None:
    chosen = dataclasses.replace(
        settings, data=named_splits, coarse_elements=(), splits=("ood_long",), output=tmp_path / "run"
    )
    comparison = compare(chosen)
    assert list(comparison.errors) == ["ood_long"]
    assert (comparison.sample.split, len(comparison.sample.reference)) == ("ood_long", 14)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": ("test", "ood_media")}, r"--splits: .* which has train, valid, test, ood, got ood_media"),
        ({"trajectories": 99}, r"--trajectories: expected at most 2, all that test and ood hold, got 99"),
    ],
)
def test_what_the_dataset_does_not_hold_is_refused(
    settings: CompareConfig, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compare(dataclasses.replace(settings, output=tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("splits", [(), ("test", "test")])
def test_splits_are_chosen_once_each(splits: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="--splits: expected one or more splits, each once"):
        CompareConfig(splits=splits)


def test_more_steps_than_the_reference_has_are_refused(settings: CompareConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"51 snapshots.* split 'test'.* 10\b"):
        compare(dataclasses.replace(settings, steps=50, output=tmp_path / "run"))


def test_a_model_of_another_task_is_refused_by_its_name(
    settings: CompareConfig, dataset_settings: Callable[..., GenerateConfig], tmp_path: Path
) -> None:
    other = dataset_settings(tmp_path / "slower", time=TimeConfig(step=0.06))
    generate(other)
    with pytest.raises(ValueError, match=r"--models 'full', has a snapshot every 0\.06, .* steps of 0\.05"):
        compare(dataclasses.replace(settings, data=other.output, output=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_missing_model_is_told(settings: CompareConfig, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no model"):
        compare(dataclasses.replace(settings, models={"x": tmp_path}, output=tmp_path / "run"))
