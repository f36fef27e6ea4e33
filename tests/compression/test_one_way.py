"""One-way convolutions: equal to a dense layer with the composed kernel, counted exactly, started evenly."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from slimwave.compression.arguments import full_rank
from slimwave.compression.counting import count_macs, count_nonzeros, count_parameters
from slimwave.compression.formats import make_conv
from slimwave.compression.one_way import OneWayConv


def dense_twin(layer: OneWayConv) -> nn.Module:
    """A torch convolution with the composed kernel of `layer`."""
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[len(layer.kernel_size)]
    twin = conv(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        bias=layer.mix_out.bias is not None,
        padding_mode=layer.padding_mode,
        dtype=torch.float64,
    )
    state = {"weight": layer.kernel()}
    if layer.mix_out.bias is not None:
        state["bias"] = layer.mix_out.bias
    twin.load_state_dict(state)
    return twin


@st.composite
def layers(draw: st.DrawFn) -> OneWayConv:
    axes = draw(st.sampled_from([2, 3]))
    per_axis = [draw(st.sampled_from([1, 3, 5])) for _ in range(axes)]
    channels = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    rank = draw(st.integers(1, full_rank(*channels, per_axis)))
    return OneWayConv(
        *channels,
        per_axis,
        rank,
        stride=draw(st.integers(1, 3)),
        padding=[draw(st.integers(0, 3)) for _ in range(axes)],
        dilation=[draw(st.integers(1, 2)) for _ in range(axes)],
        bias=draw(st.booleans()),
        padding_mode=draw(st.sampled_from(["zeros", "circular", "replicate", "reflect"])),
    ).double()


@given(layers())
def test_equals_the_dense_convolution_with_its_kernel(layer: OneWayConv) -> None:
    x = torch.randn(2, layer.in_channels, *(11, 10, 9)[: len(layer.kernel_size)], dtype=torch.float64)
    expected = dense_twin(layer)(x)
    assert layer(x).shape == expected.shape
    assert torch.allclose(layer(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("axes", [2, 3])
def test_valid_and_same_padding_give_the_dense_shapes(axes: int) -> None:
    x = torch.randn(1, 2, *[12] * axes)
    assert make_conv("cp", 2, 3, 5, rank=4, axes=axes, dilation=2)(x).shape == (1, 3, *[4] * axes)
    assert make_conv("cp", 2, 3, 5, rank=4, axes=axes, padding="same")(x).shape == (1, 3, *[12] * axes)


@given(layers())
def test_parameter_count_is_exact(layer: OneWayConv) -> None:
    """R (C_in + C_out + Σ k) + C_out."""
    counted = OneWayConv.parameter_count(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.rank,
        bias=layer.mix_out.bias is not None,
    )
    assert count_parameters(layer) == counted


def test_parameter_count_of_the_published_formula() -> None:
    """C = 32, k = 3 in 2 axes, R = C: R (C_in + C_out + n k) + C_out."""
    assert OneWayConv.parameter_count(32, 32, (3, 3), 32) == 32 * (32 + 32 + 2 * 3) + 32


@pytest.mark.parametrize(
    ("axes", "channels", "kernel", "rank"), [(2, 24, 5, 16), (2, 16, 3, 32), (3, 12, 3, 12)]
)
def test_initial_signal_passes_as_through_dense_layers(
    axes: int, channels: int, kernel: int, rank: int
) -> None:
    """Twelve layers: the variance kept by the one-way chain is the dense chain's within 10 %, over seeds."""
    grid = {2: (20, 20), 3: (8, 8, 8)}[axes]

    def kept(conv: str, seed: int) -> Tensor:
        torch.manual_seed(seed)
        x = torch.randn(1, channels, *grid)
        settings = {"axes": axes, "bias": False, "padding": "same", "padding_mode": "circular"}
        for _ in range(12):
            layer = make_conv(
                conv, channels, channels, kernel, rank=rank if conv == "cp" else None, **settings
            )
            x = layer(x)
        return x.var()

    seeds = range(100)
    with torch.no_grad():
        ratio = sum(kept("cp", s) for s in seeds) / sum(kept("dense", s) for s in seeds)
    assert float(ratio) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("rank", [1, 8, 64])
def test_initial_kernel_has_the_dense_layers_spread(rank: int) -> None:
    torch.manual_seed(0)
    kernels = torch.stack([OneWayConv(16, 16, (5, 5), rank).kernel() for _ in range(400)])
    assert float(kernels.detach().var()) == pytest.approx(1 / (3 * 16 * 25), rel=0.1)


@torch.no_grad()
def test_initial_factors_of_a_term_are_equally_long() -> None:
    """Otherwise pruning by magnitude over the whole network would empty one factor first."""
    outer, filters, inner = OneWayConv(3, 48, (5, 7), 32).factors()
    lengths = torch.stack([vectors.norm(dim=1) for vectors in (outer.T, *filters, inner)])
    assert torch.allclose(lengths, lengths[0, 0].expand_as(lengths))


def test_a_layer_that_starts_at_zero_can_learn() -> None:
    layer = OneWayConv(3, 4, (3, 3), 5, bias=False)
    layer.reset_parameters(kernel_std=0.0)
    assert not bool(layer.kernel().any())
    layer(torch.randn(1, 3, 6, 6)).sum().backward()
    assert bool(layer.mix_out.weight.grad.any())


def test_initial_kernel_can_take_a_given_spread() -> None:
    torch.manual_seed(0)
    layer = OneWayConv(32, 32, (3, 3), 64)
    layer.reset_parameters(kernel_std=0.5)
    assert float(layer.kernel().detach().std()) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 0}, "in_channels: a convolution needs at least one channel, got 0"),
        ({"out_channels": 0}, "out_channels: a convolution needs at least one channel, got 0"),
        ({"kernel_size": 4}, r"kernel_size: expected odd sizes .* got \(4, 4\)"),
        ({"kernel_size": (3, 2)}, r"kernel_size: expected odd sizes .* got \(3, 2\)"),
        ({"kernel_size": 0}, "kernel_size: expected integers of at least 1"),
        ({"kernel_size": (3, 3, 3)}, r"kernel_size: expected one integer or 2 \(one per axis\)"),
        ({"kernel_size": 3.0}, "kernel_size: expected integers of at least 1, got 3.0"),
        ({"stride": 0}, "stride: expected integers of at least 1"),
        ({"padding": -1}, "padding: expected integers of at least 0"),
        ({"axes": 1}, "axes: expected 2 or 3, got 1"),
        ({"conv": "tucker"}, "conv: expected one of dense, cp, got 'tucker'"),
    ],
)
@pytest.mark.parametrize("conv", ["dense", "cp"])
def test_bad_arguments_are_refused_in_every_format(
    conv: str, arguments: dict[str, Any], message: str
) -> None:
    given_ = {"conv": conv, "in_channels": 4, "out_channels": 4, "kernel_size": 3} | arguments
    with pytest.raises(ValueError, match=message):
        make_conv(**given_, rank=2 if conv == "cp" else None)


@pytest.mark.parametrize("rank", [0, -3, 37])
def test_rank_outside_its_range_is_refused(rank: int) -> None:
    with pytest.raises(ValueError, match=r"rank: expected 1 to 36 \(the full rank of a 4 -> 4 kernel"):
        make_conv("cp", 4, 4, 3, rank=rank)


def test_full_rank_is_accepted() -> None:
    assert make_conv("cp", 4, 4, 3, rank=36).kernel().shape == (4, 4, 3, 3)


def test_rank_is_needed_by_cp_and_refused_by_dense() -> None:
    with pytest.raises(ValueError, match="give rank=R"):
        make_conv("cp", 4, 4, 3)
    with pytest.raises(ValueError, match="leave rank out"):
        make_conv("dense", 4, 4, 3, rank=2)


def test_other_numbers_of_axes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 2 or 3 axes"):
        OneWayConv(2, 2, (3,), 1)


def test_macs_are_those_of_the_factors_on_real_shapes() -> None:
    """Stride 2: B runs on the full grid, the first filter halves one axis, the second the other."""
    layer = make_conv("cp", 3, 5, 3, rank=4, stride=2, padding=1)
    expected = 4 * 3 * (16 * 20) + 4 * 3 * (8 * 20) + 4 * 3 * (8 * 10) + 5 * 4 * (8 * 10)
    assert count_macs(layer, torch.randn(1, 3, 16, 20)) == expected
    assert count_macs(layer, torch.randn(7, 3, 16, 20)) == 7 * expected


def test_macs_of_grouped_transposed_volume_and_linear_layers() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2), nn.ConvTranspose2d(8, 6, 3, groups=2), nn.Flatten(2), nn.Linear(144, 5)
    )
    expected = 8 * 2 * 9 * 10 * 10 + 8 * 3 * 9 * 10 * 10 + 6 * 144 * 5
    assert count_macs(model, torch.randn(1, 4, 12, 12)) == expected
    volume = nn.Conv3d(2, 3, (1, 3, 5))
    assert count_macs(volume, torch.randn(1, 2, 6, 6, 6)) == 3 * 2 * 15 * (6 * 4 * 2)


def test_shared_parameters_count_once() -> None:
    shared = nn.Conv2d(2, 2, 3, bias=False)
    with torch.no_grad():
        shared.weight[0] = 0.0
    model = nn.Sequential(shared, nn.GELU(), shared)
    assert (count_parameters(model), count_nonzeros(model)) == (36, 18)


def test_gradients_reach_every_factor() -> None:
    layer = make_conv("cp", 3, 5, 3, rank=4)
    F.gelu(layer(torch.randn(2, 3, 8, 8))).square().mean().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in layer.parameters())
