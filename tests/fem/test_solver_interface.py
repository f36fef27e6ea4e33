"""The solver's interface: equal results from equal inputs in other forms, and clear refusals of bad ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skfem import MeshQuad, MeshTri

from slimwave.fem.meshes import rectangle
from slimwave.fem.solver import WaveSolver
from slimwave.fem.space import GLLSpace
from slimwave.fem.stepping import UnstableTimeStepError

SPACE = GLLSpace(rectangle(2.0, 1.0, (6, 4)), 4)


def bump(x, y):
    return np.sin(np.pi * x / 2) * np.sin(np.pi * y)


def solve(wave_speed=1.0, u0=bump, space=SPACE, **options):
    settings = {"times": [0.2, 0.4], "grid": (9, 7)} | options
    return WaveSolver(space, wave_speed=wave_speed).run(u0, **settings)


def test_number_function_and_array_of_speeds_agree():
    numbers, functions, arrays = (
        solve(c).u for c in (1.5, lambda x, y: 1.5 + 0 * x * y, np.full((3, 4), 1.5))
    )
    assert np.array_equal(numbers, functions) and np.abs(numbers - arrays).max() < 1e-13


def test_a_cubic_speed_and_field_are_recovered_from_arrays_exactly():
    """Bicubic splines reproduce polynomials of degree 3, on a domain and array that are not square."""
    x, y = np.meshgrid(np.linspace(0, 2, 9), np.linspace(0, 1, 6), indexing="ij")
    speed = lambda x, y: 1 + 0.1 * x**3 * y + 0.2 * y**3  # noqa: E731
    field = lambda x, y: x * (2 - x) * y * (1 - y) * (1 + x)  # noqa: E731
    from_functions, from_arrays = solve(speed, field), solve(speed(x, y), field(x, y))
    assert np.abs(from_functions.u - from_arrays.u).max() < 1e-12
    assert np.abs(from_functions.v - from_arrays.v).max() < 1e-11


def test_an_array_with_a_jump_stays_in_its_own_range():
    """A spline overshoots at a jump from 0.1 to 3; a negative speed must not come of it."""
    speed = np.full((41, 5), 0.1)
    speed[20:] = 3.0
    assert np.isfinite(solve(speed).u).all()


def test_initial_fields_come_back_at_time_zero():
    solution = solve(times=[0.0, 0.1], v0=lambda x, y: 3 * bump(x, y))
    exact = bump(*np.meshgrid(solution.x, solution.y, indexing="ij"))
    assert np.abs(solution.u[0] - exact).max() < 1e-4 and np.abs(solution.v[0] - 3 * exact).max() < 3e-4


@pytest.mark.parametrize("structured", [True, False])
def test_dirichlet_sides_stay_at_zero_whatever_the_initial_fields(structured):
    space = GLLSpace(SPACE.mesh, 4, structured=structured)
    walls = {"left": "dirichlet", "right": "neumann", "bottom": "neumann", "top": "dirichlet"}
    solver = WaveSolver(space, boundaries=walls)
    solution = solver.run(1.0, 1.0, times=[0.0, 0.1, 0.2], grid=(9, 7))
    for field in (solution.u, solution.v):
        assert np.all(field[:, 0] == 0.0) and np.all(field[:, :, -1] == 0.0)
        assert np.abs(field[:, -1, 0]).min() > 0.5


def test_stencil_and_sparse_solutions_agree_to_rounding():
    speed = lambda x, y: 1 + 0.3 * x + 0.5 * y  # noqa: E731
    plain = GLLSpace(SPACE.mesh, 4, structured=False)
    assert SPACE.grid is not None and plain.grid is None
    fast, slow = solve(speed), solve(speed, space=plain)
    assert fast.n_dofs == slow.n_dofs == (6 * 4 - 1) * (4 * 4 - 1)
    assert fast.n_steps == pytest.approx(slow.n_steps, rel=0.1)
    fast, slow = (solve(speed, space=space, time_step=0.004) for space in (SPACE, plain))
    assert np.abs(fast.u - slow.u).max() < 1e-13 and np.abs(fast.v - slow.v).max() < 1e-11
    assert fast.energy == pytest.approx(slow.energy, rel=1e-12)


def test_points_on_element_edges_and_walls_are_sampled():
    """Of 17 × 9 points on a 6 × 4 mesh many lie on edges, corners and walls; a field of degree 4 is exact."""
    field = lambda x, y: (x * (2 - x)) ** 2 * y * (1 - y)  # noqa: E731
    for structured in (True, False):
        solution = solve(
            u0=field, space=GLLSpace(SPACE.mesh, 4, structured=structured), times=[0.0], grid=(17, 9)
        )
        exact = field(*np.meshgrid(solution.x, solution.y, indexing="ij"))
        assert np.abs(solution.u[0] - exact).max() < 1e-14


def test_a_space_serves_several_media():
    one, two = WaveSolver(SPACE, wave_speed=1.0), WaveSolver(SPACE, wave_speed=2.0)
    assert one.space is two.space
    assert two.spectral_radius == pytest.approx(4 * one.spectral_radius)


def test_progress_is_reported_after_every_output():
    calls = []
    solve(times=[0.0, 0.1, 0.3], progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_steps_divide_every_interval_evenly():
    solution = solve(times=[0.02, 0.05], time_step=0.01)
    assert solution.n_steps == 5 and solution.time_step == pytest.approx(0.01)


def test_a_step_above_the_limit_is_refused_and_the_largest_legal_one_is_named():
    solver = WaveSolver(SPACE)
    for scheme in ("lax-wendroff", "leapfrog"):
        limit = solver.stable_time_step(scheme)
        with pytest.raises(
            UnstableTimeStepError, match=f"limit of {scheme}; the largest legal step"
        ) as refusal:
            solver.run(bump, times=[0.1], grid=(5, 5), time_step=1.001 * limit, scheme=scheme)
        named = float(str(refusal.value).rsplit(" ", 1)[1])
        assert 0.9999 * limit < named <= limit
        solver.run(bump, times=[0.1], grid=(5, 5), time_step=named, scheme=scheme)
    assert solver.stable_time_step() == pytest.approx(np.sqrt(3) * solver.stable_time_step("leapfrog"))


@pytest.mark.parametrize(
    ("speed", "message"),
    [
        (0.0, "wave_speed: expected positive speeds, got 0 at"),
        (-1.0, "wave_speed: expected positive speeds, got -1 at"),
        (np.nan, "wave_speed: expected finite values, got nan"),
        (lambda x, _: x - 0.5, "wave_speed: expected positive speeds, got -0.5 at x=0"),
        (lambda x, _: np.where(x > 1, np.inf, 1.0), "wave_speed: expected finite values, got inf"),
        (lambda *_: np.ones(3), r"wave_speed: .* the function returned shape \(3,\)"),
        (np.ones(5), r"wave_speed: expected an array \(nx, ny\).*got shape \(5,\)"),
        (np.ones((1, 5)), r"wave_speed: expected an array \(nx, ny\).*got shape \(1, 5\)"),
        (np.ones((2, 5, 5)), r"wave_speed: expected an array \(nx, ny\)"),
        (np.array([[1.0, np.nan], [1.0, 1.0]]), "wave_speed: expected finite values, got nan in the array"),
        (np.array([[1.0, -2.0], [1.0, 1.0]]), "wave_speed: expected positive speeds, got -2"),
    ],
)
def test_bad_wave_speeds_are_refused(speed, message):
    with pytest.raises(ValueError, match=message):
        WaveSolver(SPACE, wave_speed=speed)


@pytest.mark.parametrize(
    ("boundaries", "message"),
    [
        (
            "sponge",
            "boundaries: unknown condition 'sponge'; choose one of dirichlet, neumann, absorbing, pml",
        ),
        ({"left": "dirichlet"}, "boundaries: no condition for side 'right'"),
        (
            dict.fromkeys(["left", "right", "bottom", "top", "north"], "neumann"),
            "boundaries: unknown side 'north'",
        ),
        (
            {"left": "dirichlet", "right": "rigid", "bottom": "neumann", "top": "neumann"},
            r"boundaries\['right'\]: unknown condition 'rigid'",
        ),
    ],
)
def test_bad_boundaries_are_refused(boundaries, message):
    with pytest.raises(ValueError, match=message):
        WaveSolver(SPACE, boundaries=boundaries)


def test_a_mapping_needs_named_sides():
    mesh = MeshQuad.init_tensor(np.linspace(0, 1, 3), np.linspace(0, 1, 3))
    bare = MeshQuad(mesh.p, mesh.t)
    with pytest.raises(
        ValueError, match="boundaries: 8 of 8 boundary facets of the mesh belong to no named side"
    ):
        WaveSolver(bare, boundaries=dict.fromkeys(["left", "right", "bottom", "top"], "neumann"))
    assert WaveSolver(bare, boundaries="neumann").n_dofs == 81


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"times": [0.2, 0.1]}, "times: expected increasing times from 0 on"),
        ({"times": [0.2, 0.2]}, "times: expected increasing times"),
        ({"times": [-0.1, 0.2]}, "times: expected increasing times from 0 on"),
        ({"times": []}, "times: expected a sequence of finite times"),
        ({"times": [0.1, np.nan]}, "times: expected a sequence of finite times"),
        ({"grid": (1, 5)}, r"grid: expected \(nx, ny\) with at least 2 nodes each, got \(1, 5\)"),
        ({"grid": (5, 5, 5)}, r"grid: expected \(nx, ny\)"),
        ({"grid": 5}, r"grid: expected \(nx, ny\)"),
        ({"time_step": 0.0}, "time_step: expected a positive number"),
        ({"time_step": np.nan}, "time_step: expected a positive number"),
        ({"scheme": "euler"}, "scheme: unknown scheme 'euler'; choose one of lax-wendroff, leapfrog"),
        ({"dtype": "float16"}, "dtype: expected one of float64, float32, got 'float16'"),
        ({"u0": np.nan}, "u0: expected finite values, got nan"),
        ({"u0": np.ones(4)}, r"u0: expected an array \(nx, ny\)"),
        ({"v0": lambda *_: np.ones(2)}, r"v0: .* the function returned shape \(2,\)"),
    ],
)
def test_bad_runs_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        solve(**options)


@pytest.mark.parametrize("order", [0, -2, 1.5])
def test_bad_orders_are_refused(order):
    with pytest.raises(ValueError, match="order: expected an integer of at least 1"):
        WaveSolver(rectangle(elements=(2, 2)), order=order)


def test_an_order_that_contradicts_the_space_is_refused():
    with pytest.raises(ValueError, match="order: 6 was asked for, but the space given has order 4"):
        WaveSolver(SPACE, order=6)


def test_meshes_of_triangles_are_refused():
    with pytest.raises(ValueError, match="mesh: expected a scikit-fem mesh of quads, got MeshTri1"):
        WaveSolver(MeshTri())


def test_grid_points_outside_the_mesh_are_masked():
    """A square turned by 45 degrees does not fill its bounding box: |x| + |y| ≤ 1 of [−1, 1]²."""
    corners = np.array([[0.0, 1.0, 0.0, -1.0], [-1.0, 0.0, 1.0, 0.0]])
    solver = WaveSolver(MeshQuad(corners, np.arange(4)[:, None]).refined(2), boundaries="neumann")
    solution = solver.run(1.0, times=[0.1], grid=(9, 9))
    inside = np.abs(solution.x[:, None]) + np.abs(solution.y) <= 1.0 + 1e-12
    assert np.array_equal(solution.mask, inside)
    assert np.all(solution.u[0][~inside] == 0.0) and np.allclose(solution.u[0][inside], 1.0)


@given(
    width=st.floats(1e-3, 1e3),
    height=st.floats(1e-3, 1e3),
    elements=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_rectangles_of_any_aspect_have_four_named_sides_and_a_tensor_grid(width, height, elements):
    mesh = rectangle(width, height, elements)
    counts = {side: len(facets) for side, facets in mesh.boundaries.items()}
    nx, ny = elements
    assert counts == {"left": ny, "right": ny, "bottom": nx, "top": nx}
    space = GLLSpace(mesh, 3)
    assert space.grid is not None
    assert np.array_equal(np.sort(space.grid.numbers, axis=None), np.arange(space.n_nodes))
    x, y = space.points[:, space.grid.numbers]
    assert np.allclose(x, space.grid.x.nodes[:, None], rtol=0, atol=1e-12 * width)
    assert np.allclose(y, space.grid.y.nodes, rtol=0, atol=1e-12 * height)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0.0}, "width: expected a positive length, got 0"),
        ({"height": -1.0}, "height: expected a positive length, got -1"),
        ({"width": np.inf}, "width: expected a positive length"),
        ({"elements": (0, 3)}, r"elements: expected two positive integers .* got \(0, 3\)"),
        ({"elements": (2.5, 3)}, "elements: expected two positive integers"),
        ({"elements": (3,)}, "elements: expected two positive integers"),
        ({"elements": 3}, "elements: expected two positive integers"),
    ],
)
def test_bad_rectangles_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        rectangle(**arguments)
