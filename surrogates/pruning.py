"""The pruning job: rounds of SAP on a trained surrogate, judged by validation rollouts.

A round measures the PQ Index of the surviving weights, prunes as many as it allows (Diao et al., ICLR 2023,
arXiv 2302.05601), rewinds the survivors or leaves them, and retrains with the masks held. The sparsest round
whose validation rollout error stays within the tolerance becomes the model; test data are never looked at.

Every finished round is one file, ``rounds/round_NN.safetensors``, with its weights, masks and record, so an
interrupted job goes on after its last finished round, and within a round at its last validation.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from slimwave.compression.counting import count_nonzeros, count_parameters
from slimwave.compression.pq_index import pq_index
from slimwave.compression.sap import PruneRecord, SAPPruner
from slimwave.compression.sparse_file import save_sparse
from slimwave.data.run_folders import RunFolder
from slimwave.data.windows import WaveWindows, dataset_info
from slimwave.surrogates.checkpoints import (
    CheckpointError,
    load_model,
    load_tensors,
    load_weights,
    read_tensors,
    require_same_tensors,
    save_model,
    save_tensors,
)
from slimwave.surrogates.devices import cpu_threads, resolve_device
from slimwave.surrogates.fitting import Fitter
from slimwave.surrogates.pruning_settings import PruneConfig
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.training import EARLY, INITIAL, MAY_DIFFER
from slimwave.surrogates.validation import RolloutValidator

SPARSE = "model.sparse.safetensors"
ROUNDS = "rounds"
RECORD = "record"
REWIND_FILES = {"initial": INITIAL, "early": EARLY}


@dataclass(frozen=True)
class RoundRecord:
    """One round of pruning; round 0 is the model before any pruning.

    Attributes
    ----------
    round
        Number of the round.
    pq_index
        PQ Index of the weights that were measured: of the survivors of the rounds before.
    lower_bound, pruned, kept, total
        Weights that had to stay, that went, that are left, and that there were before all rounds.
    rollout_error
        Validation rollout error after retraining.
    emptied
        Weight tensors that have nothing left, which may cut the network.
    """

    round: int
    pq_index: float
    lower_bound: int
    pruned: int
    kept: int
    total: int
    rollout_error: float
    emptied: list[str]


@dataclass(frozen=True)
class PruneResult:
    """Outcome of a pruning.

    Attributes
    ----------
    folder
        Run folder with the chosen model.
    rounds
        Records of all rounds, from round 0.
    chosen_round
        Round that became the model; 0 if no round was within the tolerance.
    reference_error, rollout_error
        Validation rollout error of round 0 and of the chosen round.
    parameters, nonzeros
        Of the chosen model.
    sparse_bytes
        Size of the sparse file.
    """

    folder: Path
    rounds: list[RoundRecord]
    chosen_round: int
    reference_error: float
    rollout_error: float
    parameters: int
    nonzeros: int
    sparse_bytes: int


def prune(config: PruneConfig, *, progress: bool = False) -> PruneResult:
    """Prune a trained model, or continue the unfinished pruning of the same settings in ``config.output``.

    Raises
    ------
    FileNotFoundError
        If the model's folder holds no model, or no weights to rewind to.
    ValueError
        If the dataset is not one the model was made for.
    OSError
        If the output folder cannot be written.
    TrainingDivergedError
        If a retraining diverges; the finished rounds are kept.
    """
    device = resolve_device(config.device)
    model = load_model(config.model).to(device)
    info = dataset_info(config.data)
    model.task.require_dataset(info, f"the dataset {config.data}")
    rewind_to = _rewind_weights(config, model)
    folder = RunFolder.prepare(
        config.output,
        command="prune",
        config=config,
        existing="overwrite" if config.overwrite else "resume",
        may_differ=(*MAY_DIFFER, "model"),
    )
    (folder.path / ROUNDS).mkdir(exist_ok=True)
    with cpu_threads(config.threads):
        return _Job(config, model, folder, rewind_to, progress=progress).run()


def _rewind_weights(config: PruneConfig, model: Surrogate) -> dict[str, Tensor] | None:
    """Weights to rewind to, checked before any work; None for plain fine-tuning."""
    if config.rewind == "none":
        return None
    path = config.model / REWIND_FILES[config.rewind]
    if not path.is_file():
        raise FileNotFoundError(
            f"--rewind {config.rewind} needs {path}, which only training writes; "
            "give the folder of a training as --model, or use --rewind none"
        )
    weights = load_tensors(path)
    require_same_tensors(model.state_dict(), weights, str(path))
    return weights


class _Job:
    """The state of one pruning job."""

    def __init__(
        self,
        config: PruneConfig,
        model: Surrogate,
        folder: RunFolder,
        rewind_to: Mapping[str, Tensor] | None,
        *,
        progress: bool,
    ) -> None:
        self.config = config
        self.model = model
        self.folder = folder
        self.rewind_to = rewind_to
        self.progress = progress
        sap = config.sap
        self.pruner = SAPPruner(
            model, p=sap.p, q=sap.q, eta=sap.eta, gamma=sap.gamma, beta=sap.beta, scope=sap.scope
        )
        self.windows = WaveWindows(config.data, "train", horizon=max(config.fit.unroll), in_memory=True)
        self.validate = RolloutValidator(config.data, config.validation, model.scale.device)
        self.records: list[RoundRecord] = []

    def run(self) -> PruneResult:
        logged = {record["round"] for record in self.folder.records()}
        for number in range(self.config.rounds + 1):
            path = self._round_file(number)
            record = self._reload(path) if path.is_file() else self._do(number)
            self.records.append(record)
            if number not in logged:
                self.folder.log(**asdict(record), acceptable=self._acceptable(record))
        return self._finish()

    def _do(self, number: int) -> RoundRecord:
        """Run one round and keep it as one file."""
        record = self._reference() if number == 0 else self._round(number)
        masks = {f"masks.{name}": mask for name, mask in self.pruner.state_dict().items()}
        weights = {f"weights.{name}": value for name, value in self.model.state_dict().items()}
        save_tensors(self._round_file(number), weights | masks, {RECORD: json.dumps(asdict(record))})
        for leftover in (self._fit_file(number), self._best_file(number)):
            leftover.unlink(missing_ok=True)
        return record

    def _reference(self) -> RoundRecord:
        """Validate the model before any pruning, after one fine-tuning round if so configured."""
        fine_tune = self.config.reference == "finetuned"
        error = self._retrain(0) if fine_tune else self.validate(self.model.eval())
        weights = torch.cat([self.model.get_parameter(name).flatten() for name in self.pruner.masks])
        index = float(pq_index(weights.detach(), self.config.sap.p, self.config.sap.q))
        total = self.pruner.total
        return RoundRecord(0, index, total, 0, total, total, error, [])

    def _round(self, number: int) -> RoundRecord:
        pruned: PruneRecord = self.pruner.prune_step()
        if self.rewind_to is not None:
            self.pruner.rewind(self.rewind_to)
        error = self._retrain(number)
        return RoundRecord(
            round=number,
            pq_index=pruned.pq_index,
            lower_bound=pruned.lower_bound,
            pruned=pruned.pruned,
            kept=pruned.kept,
            total=pruned.total,
            rollout_error=error,
            emptied=list(pruned.emptied),
        )

    def _retrain(self, number: int) -> float:
        """Fit with the masks held; leave the best validated weights in the model and return their error."""
        seed = int(np.random.SeedSequence([self.config.seed, number]).generate_state(1)[0])
        fitter = Fitter(self.model, self.windows, self.config.fit, seed=seed, pruner=self.pruner)

        def keep_best(_: Mapping[str, float], best: bool) -> None:
            if best:
                save_tensors(self._best_file(number), self.model.state_dict())

        with fitter:
            position = fitter.run(
                self.validate,
                every=self.config.validation.every,
                on_validation=keep_best,
                state_file=self._fit_file(number),
                progress=self.progress,
                label=f"prune round {number}/{self.config.rounds}",
            )
        load_weights(self.model, self._best_file(number))
        assert position.best_error is not None
        return position.best_error

    def _reload(self, path: Path) -> RoundRecord:
        """Take up a finished round."""
        tensors, metadata = read_tensors(path)
        groups: dict[str, dict[str, Tensor]] = {"weights": {}, "masks": {}}
        try:
            record = RoundRecord(**json.loads(metadata[RECORD]))
            for key, tensor in tensors.items():
                group, name = key.split(".", 1)
                groups[group][name] = tensor
        except (ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f"{path} holds no pruning round; prune anew with --overwrite") from error
        require_same_tensors(self.model.state_dict(), groups["weights"], str(path))
        self.model.load_state_dict(groups["weights"])
        self.pruner.load_state_dict(groups["masks"])
        return record

    def _acceptable(self, record: RoundRecord) -> bool:
        """Whether a round's error is within the tolerance of the reference."""
        tolerance = self.config.tolerance
        return tolerance is None or record.rollout_error <= tolerance * self.records[0].rollout_error

    def _finish(self) -> PruneResult:
        """Write the sparsest acceptable round as the model and as a sparse file."""
        chosen = max((r for r in self.records if self._acceptable(r)), key=lambda r: r.round, default=None)
        chosen = chosen or self.records[0]
        self._reload(self._round_file(chosen.round))
        save_model(self.folder.path, self.model)
        sparse = self.folder.path / SPARSE
        save_sparse(sparse, self.model.state_dict())
        result = PruneResult(
            folder=self.folder.path,
            rounds=self.records,
            chosen_round=chosen.round,
            reference_error=self.records[0].rollout_error,
            rollout_error=chosen.rollout_error,
            parameters=count_parameters(self.model),
            nonzeros=count_nonzeros(self.model),
            sparse_bytes=sparse.stat().st_size,
        )
        self.folder.finish(**vars(result))
        return result

    def _round_file(self, number: int) -> Path:
        return self.folder.path / ROUNDS / f"round_{number:02d}.safetensors"

    def _fit_file(self, number: int) -> Path:
        return self.folder.path / ROUNDS / f"fit_{number:02d}.safetensors"

    def _best_file(self, number: int) -> Path:
        return self.folder.path / ROUNDS / f"best_{number:02d}.safetensors"
