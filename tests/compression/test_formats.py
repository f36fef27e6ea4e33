"""Formats of convolutions: equal to a dense layer with the composed kernel, counted, started evenly."""

from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from slimwave.compression import formats
from slimwave.compression.choices import FORMATS, RANKED_FORMATS
from slimwave.compression.counting import count_macs, count_nonzeros, count_parameters
from slimwave.compression.formats import format_class, make_conv
from slimwave.compression.ranks import Rank
from slimwave.compression.shapes import ConvShape


def dense_twin(layer: nn.Module, shape: ConvShape) -> nn.Module:
    """A torch convolution with the composed kernel of `layer`."""
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[shape.axes]
    twin = conv(
        shape.in_channels,
        shape.out_channels,
        shape.kernel_size,
        stride=shape.stride,
        padding=shape.padding,
        dilation=shape.dilation,
        bias=shape.bias,
        padding_mode=shape.padding_mode,
        dtype=torch.float64,
    )
    state = {"weight": layer.kernel()}
    if shape.bias:
        state["bias"] = next(p for name, p in layer.named_parameters() if name.endswith("bias"))
    twin.load_state_dict(state)
    return twin


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[str, ConvShape, int]:
    """A format, a shape, and a rank that it can have."""
    conv = draw(st.sampled_from(FORMATS))
    axes = draw(st.sampled_from([2, 3]))
    same = draw(st.booleans())
    shape = ConvShape.of(
        draw(st.integers(1, 4)),
        draw(st.integers(1, 4)),
        [draw(st.sampled_from([1, 3, 5])) for _ in range(axes)],
        axes=axes,
        stride=1 if same else draw(st.integers(1, 3)),
        padding="same" if same else [draw(st.integers(0, 3)) for _ in range(axes)],
        dilation=[draw(st.integers(1, 2)) for _ in range(axes)],
        bias=draw(st.booleans()),
        padding_mode=draw(st.sampled_from(["zeros", "circular", "replicate", "reflect"])),
    )
    largest = format_class(conv, axes).full_rank(shape)
    return conv, shape, draw(st.integers(min(1, largest), largest))


@given(convolutions())
def test_equals_the_dense_convolution_with_its_kernel(convolution: tuple[str, ConvShape, int]) -> None:
    conv, shape, rank = convolution
    layer = format_class(conv, shape.axes)(shape, rank).double()
    x = torch.randn(2, shape.in_channels, *(11, 10, 9)[: shape.axes], dtype=torch.float64)
    expected = dense_twin(layer, shape)(x)
    assert layer(x).shape == expected.shape
    assert torch.allclose(layer(x), expected, rtol=1e-12, atol=1e-12)


@given(convolutions())
def test_parameters_and_macs_are_those_of_the_formulas(convolution: tuple[str, ConvShape, int]) -> None:
    conv, shape, rank = convolution
    grid = (11, 10, 9)[: shape.axes]
    cls = format_class(conv, shape.axes)
    layer = cls(shape, rank)
    x = torch.randn(1, shape.in_channels, *grid)
    assert tuple(layer(x).shape[2:]) == shape.output_grid(grid)
    assert count_parameters(layer) == cls.parameter_count(shape, rank)
    assert count_macs(layer, x) == cls.mac_count(shape, rank, grid)


def test_weights_of_the_published_formulas() -> None:
    """C = 32, R = C, in the plane, k = 3 and k = 7."""
    for k, reductions in ((3, (4.1, 1.5, 1.5, 7.0)), (7, (20.1, 3.5, 3.5, 19.4))):
        shape = ConvShape.of(32, 32, k)
        counts = [
            format_class(conv).weight_count(shape, rank)
            for conv, rank in (("cp", 32), ("separable", 32), ("outer", 0), ("depthwise", 0))
        ]
        expected = [32 * (64 + 2 * k), 2 * k * 32 * 32, 2 * k * 32 * 32, 32 * (k * k + 32)]
        assert counts == expected
        dense = format_class("dense").weight_count(shape)
        assert [round(dense / count, 1) for count in counts] == list(reductions)


@cache
def kept_variances(conv: str, axes: int, rank: Rank | None) -> Tensor:
    """The variance of the output of twelve fresh layers in a row, for each of a hundred seeds."""
    channels, kernel, grid = {2: (24, 5, (12, 12)), 3: (16, 3, (6, 6, 6))}[axes]

    def kept(seed: int) -> Tensor:
        torch.manual_seed(seed)
        x = torch.randn(1, channels, *grid)
        settings = {"axes": axes, "bias": False, "padding": "same", "padding_mode": "circular"}
        for _ in range(12):
            x = make_conv(conv, channels, channels, kernel, rank=rank, **settings)(x)
        return x.var()

    with torch.no_grad():
        return torch.stack([kept(seed) for seed in range(100)])


@pytest.mark.parametrize(
    ("axes", "conv", "rank"),
    [
        *((axes, conv, 1.0) for axes in (2, 3) for conv in RANKED_FORMATS),
        *((axes, conv, None) for axes in (2, 3) for conv in ("outer", "depthwise")),
        *((2, conv, 0.5) for conv in RANKED_FORMATS),
        (2, "cp", "8x"),
        (3, "separable", 0.5),
    ],
)
def test_initial_signal_passes_as_through_dense_layers(axes: int, conv: str, rank: Rank | None) -> None:
    """Twelve layers: the mean variance of the output is the dense chain's within 10 %, over seeds."""
    ratio = kept_variances(conv, axes, rank).mean() / kept_variances("dense", axes, None).mean()
    assert float(ratio) == pytest.approx(1.0, abs=0.1)


def test_with_few_terms_most_draws_keep_less_than_the_mean() -> None:
    """The limit of the promise: a mean of the dense chain's is made of a few large and many small draws."""
    ratio = kept_variances("cp", 2, 0.5).median() / kept_variances("dense", 2, None).median()
    assert 0.75 < float(ratio) < 0.95


@pytest.mark.parametrize("std", [None, 0.5])
@pytest.mark.parametrize(
    ("conv", "rank"),
    [("cp", 1), ("cp", 64), ("separable", 8), ("outer", None), ("depthwise", None), ("tucker", 12)],
)
def test_initial_kernel_has_the_spread_asked_for(conv: str, rank: int | None, std: float | None) -> None:
    """By default the dense layer's own."""
    torch.manual_seed(0)
    layer = make_conv(conv, 12, 20, 5, rank=rank)
    kernels = []
    for _ in range(60):
        layer.reset_parameters(std)
        kernels.append(layer.kernel().detach())
    expected = 1 / (3 * 12 * 25) if std is None else std**2
    assert float(torch.stack(kernels).var()) == pytest.approx(expected, rel=0.1)


@torch.no_grad()
@pytest.mark.parametrize("conv", ["cp", "separable"])
def test_initial_vectors_of_a_term_are_equally_long(conv: str) -> None:
    """Otherwise pruning by magnitude over the whole network would empty one factor first."""
    layer = make_conv(conv, 3, 48, (5, 3, 7), axes=3, rank=20)
    lengths = torch.stack([vectors.norm(dim=1) for vectors in layer.term_vectors()])
    assert torch.allclose(lengths, lengths[0, 0].expand_as(lengths))


@pytest.mark.parametrize("conv", [name for name in FORMATS if name != "dense"])
def test_a_layer_that_starts_at_zero_can_learn(conv: str) -> None:
    layer = make_conv(conv, 3, 4, 3, rank=3 if conv in RANKED_FORMATS else None, bias=False)
    layer.reset_parameters(kernel_std=0.0)
    assert not bool(layer.kernel().any())
    layer(torch.randn(1, 3, 6, 6)).sum().backward()
    assert any(bool(p.grad.any()) for p in layer.parameters() if p.grad is not None)


@pytest.mark.parametrize("conv", FORMATS)
def test_gradients_reach_every_factor(conv: str) -> None:
    layer = make_conv(conv, 3, 5, 3, rank=3 if conv in RANKED_FORMATS else None)
    F.gelu(layer(torch.randn(2, 3, 8, 8))).square().mean().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in layer.parameters())


@torch.no_grad()
@pytest.mark.parametrize("conv", ["cp", "separable"])
def test_a_term_s_norm_is_that_of_its_share_in_the_kernel(conv: str) -> None:
    layer = make_conv(conv, 3, 4, 3, rank=5).double()
    for term, norm in enumerate(layer.term_norms()):
        alone = layer.with_terms(torch.tensor([term]), 1)
        assert float(alone.kernel().norm()) == pytest.approx(float(norm), rel=1e-12)


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
        ({"padding": "full"}, "padding: expected cells, 'same' or 'valid', got 'full'"),
        ({"padding": "same", "stride": 2}, "padding: 'same' needs stride 1"),
        ({"padding_mode": "mirror"}, "padding_mode: expected one of zeros, reflect, .*got 'mirror'"),
        ({"axes": 1}, "axes: expected 2 or 3, got 1"),
        ({"conv": "svd"}, "conv: expected one of dense, cp, separable, .*got 'svd'"),
    ],
)
@pytest.mark.parametrize("conv", ["dense", "cp"])
def test_bad_arguments_are_refused_in_every_format(
    conv: str, arguments: dict[str, Any], message: str
) -> None:
    given_ = {"conv": conv, "in_channels": 4, "out_channels": 4, "kernel_size": 3} | arguments
    with pytest.raises(ValueError, match=message):
        make_conv(**given_, rank=2 if conv == "cp" else None)


@pytest.mark.parametrize(
    ("conv", "rank", "largest"), [("cp", 37, 36), ("separable", 13, 12), ("tucker", 5, 4)]
)
def test_a_rank_above_the_full_rank_is_refused_and_the_full_rank_is_not(
    conv: str, rank: int, largest: int
) -> None:
    with pytest.raises(ValueError, match=rf"rank: expected 1 to {largest} \(the full rank of a 4 -> 4 kern"):
        make_conv(conv, 4, 4, 3, rank=rank)
    assert make_conv(conv, 4, 4, 3, rank=largest).kernel().shape == (4, 4, 3, 3)


def test_rank_is_needed_by_some_formats_and_refused_by_the_others() -> None:
    for conv in FORMATS:
        if conv in RANKED_FORMATS:
            with pytest.raises(ValueError, match=f"rank: conv='{conv}' needs one; give rank=R"):
                make_conv(conv, 4, 4, 3)
        else:
            with pytest.raises(ValueError, match=f"rank: conv='{conv}' has none, got 2; leave rank out"):
                make_conv(conv, 4, 4, 3, rank=2)


def test_the_registry_knows_every_name() -> None:
    assert set(FORMATS) == {"dense", *formats.FACTORED}


def test_macs_of_grouped_transposed_volume_and_linear_layers() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2), nn.ConvTranspose2d(8, 6, 3, groups=2), nn.Flatten(2), nn.Linear(144, 5)
    )
    expected = 8 * 2 * 9 * 10 * 10 + 8 * 3 * 9 * 10 * 10 + 6 * 144 * 5
    assert count_macs(model, torch.randn(1, 4, 12, 12)) == expected
    volume = nn.Conv3d(2, 3, (1, 3, 5))
    assert count_macs(volume, torch.randn(7, 2, 6, 6, 6)) == 7 * 3 * 2 * 15 * (6 * 4 * 2)


def test_shared_parameters_count_once() -> None:
    shared = nn.Conv2d(2, 2, 3, bias=False)
    with torch.no_grad():
        shared.weight[0] = 0.0
    model = nn.Sequential(shared, nn.GELU(), shared)
    assert (count_parameters(model), count_nonzeros(model)) == (36, 18)
