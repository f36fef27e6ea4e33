"""Several seeds: each a training of its own, resumable, summed up as mean and spread."""

import json
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from slimwave.commands import train as train_command
from slimwave.surrogates import seeds
from slimwave.surrogates.checkpoints import load_model, load_tensors
from slimwave.surrogates.fitting import TrainingDivergedError
from slimwave.surrogates.seeds import train_seeds
from slimwave.surrogates.training import TrainResult, train
from slimwave.surrogates.training_settings import TrainConfig

Settings = Callable[..., TrainConfig]


def test_each_seed_is_a_training_of_its_own_and_the_figures_sum_them_up(
    training: Settings, tmp_path: Path
) -> None:
    trained = train_seeds(training(tmp_path / "run", seeds=(3, 1)))
    errors = [result.rollout_error for result in trained.results]
    alone = train(training(tmp_path / "alone", seed=1))
    assert errors[1] == alone.rollout_error != errors[0]
    for name, value in load_tensors(alone.folder / "model.safetensors").items():
        assert value.equal(load_tensors(tmp_path / "run" / "seed_1" / "model.safetensors")[name])
    assert trained.mean == pytest.approx(statistics.mean(errors))
    assert trained.spread == pytest.approx(statistics.stdev(errors))
    kept = json.loads((tmp_path / "run" / "seeds.json").read_text())
    assert (kept["mean"], kept["spread"], kept["seeds"]) == (trained.mean, trained.spread, [3, 1])
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [(line["seed"], line["rollout_error"]) for line in lines] == list(zip((3, 1), errors, strict=True))


def test_an_interrupted_series_goes_on_and_seeds_can_be_added(
    training: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    def interrupted(config: TrainConfig, *, progress: bool) -> TrainResult:
        started.append(config.seed)
        if started == [0, 1]:
            raise KeyboardInterrupt
        return train(config, progress=progress)

    monkeypatch.setattr(seeds, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_seeds(training(tmp_path / "run", seeds=(0, 1)))
    first = train_seeds(training(tmp_path / "run", seeds=(0, 1)))
    more = train_seeds(training(tmp_path / "run", seeds=(0, 1, 2)))
    assert more.results[:2] == first.results
    assert len(list((tmp_path / "run").glob("seed_*/model.safetensors"))) == 3


def test_the_folder_of_several_seeds_is_no_model_and_says_where_they_are(
    training: Settings, tmp_path: Path
) -> None:
    train_seeds(training(tmp_path / "run", seeds=(1, 0)))
    with pytest.raises(FileNotFoundError, match=r"several seeds: give one of them, such as .*run/seed_0$"):
        load_model(tmp_path / "run")


def test_one_seed_has_no_spread(training: Settings, tmp_path: Path) -> None:
    assert train_seeds(training(tmp_path / "run", seeds=(0,))).spread is None


def test_a_seed_that_diverges_does_not_cost_the_others(
    training: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 1 of three diverges: it is listed, the others are summed up, and the command fails."""

    def diverging(config: TrainConfig, *, progress: bool) -> TrainResult:
        if config.seed == 1:
            raise TrainingDivergedError("training diverged at step 4")
        return train(config, progress=progress)

    monkeypatch.setattr(seeds, "train", diverging)
    config = training(tmp_path / "run", seeds=(0, 1, 2))
    trained = train_seeds(config)
    assert (trained.seeds, trained.diverged) == ((0, 2), {1: "training diverged at step 4"})
    assert trained.mean == pytest.approx(statistics.mean(r.rollout_error for r in trained.results))
    kept = json.loads((tmp_path / "run" / "seeds.json").read_text())
    assert (kept["seeds"], kept["diverged"]) == ([0, 2], {"1": "training diverged at step 4"})
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [(line["seed"], line.get("diverged")) for line in lines] == [
        (0, None),
        (1, "training diverged at step 4"),
        (2, None),
    ]
    outcome = train_command(config)
    assert not outcome.ok
    table = [line.split("|")[1:3] for line in outcome.text.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in table[3]] == ["1", "diverged"]
    assert "standard deviation of 2 seeds" in outcome.text
    assert "seed 1: training diverged at step 4" in outcome.text


def test_seeds_that_all_diverge_have_no_mean(
    training: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverging(config: TrainConfig, *, progress: bool) -> TrainResult:
        raise TrainingDivergedError("training diverged at step 4")

    monkeypatch.setattr(seeds, "train", diverging)
    config = training(tmp_path / "run", seeds=(0, 1))
    assert train_seeds(config).mean is None
    assert "none of 2 seeds" in train_command(config).text


def test_mistakes_are_told(training: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"--seeds: expected at least one seed"):
        train_seeds(training(tmp_path / "run"))
    with pytest.raises(ValueError, match=r"seeds: expected none for a single training"):
        train(training(tmp_path / "run", seeds=(0, 1)))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"--seeds: expected one process"):
        train_seeds(training(tmp_path / "run", seeds=(0, 1)))
    monkeypatch.undo()
    train(training(tmp_path / "single"))
    with pytest.raises(ValueError, match=r"single holds a single training; choose another --output"):
        train_seeds(training(tmp_path / "single", seeds=(0, 1)))
