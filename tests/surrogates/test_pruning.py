"""The SAP loop on surrogates: zeros stay zero, choices are made on validation data, rounds can be resumed."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from slimwave.compression.materialise import live_terms
from slimwave.compression.one_way import OneWayConv
from slimwave.compression.roles import prunable_parameters
from slimwave.compression.sparse_file import load_sparse
from slimwave.data.generation import generate
from slimwave.data.run_folders import RunFolder, RunFolderError
from slimwave.data.scenarios import GenerateConfig
from slimwave.surrogates.batches import training_windows
from slimwave.surrogates.checkpoints import CheckpointError, load_model, load_tensors, save_model
from slimwave.surrogates.fitting import Fitter, TrainingDivergedError
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.pruning import PruneResult, prune
from slimwave.surrogates.pruning_settings import PruneConfig, SAPConfig, StopConfig
from slimwave.surrogates.refitting import forget_refit, refit, round_seed
from slimwave.surrogates.round_files import load_round
from slimwave.surrogates.training import TrainResult, train
from slimwave.surrogates.training_settings import FitConfig, TrainConfig, ValidationConfig
from slimwave.surrogates.validation import RolloutValidator

Settings = Callable[..., PruneConfig]


@pytest.fixture
def pruning(trained: TrainResult, dataset: Path) -> Settings:
    """Settings of a pruning that takes a fraction of a second: ``pruning(output, **changes)``."""

    def settings(output: Path, **changes: object) -> PruneConfig:
        defaults: dict[str, object] = {
            "model": trained.folder,
            "data": dataset,
            "sap": SAPConfig(eta=0.1),
            "rounds": 3,
            "tolerance": None,
            "fit": FitConfig(steps=4, batch_size=2, warmup=1, unroll=(2,), weight_decay=0.1),
            "validation": ValidationConfig(every=2, steps=4),
            "device": "cpu",
        }
        return PruneConfig(output=output, **(defaults | changes))  # type: ignore[arg-type]

    return settings


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], None]:
    """Replace the validation error by a script of numbers."""

    def script(errors: list[float]) -> None:
        numbers = iter(errors)
        target = "slimwave.surrogates.pruning.RolloutValidator.__call__"
        monkeypatch.setattr(target, lambda *_: next(numbers))

    return script


def zero_share(folder: Path) -> float:
    weights = prunable_parameters(load_model(folder)).values()
    return sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)


def test_pruned_weights_are_zero_in_the_model_and_the_counts_agree(pruning: Settings, tmp_path: Path) -> None:
    result = prune(pruning(tmp_path / "run"))
    kept = [record.kept for record in result.rounds]
    assert result.chosen_round == 3
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] < kept[0] == result.rounds[0].total
    assert zero_share(tmp_path / "run") == pytest.approx(1 - kept[-1] / kept[0])
    assert result.nonzeros == result.parameters - (kept[0] - kept[-1])


def test_the_record_follows_the_paper_s_rule(pruning: Settings, tmp_path: Path) -> None:
    """The pruned count is c = ⌊d min(γ (1 − m/d), β)⌋, with d the survivors of the round before."""
    result = prune(pruning(tmp_path / "run", sap=SAPConfig(eta=0.1, gamma=0.7)))
    for before, record in pairwise(result.rounds):
        share = min(0.7 * (1 - record.lower_bound / before.kept), 0.9)
        assert record.pruned == pytest.approx(before.kept * share, abs=1)
        assert record.kept == before.kept - record.pruned
        assert 0 < record.pq_index < 1


def test_the_sparse_file_holds_the_chosen_model(pruning: Settings, tmp_path: Path) -> None:
    result = prune(pruning(tmp_path / "run"))
    sparse = load_sparse(tmp_path / "run" / "model.sparse.slim")
    dense = load_tensors(tmp_path / "run" / "model.safetensors")
    assert sparse.keys() == dense.keys()
    assert all(torch.equal(sparse[name], dense[name]) for name in dense)
    assert result.sparse_bytes < (tmp_path / "run" / "model.safetensors").stat().st_size


def test_the_sparsest_round_within_the_tolerance_is_chosen(
    pruning: Settings, tmp_path: Path, scripted: Callable[[list[float]], None]
) -> None:
    """Reference 0.10; rounds (pruned, then the best of two) 0.09, 0.109, 0.13; tolerance 1.1."""
    scripted([0.10, 0.5, 0.20, 0.09, 0.6, 0.109, 0.3, 0.7, 0.13, 0.13])
    result = prune(pruning(tmp_path / "run", tolerance=1.1))
    assert [record.error for record in result.rounds] == [0.10, 0.09, 0.109, 0.13]
    assert [record.error_pruned for record in result.rounds] == [0.10, 0.5, 0.6, 0.7]
    assert [record.error_before for record in result.rounds] == [0.10, 0.10, 0.09, 0.109]
    assert (result.chosen_round, result.rollout_error, result.reference_error) == (2, 0.109, 0.10)
    records = list(RunFolder.open(tmp_path / "run").records())
    assert [record["acceptable"] for record in records] == [True, True, True, False]


def test_where_no_round_is_good_enough_the_model_stays_as_it_was(
    pruning: Settings, tmp_path: Path, trained: TrainResult, scripted: Callable[[list[float]], None]
) -> None:
    scripted([0.1] + [0.5] * 9)
    result = prune(pruning(tmp_path / "run", tolerance=1.1))
    assert result.chosen_round == 0
    before, after = (
        load_tensors(folder / "model.safetensors") for folder in (trained.folder, tmp_path / "run")
    )
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("stop", "rounds", "reason"),
    [
        (StopConfig(), 3, "3 rounds are done"),
        (StopConfig(sparsity=0.3), 2, "35.6% of the weights are gone, the target is 30.0%"),
        (StopConfig(error=1.2), 1, "the validation error 0.13 is over 1.2 times 0.1"),
        (StopConfig(rises=1), 1, "the PQ Index turned up"),
    ],
)
def test_the_job_stops_by_its_rules(
    pruning: Settings,
    tmp_path: Path,
    scripted: Callable[[list[float]], None],
    monkeypatch: pytest.MonkeyPatch,
    stop: StopConfig,
    rounds: int,
    reason: str,
) -> None:
    def sharpen(model: torch.nn.Module, path: Path) -> None:
        """Training that makes large weights larger, so that the PQ Index rises."""
        model.load_state_dict({name: w * w.abs() for name, w in load_tensors(path).items()})

    scripted([0.10] + [0.13] * 9)
    if stop.rises:
        monkeypatch.setattr("slimwave.surrogates.refitting.load_weights", sharpen)
    result = prune(pruning(tmp_path / "run", schedule="lottery", stop=stop))
    assert result.rounds[-1].round == rounds
    assert reason in result.stopped


@pytest.mark.parametrize("schedule", ["lottery", "oneshot"])
def test_baselines_prune_a_fixed_share_of_the_same_weights(
    pruning: Settings, tmp_path: Path, schedule: str
) -> None:
    result = prune(pruning(tmp_path / "run", schedule=schedule, rate=0.3, rewind="initial"))
    for before, record in pairwise(result.rounds):
        assert record.pruned == int(0.3 * before.kept + 1e-6)
    assert zero_share(tmp_path / "run") == pytest.approx(1 - result.rounds[-1].kept / result.rounds[0].kept)


def test_whole_terms_are_pruned_and_recorded_by_layer(
    pruning: Settings, training: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    network = NetworkConfig(width=6, depth=2, kernel_size=3, conv="cp", rank=6)
    one_way = train(training(tmp_path / "one_way", network=network))
    sap = SAPConfig(scope="term", eta=0.4)
    result = prune(pruning(tmp_path / "run", model=one_way.folder, sap=sap, rounds=2))
    last = result.rounds[-1]
    assert (last.unit, result.rounds[0].total) == ("terms", last.total)
    assert sum(group["kept"] for group in last.groups) == last.kept < last.total
    model = load_model(tmp_path / "run")
    live = {name: len(live_terms(m)) for name, m in model.named_modules() if isinstance(m, OneWayConv)}
    assert live == {group["name"]: group["kept"] for group in last.groups}


def test_channels_are_pruned_of_the_layers_that_are_included(pruning: Settings, tmp_path: Path) -> None:
    result = prune(pruning(tmp_path / "run", sap=SAPConfig(scope="channel", include=("blocks.0",)), rounds=1))
    assert result.rounds[0].unit == "channels"
    assert [group["name"] for group in result.rounds[0].groups] == ["blocks.0"]


@pytest.mark.parametrize("rewind", ["initial", "early"])
def test_survivors_are_rewound_to_where_training_stood(
    pruning: Settings, tmp_path: Path, trained: TrainResult, monkeypatch: pytest.MonkeyPatch, rewind: str
) -> None:
    starts = []
    original = Fitter.run

    def observed(self: Fitter, *arguments: object, **keywords: object) -> object:
        starts.append({name: value.clone() for name, value in self.model.state_dict().items()})
        return original(self, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(Fitter, "run", observed)
    prune(pruning(tmp_path / "run", rewind=rewind, rounds=1))
    target = load_tensors(trained.folder / f"{rewind}.safetensors")
    for name, value in starts[0].items():
        assert bool(((value == target[name]) | (value == 0)).all())
    assert any(bool((value == 0).any()) for value in starts[0].values())


def test_a_missing_file_to_rewind_to_is_found_before_any_work(
    pruning: Settings, tmp_path: Path, trained: TrainResult
) -> None:
    model = Path(shutil.copytree(trained.folder, tmp_path / "model"))
    (model / "early.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"--rewind early needs .*early\.safetensors"):
        prune(pruning(tmp_path / "run", model=model, rewind="early"))
    assert not (tmp_path / "run").exists()


def test_nothing_to_prune_is_found_before_any_work(pruning: Settings, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found no terms to prune; scope 'term' needs one-way layers"):
        prune(pruning(tmp_path / "run", sap=SAPConfig(scope="term")))
    assert not (tmp_path / "run").exists()


def test_fine_tuning_the_reference_first_is_the_stricter_comparison(
    pruning: Settings, tmp_path: Path, trained: TrainResult
) -> None:
    given = prune(pruning(tmp_path / "a", rounds=1))
    tuned = prune(pruning(tmp_path / "b", rounds=1, reference="finetuned"))
    assert given.reference_error == pytest.approx(trained.rollout_error, rel=1e-6)
    assert tuned.reference_error < given.reference_error


@pytest.mark.parametrize("schedule", ["sap", "oneshot"])
@pytest.mark.parametrize(("number", "step"), [(1, 1), (2, 3)])
def test_resume_after_an_interruption_repeats_the_uninterrupted_run(
    pruning: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: int, schedule: str
) -> None:
    """Interrupt round 1 before its first validation, or round 2 after it."""
    whole = prune(pruning(tmp_path / "whole", schedule=schedule))
    original = Fitter.step

    def interrupted(self: Fitter) -> float:
        if (
            len(list((tmp_path / "broken" / "rounds").glob("round_*"))) == number
            and self.position.step == step
        ):
            raise KeyboardInterrupt
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(Fitter, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prune(pruning(tmp_path / "broken", schedule=schedule))
    resumed = prune(pruning(tmp_path / "broken", schedule=schedule))
    assert resumed.rounds == whole.rounds
    for name in ("model.safetensors", "model.sparse.slim", "rounds/round_03.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()
    logged = [record["round"] for record in RunFolder.open(tmp_path / "broken").records()]
    assert logged == [0, 1, 2, 3]


def test_a_finished_pruning_is_not_done_again(
    pruning: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prune(pruning(tmp_path / "run"))
    monkeypatch.setattr(Fitter, "step", lambda *_: pytest.fail("trained again"))
    assert dataclasses.asdict(prune(pruning(tmp_path / "run"))) == dataclasses.asdict(first)


def test_a_pruning_goes_on_with_its_own_model_and_dataset_only(
    pruning: Settings,
    dataset: Path,
    dataset_settings: Callable[..., GenerateConfig],
    trained: TrainResult,
    tmp_path: Path,
) -> None:
    """Another model in the same folder would be told the first one's rounds."""
    output = tmp_path / "pruned"
    prune(pruning(output, rounds=1))
    moved = tmp_path / "moved"
    shutil.copytree(trained.folder, moved)
    assert prune(pruning(output, rounds=1, model=moved)).rounds
    other = load_model(moved)
    with torch.no_grad():
        next(other.parameters()).mul_(2.0)
    save_model(moved, other)
    with pytest.raises(RunFolderError, match=r"read another --model; .*--overwrite"):
        prune(pruning(output, rounds=1, model=moved))
    generate(dataset_settings(tmp_path / "other", seed=7))
    with pytest.raises(RunFolderError, match="read another --data"):
        prune(pruning(output, rounds=1, data=tmp_path / "other"))


@pytest.mark.parametrize("schedule", ["sap", "lottery", "oneshot"])
def test_what_an_earlier_pruning_removed_stays_removed(
    schedule: str, pruning: Settings, tmp_path: Path
) -> None:
    first = prune(pruning(tmp_path / "first", rounds=1))
    gone = {name: weight == 0 for name, weight in weights_of(first.folder).items()}
    assert sum(int(mask.sum()) for mask in gone.values())
    again = prune(pruning(tmp_path / "again", model=first.folder, rounds=1, schedule=schedule, rate=0.2))
    assert again.rounds[0].weights_kept == first.rounds[-1].weights_kept
    assert again.rounds[1].weights_kept < first.rounds[-1].weights_kept
    for name, weight in weights_of(again.folder).items():
        assert not bool(weight[gone[name]].any())


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: weight.detach() for name, weight in prunable_parameters(load_model(folder)).items()}


def test_divergence_keeps_the_finished_rounds(
    pruning: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Fitter.step

    def poisoned(self: Fitter) -> float:
        if (tmp_path / "run" / "rounds" / "round_01.safetensors").exists():
            with torch.no_grad():
                next(self.model.parameters()).fill_(torch.nan)
        return original(self)

    monkeypatch.setattr(Fitter, "step", poisoned)
    with pytest.raises(TrainingDivergedError, match="diverged at step 1"):
        prune(pruning(tmp_path / "run"))
    kept = load_tensors(tmp_path / "run" / "rounds" / "round_01.safetensors")
    assert all(torch.isfinite(value).all() for value in kept.values() if value.is_floating_point())


def test_a_round_that_blows_up_is_infinitely_wrong_and_not_chosen(
    pruning: Settings, tmp_path: Path, scripted: Callable[[list[float]], None]
) -> None:
    """Reference 0.1; round 1 ends well; no validation of the retraining of round 2 is finite."""
    scripted([0.1, 0.5, 0.2, 0.1, 0.6, math.inf, math.nan])
    result = prune(pruning(tmp_path / "run", tolerance=1.1, rounds=2))
    assert [record.error for record in result.rounds] == [0.1, 0.1, math.inf]
    assert result.chosen_round == 1
    assert zero_share(tmp_path / "run") == pytest.approx(1 - result.rounds[1].kept / result.rounds[0].kept)
    assert prune(pruning(tmp_path / "run", tolerance=1.1, rounds=2)).rounds == result.rounds


def test_a_reference_that_blows_up_ends_the_pruning(
    pruning: Settings, tmp_path: Path, scripted: Callable[[list[float]], None]
) -> None:
    scripted([math.inf] * 9)
    with pytest.raises(TrainingDivergedError, match="no validation up to step 4"):
        prune(pruning(tmp_path / "run", reference="finetuned"))


def test_a_damaged_round_is_refused(pruning: Settings, tmp_path: Path) -> None:
    prune(pruning(tmp_path / "run"))
    path = tmp_path / "run" / "rounds" / "round_02.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"round_02\.safetensors is damaged"):
        prune(pruning(tmp_path / "run"))


def test_the_log_is_one_line_per_round(pruning: Settings, tmp_path: Path) -> None:
    result: PruneResult = prune(pruning(tmp_path / "run"))
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["kept"] for line in lines] == [record.kept for record in result.rounds]
    assert lines[1].keys() >= {"round", "pq_index", "lower_bound", "pruned", "total", "error", "groups"}


def test_every_round_of_a_pruning_can_be_loaded(pruning: Settings, tmp_path: Path) -> None:
    result = prune(pruning(tmp_path / "run", rounds=2))
    for record in result.rounds:
        weights = prunable_parameters(load_round(tmp_path / "run", record.round)).values()
        assert sum(int((w != 0).sum()) for w in weights) == record.weights_kept
    with pytest.raises(FileNotFoundError, match=r"round_03\.safetensors does not exist"):
        load_round(tmp_path / "run", 3)


def test_a_refit_repeats_a_round_and_leaves_no_file_behind(
    pruning: Settings, tmp_path: Path, trained: TrainResult
) -> None:
    """Fine-tuning without masks is round 0 of a pruning whose reference is fine-tuned."""
    config = pruning(tmp_path / "run", reference="finetuned", rounds=1)
    expected = prune(config).rounds[0].error
    model = load_model(trained.folder)
    windows = training_windows(config.data, model.config, config.fit)
    validate = RolloutValidator(config.data, config.validation, torch.device("cpu"))
    position = tmp_path / "position.safetensors"
    fit = partial(refit, model, windows, config.fit, validate, every=2, position=position)
    error = fit(seed=round_seed(config.seed, 0))
    assert error == expected == validate(model.eval())
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    forget_refit(position)
    assert not list(tmp_path.glob("*.safetensors"))
