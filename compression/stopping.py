"""When to stop pruning: small rules that look at the rounds so far.

    rules = [AfterRounds(10), AtSparsity(0.9), OverBudget(1.1), IndexTurnsUp()]
    stop_reason(rules, rounds)      # None, or the reason in words

Any object with a method `reason(rounds)` is a rule.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol


class Round(Protocol):
    """What a rule reads of a round; round 0 stands for the model before any pruning."""

    @property
    def pruned(self) -> int:
        """Members that went."""

    @property
    def weights_kept(self) -> int:
        """Weights left."""

    @property
    def weights_total(self) -> int:
        """Weights before all rounds."""

    @property
    def error(self) -> float:
        """Validation error after retraining."""

    @property
    def pq_index_after(self) -> float:
        """PQ Index of the retrained survivors."""


class StopRule(Protocol):
    """A reason to stop, looked for before every round."""

    def reason(self, rounds: Sequence[Round]) -> str | None:
        """Return why no further round should follow `rounds`, or None; `rounds` has round 0 at least."""


@dataclass(frozen=True)
class AfterRounds:
    """Stop after a number of rounds."""

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"rounds: expected at least 1, got {self.count}")

    def reason(self, rounds: Sequence[Round]) -> str | None:
        """Count the rounds after round 0."""
        return f"all {self.count} rounds are done" if len(rounds) > self.count else None


@dataclass(frozen=True)
class AtSparsity:
    """Stop once a share of the weights is gone."""

    share: float

    def __post_init__(self) -> None:
        if not 0.0 < self.share < 1.0:
            raise ValueError(f"sparsity: expected a share between 0 and 1, got {self.share}")

    def reason(self, rounds: Sequence[Round]) -> str | None:
        """Look at the last round."""
        gone = 1.0 - rounds[-1].weights_kept / rounds[-1].weights_total
        if gone < self.share:
            return None
        return f"{gone:.1%} of the weights are gone, the target is {self.share:.1%}"


@dataclass(frozen=True)
class OverBudget:
    """Stop once the validation error is above `factor` times that of round 0."""

    factor: float

    def __post_init__(self) -> None:
        if not 0.0 < self.factor < float("inf"):
            raise ValueError(f"budget: expected a finite factor above 0, got {self.factor}")

    def reason(self, rounds: Sequence[Round]) -> str | None:
        """Look at the last round; an error that is not a number is over any budget."""
        if rounds[-1].error <= self.factor * rounds[0].error:
            return None
        return (
            f"the validation error {rounds[-1].error:.4g} is over {self.factor:g} times {rounds[0].error:.4g}"
        )


@dataclass(frozen=True)
class IndexTurnsUp:
    """Stop once the PQ Index of the survivors has risen `rises` rounds in a row.

    The paper's sign that compressibility is used up: the index falls while pruning regularises, and rises
    where underfitting begins.
    """

    rises: int = 1

    def __post_init__(self) -> None:
        if self.rises < 1:
            raise ValueError(f"index: expected at least 1 rise, got {self.rises}")

    def reason(self, rounds: Sequence[Round]) -> str | None:
        """Compare the indices of the last rounds."""
        last = [r.pq_index_after for r in rounds[-self.rises - 1 :]]
        risen = len(last) > self.rises and all(a < b for a, b in pairwise(last))
        return f"the PQ Index turned up, from {last[0]:.4f} to {last[-1]:.4f}" if risen else None


@dataclass(frozen=True)
class NothingPruned:
    """Stop after a round that could prune nothing: the next would hardly do better."""

    def reason(self, rounds: Sequence[Round]) -> str | None:
        """Look at the last round."""
        return "the last round pruned nothing" if len(rounds) > 1 and rounds[-1].pruned == 0 else None


def stop_reason(rules: Iterable[StopRule], rounds: Sequence[Round]) -> str | None:
    """Return the reason of the first rule that has one."""
    return next((reason for rule in rules if (reason := rule.reason(rounds))), None)
