"""Layers run as one compute what they compute one by one, and only what follows in a line becomes a run."""

import copy
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from slimwave.compression.formats import make_conv
from slimwave.compression.sparse_kernels import LANES, SMALLEST
from slimwave.compression.sparse_run import SparseRun, find_runs


def pruned(layer, density, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        layer.weight.masked_fill_(torch.rand(layer.weight.shape, generator=generator) > density, 0.0)
    return layer.requires_grad_(False)


def line(*channels, kernel=3, density=0.3, **settings):
    """Convolutions with a ReLU after each but the last."""
    modules = []
    for ends in pairwise(channels):
        modules += [pruned(nn.Conv2d(*ends, kernel, **settings), density), nn.ReLU()]
    return modules[:-1]


def assert_same(modules, x):
    expected = copy.deepcopy(nn.Sequential(*modules)).double()(x.double()).float()
    run = SparseRun(*modules)
    assert run.serves(x)
    for _ in range(2):  # the second time in memory that is not fresh
        found = run(x)
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= 2e-6 * max(1.0, float(expected.abs().max()))


@st.composite
def runs(draw):
    """Return modules whose layers differ in everything, and the nodes that they take from a grid."""
    channels = draw(st.lists(st.integers(1, 3), min_size=2, max_size=5))
    groups = draw(st.integers(1, 2))
    modules, lost = [], [0, 0]
    for ends in pairwise(channels):
        kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 5)))
        dilation = draw(st.integers(1, 2))
        padding = draw(st.sampled_from(["same", "valid", 0, 1, (2, 0)]))
        settings = {"dilation": dilation, "groups": groups, "bias": draw(st.booleans()), "padding": padding}
        layer = nn.Conv2d(*(groups * c for c in ends), kernel, **settings)
        modules.append(pruned(layer, draw(st.sampled_from([0.0, 0.3, 1.0]))))
        modules += [[], [nn.ReLU()], [nn.Identity()], [nn.ReLU(inplace=True), nn.Identity()]][
            draw(st.integers(0, 3))
        ]
        for axis in range(2):
            lost[axis] += dilation * (kernel[axis] - 1)
    return modules, lost


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=60, deadline=None)
@given(
    run=runs(),
    size=st.tuples(st.integers(0, 11), st.integers(0, 5 * LANES)),
    batch=st.integers(1, 3),
)
def test_equals_the_layers_one_by_one(run, size, batch):
    modules, lost = run
    grid = [n + extra + gone for n, extra, gone in zip(SMALLEST, size, lost, strict=True)]
    assert_same(modules, torch.randn(batch, modules[0].in_channels, *grid))


def test_without_avx512(tmp_path):
    """Registers of 8 numbers, in a process of its own: the machine code is made for this machine."""
    code = (
        "from llvmlite import binding\n"
        "features = binding.get_host_cpu_features()\n"
        "features['avx512f'] = False\n"
        "binding.get_host_cpu_features = lambda: features\n"
        "import torch\n"
        "from torch import nn\n"
        "from slimwave.compression.sparse_kernels import LANES\n"
        "from slimwave.compression.sparse_run import SparseRun\n"
        "modules = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 5), nn.ReLU()]\n"
        "with torch.no_grad():\n"
        "    for width in (12, 40, 77):\n"
        "        x = torch.randn(2, 3, 19, width)\n"
        "        run, expected = SparseRun(*modules), nn.Sequential(*modules)(x)\n"
        "        print(LANES, run.serves(x), torch.allclose(run(x), expected, atol=1e-5))\n"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.splitlines() == 3 * ["8 True True"]


def test_what_is_not_a_number_stays_so():
    modules = [*line(2, 2, 2, 2, padding=1, density=1.0), nn.ReLU()]  # a zero would skip what is no number
    x = torch.randn(1, 2, 30, 77)
    x[0, 0, 10, 10], x[0, 1, 20, 70] = torch.nan, torch.inf
    found, expected = SparseRun(*modules)(x), nn.Sequential(*modules)(x)
    assert torch.equal(found.isnan(), expected.isnan())
    assert found.isnan().any()


def test_sees_new_weights():
    modules, x = line(2, 3, 2, padding=1), torch.randn(1, 2, 30, 40)
    run = SparseRun(*modules)
    run(x)
    modules[2].weight.mul_(2.0)
    assert torch.allclose(run(x), nn.Sequential(*modules)(x), atol=1e-5)
    modules[0].weight = nn.Parameter(torch.ones(3, 2, 3, 3), requires_grad=False)
    assert torch.allclose(run(x), nn.Sequential(*modules)(x), atol=1e-4)


def test_leaves_all_else_to_the_layers():
    modules = line(2, 3, 2, padding="same")
    run, layers, x = SparseRun(*modules), nn.Sequential(*modules), torch.randn(1, 2, 30, 40)
    for other in (x[..., :5, :9], x[0], x.double()):
        dtype = other.dtype
        assert not run.serves(other)
        assert torch.equal(run.to(dtype)(other), layers.to(dtype)(other))
    run.float()
    assert not run.serves(x.clone().requires_grad_())
    with pytest.raises(RuntimeError, match="channels"):
        run(torch.randn(1, 3, 30, 40))
    modules[0].requires_grad_()
    run(x).sum().backward()
    assert modules[0].weight.grad is not None


def test_no_plane_on_the_way_may_be_too_small():
    modules, x = line(1, 1, 1, kernel=5), torch.randn(1, 1, 14, 40)
    modules[2].padding = (4, 4)
    assert not SparseRun(*modules).serves(x[:, :, :11])  # 7 rows in between, 11 at the end
    assert_same(modules, x)


def test_goes_through_export_and_copies():
    modules, x = line(2, 3, 2, padding=1), torch.randn(1, 2, 30, 40)
    run = SparseRun(*modules)
    expected = run(x)
    program = torch.export.export(copy.deepcopy(run).eval(), (x,))
    assert torch.allclose(program.module()(x), expected, atol=1e-6)
    twin = copy.deepcopy(run)
    twin.layer[0].weight.zero_()
    assert not torch.allclose(twin(x), expected)
    assert torch.equal(run(x), expected)


def test_several_threads_may_call_it():
    """The memory between the layers stays from call to call; each thread needs its own."""
    modules = line(4, 16, 16, 16, 4, padding=1)
    run, xs = SparseRun(*modules), torch.randn(8, 1, 4, 64, 64)
    expected = [run(x) for x in xs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert all(map(torch.equal, pool.map(run, xs), expected))


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ((), "expected a convolution first, got none"),
        ((nn.ReLU(), nn.Conv2d(1, 1, 3)), "expected a convolution first, got ReLU"),
        ((nn.Conv2d(1, 1, 3, stride=2),), "expected Conv2d with stride 1 .* end the run before it"),
        ((nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"),), "padding by zeros"),
        ((nn.Conv2d(1, 1, 3), nn.GELU()), "got GELU"),
    ],
)
def test_refuses_what_it_cannot_compute(modules, message):
    with pytest.raises(ValueError, match=message):
        SparseRun(*modules)


def found(model):
    return find_runs(model, {m for m in model.modules() if isinstance(m, nn.Conv2d)})


class Model(nn.Module):
    """Layers a, b, c and what a test makes of them."""

    def __init__(self, forward):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))
        self.relu, self.block = nn.ReLU(), nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU())
        self.way = forward

    def forward(self, x):
        return self.way(self, x)


def test_finds_runs_and_where_they_end():
    convs = [nn.Conv2d(2, 2, 3, stride=s, padding=1) for s in (1, 1, 2, 1, 1, 1)]
    parts = [*convs[:2], nn.ReLU(), *convs[2:4], nn.Identity(), nn.ReLU(), convs[4], nn.GELU(), convs[5]]
    assert found(nn.Sequential(*parts)) == [["0", "1", "2"], ["4", "5", "6", "7"]]
    assert find_runs(nn.Sequential(*parts), {convs[3], convs[4]}) == [["4", "5", "6", "7"]]
    assert find_runs(nn.Sequential(*parts), {convs[3]}) == []


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (lambda m, x: m.c(m.relu(m.b(m.a(x)))), [["a", "b", "relu", "c"]]),
        (lambda m, x: m.relu(m.b(m.relu(m.a(x)))), [["a", "relu", "b", "relu"]]),
        (lambda m, x: m.b(m.block(m.a(x))), [["a", "block.0", "block.1", "b"]]),
        (lambda m, x: m.b(F.relu(m.a(x))), []),
        (lambda m, x: m.b(m.a(x)) + m.relu(m.c(x)), [["a", "b"]]),
        (lambda m, x: m.relu(m.relu(m.b(m.a(x))) + x), []),
        (lambda m, x: (lambda y: m.b(y) + y)(m.a(x)), []),
        (lambda m, x: m.b(m.a(m.a(x))), []),
        (lambda m, x: m.b(m.a(x)) * m.b.weight.sum(), []),
        (lambda m, x: m.c(m.b(m.a(x))) if x.sum() > 0 else x, []),
    ],
    ids=[
        "line",
        "shared-relu",
        "block",
        "function",
        "sum",
        "relu-elsewhere",
        "branch",
        "twice",
        "read",
        "if",
    ],
)
def test_only_what_follows_in_a_line_is_a_run(forward, expected):
    assert found(Model(forward)) == expected


def test_looking_for_runs_leaves_nothing_behind():
    """A trace runs `forward` on symbols, and what a model keeps for later must not be one."""

    def keeps(model, x):
        model.kept = model.a(x)
        return model.b(model.kept)

    model = Model(keeps)
    assert found(model) == [["a", "b"]]
    assert "kept" not in vars(model)


def test_where_a_trace_is_not_the_whole_truth_there_are_no_runs():
    class Optional(Model):
        def forward(self, x, scale=None):
            y = self.b(self.a(x))
            return y if scale is None else scale * y

    assert found(Optional(None)) == []
    model = Model(lambda m, x: m.b(m.a(x)))
    model.block.register_forward_hook(lambda *_: None)
    assert found(model) == []
    assert found(nn.Sequential(make_conv("cp", 2, 2, 3, rank=1), nn.ReLU(), nn.Conv2d(2, 2, 3))) == []
