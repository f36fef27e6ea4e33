"""What the docstrings and the benchmark of the solver show must be true."""

import doctest
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import slimwave.fem.solver as anchor

FOLDER = Path(anchor.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.py"))
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "fem_accuracy.py"


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(f"slimwave.fem.{name}")).failed == 0


def test_the_benchmark_reaches_its_accuracy():
    """Errors are the same on every machine; the CPU times are for people to read."""
    command = [sys.executable, str(BENCHMARK), "--quick", "--json"]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    by_method = {row["method"]: row for row in report["rows"]}
    target = by_method["p=4 20x20 lax-wendroff stencil float64"]
    assert report["reference_doubt"] < 1e-6
    assert 8.3e-4 < target["error_u"] < 8.5e-4 and target["error_v"] < 2.6e-3
    assert all(row["run"] > 0 for row in report["rows"])
