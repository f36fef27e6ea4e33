"""Compression without a compiler: where numba is missing or switched off, all works, in torch's own layers.

The same sums run here, compiled, and in a process that has no numba; the numbers agree to 1e-5.
"""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from slimwave.compression.axis_filters import filter_along
from slimwave.compression.axis_kernels import COMPILED
from slimwave.compression.choices import FORMATS, RANKED_FORMATS
from slimwave.compression.counting import count_macs
from slimwave.compression.formats import make_conv
from slimwave.compression.materialise import materialise
from slimwave.compression.rewriting import compress
from slimwave.compression.sap import SAPPruner
from slimwave.compression.sparse_inference import sparse_inference

HERE = Path(__file__)
SOURCES = HERE.parents[2] / "compression"

SCRIPT = f"""
import runpy, sys
import torch
{{prelude}}
torch.save(runpy.run_path({str(HERE)!r})["report"](), sys.argv[1])
"""


def report() -> dict[str, object]:
    """Import every module of the folder, use each part of it, and return numbers and reasons."""
    for path in SOURCES.glob("*.py"):
        importlib.import_module(f"slimwave.compression.{path.stem}")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    numbers = _formats() | _filters() | _pruned()
    model = _network()
    x = torch.randn(1, 3, 40, 40)
    faster, choices = sparse_inference(model, x)
    with torch.no_grad():
        numbers["sparse inference"] = faster(x)
    return {
        "compiled": COMPILED,
        "numbers": numbers,
        "reasons": [layer.reason for layer in choices.layers],
        "lines": [str(layer) for layer in choices.layers],
    }


def _network() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.Conv2d(8, 4, 3, padding=1))
    return compress(model, rank=6, exclude="2")


def _formats() -> dict[str, Tensor]:
    """Outputs and gradients of every format."""
    numbers: dict[str, Tensor] = {}
    for conv in FORMATS:
        layer = make_conv(conv, 3, 4, 5, rank=3 if conv in RANKED_FORMATS else None)
        x = torch.randn(2, 3, 12, 11, requires_grad=True)
        y = layer(x)
        y.square().sum().backward()
        gradients = [x.grad, *(p.grad for p in layer.parameters())]
        numbers[conv] = torch.cat([t.detach().flatten() for t in (y, *gradients) if t is not None])
    return numbers


def _filters() -> dict[str, Tensor]:
    x, weight = torch.randn(1, 2, 9, 8), torch.randn(2, 5)
    return {f"axis {axis}": filter_along(x, weight, axis) for axis in (0, 1)}


def _pruned() -> dict[str, Tensor]:
    """A round of SAP, what it leaves of a network, and its cost."""
    model = _network()
    record = SAPPruner(model, scope="layer", eta=0.3).prune_step()
    small, _ = materialise(model)
    x = torch.randn(1, 3, 12, 12)
    counts = (record.pruned, record.kept, count_macs(small, x))
    return {"pruned": small(x).detach(), "counts": torch.tensor(counts, dtype=torch.float64)}


@pytest.mark.parametrize(
    ("prelude", "environment", "reason"),
    [
        ("sys.modules['numba'] = None", {}, "numba is missing: pip install numba"),
        ("", {"NUMBA_DISABLE_JIT": "1"}, "unset NUMBA_DISABLE_JIT"),
    ],
)
def test_the_folder_works_without_a_compiler(
    tmp_path: Path, prelude: str, environment: dict[str, str], reason: str
) -> None:
    file = tmp_path / "numbers.pt"
    command = [sys.executable, "-c", SCRIPT.format(prelude=prelude), str(file)]
    subprocess.run(command, env={**os.environ, **environment}, check=True)
    found, expected = torch.load(file), report()
    assert (found["compiled"], expected["compiled"]) == (False, True)
    assert all(reason in why for why in found["reasons"])
    assert all("dense, " in line and reason in line for line in found["lines"])
    assert found["numbers"].keys() == expected["numbers"].keys()
    for name, value in expected["numbers"].items():
        largest = float(value.abs().max())
        assert torch.allclose(found["numbers"][name], value, rtol=0, atol=1e-5 * largest), name
