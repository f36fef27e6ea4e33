"""The loop of rounds: what is recorded, when it stops, and that it goes on where it was interrupted."""

import json
from collections.abc import Callable
from itertools import islice, pairwise

import pytest
import torch
from torch import Tensor, nn

from slimwave.compression.rounds import RoundRecord, prune_rounds
from slimwave.compression.sap import SAPPruner
from slimwave.compression.stopping import (
    AfterRounds,
    AtSparsity,
    IndexTurnsUp,
    NothingPruned,
    OverBudget,
    StopRule,
    stop_reason,
)


def regression() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, 3))


X = torch.randn(64, 12, generator=torch.Generator().manual_seed(1))
Y = X[:, :3] * X[:, 3:6]


class Loop:
    """A pruner with the callables that `prune_rounds` needs."""

    def __init__(self, **settings: object) -> None:
        self.model = regression()
        self.pruner = SAPPruner(self.model, **({"eta": 0.2} | settings))  # type: ignore[arg-type]
        self.arguments = {"retrain": self.retrain, "validate": self.validate}

    def validate(self) -> float:
        with torch.no_grad():
            return float((self.model(X) - Y).square().mean())

    def retrain(self, _: int) -> float:
        optimizer = torch.optim.AdamW(self.model.parameters(), 0.01)
        with self.pruner.attach(optimizer):
            for _step in range(20):
                optimizer.zero_grad()
                (self.model(X) - Y).square().mean().backward()
                optimizer.step()
        return self.validate()


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in model.state_dict().items()}


@pytest.mark.parametrize("schedule", ["sap", "lottery", "oneshot"])
def test_records_follow_each_other(schedule: str) -> None:
    loop = Loop(schedule=schedule)
    rounds = list(prune_rounds(loop.pruner, stop=[AfterRounds(3)], **loop.arguments))
    assert [r.round for r in rounds] == [0, 1, 2, 3]
    assert rounds[0].pruned == 0 and rounds[0].kept == rounds[0].total == 12 * 24 + 24 * 3
    for before, after in pairwise(rounds):
        assert after.d == before.kept == after.kept + after.pruned
        assert after.pq_index == before.pq_index_after
        assert after.error_before == before.error
        assert after.error < after.error_pruned
        assert after.weights_kept == after.kept
        assert sum(group["pruned"] for group in after.groups) == after.pruned
    assert RoundRecord(**json.loads(json.dumps(rounds[-1].to_dict()))) == rounds[-1]
    assert loop.validate() == rounds[-1].error


def test_survivors_are_rewound() -> None:
    loop = Loop()
    initial = state_of(loop.model)
    loop.retrain(0)
    seen: list[Tensor] = []

    def observed(number: int) -> float:
        seen.append(loop.model[0].weight.detach().clone())
        return loop.retrain(number)

    rounds = prune_rounds(
        loop.pruner, retrain=observed, validate=loop.validate, stop=[AfterRounds(1)], rewind_to=initial
    )
    list(rounds)
    mask = loop.pruner.masks["0.weight"]
    assert torch.equal(seen[0], torch.where(mask, initial["0.weight"], 0.0))


def test_an_interrupted_loop_goes_on() -> None:
    whole = Loop(schedule="oneshot")
    expected = list(prune_rounds(whole.pruner, stop=[AfterRounds(4)], **whole.arguments))
    first = Loop(schedule="oneshot")
    finished = list(islice(prune_rounds(first.pruner, stop=[AfterRounds(4)], **first.arguments), 3))
    second = Loop(schedule="oneshot")
    second.model.load_state_dict(first.model.state_dict())
    second.pruner.load_state_dict(first.pruner.state_dict())
    rest = list(prune_rounds(second.pruner, stop=[AfterRounds(4)], finished=finished, **second.arguments))
    assert finished + rest == expected


def record(number: int, **changes: float) -> RoundRecord:
    fields: dict[str, object] = {
        "round": number, "unit": "weights", "pq_index": 0.5, "d": 100, "lower_bound": 50, "pruned": 10,
        "kept": 90, "total": 100, "weights_kept": 90, "weights_total": 100, "error_before": 1.0,
        "error_pruned": 1.0, "error": 1.0, "pq_index_after": 0.5, "groups": [], "emptied": [],
    }  # fmt: skip
    return RoundRecord(**(fields | changes))  # type: ignore[arg-type]


def indices(*values: float) -> list[RoundRecord]:
    return [record(n, pq_index_after=value) for n, value in enumerate(values)]


@pytest.mark.parametrize(
    ("rule", "goes_on", "stops", "reason"),
    [
        (AfterRounds(2), indices(1, 1), indices(1, 1, 1), "2 rounds are done"),
        (
            AtSparsity(0.75),
            [record(3, weights_kept=26)],
            [record(3, weights_kept=25)],
            "75.0% of the weights",
        ),
        (
            OverBudget(1.1),
            [record(0), record(1, error=1.1)],
            [record(0), record(1, error=1.11)],
            "error 1.11 is",
        ),
        (OverBudget(1.1), [record(0)], [record(0), record(1, error=float("nan"))], "error nan is"),
        (IndexTurnsUp(), indices(0.5, 0.4, 0.4), indices(0.5, 0.4, 0.41), "from 0.4000 to 0.4100"),
        (IndexTurnsUp(2), indices(0.5, 0.4, 0.41), indices(0.4, 0.41, 0.42), "from 0.4000 to 0.4200"),
        (IndexTurnsUp(2), indices(0.4, 0.41), indices(0.4, 0.41, 0.42), "turned up"),
        (NothingPruned(), [record(0, pruned=0)], [record(0), record(1, pruned=0)], "pruned nothing"),
    ],
)
def test_rules_stop_when_they_should(
    rule: StopRule, goes_on: list[RoundRecord], stops: list[RoundRecord], reason: str
) -> None:
    assert rule.reason(goes_on) is None
    assert reason in str(rule.reason(stops))


def test_the_first_reason_is_given() -> None:
    rules = [AfterRounds(1), NothingPruned()]
    assert stop_reason(rules, [record(0)]) is None
    assert stop_reason(rules, [record(0), record(1, pruned=0)]) == "all 1 rounds are done"


def test_the_loop_stops_at_a_target() -> None:
    loop = Loop(schedule="lottery")
    rounds = list(prune_rounds(loop.pruner, stop=[AtSparsity(0.5)], **loop.arguments))
    shares = [r.weights_kept / r.weights_total for r in rounds]
    assert shares[-1] <= 0.5 < shares[-2]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda: AfterRounds(0), "rounds: expected at least 1, got 0"),
        (lambda: AtSparsity(1.0), "sparsity: expected a share between 0 and 1, got 1.0"),
        (lambda: OverBudget(0.0), "budget: expected a finite factor above 0, got 0.0"),
        (lambda: IndexTurnsUp(0), "index: expected at least 1 rise, got 0"),
    ],
)
def test_bad_rules_are_refused(rule: Callable[[], StopRule], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rule()
