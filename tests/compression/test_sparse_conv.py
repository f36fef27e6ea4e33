"""Convolutions that skip their zeros equal the dense ones wherever they serve, and step aside elsewhere."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from slimwave.compression.formats import make_conv
from slimwave.compression.sparse_conv import SparseConv, stages_of
from slimwave.compression.sparse_inference import sparse_inference
from slimwave.compression.sparse_kernels import LANES, SLAB, SMALLEST


def pruned(layer, density, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        layer.weight.masked_fill_(torch.rand(layer.weight.shape, generator=generator) > density, 0.0)
    return layer.requires_grad_(False)


def assert_same(layer, x):
    expected = layer.double()(x.double()).float()
    found = SparseConv(layer.float())(x)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-6 * max(1.0, float(expected.abs().max()))


@settings(max_examples=40, deadline=None)
@given(
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    groups=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 5)),
    dilation=st.integers(1, 2),
    padding=st.integers(0, 2),
    mode=st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
    size=st.tuples(st.integers(0, 11), st.integers(0, 5 * LANES)),
    batch=st.integers(1, 2),
    bias=st.booleans(),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
def test_equals_the_dense_layer(
    channels, groups, kernel, dilation, padding, mode, size, batch, bias, density
):
    c_in, c_out = (groups * c for c in channels)
    grid = [n + extra + dilation * (k - 1) for n, extra, k in zip(SMALLEST, size, kernel, strict=True)]
    layer = nn.Conv2d(
        c_in,
        c_out,
        kernel,
        dilation=dilation,
        padding=padding,
        groups=groups,
        bias=bias,
        padding_mode=mode,
    )
    x = torch.randn(batch, c_in, *grid)
    assert SparseConv(pruned(layer, density)).serves(x)
    assert_same(layer, x)


@settings(max_examples=30, deadline=None)
@given(
    conv=st.sampled_from(["cp", "separable"]),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    kernel=st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([3, 7])),
    dilation=st.integers(1, 2),
    padding=st.sampled_from(["same", "valid", 0, 1, (2, 3)]),
    mode=st.sampled_from(["zeros", "reflect", "circular"]),
    size=st.tuples(st.integers(0, 2 * SLAB), st.integers(0, 5 * LANES)),
    batch=st.integers(1, 2),
    density=st.sampled_from([0.3, 1.0]),
)
def test_a_chain_equals_the_one_way_layer(
    conv, channels, kernel, dilation, padding, mode, size, batch, density
):
    steps = {"dilation": dilation, "padding": padding, "padding_mode": mode}
    layer = make_conv(conv, *channels, kernel, rank=1, **steps).requires_grad_(False)
    for stage in stages_of(layer):
        pruned(stage, density)
    grid = [n + extra + dilation * (k - 1) for n, extra, k in zip(SMALLEST, size, kernel, strict=True)]
    x = torch.randn(batch, channels[0], *grid)
    assert SparseConv(layer).serves(x)
    assert_same(layer, x)


def test_a_copy_goes_its_own_way():
    layer, x = pruned(nn.Conv2d(2, 2, 3), 0.5), torch.randn(1, 2, 30, 40)
    sparse = SparseConv(layer)
    before = sparse(x)
    twin = copy.deepcopy(sparse)
    twin.layer.weight.zero_()
    assert torch.allclose(twin(x), layer.bias[:, None, None].expand_as(before))
    assert torch.equal(sparse(x), before)


@pytest.mark.parametrize("padding", [0, 1, (1, 0, 2), "same"])
def test_equals_the_dense_layer_over_three_axes(padding):
    layer = pruned(nn.Conv3d(3, 4, (3, 3, 5), padding=padding), 0.2)
    assert_same(layer, torch.randn(2, 3, 5, 12, 40))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("mode", ["same", "valid"])
def test_padding_by_name(mode):
    assert_same(pruned(nn.Conv2d(2, 2, (4, 3), padding=mode), 0.3), torch.randn(1, 2, 20, 50))


def test_inputs_may_lie_in_memory_in_any_order():
    layer, x = pruned(nn.Conv2d(4, 4, 3), 0.3), torch.randn(2, 4, 30, 40)
    expected = SparseConv(layer)(x)
    assert torch.equal(SparseConv(layer)(x.contiguous(memory_format=torch.channels_last)), expected)
    assert torch.equal(SparseConv(layer)(torch.stack([x, x], dim=-1)[..., 0]), expected)


def test_sees_new_weights_after_every_kind_of_change():
    layer, x = pruned(nn.Conv2d(2, 2, 3), 0.5), torch.randn(1, 2, 30, 40)
    sparse = SparseConv(layer)
    sparse(x)
    layer.weight.mul_(2.0)
    assert torch.allclose(sparse(x), layer(x), atol=1e-5)
    layer.load_state_dict(pruned(nn.Conv2d(2, 2, 3), 0.9, seed=1).state_dict())
    assert torch.allclose(sparse(x), layer(x), atol=1e-5)
    layer.weight = nn.Parameter(torch.ones_like(layer.weight), requires_grad=False)
    assert torch.allclose(sparse(x), layer(x), atol=1e-5)


def test_leaves_learning_other_types_and_tiny_grids_to_the_dense_layer():
    layer, x = nn.Conv2d(2, 2, 3), torch.randn(1, 2, 30, 40)
    assert not SparseConv(layer).serves(x)  # its weights want gradients
    SparseConv(layer)(x).sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        assert SparseConv(layer).serves(x)
        assert not SparseConv(layer).serves(x[..., :10, :10])
        small = x[..., :10, :10]
        assert torch.equal(SparseConv(layer)(small), layer(small))
        double = copy.deepcopy(layer).double()
        assert torch.equal(SparseConv(double)(x.double()), double(x.double()))


def test_goes_through_export():
    layer, x = pruned(nn.Conv2d(2, 2, 3), 0.5), torch.randn(1, 2, 30, 40)
    program = torch.export.export(SparseConv(layer).eval(), (x,))
    assert torch.allclose(program.module()(x), layer(x), atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Conv2d(2, 2, 3, stride=2), "expected stride 1"),
        (nn.Linear(2, 2), "expected a plain convolution, .* got Linear"),
        (nn.ConvTranspose2d(2, 2, 3), "expected a plain convolution, .* got ConvTranspose2d"),
    ],
)
def test_refuses_what_it_cannot_compute(layer, message):
    with pytest.raises(ValueError, match=message):
        SparseConv(layer)


def test_sparse_inference_keeps_the_output_and_says_what_it_chose():
    model = nn.Sequential(
        nn.Conv2d(2, 32, 7), nn.GELU(), make_conv("cp", 32, 32, 5, rank=16), nn.Conv2d(32, 2, 3, stride=2)
    )
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            pruned(layer, 0.05)
    x = torch.randn(1, 2, 72, 72)
    faster, report = sparse_inference(model, x)
    assert torch.allclose(faster(x), model(x), atol=1e-5)
    choices = {layer.name: layer for layer in report.layers}
    assert set(choices) == {"0", "2", "3"}
    assert choices["2"].density == pytest.approx(0.05, abs=0.04)
    assert "stride" in str(choices["3"])
    assert isinstance(faster[0], SparseConv) == choices["0"].sparse
    assert not any(isinstance(layer, SparseConv) for layer in model.modules())


def test_sparse_inference_needs_convolutions_that_are_reached():
    with pytest.raises(ValueError, match="found no convolution"):
        sparse_inference(nn.Linear(2, 2), torch.zeros(1, 2))
    model = nn.Module()
    model.conv, model.forward = nn.Conv2d(1, 1, 3), lambda x: x
    with pytest.raises(ValueError, match="reaches no convolution"):
        sparse_inference(model, torch.zeros(1, 1, 8, 8))
