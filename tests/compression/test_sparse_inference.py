"""`sparse_inference` keeps what a model computes, takes what is faster, and says what it chose and why."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from slimwave.compression import sparse_inference as module
from slimwave.compression.formats import make_conv
from slimwave.compression.sparse_conv import SparseConv
from slimwave.compression.sparse_inference import sparse_inference
from slimwave.compression.sparse_run import SparseRun


def pruned(layer, density, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        layer.weight.masked_fill_(torch.rand(layer.weight.shape, generator=generator) > density, 0.0)
    return layer


def very_sparse():
    modules = [
        nn.Conv2d(4, 16, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 16, 5),
        nn.ReLU(),
        nn.Conv2d(16, 4, 5),
    ]
    return nn.Sequential(*(pruned(m, 0.05) if isinstance(m, nn.Conv2d) else m for m in modules))


@pytest.fixture
def prefers(monkeypatch):
    """Replace the clock by a rule: the milliseconds of each rival, in the order in which they are timed."""

    def rule(**milliseconds):
        def times(*functions):
            together = any(isinstance(c.cell_contents, SparseRun) for c in functions[1].__closure__)
            return milliseconds["run" if together else "layer"]

        monkeypatch.setattr(module, "_times", times)

    return rule


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


def test_a_run_stays_where_it_is_faster(prefers):
    model, x = very_sparse(), torch.randn(2, 4, 40, 50)
    expected = model(x)
    prefers(layer=[1.0, 0.5], run=[1.0, 0.5])
    faster, report = sparse_inference(model, x)
    assert isinstance(faster[0], SparseRun)
    assert all(type(part) is nn.Identity for part in faster[1:])
    assert torch.allclose(faster(x), expected, atol=1e-5)
    assert torch.allclose(faster(x[:1, :, :30]), model(x[:1, :, :30]), atol=1e-5)
    assert str(report).splitlines()[-1] == "0 to 4: in one call; 1.000 ms one by one, 0.500 ms in one call"
    prefers(layer=[1.0, 0.5], run=[0.5, 1.0])
    faster, report = sparse_inference(model, x)
    assert all(isinstance(faster[n], SparseConv) for n in (0, 2, 4))
    assert "0 to 4: one by one" in str(report)
    prefers(layer=[0.5, 1.0])
    faster, report = sparse_inference(model, x)
    assert report.runs == ()
    assert torch.equal(faster(x), expected)


def test_it_is_fast_without_no_grad_too(prefers):
    """The copy kept `requires_grad`, and every call outside `no_grad` went to the dense layers."""
    model, x = very_sparse(), torch.randn(1, 4, 40, 50)
    prefers(layer=[1.0, 0.5], run=[0.5, 1.0])
    faster, _ = sparse_inference(model, x)
    assert torch.is_grad_enabled()
    assert faster[0].serves(x)
    assert not faster.training
    assert all(p.requires_grad for p in model.parameters())


def test_under_inference_mode(prefers):
    """Inference tensors count no changes; asking for the count raised an error."""
    model, x = very_sparse(), torch.randn(1, 4, 40, 50)
    prefers(layer=[1.0, 0.5], run=[1.0, 0.5])
    with torch.inference_mode():
        faster, _ = sparse_inference(model, x.clone())
        assert faster[0].serves(x)
        assert torch.allclose(faster(x), model(x), atol=1e-5)
        made_here = copy.deepcopy(model)
        faster, _ = sparse_inference(made_here, x.clone())
        assert faster[0].serves(x)
        assert torch.allclose(faster(x), model(x), atol=1e-5)


WITHOUT_LLVMLITE = """
import sys
sys.modules["llvmlite"] = None
import torch
from torch import nn
from slimwave.compression.sparse_conv import SparseConv
from slimwave.compression.sparse_inference import sparse_inference
from slimwave.compression.sparse_run import SparseRun
layer, x = nn.Conv2d(2, 2, 3), torch.randn(1, 2, 40, 40)
faster, report = sparse_inference(nn.Sequential(layer), x)
print(report)
assert type(faster[0]) is nn.Conv2d
for module in (SparseConv(layer), SparseRun(layer)):
    assert torch.equal(module(x), layer(x))
"""


def test_without_a_compiler_every_layer_stays():
    done = subprocess.run([sys.executable, "-c", WITHOUT_LLVMLITE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0: dense, llvmlite is missing: pip install numba"
