"""SAP, lottery tickets and one-shot pruning on one interface."""

import pytest
import torch
from torch import nn

from slimwave.compression.sap import SAPPruner


def linear(seed: int) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(10, 10, bias=False)


@pytest.mark.parametrize("schedule", ["lottery", "oneshot"])
def test_a_fixed_share_of_what_is_left_goes_every_round(schedule: str) -> None:
    pruner = SAPPruner(linear(0), schedule=schedule, rate=0.2)
    records = [pruner.prune_step() for _ in range(3)]
    assert [(r.d, r.pruned, r.kept) for r in records] == [(100, 20, 80), (80, 16, 64), (64, 12, 52)]
    assert all(0 < r.pq_index < 1 and 0 < r.lower_bound < r.d for r in records)


def test_the_lottery_ranks_by_the_retrained_model_and_one_shot_by_the_first() -> None:
    first, retrained = linear(0).weight.detach().clone(), linear(1).weight.detach().clone()
    smallest = {}
    for schedule in ("lottery", "oneshot"):
        model = linear(0)
        pruner = SAPPruner(model, schedule=schedule, rate=0.2)
        pruner.prune_step()
        pruner.rewind({"weight": retrained})
        before = pruner.masks["weight"].clone()
        pruner.prune_step()
        went = before & ~pruner.masks["weight"]
        ranked = (retrained if schedule == "lottery" else first).abs()
        left = before & ~went
        assert int(went.sum()) == 16
        assert float(ranked[went].max()) <= float(ranked[left].min())
        smallest[schedule] = went
    assert not torch.equal(smallest["lottery"], smallest["oneshot"])


def test_one_shot_remembers_the_first_model_after_a_reload() -> None:
    pruner = SAPPruner(linear(0), schedule="oneshot")
    pruner.prune_step()
    resumed = SAPPruner(linear(1), schedule="oneshot")
    resumed.load_state_dict(pruner.state_dict())
    for each in (pruner, resumed):
        each.prune_step()
    assert torch.equal(pruner.masks["weight"], resumed.masks["weight"])
    lottery = SAPPruner(linear(0), schedule="lottery")
    lottery.prune_step()
    with pytest.raises(ValueError, match="they were not made one-shot"):
        resumed.load_state_dict(lottery.state_dict())
