"""The compiled loops over lanes against sparse rows: every order, shape, wall and type; large meshes."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skfem import MeshQuad

from slimwave.fem import lanes, march_kernels
from slimwave.fem.gll import differentiation_matrix, gll_nodes
from slimwave.fem.lane_code import differentiate, differentiate_back
from slimwave.fem.lanes import LaneLayout, aligned_zeros
from slimwave.fem.materials import PerElement, squared_speed
from slimwave.fem.meshes import rectangle
from slimwave.fem.operators import SparseOperator, TensorOperator, build_operator
from slimwave.fem.space import GLLSpace
from slimwave.fem.spectra import spectral_bound

WALLS = {"left": "dirichlet", "right": "neumann", "bottom": "neumann", "top": "dirichlet"}


def pair_of_operators(mesh, order, medium, boundaries, dtype):
    """The same L over lanes and in sparse rows, a random state that is zero at held nodes, a stable step."""
    spaces = [GLLSpace(mesh, order, structured=structured) for structured in (True, False)]
    held = spaces[0].dirichlet_nodes(boundaries)
    speeds = [squared_speed(space, medium, None) for space in spaces]
    operators = [
        build_operator(space, speed, held, dtype) for space, speed in zip(spaces, speeds, strict=True)
    ]
    assert [type(operator) for operator in operators] == [TensorOperator, SparseOperator]
    fields = np.random.default_rng(0).standard_normal((2, spaces[0].n_nodes))
    fields[:, held] = 0.0
    return operators, fields, 0.9 * np.sqrt(4.0 / spectral_bound(spaces[0], speeds[0]))


def graded(along_x, along_y):
    """A rectangle of unequal elements with named sides."""
    x, y = (np.cumsum(np.append(0.0, 1.0 + 0.3 * np.sin(np.arange(n)))) for n in (along_x, along_y))
    names = {
        "left": lambda p: p[0] == 0,
        "right": lambda p: p[0] == x[-1],
        "bottom": lambda p: p[1] == 0,
        "top": lambda p: p[1] == y[-1],
    }
    return MeshQuad.init_tensor(x, y).with_boundaries(names)


def assert_same_march(operators, fields, step, steps, scheme, tolerance):
    ends = []
    for operator in operators:
        u, old = (operator.state(field) for field in fields)
        newest, previous = getattr(operator, scheme)(u, old, step, steps)
        ends.append([operator.nodal(newest), operator.nodal(previous)])
    for ours, theirs in zip(*ends, strict=True):
        assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


@pytest.mark.parametrize("order", range(1, 11))
def test_even_and_odd_parts_make_up_the_derivative(order):
    matrix = differentiation_matrix(gll_nodes(order)[0])
    values = np.random.default_rng(order).standard_normal((order + 1, 3))
    scale = np.abs(matrix).sum()
    assert np.abs(np.stack(differentiate(matrix, list(values))) - matrix @ values).max() < 1e-15 * scale
    assert (
        np.abs(np.stack(differentiate_back(matrix, list(values))) - matrix.T @ values).max() < 1e-15 * scale
    )


@pytest.mark.parametrize(
    ("order", "dtype"), [(p, "float64") for p in range(1, 9)] + [(p, "float32") for p in (1, 4, 5)]
)
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (2, 17), (13, 1)])
def test_products_equal_those_with_sparse_rows(order, dtype, shape):
    """On graded grids with mixed walls and a speed that jumps between elements."""
    speeds = np.random.default_rng(1).uniform(1.0, 3.0, shape[0] * shape[1])
    operators, fields, _ = pair_of_operators(graded(*shape), order, PerElement(speeds), WALLS, dtype)
    results = []
    for operator in operators:
        y, x = (operator.state(field) for field in fields)
        out = operator.state(2.0 * fields[0])
        operator.update(y, x, out, 0.5, -1.5, 0.25)
        results.append(operator.nodal(out))
    assert results[0].dtype == dtype
    tolerance = 40 * np.finfo(dtype).eps * np.abs(results[1]).max()
    assert np.abs(results[0] - results[1]).max() <= tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 3e-5)])
@pytest.mark.parametrize("scheme", ["leapfrog", "lax_wendroff"])
@pytest.mark.parametrize("steps", [0, 1, 2, 25])
def test_marches_equal_those_with_sparse_rows(dtype, tolerance, scheme, steps):
    operators, fields, step = pair_of_operators(
        rectangle(elements=(6, 5)), 4, lambda x, y: 1 + x * y, WALLS, dtype
    )
    assert_same_march(operators, fields, step, steps, scheme, tolerance)


@pytest.mark.parametrize("scheme", ["leapfrog", "lax_wendroff"])
@pytest.mark.parametrize("order", [1, 4])
@pytest.mark.parametrize("shape", [(12, 5), (3, 40), (40, 1)])
@pytest.mark.parametrize("steps", [1, 3, 12, 30])
def test_blocks_and_steps_in_one_pass_change_nothing(monkeypatch, scheme, order, shape, steps):
    """A small mesh cut into blocks of at least 16 lanes, twelve steps in one pass through them."""
    monkeypatch.setattr(lanes, "LARGEST_BLOCK", 16)
    monkeypatch.setattr(lanes, "SMALLEST_BLOCK", 16)
    monkeypatch.setattr(march_kernels, "LARGE", 0)
    operators, fields, step = pair_of_operators(
        graded(*shape), order, lambda x, _: 1 + 0.1 * x, WALLS, "float64"
    )
    assert operators[0].layout.strides.blocks > 2
    assert_same_march(operators, fields, step, steps, scheme, 1e-12)


def test_a_single_step_leaves_the_present_field_as_it_is():
    """After an odd number of steps the newest field lies where the previous one was."""
    (operator, _), fields, step = pair_of_operators(rectangle(elements=(3, 3)), 3, 1.0, WALLS, "float64")
    u, old = (operator.state(field) for field in fields)
    before = u.copy()
    newest, previous = operator.lax_wendroff(u, old, step, 1)
    assert newest is old and previous is u
    assert np.array_equal(u, before)


def test_constants_have_no_slope_at_all():
    """For even orders the loops see differences only: free constants are kept to the last bit."""
    (operator, _), _, _ = pair_of_operators(graded(4, 3), 4, lambda x, _: 1 + x, "neumann", "float32")
    assert np.all(operator.apply(operator.state(np.full(operator.places.size, 1.7))) == 0.0)


@settings(max_examples=40, deadline=None)
@given(
    elements=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    order=st.integers(1, 6),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_the_layout_keeps_every_number_apart(elements, order, dtype):
    """Fields come back from it; all weights get places of their own; the rest stays zero."""
    layout = LaneLayout(elements, order)
    nx, ny = (order * n + 1 for n in elements)
    field = np.arange(1.0, nx * ny + 1).reshape(nx, ny)
    state = layout.pack(field)
    assert state.shape == (layout.size,)
    assert np.array_equal(layout.unpack(state), field) and np.count_nonzero(state) == field.size
    shapes = (elements[0], order + 1, ny), (nx, elements[1], order + 1), (nx, ny)
    weights = layout.pack_weights(*(np.ones(shape) for shape in shapes), dtype)
    assert weights.dtype == dtype and weights.ctypes.data % lanes.ALIGNMENT == 0
    assert np.count_nonzero(weights) == weights.sum() == sum(np.prod(shape) for shape in shapes)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_buffers_begin_at_a_cache_line(dtype):
    for count in (1, 7, 1000):
        buffer = aligned_zeros((2, count), dtype)
        assert buffer.shape == (2, count) and not buffer.any()
        assert buffer.ctypes.data % lanes.ALIGNMENT == 0


CACHED = """
from slimwave.fem import line_kernels, visits
from slimwave.fem.meshes import rectangle
from slimwave.fem.solver import WaveSolver
WaveSolver(rectangle(elements=(2, 2)), order=1).run(1.0, times=[0.1], grid=(3, 3))
for function in (visits.visit, line_kernels.update):
    print(sum(function.stats.cache_hits.values()), sum(function.stats.cache_misses.values()))
"""


def test_machine_code_is_kept_between_processes(tmp_path):
    """What the first process compiles, the second one loads."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    found = [
        subprocess.run(
            [sys.executable, "-c", CACHED], env=environment, capture_output=True, text=True, check=True
        )
        for _ in range(2)
    ]
    assert [done.stdout.split() for done in found] == [["0", "1", "0", "1"], ["1", "0", "1", "0"]]
