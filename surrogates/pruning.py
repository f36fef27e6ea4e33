"""The pruning job: rounds of SAP on a trained surrogate, judged by validation rollouts.

A round measures the PQ Index of the survivors, prunes as many as it allows (Diao et al., ICLR 2023, arXiv
2302.05601) or a fixed share, rewinds the survivors or leaves them, and retrains with the masks held; see
:mod:`slimwave.compression.rounds`. The sparsest round whose validation rollout error stays within the
tolerance becomes the model; test data are never looked at.

Every finished round is one file, ``rounds/round_NN.safetensors``, with its weights, masks and record, so an
interrupted job goes on after its last finished round, and within a round at its last validation.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from torch import Tensor

from slimwave.compression.counting import count_nonzeros, count_parameters
from slimwave.compression.rounds import RoundRecord, prune_rounds
from slimwave.compression.sap import SAPPruner
from slimwave.compression.sparse_file import save_sparse
from slimwave.compression.stopping import (
    AfterRounds,
    AtSparsity,
    IndexTurnsUp,
    NothingPruned,
    OverBudget,
    StopRule,
    stop_reason,
)
from slimwave.data.info import info_fingerprint
from slimwave.data.run_folders import RunFolder
from slimwave.data.windows import dataset_info
from slimwave.surrogates.batches import training_windows
from slimwave.surrogates.checkpoints import (
    fingerprint,
    load_model,
    load_tensors,
    require_same_tensors,
    save_model,
)
from slimwave.surrogates.devices import cpu_threads, resolve_device
from slimwave.surrogates.encodable import require_encodable, require_trainable
from slimwave.surrogates.fitting import REMEDY, TrainingDivergedError
from slimwave.surrogates.pruning_settings import PruneConfig
from slimwave.surrogates.refitting import forget_refit, refit, round_seed
from slimwave.surrogates.round_files import ROUNDS, restore_round, round_file, save_round
from slimwave.surrogates.speed_limit import require_speed
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.training import EARLY, INITIAL, MAY_DIFFER
from slimwave.surrogates.unrolling import require_compiler
from slimwave.surrogates.validation import RolloutValidator

SPARSE = "model.sparse.slim"
REWIND_FILES = {"initial": INITIAL, "early": EARLY}


@dataclass(frozen=True)
class PruneResult:
    """Outcome of a pruning.

    Attributes
    ----------
    folder
        Run folder with the chosen model.
    rounds
        Records of all rounds, from round 0; their errors are validation rollout errors.
    stopped
        Why no further round followed.
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
    stopped: str
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
        If the dataset is not one the model was made for, there is nothing to prune in the scope, or the
        folder holds the pruning of another model.
    OSError
        If the output folder cannot be written.
    TrainingDivergedError
        If the loss of a retraining diverges; the finished rounds are kept. A round whose rollouts blow up is
        infinitely wrong instead, and never within the tolerance.
    """
    device = resolve_device(config.device)
    model = load_model(config.model).to(device)
    info = dataset_info(config.data)
    stride = model.task.snapshots_per_step(info, f"the dataset {config.data}")
    require_speed(model, info.max_speed, f"the dataset {config.data}")
    rewind_to = _rewind_weights(config, model)
    pruner = _pruner(config, model)
    with cpu_threads(config.threads):
        job = _Job(config, model, pruner, rewind_to, stride=stride, progress=progress)
        inputs = {"model": fingerprint(config.model), "data": info_fingerprint(info)}
        return job.run(_prepare(config, inputs))


def _prepare(config: PruneConfig, inputs: Mapping[str, str]) -> RunFolder:
    folder = RunFolder.prepare(
        config.output,
        command="prune",
        config=config,
        existing="overwrite" if config.overwrite else "resume",
        may_differ=(*MAY_DIFFER, "model"),
        inputs=inputs,
    )
    (folder.path / ROUNDS).mkdir(exist_ok=True)
    return folder


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


def _pruner(config: PruneConfig, model: Surrogate) -> SAPPruner:
    """Return a pruner with nothing hidden, or where the model was pruned before, all that is gone already."""
    sap = config.sap
    pruner = SAPPruner(
        model,
        p=sap.p,
        q=sap.q,
        eta=sap.eta,
        gamma=sap.gamma,
        beta=sap.beta,
        scope=sap.scope,
        include=sap.include,
        exclude=sap.exclude,
        schedule=config.schedule,
        rate=config.rate,
    )
    if (config.model / SPARSE).is_file():
        pruner.hide_zeros()
    return pruner


def _stop_rules(config: PruneConfig) -> list[StopRule]:
    rules: list[StopRule] = []
    if config.stop.sparsity is not None:
        rules.append(AtSparsity(config.stop.sparsity))
    if config.stop.error is not None:
        rules.append(OverBudget(config.stop.error))
    if config.stop.rises is not None:
        rules.append(IndexTurnsUp(config.stop.rises))
    return [*rules, AfterRounds(config.rounds), NothingPruned()]


class _Job:
    """The state of one pruning job; whatever does not fit is refused before it is given its run folder."""

    folder: RunFolder

    def __init__(
        self,
        config: PruneConfig,
        model: Surrogate,
        pruner: SAPPruner,
        rewind_to: Mapping[str, Tensor] | None,
        *,
        stride: int,
        progress: bool,
    ) -> None:
        self.config = config
        self.model = model
        self.rewind_to = rewind_to
        self.progress = progress
        self.pruner = pruner
        self.rules = _stop_rules(config)
        self.windows = training_windows(config.data, model.config, config.fit, stride=stride)
        self.validator = RolloutValidator(
            config.data, config.validation, model.scale.device, frames=model.frames, stride=stride
        )
        self.records: list[RoundRecord] = []
        if config.fit.compile:
            require_compiler(model.scale.device)
        require_trainable(model, self.windows)
        require_speed(model, float(self.validator.wave_speed.max()), f"split valid of {config.data}")
        require_encodable(model, self.validator.wave_speed, self.validator.walls)

    def run(self, folder: RunFolder) -> PruneResult:
        """Run the rounds that are left, and write what was chosen."""
        self.folder = folder
        logged = {record["round"] for record in self.folder.records()}
        for record in chain(self._finished(), self._rounds()):
            self.records.append(record)
            if record.round not in logged:
                self.folder.log(**record.to_dict(), acceptable=self._acceptable(record))
        return self._finish()

    def _finished(self) -> Iterator[RoundRecord]:
        """Take up the rounds that an interrupted job has finished."""
        for number in count():
            if not self._round_file(number).is_file():
                return
            yield restore_round(self._round_file(number), self.model, self.pruner)

    def _rounds(self) -> Iterator[RoundRecord]:
        """Run the rounds that are left, each kept as one file."""
        for record in prune_rounds(
            self.pruner,
            retrain=self._retrain,
            validate=self._error,
            reference=self._finetune if self.config.reference == "finetuned" else None,
            stop=self.rules,
            rewind_to=self.rewind_to,
            finished=self.records,
        ):
            save_round(self._round_file(record.round), self.model, self.pruner, record)
            forget_refit(self._fit_file(record.round))
            yield record

    def _error(self) -> float:
        return self.validator(self.model.eval())

    def _finetune(self) -> float:
        """Retrain the reference, which has to be good for something."""
        error = self._retrain(0)
        if not math.isfinite(error):
            raise TrainingDivergedError(
                f"--reference finetuned diverged: no validation up to step {self.config.fit.steps} had a "
                f"finite rollout error; {REMEDY}"
            )
        return error

    def _retrain(self, number: int) -> float:
        """Fit with the masks held; leave the best validated weights in the model and return their error."""
        return refit(
            self.model,
            self.windows,
            self.config.fit,
            self.validator,
            every=self.config.validation.every,
            seed=round_seed(self.config.seed, number),
            position=self._fit_file(number),
            pruner=self.pruner,
            progress=self.progress,
            label=f"prune round {number}/{self.config.rounds}",
        )

    def _acceptable(self, record: RoundRecord) -> bool:
        """Whether a round's error is within the tolerance of the reference."""
        tolerance = self.config.tolerance
        return tolerance is None or record.error <= tolerance * self.records[0].error

    def _finish(self) -> PruneResult:
        """Write the sparsest acceptable round as the model and as a sparse file."""
        chosen = max((r for r in self.records if self._acceptable(r)), key=lambda r: r.round, default=None)
        chosen = chosen or self.records[0]
        restore_round(self._round_file(chosen.round), self.model, self.pruner)
        save_model(self.folder.path, self.model)
        sparse = self.folder.path / SPARSE
        save_sparse(sparse, self.model.state_dict())
        result = PruneResult(
            folder=self.folder.path,
            rounds=self.records,
            stopped=stop_reason(self.rules, self.records) or "",
            chosen_round=chosen.round,
            reference_error=self.records[0].error,
            rollout_error=chosen.error,
            parameters=count_parameters(self.model),
            nonzeros=count_nonzeros(self.model),
            sparse_bytes=sparse.stat().st_size,
        )
        self.folder.finish(**vars(result))
        return result

    def _round_file(self, number: int) -> Path:
        return round_file(self.folder.path, number)

    def _fit_file(self, number: int) -> Path:
        return self.folder.path / ROUNDS / f"fit_{number:02d}.safetensors"
