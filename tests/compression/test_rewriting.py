"""Rewriting dense networks, and making pruned one-way networks smaller without changing what they compute."""

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from slimwave.compression.choices import FORMATS, RANKED_FORMATS
from slimwave.compression.counting import count_parameters
from slimwave.compression.cp import CPConv
from slimwave.compression.factored import FactoredConv
from slimwave.compression.formats import make_conv
from slimwave.compression.materialise import live_terms, materialise
from slimwave.compression.one_way import OneWayConv
from slimwave.compression.rewriting import compress
from slimwave.compression.sap import SAPPruner
from slimwave.compression.shapes import ConvShape


class Block(nn.Module):
    """A residual block with a shared layer and a pointwise one, as user networks have them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding="same", padding_mode="circular", bias=False)
        self.again = self.first
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mix(torch.relu(self.again(torch.relu(self.first(x)))))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2, padding=2, dilation=1), Block(8), Block(8), nn.Conv2d(8, 2, 3)
    )


def test_every_separable_convolution_is_rewritten_in_its_place() -> None:
    model = network().eval()
    small = compress(model, rank=4)
    assert isinstance(small[0], OneWayConv)
    assert isinstance(small[1].first, OneWayConv)
    assert small[1].first is small[1].again
    assert small[1].first is not small[2].first
    assert isinstance(small[1].mix, nn.Conv2d)
    assert torch.equal(small[0].bias_vector, model[0].bias)
    assert small[1].first.bias_vector is None
    x = torch.randn(2, 3, 16, 20)
    assert small(x).shape == model(x).shape
    assert not any(m.training for m in small.modules())
    assert count_parameters(small) < count_parameters(model)
    assert not any(isinstance(m, OneWayConv) for m in model.modules())


def test_a_network_of_volumes_in_double_precision() -> None:
    model = nn.Sequential(nn.Conv3d(2, 4, (1, 3, 5), padding=(0, 1, 2)), nn.GELU()).double()
    small = compress(model, rank=3)
    assert small[0].kernel().shape == (4, 2, 1, 3, 5)
    assert small(torch.randn(1, 2, 4, 6, 8, dtype=torch.float64)).shape == (1, 4, 4, 6, 8)


@pytest.mark.parametrize("format", FORMATS[1:])
def test_every_format_takes_the_place_of_convolutions(format: str) -> None:
    model = network()
    small = compress(model, format, rank=0.5 if format in RANKED_FORMATS else None)
    replaced = [name for name, m in small.named_modules() if isinstance(m, FactoredConv)]
    assert replaced == ["0", "1.first", "2.first", "3"]
    x = torch.randn(2, 3, 16, 20)
    assert small(x).shape == model(x).shape


def test_a_single_layer_is_a_model() -> None:
    assert isinstance(compress(nn.Conv2d(3, 8, 3), rank=4), OneWayConv)


def test_the_new_kernel_has_the_spread_of_the_old() -> None:
    torch.manual_seed(0)
    wide = nn.Conv2d(32, 32, 5)
    nn.init.kaiming_normal_(wide.weight)
    new = compress(wide, rank=32)
    assert float(new.kernel().detach().std()) == pytest.approx(float(wide.weight.detach().std()), rel=0.1)
    nn.init.zeros_(wide.weight)
    assert not bool(compress(wide, rank=32).kernel().any())


def test_include_and_exclude_choose_layers_by_name() -> None:
    rewritten = compress(network(), rank=4, include=["1", "3"], exclude=["3"])
    assert [name for name, m in rewritten.named_modules() if isinstance(m, OneWayConv)] == ["1.first"]


def test_one_pattern_may_be_a_plain_string() -> None:
    """Not a list of letters: "1.first" would ask for layers "1", ".", "f", …"""
    rewritten = compress(network(), rank=4, include="1.first")
    assert [name for name, m in rewritten.named_modules() if isinstance(m, OneWayConv)] == ["1.first"]
    rewritten = compress(network(), rank=4, exclude="[123]*")
    assert [name for name, m in rewritten.named_modules() if isinstance(m, OneWayConv)] == ["0"]
    with pytest.raises(ValueError, match="include: 'head' matches none of the layers"):
        compress(network(), rank=4, include="head")


@pytest.mark.parametrize("parameter", ["weight", "bias"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_layers_that_are_not_finite_are_refused_by_name(parameter: str, value: float) -> None:
    """The new factors would take their spread from the weights, and be NaN throughout."""
    model = network()
    with torch.no_grad():
        model[3].get_parameter(parameter)[0] = value
    with pytest.raises(ValueError, match=r"^3 holds NaN or infinity; compress a network with finite weights"):
        compress(model, rank=4)
    assert isinstance(compress(model, rank=4, exclude=["3"])[0], OneWayConv)


def test_large_weights_in_half_precision_keep_their_spread() -> None:
    """300² is above the largest number of float16."""
    layer = nn.Conv2d(8, 8, 3).half()
    nn.init.constant_(layer.weight, 300.0)
    kernel = compress(layer, rank=8).kernel().detach().float()
    assert float(kernel.square().mean().sqrt()) == pytest.approx(300.0, rel=0.5)


def test_layers_that_are_one_way_already_stay() -> None:
    once = compress(network(), rank=4, include=["0"])
    twice = compress(once, rank=2)
    assert (twice[0].rank, twice[1].first.rank) == (4, 2)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.ConvTranspose2d(4, 4, 3), r"^1: a transposed convolution cannot be rewritten; add it to exclude"),
        (nn.ConvTranspose3d(4, 4, 3), r"^1: a transposed convolution"),
        (nn.Conv2d(4, 4, 3, groups=2), r"^1: a convolution in 2 groups cannot be rewritten"),
        (nn.Conv2d(4, 4, 4), r"^1: kernel_size: expected odd sizes .*got \(4, 4\); or add the layer"),
        (nn.Conv2d(1, 1, 3), r"^1: rank: expected 1 to 3 .*got 4; or add the layer"),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3)), r"^1: a ParametrizedConv2d does more"),
    ],
)
def test_layers_that_cannot_be_rewritten_are_named(layer: nn.Module, message: str) -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3), layer)
    with pytest.raises(ValueError, match=message):
        compress(model, rank=4)
    assert isinstance(compress(model, rank=4, exclude=["1"])[0], OneWayConv)


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (nn.Sequential(nn.Linear(3, 3)), {}, "found no convolution over 2 or 3 axes"),
        (nn.Sequential(nn.Conv2d(3, 3, 1)), {}, "found no convolution over 2 or 3 axes"),
        (network(), {"exclude": ["*"]}, "found no convolution over 2 or 3 axes"),
        (network(), {"format": "dense"}, "format: expected one of cp, separable, .*got 'dense'"),
        (network(), {"rank": None}, "^0: rank: conv='cp' needs one"),
        (network(), {"format": "outer"}, "^0: rank: conv='outer' has none, got 4"),
        (network(), {"rank": "90x"}, r"^0: rank: one term reaches a ratio of 28\.6x at most"),
        (network(), {"include": ["encoder"]}, "include: 'encoder' matches none of the layers; known are 0, "),
        (network(), {"rank": 0}, r"^0: rank: expected a whole number of at least 1"),
        (nn.ConvTranspose2d(3, 3, 3), {}, "^the model itself: a transposed"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(
    model: nn.Module, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compress(model, **({"rank": 4} | arguments))


def kill_terms(layer: OneWayConv, dead: list[int]) -> None:
    """Zero one factor of each dead term, in turn another one."""
    with torch.no_grad():
        for n, r in enumerate(dead):
            factor = [layer.mix_in.weight[r], layer.mix_out.weight[:, r]]
            factor += [f.weight[r] for f in layer.axis_filters]
            factor[n % len(factor)].zero_()


@torch.no_grad()
def relative_change(before: nn.Module, after: nn.Module, x: torch.Tensor) -> float:
    """Largest change of an output over the largest output."""
    expected = before(x)
    return float((after(x) - expected).abs().max() / expected.abs().max())


@given(
    rank=st.integers(1, 20),
    dead=st.sets(st.integers(0, 19)),
    align=st.sampled_from([1, 4, 16]),
    axes=st.sampled_from([2, 3]),
)
def test_dropping_dead_terms_is_exact(rank: int, dead: set[int], align: int, axes: int) -> None:
    shape = ConvShape.of(5, 7, 3, axes=axes, stride=2, padding=1, padding_mode="replicate")
    layer = CPConv(shape, rank).eval()
    dead = {r for r in dead if r < rank}
    kill_terms(layer, sorted(dead))
    x = torch.randn(1, 5, *(9, 8, 7)[:axes])
    before = copy.deepcopy(layer.state_dict())
    small, report = materialise(nn.Sequential(layer), align)
    live = rank - len(dead)
    kept = align * max(1, -(-live // align))
    (row,) = report.layers
    assert (row.name, row.rank_before, row.live_terms, row.rank_after) == ("0", rank, live, kept)
    assert small[0].rank == kept
    assert report.parameters_after == CPConv.parameter_count(shape, kept)
    assert relative_change(layer, small, x) <= 1e-6
    assert not small[0].training
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


@pytest.mark.filterwarnings("ignore:pruning left no weight")
def test_a_pruned_network_shrinks_and_computes_the_same() -> None:
    """SAP to a few weights, then materialise: terms that lost a whole factor go."""
    torch.manual_seed(0)
    model = compress(network(), rank=16)
    pruner = SAPPruner(model, eta=0.5, gamma=1.2)
    for _ in range(4):
        pruner.prune_step()
    small, report = materialise(model)
    assert report.parameters_after == count_parameters(small) < report.parameters_before
    assert any(row.live_terms < row.rank_before for row in report.layers)
    assert relative_change(model, small, torch.randn(2, 3, 16, 16)) <= 1e-6
    assert str(report).splitlines()[0].startswith("0: 16 terms, ")
    assert small[1].first is small[1].again


def test_terms_count_as_live_only_with_all_their_factors() -> None:
    layer = make_conv("cp", 2, 2, 3, rank=4)
    kill_terms(layer, [1, 3])
    assert live_terms(layer).tolist() == [0, 2]


def test_a_materialised_layer_can_be_trained_on() -> None:
    layer = make_conv("cp", 2, 2, 3, rank=4, bias=False)
    kill_terms(layer, [0])
    small, _ = materialise(layer)
    small(torch.randn(1, 2, 6, 6)).square().sum().backward()
    assert all(p.grad is not None for p in small.parameters())


def test_a_bad_alignment_is_refused() -> None:
    with pytest.raises(ValueError, match="align: expected at least 1, got 0"):
        materialise(make_conv("cp", 2, 2, 3, rank=2), align=0)
