"""Accuracy against standing waves: order in space and time, every kind of wall, every kind of mesh."""

import numpy as np
import pytest
from skfem import MeshQuad, MeshQuad2
from skfem.assembly.dofs import Dofs

from slimwave.fem import elements
from slimwave.fem.boundaries import SIDES
from slimwave.fem.meshes import rectangle
from slimwave.fem.solver import WaveSolver
from slimwave.fem.space import GLLSpace

GRID = (23, 19)


class StandingWave:
    """u = X(x) Y(y) cos(ωt + φ) on [0, a] × [0, b], each factor chosen by the conditions at its two ends.

    For c = const, X = sin(kx) where u(0) = 0 and cos(kx) where it is free; k = mπ/a for equal ends and
    (m − ½)π/a for different ones; ω = c √(kx² + ky²).
    """

    def __init__(self, walls, modes=(3, 2), sides=(1.0, 1.0), speed=1.0, phase=0.0):
        self.kx = self._number(walls[0], walls[1], modes[0], sides[0])
        self.ky = self._number(walls[2], walls[3], modes[1], sides[1])
        self.walls, self.phase = walls, phase
        self.omega = speed * np.hypot(self.kx, self.ky)

    @staticmethod
    def _number(low, high, mode, side):
        return (mode if low == high else mode - 0.5) * np.pi / side

    def shape(self, x, y):
        along_x = np.sin(self.kx * x) if self.walls[0] == "dirichlet" else np.cos(self.kx * x)
        along_y = np.sin(self.ky * y) if self.walls[2] == "dirichlet" else np.cos(self.ky * y)
        return along_x * along_y

    def u0(self, x, y):
        return np.cos(self.phase) * self.shape(x, y)

    def v0(self, x, y):
        return -self.omega * np.sin(self.phase) * self.shape(x, y)

    def errors(self, solution):
        """Relative L2 errors of u and v over all snapshots."""
        shape = self.shape(*np.meshgrid(solution.x, solution.y, indexing="ij"))
        angle = self.omega * solution.times[:, None, None] + self.phase
        exact_u, exact_v = np.cos(angle) * shape, -self.omega * np.sin(angle) * shape
        norm = np.linalg.norm
        return norm(solution.u - exact_u) / norm(exact_u), norm(solution.v - exact_v) / norm(exact_v)


ALL_DIRICHLET = ("dirichlet",) * 4
TIMES = np.linspace(0.1, 1.0, 10)


def plain(n):
    return rectangle(elements=(n, n))


def turned(n):
    """Elements whose vertex lists start at random corners, so that neighbours disagree on directions."""
    mesh = plain(n)
    corners = (np.arange(4)[:, None] + np.random.default_rng(n).integers(0, 4, mesh.t.shape[1])) % 4
    return MeshQuad(mesh.p, np.take_along_axis(mesh.t, corners, axis=0))


def skewed(n):
    """Bilinear elements of a smoothly distorted, turned grid."""
    mesh = turned(n)
    return MeshQuad(displaced(mesh.p), mesh.t)


def curved(n):
    """Biquadratic elements with bent edges inside the square."""
    mesh = MeshQuad2.from_mesh(turned(n))
    return MeshQuad2(displaced(mesh.doflocs), mesh.t)


def displaced(points):
    x, y = points
    bump = np.sin(np.pi * x) * np.sin(np.pi * y)
    return points + 0.1 * bump * np.array([np.cos(3 * y), np.sin(2 * x + 1)])


def rates(errors, sizes):
    return np.log(errors[:-1] / errors[1:]) / np.log(sizes[1:] / sizes[:-1])


def space_errors(make_mesh, order, sizes, structured=True):
    wave = StandingWave(ALL_DIRICHLET, phase=0.4)
    found = []
    for n in sizes:
        solver = WaveSolver(GLLSpace(make_mesh(n), order, structured=structured))
        step = min(1e-3, solver.stable_time_step())
        found.append(wave.errors(solver.run(wave.u0, wave.v0, times=TIMES, grid=GRID, time_step=step)))
    return np.array(found)


@pytest.mark.parametrize(("order", "sizes"), [(1, (16, 32)), (2, (8, 16, 32)), (4, (4, 8, 16)), (6, (6, 12))])
@pytest.mark.parametrize("structured", [True, False])
def test_order_in_space(order, sizes, structured):
    """Both u and v converge with order p + 1 in L2, also between the nodes."""
    errors = space_errors(plain, order, np.array(sizes), structured)
    for column in errors.T:
        assert rates(column, np.array(sizes)).min() >= order + 0.8


@pytest.mark.parametrize("make_mesh", [turned, skewed, curved])
@pytest.mark.parametrize(("order", "sizes"), [(2, (16, 32)), (3, (12, 24)), (4, (8, 16)), (6, (8, 16))])
def test_order_in_space_on_turned_skewed_and_curved_elements(make_mesh, order, sizes):
    errors = space_errors(make_mesh, order, np.array(sizes), structured=False)
    for column in errors.T:
        assert rates(column, np.array(sizes)).min() >= order + 0.8


def test_without_the_orientation_of_facets_turned_elements_are_wrong(monkeypatch):
    """The trap: scikit-fem's own numbering glues turned neighbours back to front; the error is of order 1."""
    right = space_errors(turned, 4, [6], structured=False)[0]
    monkeypatch.setattr(elements, "oriented_dofs", Dofs)
    wrong = space_errors(turned, 4, [6], structured=False)[0]
    assert right.max() < 2e-3 and wrong.min() > 0.1


@pytest.mark.parametrize(("scheme", "order"), [("lax-wendroff", 4), ("leapfrog", 2)])
@pytest.mark.parametrize("structured", [True, False])
def test_order_in_time(scheme, order, structured):
    """With the space error below 1e-9, halving the step divides the error of u and of v by 2^order."""
    wave = StandingWave(ALL_DIRICHLET, modes=(1, 2), phase=0.4)
    solver = WaveSolver(GLLSpace(plain(4), 8, structured=structured))
    steps = 0.1 / np.array([8, 16]) if order == 4 else 0.1 / np.array([16, 32, 64])
    errors = []
    for step in steps:
        solution = solver.run(wave.u0, wave.v0, times=TIMES, grid=GRID, time_step=step, scheme=scheme)
        assert solution.time_step == pytest.approx(step)
        errors.append(wave.errors(solution))
    for column in np.array(errors).T:
        assert rates(column, 1.0 / steps).min() >= order - 0.1


def test_uneven_output_times_keep_the_order():
    """A step that changes at every output restarts the scheme from u and v; the fourth order survives."""
    wave = StandingWave(ALL_DIRICHLET, modes=(1, 2), phase=0.4)
    solver = WaveSolver(plain(4), order=8)
    errors = []
    for count in (90, 180):
        share = np.linspace(0.0, 1.0, count + 1)[1:]
        times = share + 0.05 * np.sin(6 * np.pi * share) / (6 * np.pi)
        solution = solver.run(wave.u0, wave.v0, times=times, grid=GRID, time_step=1.1 / count)
        assert solution.n_steps == count
        errors.append(wave.errors(solution))
    for column in np.array(errors).T:
        assert rates(column, np.array([90.0, 180.0])).min() >= 3.9


D, N = "dirichlet", "neumann"


@pytest.mark.parametrize("structured", [True, False])
@pytest.mark.parametrize("walls", [(D, D, D, D), (N, N, N, N), (D, N, D, D), (N, D, D, N), (D, D, N, N)])
def test_every_kind_of_wall_on_a_domain_and_grid_that_are_not_square(walls, structured):
    """A standing wave on [0, 2] × [0, 0.7] with c = 1.3; swapping sides or axes anywhere would be seen."""
    sides = (2.0, 0.7)
    wave = StandingWave(walls, modes=(3, 1), sides=sides, speed=1.3, phase=0.7)
    space = GLLSpace(rectangle(*sides, elements=(10, 4)), 5, structured=structured)
    solver = WaveSolver(space, wave_speed=1.3, boundaries=dict(zip(SIDES, walls, strict=True)))
    solution = solver.run(wave.u0, wave.v0, times=[0.0, 0.3, 1.1], grid=(21, 12))
    assert solution.u.shape == solution.v.shape == (3, 21, 12)
    assert solution.x[-1] == 2.0 and solution.y[-1] == 0.7
    assert max(wave.errors(solution)) < 2e-5


def test_an_array_of_speeds_has_x_first():
    """A two-speed channel: the half with c = 2 is ahead; exchanging the axes of c would put it elsewhere."""
    speed = np.ones((5, 41))
    speed[:, 21:] = 2.0
    solver = WaveSolver(rectangle(elements=(12, 12)), wave_speed=speed, boundaries="neumann")
    solution = solver.run(
        lambda x, y: np.exp(-0.5 * ((x - 0.2) / 0.05) ** 2) + 0 * y, times=[0.3], grid=(101, 5)
    )
    slow, fast = solution.x[solution.u[0, 45:, [0, 4]].argmax(axis=1) + 45]
    assert slow == pytest.approx(0.5, abs=0.02) and fast == pytest.approx(0.8, abs=0.02)


def test_float32_changes_a_solution_by_rounding_only():
    wave = StandingWave(ALL_DIRICHLET)
    solver = WaveSolver(plain(8))
    double, single = (
        solver.run(wave.u0, times=TIMES, grid=GRID, dtype=dtype) for dtype in ("float64", "float32")
    )
    assert single.u.dtype == single.v.dtype == np.float32
    assert np.abs(single.u - double.u).max() < 2e-5
    assert np.abs(single.v - double.v).max() < 2e-4 * np.abs(double.v).max()
