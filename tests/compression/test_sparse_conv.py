"""Convolutions that skip their zeros equal the dense ones wherever they serve, and step aside elsewhere."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import forward_ad
from torch.nn.utils import prune

from slimwave.compression.formats import make_conv
from slimwave.compression.sparse_conv import PLANS, SparseConv, stages_of
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


def test_a_new_weight_is_seen_though_it_may_lie_where_an_old_one_lay():
    layer, x = pruned(nn.Conv2d(2, 2, 3, bias=False), 0.5), torch.randn(1, 2, 30, 40)
    sparse = SparseConv(layer)
    for value in range(20):
        del layer.weight
        layer.weight = nn.Parameter(torch.full((2, 2, 3, 3), float(value)), requires_grad=False)
        assert torch.allclose(sparse(x), layer(x), atol=1e-3)


def test_plans_do_not_travel_with_copies_and_do_not_pile_up():
    layer, x = pruned(nn.Conv2d(2, 2, 3), 0.5), torch.randn(1, 2, 80, 40)
    layer.weight.mul_(2.0)
    sparse = SparseConv(layer)
    for rows in range(20, 80):
        sparse(x[:, :, :rows])
    assert len(sparse._plans) <= PLANS
    twin = copy.deepcopy(sparse)
    assert not twin._plans
    twin.layer.weight.mul_(2.0)  # as many changes as the original has seen
    assert torch.allclose(twin(x), twin.layer(x), atol=1e-5)


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


@pytest.mark.parametrize(
    "shape",
    [(1, 5, 40, 64), (1, 3, 40, 64), (4, 40, 64), (5, 40, 64), (40, 64), (1, 4, 1, 40, 64), (1, 0, 40, 64)],
)
def test_leaves_inputs_that_do_not_fit_to_the_layer(shape):
    """Compiled code checks nothing: one channel too many overwrote memory, and the process died."""
    layer = nn.Conv2d(4, 4, 3, padding=1).requires_grad_(False)
    assert not SparseConv(layer).serves(torch.randn(shape))
    if shape == (4, 40, 64):
        assert torch.equal(SparseConv(layer)(torch.ones(shape)), layer(torch.ones(shape)))
    else:
        with pytest.raises(RuntimeError, match=r"[Ee]xpected"):
            SparseConv(layer)(torch.randn(shape))


def test_leaves_one_way_inputs_that_do_not_fit_to_the_layer():
    layer = make_conv("cp", 4, 6, 3, rank=2).requires_grad_(False)
    with pytest.raises(RuntimeError, match="channels"):
        SparseConv(layer)(torch.randn(1, 5, 40, 64))


@pytest.mark.parametrize("shape", [(4, 9, 3, 3), (9, 4, 3, 3), (4, 4, 5, 5), (4, 4, 3)])
def test_leaves_weights_that_do_not_fit_to_the_layer(shape):
    layer = nn.Conv2d(4, 4, 3, padding=1).requires_grad_(False)
    layer.weight = nn.Parameter(torch.randn(shape), requires_grad=False)
    assert not SparseConv(layer).serves(torch.randn(1, 4, 40, 64))
    layer = nn.Conv2d(4, 4, 3, padding=1).requires_grad_(False)
    layer.bias = nn.Parameter(torch.randn(3), requires_grad=False)
    assert not SparseConv(layer).serves(torch.randn(1, 4, 40, 64))


def test_leaves_negative_padding_to_the_layer():
    layer = nn.Conv2d(4, 4, 3, padding=-1).requires_grad_(False)
    with pytest.raises(RuntimeError, match="negative padding"):
        SparseConv(layer)(torch.randn(1, 4, 40, 64))


def test_an_empty_batch():
    layer = nn.Conv2d(4, 3, 3, padding=1).requires_grad_(False)
    assert SparseConv(layer)(torch.randn(0, 4, 40, 64)).shape == (0, 3, 40, 64)


def test_under_inference_mode():
    layer, x = pruned(nn.Conv2d(2, 2, 3), 0.5), torch.randn(1, 2, 30, 40)
    sparse = SparseConv(layer)
    with torch.inference_mode():
        assert sparse.serves(x.clone())
        assert torch.allclose(sparse(x.clone()), layer(x), atol=1e-6)
        made_here = nn.Conv2d(2, 2, 3)
        unseen = SparseConv(made_here)
        for _ in range(2):
            made_here.weight.mul_(2.0)
            assert torch.allclose(unseen(x), made_here(x), atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_goes_through_a_trace():
    layer, x = pruned(nn.Conv2d(2, 2, 3), 0.5), torch.randn(1, 2, 30, 40)
    traced = torch.jit.trace(SparseConv(layer), (x,))
    other = torch.randn(2, 2, 12, 17)
    assert torch.allclose(traced(other), layer(other), atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_leaves_transforms_and_tangents_to_the_layer():
    layer, x = pruned(nn.Conv2d(2, 2, 3), 0.5), torch.randn(3, 1, 2, 30, 40)
    sparse = SparseConv(layer)
    assert torch.allclose(torch.func.vmap(sparse)(x), torch.func.vmap(layer)(x), atol=1e-5)
    with torch.no_grad(), forward_ad.dual_level():
        y = sparse(forward_ad.make_dual(x[0], torch.ones_like(x[0])))
        assert forward_ad.unpack_dual(y).tangent is not None


def test_leaves_mixed_precision_to_the_layer():
    layer, x = pruned(nn.Conv2d(2, 2, 3), 0.5), torch.randn(1, 2, 30, 40)
    with torch.autocast("cpu", torch.bfloat16):
        assert SparseConv(layer)(x).dtype is torch.bfloat16


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
        (prune.l1_unstructured(nn.Conv2d(2, 2, 3), "weight", 0.5), "expected no hooks"),
    ],
)
def test_refuses_what_it_cannot_compute(layer, message):
    with pytest.raises(ValueError, match=message):
        SparseConv(layer)
