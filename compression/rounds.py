"""The loop of pruning: measure, prune, rewind or fine-tune, retrain, judge on validation data, again.

    rules = [AfterRounds(12), OverBudget(1.1)]
    for record in prune_rounds(pruner, retrain=fit, validate=error, stop=rules, rewind_to=initial):
        log(record.to_dict())                       # as it happens
        save(model.state_dict(), pruner.state_dict(), record)

The caller trains and judges; the loop is the same for SAP, lottery tickets and one-shot pruning.  To go on
after an interruption, load the last round's weights and masks and pass the records so far as `finished`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from slimwave.compression.records import PruneRecord
from slimwave.compression.sap import SAPPruner
from slimwave.compression.stopping import StopRule, stop_reason


@dataclass(frozen=True)
class RoundRecord:
    """One round; round 0 is the model before any pruning.

    Attributes
    ----------
    round
        Number of the round.
    unit
        What is pruned: "weights", "terms" or "channels".
    pq_index
        I, the PQ Index that the round measured: of the survivors of the rounds before.
    d, lower_bound, pruned, kept, total
        Units that were left, that had to stay (m), that went (c), that are left, and that there were before
        all rounds.
    weights_kept, weights_total
        Weights that are left, and that there were; equal to the above where weights are pruned singly.
    error_before, error_pruned, error
        Validation errors of the model that the round began with, of the same right after pruning, and of the
        survivors after retraining.
    pq_index_after
        PQ Index after retraining, which the next round will measure.
    groups
        d, I, m, c and kept of every group, as plain types.
    emptied
        Weight tensors that have nothing left, which may cut the network.
    """

    round: int
    unit: str
    pq_index: float
    d: int
    lower_bound: int
    pruned: int
    kept: int
    total: int
    weights_kept: int
    weights_total: int
    error_before: float
    error_pruned: float
    error: float
    pq_index_after: float
    groups: list[dict[str, Any]]
    emptied: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain types, for a line of JSON."""
        return asdict(self)


def prune_rounds(
    pruner: SAPPruner,
    *,
    retrain: Callable[[int], float],
    validate: Callable[[], float],
    stop: Sequence[StopRule],
    rewind_to: Mapping[str, Tensor] | None = None,
    reference: Callable[[], float] | None = None,
    finished: Sequence[RoundRecord] = (),
) -> Iterator[RoundRecord]:
    """Run rounds until a rule says stop; yield each one's record as soon as it is done.

    Parameters
    ----------
    pruner
        Masks over the trained model.
    retrain
        `retrain(number)` trains the model with the masks held (`pruner.attach`), leaves its best weights in
        it, and returns their validation error.
    validate
        Returns the validation error of the model as it is.  Test data must not be used for either.
    stop
        Rules of `slimwave.compression.stopping`.
    rewind_to
        State dict of an earlier moment, to which the survivors go back before retraining; None fine-tunes.
    reference
        Returns the error that round 0 stands for, by default `validate()`.
    finished
        Records of earlier rounds, whose last weights and masks are loaded already.
    """
    rounds = list(finished)
    if not rounds:
        error = (reference or validate)()
        rounds.append(_record(0, pruner.measure(), (error, error, error), pruner))
        yield rounds[0]
    while stop_reason(stop, rounds) is None:
        pruning = pruner.prune_step()
        pruned = validate()
        if rewind_to is not None:
            pruner.rewind(rewind_to)
        number = rounds[-1].round + 1
        errors = (rounds[-1].error, pruned, retrain(number))
        rounds.append(_record(number, pruning, errors, pruner))
        yield rounds[-1]


def _record(
    number: int, pruning: PruneRecord, errors: tuple[float, float, float], pruner: SAPPruner
) -> RoundRecord:
    return RoundRecord(
        round=number,
        unit=pruning.unit,
        pq_index=pruning.pq_index,
        d=pruning.d,
        lower_bound=pruning.lower_bound,
        pruned=pruning.pruned,
        kept=pruning.kept,
        total=pruning.total,
        weights_kept=pruning.weights_kept,
        weights_total=pruning.weights_total,
        error_before=errors[0],
        error_pruned=errors[1],
        error=errors[2],
        pq_index_after=pruner.measure().pq_index,
        groups=[asdict(group) for group in pruning.groups],
        emptied=list(pruning.emptied),
    )
