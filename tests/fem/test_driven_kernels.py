"""The compiled loops for driven waves against the scheme term by term on sparse rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimwave.fem import lanes, march_kernels
from slimwave.fem.boundaries import Dirichlet, Neumann
from slimwave.fem.checkpointing import Checkpoint
from slimwave.fem.forcing import DistributedSource, PointSource
from slimwave.fem.lanes import LaneLayout
from slimwave.fem.materials import PerElement
from slimwave.fem.meshes import rectangle
from slimwave.fem.signals import Ricker
from slimwave.fem.solver import WaveSolver
from slimwave.fem.space import GLLSpace

CONDITIONS = {
    "dirichlet": "dirichlet",
    "neumann": "neumann",
    "absorbing": "absorbing",
    "prescribed": Dirichlet(lambda x, y, t: 0.2 * np.sin(7 * t) * (x + y)),
    "flux": Neumann(lambda x, _, t: np.cos(5 * t) * x),
}
DAMPINGS = {
    "none": 0.0,
    "uniform": 3.0,
    "smooth": lambda x, y: 1 + 4 * x * y,
    "jump": PerElement(lambda x, _: np.where(x < 0.5, 0.0, 20.0)),
}
SOURCES = {
    "none": [],
    "point": [PointSource((0.3, 0.6), Ricker(4.0))],
    "both": [PointSource((0.31, 0.42), np.cos), DistributedSource(lambda x, y: x * y, Ricker(3.0))],
}
SIDES = ("left", "right", "bottom", "top")


def difference(elements, order, walls, damping, sources, *, dtype, scheme):
    """Largest difference of u and v between the compiled loops and sparse rows, of the largest value."""
    walls = {side: CONDITIONS[name] for side, name in zip(SIDES, walls, strict=True)}
    mesh = rectangle(1.0, 1.2, elements)
    speed, start = lambda x, y: 1 + x * y, lambda x, y: np.sin(3 * x) * np.cos(2 * y)
    solvers = [
        WaveSolver(
            GLLSpace(mesh, order, structured=structured),
            wave_speed=speed,
            damping=DAMPINGS[damping],
            boundaries=walls,
        )
        for structured in (True, False)
    ]
    step = min(solver.stable_time_step(scheme) for solver in solvers)
    options = {"time_step": step, "dtype": dtype, "scheme": scheme, "sources": SOURCES[sources]}
    times = step * np.array([0.0, 1.0, 1.5, 7.0, 24.0])
    found = [
        solver.run(start, lambda x, _: x, times=times, nodes=True, **options).nodes for solver in solvers
    ]
    pairs = [(getattr(found[0], name), getattr(found[1], name)) for name in ("u", "v")]
    return max(np.abs(ours - theirs).max() / np.abs(theirs).max() for ours, theirs in pairs)


@settings(max_examples=40, deadline=None)
@given(
    elements=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    order=st.sampled_from([1, 4]),
    walls=st.lists(st.sampled_from(list(CONDITIONS)), min_size=4, max_size=4),
    damping=st.sampled_from(list(DAMPINGS)),
    sources=st.sampled_from(list(SOURCES)),
    scheme=st.sampled_from(["lax-wendroff", "leapfrog"]),
)
def test_the_compiled_loops_take_the_steps_of_the_scheme(elements, order, walls, damping, sources, scheme):
    found = difference(elements, order, walls, damping, sources, dtype="float64", scheme=scheme)
    assert found < 1e-9  # v is a difference of fields divided by the step


@pytest.mark.parametrize("damping", DAMPINGS)
@pytest.mark.parametrize("walls", [("absorbing",) * 4, ("prescribed", "neumann", "flux", "absorbing")])
def test_the_same_in_float32(damping, walls):
    assert difference((6, 5), 4, walls, damping, "both", dtype="float32", scheme="lax-wendroff") < 3e-4


@pytest.mark.parametrize("scheme", ["lax-wendroff", "leapfrog"])
@pytest.mark.parametrize("damping", ["uniform", "smooth"])
@pytest.mark.parametrize("shape", [(12, 5), (3, 40)])
def test_blocks_and_steps_in_one_pass_change_nothing(monkeypatch, damping, shape, scheme):
    """A small mesh cut into blocks of at least 16 lanes, twelve steps in one pass through them."""
    monkeypatch.setattr(lanes, "LARGEST_BLOCK", 16)
    monkeypatch.setattr(lanes, "SMALLEST_BLOCK", 16)
    monkeypatch.setattr(march_kernels, "LARGE", 0)
    assert LaneLayout(shape, 4).strides.blocks > 2
    walls = ("absorbing", "prescribed", "flux", "neumann")
    assert difference(shape, 4, walls, damping, "both", dtype="float64", scheme=scheme) < 1e-9


@settings(max_examples=20, deadline=None)
@given(elements=st.tuples(st.integers(1, 30), st.integers(1, 30)), order=st.integers(1, 6))
def test_tables_by_lines_keep_every_number(elements, order):
    layout = LaneLayout(elements, order)
    nx, ny = (order * n + 1 for n in elements)
    states = layout.pack(np.arange(1.0, 2 * nx * ny + 1).reshape(2, nx, ny))
    table = layout.by_lines(states)
    assert np.array_equal(np.sort(table[table != 0]), np.arange(1.0, 2 * nx * ny + 1))
    classes = states[0, : order**2 * layout.strides.lanes].reshape(order, order, -1)
    assert np.array_equal(table[0].reshape(-1, order, order, lanes.GRAIN)[0], classes[..., : lanes.GRAIN])


@pytest.mark.parametrize("damping", ["uniform", "smooth"])
def test_a_driven_run_is_continued_bit_by_bit(tmp_path, damping):
    """Stopped where the last of three output times is under way; its checkpoint holds all that matters."""
    walls = dict.fromkeys(SIDES, "absorbing")
    solver = WaveSolver(rectangle(elements=(5, 5)), damping=DAMPINGS[damping], boundaries=walls)
    options = {"times": [0.1, 0.2, 0.9], "grid": (9, 9), "sources": SOURCES["both"]}
    whole = solver.run(1.0, **options)

    class Stopped(Exception):
        pass

    def stop(done, _):
        if done == 2:
            raise Stopped

    path = Checkpoint(tmp_path / "run.npz", steps=7)
    with pytest.raises(Stopped):
        solver.run(1.0, progress=stop, checkpoint=path, **options)
    continued = solver.run(1.0, checkpoint=path, **options)
    assert np.array_equal(whole.u, continued.u) and np.array_equal(whole.v, continued.v)


@pytest.mark.parametrize(
    "walls", ["absorbing", {"left": "pml", "right": "dirichlet", "bottom": "pml", "top": "neumann"}]
)
def test_stepping_by_hand_takes_the_steps_of_a_run(walls):
    """Three and nineteen steps, and no signal is asked for times that are not needed."""
    solver = WaveSolver(rectangle(elements=(8, 8)), damping=1.0, boundaries=walls)
    step, asked = 0.5 * solver.stable_time_step(), []

    def signal(t):
        asked.append(t)
        return np.cos(t)

    sources = [PointSource((0.5, 0.4), signal)]
    stepper = solver.driven_stepper(1.0, 0.0, step, sources=sources)
    stepper.advance(3)
    stepper.advance(19)
    assert stepper.count == 22 and max(asked) == pytest.approx(22 * step)
    run = solver.run(1.0, times=[22 * step], nodes=True, sources=sources, time_step=1.0001 * step)
    assert run.n_steps == 22
    assert np.abs(solver.operator().nodal(stepper.u) - run.nodes.u[0]).max() < 1e-13
