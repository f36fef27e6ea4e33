"""Runs that record only what is asked for: the same numbers, and nothing computed besides."""

import numpy as np
import pytest

from slimwave.fem.batches import WaveBatch
from slimwave.fem.checkpointing import Checkpoint, CheckpointMismatchError
from slimwave.fem.forcing import PointSource
from slimwave.fem.marching import DrivenMarch
from slimwave.fem.meshes import disk, rectangle
from slimwave.fem.operators import WaveOperator
from slimwave.fem.recording import QUANTITIES
from slimwave.fem.signals import Ricker
from slimwave.fem.solver import WaveSolver
from slimwave.fem.stepping import Stepper

MESH = rectangle(elements=(5, 4))
UNEVEN_TIMES = [0.0, 0.1, 0.2, 0.27, 0.5]
"""The step changes twice, where a run restarts from u and v."""

SOLVERS = {
    "free": lambda: WaveSolver(MESH),
    "sparse": lambda: WaveSolver(disk(0.8, elements=2)),
    "driven": lambda: WaveSolver(MESH, damping=1.0, boundaries="absorbing"),
}
SUBSETS = [("u",), ("v",), ("energy",), ("u", "v"), ("u", "energy")]


def start(x, y):
    return np.exp(-((x - 0.4) ** 2 + (y - 0.5) ** 2) / 0.02)


def options(name):
    return {
        "times": UNEVEN_TIMES,
        "grid": (9, 7),
        "receivers": [[0.2, 0.3]],
        "nodes": True,
        "sources": [PointSource((0.3, 0.3), Ricker(4.0))] if name == "driven" else [],
    }


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("record", SUBSETS)
def test_what_is_recorded_is_the_same_bit_by_bit_and_the_rest_is_empty(name, record):
    solver = SOLVERS[name]()
    whole = solver.run(start, 0.5, **options(name))
    part = solver.run(start, 0.5, record=record, **options(name))
    places = {"grid": (whole, part), "nodes": (whole.nodes, part.nodes)}
    places["receivers"] = (whole.receivers, part.receivers)
    for everything, some in places.values():
        for field in ("u", "v"):
            full, found = getattr(everything, field), getattr(some, field)
            assert np.array_equal(found, full if field in record else full[:0])
    assert np.array_equal(part.energy, whole.energy if "energy" in record else [])


@pytest.mark.parametrize("backend", ["compiled", "torch"])
@pytest.mark.parametrize("record", SUBSETS)
def test_a_batch_records_what_is_asked_for(backend, record):
    batch = WaveBatch(MESH, [1.0, lambda x, _: 1.0 + x])
    asked = {"times": UNEVEN_TIMES, "grid": (9, 7), "backend": backend}
    whole, part = batch.run(start, 0.5, **asked), batch.run(start, 0.5, record=record, **asked)
    for name in QUANTITIES:
        full, found = getattr(whole, name), getattr(part, name)
        assert np.array_equal(found, full if name in record else full[:, :0])
    assert part[1].u.shape[1:] == (9, 7) and len(part) == 2


@pytest.fixture
def no_velocity_and_energy(monkeypatch):
    """Make whatever computes a velocity or an energy fail."""

    def refuse(*_):
        raise AssertionError("this was not asked for")

    visit = Stepper.visit

    def visit_only(stepper, counts, *, velocities):
        assert not velocities, "this was not asked for"
        return visit(stepper, counts, velocities=False)

    monkeypatch.setattr(Stepper, "visit", visit_only)
    monkeypatch.setattr(WaveOperator, "energies", refuse)
    monkeypatch.setattr(DrivenMarch, "v", property(refuse))


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.usefixtures("no_velocity_and_energy")
def test_u_alone_computes_no_velocity_and_no_energy(name, tmp_path):
    """Not even for checkpoints, at evenly spaced times."""
    even = options(name) | {"times": [0.2, 0.4, 0.6], "record": "u"}
    solver = SOLVERS[name]()
    straight = solver.run(start, **even)
    kept = solver.run(start, **even, checkpoint=Checkpoint(tmp_path / "run.npz", steps=2))
    assert straight.u.any() and np.array_equal(straight.u, kept.u)
    with pytest.raises(AssertionError, match="not asked for"):
        solver.run(start, **even | {"record": ("u", "v")})


@pytest.mark.usefixtures("no_velocity_and_energy")
def test_a_batch_of_u_alone_computes_no_velocity_and_no_energy():
    found = WaveBatch(MESH, 1.0).run([start, start], times=[0.2, 0.4], grid=(9, 7), record="u")
    assert found.u.any()


@pytest.mark.parametrize("name", SOLVERS)
def test_a_run_of_u_alone_continues_bit_by_bit(name, tmp_path):
    """It dies after each output time in turn, also before the step changes, and goes on."""
    solver, asked = SOLVERS[name](), options(name) | {"record": ("u",)}
    straight = solver.run(start, **asked)
    for last in range(1, len(UNEVEN_TIMES)):

        def crash(done, _, last=last):
            if done == last:
                raise KeyboardInterrupt

        checkpoint = Checkpoint(tmp_path / f"{last}.npz", steps=1)
        with pytest.raises(KeyboardInterrupt):
            solver.run(start, **asked, checkpoint=checkpoint, progress=crash)
        resumed = solver.run(start, **asked, checkpoint=checkpoint)
        assert np.array_equal(straight.u, resumed.u)
        assert np.array_equal(straight.nodes.u, resumed.nodes.u)


def test_a_checkpoint_of_a_run_that_records_something_else_is_refused(tmp_path):
    asked = {"times": [0.2], "grid": (9, 7), "checkpoint": Checkpoint(tmp_path / "run.npz", steps=2)}
    WaveSolver(MESH).run(start, record=("u",), **asked)
    WaveSolver(MESH).run(start, record=["u", "u"], **asked)
    with pytest.raises(CheckpointMismatchError, match="other settings"):
        WaveSolver(MESH).run(start, record=("u", "v"), **asked)


@pytest.mark.parametrize("record", [(), "w", ("u", "velocity"), ("u", 3)])
def test_unknown_quantities_are_refused(record):
    with pytest.raises(ValueError, match=r"record: expected one or more of u, v, energy, got "):
        WaveSolver(MESH).run(times=[0.1], record=record)
    with pytest.raises(ValueError, match=r"record: expected one or more of u, v, energy, got "):
        WaveBatch(MESH, 1.0).run(0.0, times=[0.1], grid=(5, 5), record=record)
