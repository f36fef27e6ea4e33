"""slimwave against independent solvers, and what the comparison of solvers says of those it does not find."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch  # noqa: F401 - its products crash in a process that has loaded ngsolve's libraries first

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def load(name):
    return importlib.import_module(name)


def difference(case, problem):
    """Relative L2 difference from slimwave's solution over all snapshots."""
    ours = load("peers.problems").reference(problem, seismic=False, elements=16)
    return np.linalg.norm(case.snapshots(case.solve()) - ours) / np.linalg.norm(ours)


@pytest.mark.parametrize(("name", "order", "finest"), [("SMOOTH", 3.0, 1e-4), ("SHARP", 1.8, 4e-3)])
def test_finite_differences_converge_to_our_solution(name, order, finest):
    """Of order 4 in time for a smooth medium; of order 2 across interfaces."""
    problem = getattr(load("peers.problems"), name)
    make = load("peers.finite_differences").finite_differences
    coarse, fine = (difference(make(problem, cells), problem) for cells in (64, 128))
    assert fine < finest and coarse > 2**order * fine


@pytest.mark.parametrize(("name", "finest"), [("SMOOTH", 1.4e-3), ("SHARP", 1.6e-3)])
def test_ngsolve_converges_to_our_solution(name, finest):
    """Triangles with lumped mass, leapfrog: of order 2 in time."""
    pytest.importorskip("ngsolve")
    problem = getattr(load("peers.problems"), name)
    make = load("peers.with_ngsolve").ngsolve_lumped
    coarse, fine = (difference(make(problem, cells), problem) for cells in (48, 96))
    assert fine < finest and coarse > 3.5 * fine


def test_a_solver_that_is_not_installed_is_named_with_the_remedy(monkeypatch, capsys):
    peers = load("fem_peers")
    smooth = load("peers.problems").SMOOTH
    monkeypatch.setitem(sys.modules, "deepwave", None)
    monkeypatch.setattr(
        peers, "ENTRIES", {smooth: [e for e in peers.ENTRIES[smooth] if e.family == "deepwave"]}
    )
    rows, missing = peers.measure(quick=True, repeats=1)
    assert (rows, missing) == ([], ["deepwave"])
    peers.print_report(rows, missing, peers.judge(rows))
    assert "deepwave is not installed: pip install 'slimwave[bench]'" in capsys.readouterr().out
