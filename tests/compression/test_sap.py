"""SAP: exact counts, nested masks, zeros that stay zero, and refusals."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from slimwave.compression.choices import SCHEDULES, SCOPES
from slimwave.compression.counting import count_nonzeros
from slimwave.compression.formats import make_conv
from slimwave.compression.pq_index import pq_index
from slimwave.compression.roles import prunable_parameters
from slimwave.compression.sap import PruningWarning, SAPPruner

WEIGHT_SCOPES = ["global", "layer", "neuron"]
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(
        parameters, 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4
    ),
    "adam": lambda parameters: torch.optim.Adam(parameters, 0.01, weight_decay=1e-2),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, 0.01, weight_decay=0.1),
}


def small_cnn(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        make_conv("dense", 2, 6, 3),
        nn.GroupNorm(2, 6),
        nn.GELU(),
        make_conv("cp", 6, 6, 3, rank=5),
        nn.GELU(),
        nn.Conv2d(6, 2, 1),
    )


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5) -> None:
    x = torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x) - x[:, :, 2:-2, 2:-2]).square().mean().backward()
        optimizer.step()


def zeros_of(model: nn.Module, pruner: SAPPruner) -> dict[str, Tensor]:
    return {name: model.get_parameter(name) == 0 for name in pruner.masks}


def copy_of_state(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in model.state_dict().items()}


def test_weights_are_chosen_by_role() -> None:
    """Convolutions and CP factors count; biases, norms and frozen stencils do not."""
    model = small_cnn()
    model.append(nn.Conv2d(2, 2, 3).requires_grad_(False))
    assert list(prunable_parameters(model)) == [
        "0.weight",
        "3.mix_in.weight",
        "3.axis_filters.0.weight",
        "3.axis_filters.1.weight",
        "3.mix_out.weight",
        "5.weight",
    ]
    assert list(prunable_parameters(model, include=["3"], exclude=["*.axis_filters"])) == [
        "3.mix_in.weight",
        "3.mix_out.weight",
    ]


@pytest.mark.parametrize("scope", ["global", "channel"])
def test_one_pattern_may_be_a_plain_string(scope: str) -> None:
    """Not a list of letters."""
    assert all(name.startswith("0.") for name in SAPPruner(small_cnn(), scope=scope, include="0").masks)
    excluded = SAPPruner(small_cnn(), scope=scope, exclude="0").masks
    assert excluded
    assert not any(name.startswith("0.") for name in excluded)
    with pytest.raises(ValueError, match="exclude: 'head' matches none"):
        SAPPruner(small_cnn(), scope=scope, exclude="head")


def test_a_shared_weight_is_pruned_once() -> None:
    layer = nn.Linear(4, 4)
    assert list(prunable_parameters(nn.Sequential(layer, nn.GELU(), layer))) == ["0.weight"]


def test_one_round_follows_the_paper() -> None:
    """I, m = ⌈d (1+η)^{−q/(q−p)} (1−I)^{pq/(q−p)}⌉ and c = ⌊d min(γ(1 − m/d), β)⌋, then the c smallest."""
    model = small_cnn()
    pruner = SAPPruner(model, p=0.5, q=1.0, eta=0.1, gamma=1.2, beta=0.9)
    before = torch.cat([model.get_parameter(n).detach().flatten().clone() for n in pruner.masks])
    d, index = before.numel(), float(pq_index(before))
    m = math.ceil(d * 1.1 ** (-1 / 0.5) * (1 - index))
    c = math.floor(d * min(1.2 * (1 - m / d), 0.9))
    record = pruner.prune_step()
    assert (record.d, record.lower_bound, record.pruned, record.kept) == (d, m, c, d - c)
    assert record.pq_index == index
    assert record.total == pruner.total == d
    mask = torch.cat([mask.flatten() for mask in pruner.masks.values()])
    assert float(before[mask].abs().min()) >= float(before[~mask].abs().max())
    after = torch.cat([model.get_parameter(n).detach().flatten() for n in pruner.masks])
    assert torch.equal(after, torch.where(mask, before, 0.0))


def test_a_record_is_a_line_of_json() -> None:
    record = SAPPruner(small_cnn(), scope="layer").prune_step()
    line = json.loads(json.dumps(record.to_dict()))
    assert line["kept"] == sum(group["kept"] for group in line["groups"]) == record.kept
    assert [group["name"] for group in line["groups"]][:2] == ["0.weight", "3.mix_in.weight"]
    assert line["emptied"] == []


@given(
    values=st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, -1.0]), min_size=1, max_size=40),
    scope=st.sampled_from(WEIGHT_SCOPES),
    eta=st.floats(0.0, 2.0),
    gamma=st.floats(0.1, 3.0),
)
def test_exactly_the_computed_count_goes_under_ties(
    values: list[float], scope: str, eta: float, gamma: float
) -> None:
    model = nn.Linear(len(values), 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor(values).expand(3, -1))
    pruner = SAPPruner(model, eta=eta, gamma=gamma, scope=scope, beta=0.6)
    for _ in range(3):
        kept_before = pruner.masks["weight"].clone()
        record = pruner.prune_step()
        assert int(pruner.masks["weight"].sum()) == record.kept == record.d - record.pruned
        assert not bool((pruner.masks["weight"] & ~kept_before).any())


def test_ties_go_in_the_order_of_the_weights() -> None:
    model = nn.Linear(10, 1, bias=False)
    nn.init.constant_(model.weight, 0.5)
    record = SAPPruner(model, eta=0.5, gamma=1.0).prune_step()
    assert record.pruned == 10 - math.ceil(10 / 1.5**2)
    assert model.weight[0].tolist() == [0.0] * record.pruned + [0.5] * record.kept


@pytest.mark.filterwarnings("ignore:pruning left no weight")
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("scope", SCOPES)
def test_masks_are_nested_from_round_to_round(scope: str, schedule: str) -> None:
    model = small_cnn()
    pruner = SAPPruner(model, eta=0.2, scope=scope, schedule=schedule, rate=0.3)
    kept = []
    for seed in range(4):
        before = pruner.state_dict()
        pruner.rewind(copy_of_state(small_cnn(seed)))
        record = pruner.prune_step()
        assert all(not bool((mask & ~before[name]).any()) for name, mask in pruner.masks.items())
        kept.append(record.kept)
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] < kept[0]


@pytest.mark.filterwarnings("ignore:pruning left no weight")
def test_the_scopes_divide_the_weights_as_they_say() -> None:
    """Of two layers, one a thousand times smaller, "global" empties the small; "layer" treats both alike."""
    pruned = {}
    for scope in WEIGHT_SCOPES:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(20, 20, bias=False), nn.Linear(20, 20, bias=False))
        with torch.no_grad():
            model[1].weight.copy_(model[0].weight / 1000)
        record = SAPPruner(model, gamma=2.0, scope=scope).prune_step()
        pruned[scope] = [int((layer.weight == 0).sum()) for layer in model]
        assert record.emptied == (("1.weight",) if scope == "global" else ())
    assert pruned["global"][0] < pruned["global"][1] == 400
    assert pruned["layer"][0] == pruned["layer"][1] > 0
    rows = (model[0].weight != 0).sum(dim=1)
    alone = [20 - SAPPruner(_row(0, i), gamma=2.0).prune_step().pruned for i in range(3)]
    assert rows[:3].tolist() == alone


def _row(seed: int, row: int) -> nn.Linear:
    torch.manual_seed(seed)
    weight = nn.Linear(20, 20, bias=False).weight.detach()
    layer = nn.Linear(20, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(weight[row : row + 1])
    return layer


@pytest.mark.parametrize("scope", ["global", "term", "channel"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_zeros_stay_zero_under_any_optimizer(optimizer: str, scope: str) -> None:
    """The optimizer's momentum was built up before pruning and would revive the zeros."""
    model = small_cnn()
    steps = OPTIMIZERS[optimizer](model.parameters())
    train(model, steps)
    pruner = SAPPruner(model, eta=0.3, scope=scope)
    pruner.prune_step()
    with pruner.attach(steps):
        train(model, steps)
        assert all(torch.equal(zero, ~pruner.masks[n]) for n, zero in zeros_of(model, pruner).items())
    train(model, steps, 1)
    assert count_nonzeros(model) > pruner.kept + sum(
        p.numel() for n, p in model.named_parameters() if n not in pruner.masks
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_masks_live_where_the_weights_do() -> None:
    """A pruner made on the CPU follows its model to the device, prunes there and comes back."""
    model = small_cnn()
    pruner = SAPPruner(model, eta=0.3)
    model.cuda()
    pruner.prune_step()
    assert all(mask.is_cuda for mask in pruner.masks.values())
    optimizer = OPTIMIZERS["adam"](model.parameters())
    with pruner.attach(optimizer):
        model(torch.randn(2, 2, 8, 8, device="cuda")).square().mean().backward()
        optimizer.step()
    assert all(torch.equal(zero, ~pruner.masks[n]) for n, zero in zeros_of(model, pruner).items())
    model.cpu()
    pruner.prune_step()
    assert not any(mask.is_cuda for mask in pruner.masks.values())


def test_closing_without_with_detaches() -> None:
    model = small_cnn()
    optimizer = OPTIMIZERS["adam"](model.parameters())
    pruner = SAPPruner(model, eta=0.3)
    attachment = pruner.attach(optimizer)
    pruner.prune_step()
    train(model, optimizer)
    zeros = sum(int(z.sum()) for z in zeros_of(model, pruner).values())
    attachment.close()
    train(model, optimizer)
    assert zeros == pruner.total - pruner.kept > sum(int(z.sum()) for z in zeros_of(model, pruner).values())


def test_masks_fill_even_where_weights_and_gradients_are_nan() -> None:
    model = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.01, 1.0, 2.0, 3.0]]))
    pruner = SAPPruner(model, eta=0.1)
    pruner.prune_step()
    with torch.no_grad():
        model.weight[0, 0] = math.nan
    model.weight.grad = torch.full((1, 4), math.nan)
    pruner.apply()
    pruner.mask_gradients()
    assert model.weight[0, 0].item() == 0.0
    assert model.weight.grad[0, 0].item() == 0.0


def test_masked_gradients_do_not_count_in_the_norm() -> None:
    model = small_cnn()
    pruner = SAPPruner(model, eta=0.2)
    pruner.prune_step()
    model(torch.randn(1, 2, 8, 8)).square().mean().backward()
    pruner.mask_gradients()
    for name, mask in pruner.masks.items():
        grad = model.get_parameter(name).grad
        assert grad is not None
        assert not bool(grad[~mask].any())
        assert bool(grad[mask].any())


def test_masks_survive_a_reload() -> None:
    model = small_cnn()
    pruner = SAPPruner(model, eta=0.3)
    pruner.prune_step()
    fresh = small_cnn(5)
    resumed = SAPPruner(fresh, eta=0.3)
    resumed.load_state_dict(pruner.state_dict())
    assert all(torch.equal(zero, ~pruner.masks[n]) for n, zero in zeros_of(fresh, resumed).items())
    optimizer = OPTIMIZERS["sgd"](fresh.parameters())
    with resumed.attach(optimizer):
        train(fresh, optimizer)
    assert all(torch.equal(zero, ~pruner.masks[n]) for n, zero in zeros_of(fresh, resumed).items())
    assert resumed.kept == pruner.kept


def test_masks_follow_a_model_whose_parameters_are_replaced() -> None:
    """`load_state_dict(assign=True)` and moves replace the parameters; names stay."""
    model = small_cnn()
    pruner = SAPPruner(model, eta=0.3)
    pruner.prune_step()
    model.load_state_dict(small_cnn(7).state_dict(), assign=True)
    model.double()
    pruner.apply()
    assert all(torch.equal(zero, ~pruner.masks[n]) for n, zero in zeros_of(model, pruner).items())


def test_rewinding_restores_the_kept_weights_exactly() -> None:
    model = small_cnn()
    initial = copy_of_state(model)
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    pruner = SAPPruner(model, eta=0.3)
    train(model, optimizer)
    pruner.prune_step()
    pruner.rewind(initial)
    for name, value in model.state_dict().items():
        mask = pruner.masks.get(name, torch.ones_like(value, dtype=torch.bool))
        assert torch.equal(value, torch.where(mask, initial[name], 0.0))


def test_everything_pruned_leaves_one_weight_and_a_warning() -> None:
    """One-hot weights have m = 1; γ = 3 and β = 1 then ask for all of them."""
    model = nn.Linear(8, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.eye(8)[2:3])
    pruner = SAPPruner(model, gamma=3.0, beta=1.0)
    with pytest.warns(PruningWarning, match="all 8 weights of a group in 'global'; one is kept"):
        record = pruner.prune_step()
    assert (record.pruned, record.kept) == (7, 1)
    assert model.weight[0].tolist() == torch.eye(8)[2].tolist()


def test_a_tensor_that_a_round_empties_is_named_once() -> None:
    """The weights of the second layer are the smallest, and all go together; the record holds on to it."""
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False), nn.Linear(4, 4))
    with torch.no_grad():
        model[1].weight.fill_(1e-3)
    pruner = SAPPruner(model, schedule="lottery", rate=0.4)
    with pytest.warns(PruningWarning, match=r"no weight in 1\.weight: nothing passes .*or use scope 'layer'"):
        record = pruner.prune_step()
    assert record.emptied == ("1.weight",)
    assert pruner.prune_step().emptied == ("1.weight",)  # warnings are errors here: there is no second one


def test_equal_weights_are_not_pruned_without_eta() -> None:
    """I = 0 says that no weight is superfluous."""
    model = nn.Linear(8, 4, bias=False)
    nn.init.constant_(model.weight, -0.5)
    record = SAPPruner(model, gamma=3.0, beta=1.0).prune_step()
    assert (record.pq_index, record.lower_bound, record.pruned) == (0.0, 32, 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    model = small_cnn()
    pruner = SAPPruner(model)
    masks = pruner.state_dict()
    with torch.no_grad():
        model[5].weight[1, 2] = bad
    with pytest.raises(ValueError, match=r"5\.weight holds NaN or infinity"):
        pruner.prune_step()
    assert all(torch.equal(mask, masks[name]) for name, mask in pruner.masks.items())


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"p": 1.0, "q": 1.0}, "p, q: the PQ Index needs"),
        ({"p": 2.0, "q": 1.0}, "p, q: the PQ Index needs"),
        ({"beta": 1.1}, "beta: expected a share above 0 and at most 1, got 1.1"),
        ({"beta": 0.0}, "beta: expected a share above 0"),
        ({"eta": -0.1}, "eta: expected a finite number of at least 0, got -0.1"),
        ({"gamma": 0.0}, "gamma: expected a finite number above 0"),
        ({"gamma": math.nan}, "gamma: expected a finite number above 0"),
        ({"scope": "block"}, "scope: expected one of global, layer, neuron, term, channel, got 'block'"),
        ({"schedule": "cubic"}, "schedule: expected one of sap, lottery, oneshot, got 'cubic'"),
        ({"rate": 1.0}, "rate: expected a share between 0 and 1, got 1.0"),
        ({"scope": "term", "exclude": ["3"]}, "found no terms to prune; scope 'term' needs one-way layers"),
        ({"scope": "channel", "include": ["3"]}, "include: '3' matches none of the layers; known are 0, 5"),
        ({"include": ["9.*"]}, r"include: '9\.\*' matches none of the layers; known are 0\.weight"),
        ({"exclude": ["*"]}, "found no trainable convolution or linear weight"),
    ],
)
def test_bad_settings_are_refused(settings_: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SAPPruner(small_cnn(), **settings_)


def test_a_model_without_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="found no trainable convolution or linear weight"):
        SAPPruner(nn.Sequential(nn.GroupNorm(2, 4), nn.GELU()))


def test_a_parametrized_weight_is_refused() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 3)))
    with pytest.raises(ValueError, match=r"0\.weight is computed from other parameters"):
        SAPPruner(model)


def test_masks_of_another_model_are_refused() -> None:
    pruner = SAPPruner(small_cnn())
    other = SAPPruner(nn.Sequential(nn.Conv2d(2, 4, 3), nn.Linear(3, 3)))
    with pytest.raises(ValueError, match=r"not those of this model; missing 3\.mix_in\.weight.*and 3 more"):
        pruner.load_state_dict(other.state_dict())
    numbers = {name: mask.float() for name, mask in pruner.masks.items()}
    with pytest.raises(ValueError, match=r"torch\.bool\), got .*torch\.float32"):
        pruner.load_state_dict(numbers)


def test_a_state_that_cannot_be_rewound_to_is_refused() -> None:
    model = small_cnn()
    pruner = SAPPruner(model)
    with pytest.raises(ValueError, match="shares memory with the model; clone"):
        pruner.rewind(model.state_dict())
    with pytest.raises(ValueError, match=r"not a state of this model; missing 0\.weight"):
        pruner.rewind(nn.Linear(2, 2).state_dict())


def test_an_optimizer_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match="trains none of the pruned weights"):
        SAPPruner(small_cnn()).attach(OPTIMIZERS["adam"](small_cnn().parameters()))
