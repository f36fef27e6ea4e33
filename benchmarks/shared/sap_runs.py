"""The runs of the study of SAP: what is trained, pruned, decomposed and fine-tuned, each into its folder.

Every run is a job of slimwave that takes up what an earlier call has finished, so the study can be stopped
at any moment and go on in several processes, one per seed.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from slimwave.compression.decomposition import decompose
from slimwave.compression.roles import prunable_parameters
from slimwave.data.durable import write_text
from slimwave.data.generation import generate
from slimwave.data.run_folders import RunFolder
from slimwave.data.scenarios import (
    DomainConfig,
    GenerateConfig,
    PulseConfig,
    SolverConfig,
    SplitConfig,
    SplitsConfig,
    WallConfig,
)
from slimwave.surrogates.batches import training_windows
from slimwave.surrogates.checkpoints import load_model, save_model
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.networks import build_network
from slimwave.surrogates.pruning import prune
from slimwave.surrogates.pruning_settings import PruneConfig, SAPConfig
from slimwave.surrogates.refitting import forget_refit, refit, round_seed
from slimwave.surrogates.round_files import load_round
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.training import train
from slimwave.surrogates.training_settings import FitConfig, TrainConfig, ValidationConfig
from slimwave.surrogates.validation import RolloutValidator

FULL, WIDE = "full", "wide"
RIVALS = ("lottery", "one-shot")
CONTROL = "not pruned"
DECOMPOSED = "decomposed"
UNPRUNED = (CONTROL, DECOMPOSED)
REFITS = "refits.json"

Run = dict[str, Any]
"""Record of a run: seed, network, name, steps of a round, rounds."""


@dataclass(frozen=True)
class Contender:
    """One way to prune.

    `rate` is the share that lottery and one-shot remove in a round; None chooses it so that they end at as
    many weights as SAP, after as many rounds. Another number of rounds than the network's shares the same
    steps. `rewind` says where survivors begin to be retrained, see `PruneConfig`.
    """

    name: str
    networks: tuple[str, ...]
    schedule: Any = "sap"
    sap: SAPConfig = field(default_factory=SAPConfig)
    rate: float | None = None
    rounds: int | None = None
    rewind: Literal["none", "early", "initial"] = "none"


@dataclass(frozen=True)
class Schedule:
    """Rounds of prune and retrain, and the optimiser steps of each."""

    rounds: int
    steps: int


@dataclass(frozen=True)
class Plan:
    """Sizes of the study; `longer` are the schedules of networks that do not follow the common one."""

    networks: dict[str, NetworkConfig]
    contenders: tuple[Contender, ...]
    ranks: tuple[int, ...]
    trajectories: tuple[int, int, int]
    grid: int
    train: FitConfig
    schedule: Schedule
    refit: FitConfig
    validation: ValidationConfig
    longer: dict[str, Schedule] = field(default_factory=dict)

    def schedule_of(self, network: str) -> Schedule:
        """Rounds and steps of a network's contenders and of its control."""
        return self.longer.get(network, self.schedule)

    @property
    def leader(self) -> Contender:
        """The form of SAP that the rivals are matched to."""
        return self.contenders[0]


def one_way(rank: int) -> str:
    """Name of the one-way network of a rank."""
    return f"one-way {rank}"


@dataclass(frozen=True)
class Seed:
    """All runs of one seed; each method returns a finished run's record, running it if it is not."""

    plan: Plan
    output: Path
    seed: int

    @property
    def folder(self) -> Path:
        """Folder of the seed."""
        return self.output / f"seed{self.seed}"

    def run(self, *, start: bool) -> Iterator[Run]:
        """Run everything in an order in which what matters most comes first; or take what is finished."""
        for (network, name), job in self._jobs().items():
            if start or self._finished(network, name):
                yield job()

    def _jobs(self) -> dict[tuple[str, str], Callable[[], Run]]:
        plan = self.plan
        jobs: dict[tuple[str, str], Callable[[], Run]] = {}
        for network in plan.networks:
            jobs[network, CONTROL] = partial(self.control, network)
        for rank in plan.ranks:
            jobs[one_way(rank), DECOMPOSED] = partial(self.decomposed, rank)
        for contender in plan.contenders:
            for network in contender.networks:
                jobs[network, contender.name] = partial(self.pruned, network, contender)
        return jobs

    def _finished(self, network: str, name: str) -> bool:
        folder = self._folder_of(network, name)
        return (
            _done(folder)
            if name not in UNPRUNED
            else len(_errors(folder)) > self.plan.schedule_of(network).rounds
        )

    def _folder_of(self, network: str, name: str) -> Path:
        return self.folder / f"{network}, {name}"

    def trained(self, network: str) -> Path:
        """Folder of the trained network."""
        config = TrainConfig(
            data=self.output / "data",
            output=self.folder / network,
            network=self.plan.networks[network],
            fit=self.plan.train,
            validation=replace(self.plan.validation, every=max(1, self.plan.train.steps // 8)),
            device="cpu",
            seed=self.seed,
        )
        if not _done(config.output):
            train(config)
        return config.output

    def control(self, network: str) -> Run:
        """Fine-tune a trained network as often as the others are pruned, and prune nothing."""
        return self._refits(load_model(self.trained(network)), network, CONTROL)

    def decomposed(self, rank: int) -> Run:
        """Decompose the trained full network into one-way layers, and fine-tune it as often."""
        full = load_model(self.trained(FULL))
        factors = decompose(full, "cp", rank=rank, seed=self.seed).state_dict()
        model = build_network(self.plan.networks[one_way(rank)], full.task)
        model.load_state_dict(factors)
        return self._refits(model.eval(), one_way(rank), DECOMPOSED)

    def pruned(self, network: str, contender: Contender) -> Run:
        """Prune a trained network in rounds."""
        folder = self._folder_of(network, contender.name)
        schedule = self.plan.schedule_of(network)
        rounds = contender.rounds or schedule.rounds
        steps = schedule.rounds * schedule.steps // rounds
        config = PruneConfig(
            model=self.trained(network),
            data=self.output / "data",
            output=folder,
            sap=contender.sap,
            schedule=contender.schedule,
            rate=0.5 if contender.schedule == "sap" else self._rate(network, contender),
            rounds=rounds,
            rewind=contender.rewind,
            tolerance=None,
            fit=replace(self.plan.refit, steps=steps),
            validation=replace(self.plan.validation, every=steps),
            device="cpu",
            seed=self.seed,
        )
        if not _done(folder):
            prune(config)
        records = list(RunFolder.open(folder).records())
        return self._record(network, contender.name, records, steps)

    def test_error(self, network: str, name: str, number: int) -> float:
        """Error of a round on the test split; of a control, of its last refit."""
        folder = self._folder_of(network, name)
        held_out = folder / f"test_{number:02d}.json"
        if not held_out.is_file():
            model = load_model(folder) if name in UNPRUNED else load_round(folder, number)
            write_text(held_out, json.dumps(self._validator("test")(model.eval())))
        return float(json.loads(held_out.read_text()))

    def _rate(self, network: str, contender: Contender) -> float:
        if contender.rate is not None:
            return contender.rate
        rounds = self.pruned(network, self.plan.leader)["rounds"]
        kept = rounds[-1]["weights_kept"] / rounds[-1]["weights_total"]
        return float(1 - kept ** (1 / self.plan.schedule_of(network).rounds))

    def _refits(self, model: Surrogate, network: str, name: str) -> Run:
        folder = self._folder_of(network, name)
        validate = self._validator("valid")
        folder.mkdir(parents=True, exist_ok=True)
        errors = _errors(folder) or [validate(model)]
        if len(errors) > 1:
            model = load_model(folder)
        schedule = self.plan.schedule_of(network)
        fit = replace(self.plan.refit, steps=schedule.steps)
        windows = training_windows(self.output / "data", model.config, fit)
        for number in range(len(errors), schedule.rounds + 1):
            position = folder / f"refit_{number:02d}.safetensors"
            seed = round_seed(self.seed, number)
            errors.append(refit(model, windows, fit, validate, every=fit.steps, seed=seed, position=position))
            save_model(folder, model)
            write_text(folder / REFITS, json.dumps(errors))
            forget_refit(position)
        weights = sum(weight.numel() for weight in prunable_parameters(model).values())
        counts = {"weights_kept": weights, "weights_total": weights}
        rounds = [{"round": n, "error": error, **counts} for n, error in enumerate(errors)]
        return self._record(network, name, rounds, fit.steps)

    def _validator(self, split: str) -> RolloutValidator:
        return RolloutValidator(self.output / "data", self.plan.validation, torch.device("cpu"), split=split)

    def _record(self, network: str, name: str, rounds: Sequence[dict[str, Any]], steps: int) -> Run:
        keys = ("round", "weights_kept", "weights_total", "pq_index_after", "error_pruned", "error")
        kept = [{key: one[key] for key in keys if key in one} for one in rounds]
        return {"seed": self.seed, "network": network, "name": name, "steps": steps, "rounds": kept}


def make_data(plan: Plan, output: Path) -> None:
    """Generate the dataset: 41 snapshots to train on, rollouts of 40 macro steps to judge by."""
    train_, valid, test = (SplitConfig(count, 41) for count in plan.trajectories)
    config = GenerateConfig(
        output=output / "data",
        domain=DomainConfig(nx=plan.grid, ny=plan.grid),
        pulses=PulseConfig(width=(0.08, 0.12)),
        walls=WallConfig("random", "random", "random", "random"),
        solver=SolverConfig(elements=(12, 12)),
        splits=SplitsConfig(train_, valid, test, SplitConfig(1, 2)),
    )
    if not _done(config.output):
        generate(config)


def _done(folder: Path) -> bool:
    return (folder / "run.json").is_file() and RunFolder.open(folder).done


def _errors(folder: Path) -> list[float]:
    """Validation errors of a control so far, from the trained network's."""
    path = folder / REFITS
    return list(json.loads(path.read_text())) if path.is_file() else []
