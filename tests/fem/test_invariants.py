"""What the discrete wave keeps: energy, superposition, time reversal, symmetry."""

import numpy as np
import pytest

from slimwave.fem.media import draw_smooth_random_medium
from slimwave.fem.meshes import rectangle
from slimwave.fem.solver import WaveSolver
from slimwave.fem.sources import GaussianPulses
from slimwave.fem.space import GLLSpace

PULSE = GaussianPulses(np.array([[0.4, 0.3]]), np.array([0.1]), np.array([1.0]))
OTHER = GaussianPulses(np.array([[0.7, 0.6]]), np.array([0.08]), np.array([-0.6]))
MEDIUM = draw_smooth_random_medium(np.random.default_rng(3), correlation_length=0.3)
MIXED = {"left": "dirichlet", "right": "neumann", "bottom": "neumann", "top": "dirichlet"}


@pytest.fixture(params=[True, False], ids=["stencil", "sparse"])
def solver(request):
    space = GLLSpace(rectangle(elements=(6, 6)), 4, structured=request.param)
    return WaveSolver(space, wave_speed=MEDIUM, boundaries=MIXED)


@pytest.mark.parametrize("scheme", ["leapfrog", "lax-wendroff"])
def test_discrete_energy_drifts_less_than_1e_12_in_ten_thousand_steps(solver, scheme):
    """Both schemes keep their own energy exactly, in a heterogeneous medium with mixed walls."""
    stepper = solver.stepper(PULSE, OTHER, 0.9 * solver.stable_time_step(scheme), scheme)
    start = stepper.invariant()
    for _ in range(10):
        stepper.advance(1000)
        assert abs(stepper.invariant() / start - 1.0) <= 1e-12


def test_the_largest_stable_step_stays_bounded_for_rough_data(solver):
    """Random nodal noise excites the highest mode: it stays bounded at the limit and explodes above it."""
    rng = np.random.default_rng(0)
    for scheme in ("leapfrog", "lax-wendroff"):
        stepper = solver.stepper(
            lambda x, _: rng.standard_normal(x.shape), 0.0, solver.stable_time_step(scheme), scheme
        )
        stepper.advance(5000)
        assert np.abs(stepper.u).max() < 100
        stepper.time_step *= 1.12
        stepper.advance(5000)
        assert not np.abs(stepper.u).max() < 1e6


def test_energy_of_the_fields_is_constant_to_the_accuracy_of_the_scheme(solver):
    solution = solver.run(PULSE, OTHER, times=np.linspace(0, 2, 21), grid=(9, 9), scheme="lax-wendroff")
    assert np.abs(solution.energy / solution.energy[0] - 1.0).max() < 1e-4
    expected = solver.energy(solver.nodal(PULSE), solver.nodal(OTHER))
    assert solution.energy[0] == pytest.approx(expected, rel=1e-14)


def test_energy_of_a_standing_wave_has_its_exact_value():
    """½ ∫ c² |∇u|² = c² π² (m² + n²) / 8 for sin(mπx) sin(nπy) on the unit square."""
    solver = WaveSolver(rectangle(elements=(6, 6)), wave_speed=1.5, order=6)
    u = solver.nodal(lambda x, y: np.sin(np.pi * x) * np.sin(2 * np.pi * y))
    assert solver.energy(u, 0 * u) == pytest.approx(1.5**2 * np.pi**2 * 5 / 8, rel=1e-10)
    assert solver.energy(0 * u, u) == pytest.approx(1 / 8, rel=1e-10)


def test_superposition(solver):
    """2 · (wave of PULSE) − 3 · (wave of OTHER) is the wave of the combination."""
    times = [0.4, 0.9]
    first = solver.run(PULSE, times=times, grid=(17, 17))
    second = solver.run(0.0, OTHER, times=times, grid=(17, 17))
    both = solver.run(lambda x, y: 2 * PULSE(x, y), lambda x, y: -3 * OTHER(x, y), times=times, grid=(17, 17))
    assert np.abs(both.u - (2 * first.u - 3 * second.u)).max() < 1e-12
    assert np.abs(both.v - (2 * first.v - 3 * second.v)).max() < 1e-10


@pytest.mark.parametrize("scheme", ["leapfrog", "lax-wendroff"])
def test_time_reversal(solver, scheme):
    """Turned round, the scheme walks back to its initial field."""
    stepper = solver.stepper(PULSE, OTHER, 0.8 * solver.stable_time_step(scheme), scheme)
    start = stepper.u.copy()
    stepper.advance(500)
    stepper.reverse()
    stepper.advance(500)
    assert np.abs(stepper.u - start).max() < 1e-11


def test_reversal_through_the_output_is_accurate_to_the_order_of_the_scheme():
    """Starting again from u(T) and −v(T) returns to u(0): the velocity put out fits the field."""
    solver = WaveSolver(rectangle(elements=(12, 12)), wave_speed=MEDIUM)
    stepper = solver.stepper(PULSE, 0.0, solver.stable_time_step())
    start = stepper.u.copy()
    stepper.advance(100)
    back = type(stepper)(stepper.operator, stepper.scheme, stepper.u, -stepper.velocity(), stepper.time_step)
    back.advance(100)
    assert np.abs(back.u - start).max() < 1e-5


def test_a_symmetric_problem_has_a_symmetric_solution():
    """Exchanging x and y of domain, medium, walls and pulse exchanges the axes of the solution."""
    speed = np.random.default_rng(0).uniform(1, 2, (4, 6))
    turned = {"left": "neumann", "right": "neumann", "bottom": "dirichlet", "top": "neumann"}
    swapped = {"bottom": "neumann", "top": "neumann", "left": "dirichlet", "right": "neumann"}
    one = WaveSolver(rectangle(2.0, 1.0, (8, 4)), wave_speed=speed, boundaries=turned)
    two = WaveSolver(rectangle(1.0, 2.0, (4, 8)), wave_speed=speed.T, boundaries=swapped)
    a = one.run(lambda x, y: np.sin(y) * np.exp(-x), times=[0.7], grid=(11, 6))
    b = two.run(lambda x, y: np.sin(x) * np.exp(-y), times=[0.7], grid=(6, 11))
    assert np.abs(a.u[0] - b.u[0].T).max() < 1e-12


def test_a_constant_stays_constant_between_free_walls():
    solver = WaveSolver(rectangle(elements=(4, 3)), wave_speed=MEDIUM, boundaries="neumann")
    solution = solver.run(2.0, 0.5, times=[0.0, 1.0], grid=(5, 5))
    assert np.allclose(solution.u[1], 2.5, atol=1e-11) and np.allclose(solution.v, 0.5, atol=1e-10)


def test_a_wave_does_not_outrun_its_speed():
    """With c = 1, a narrow pulse has not reached a distance of 0.3 + 6σ by t = 0.3."""
    pulse = GaussianPulses(np.array([[0.3, 0.3]]), np.array([0.03]), np.array([1.0]))
    solution = WaveSolver(rectangle(elements=(24, 24))).run(pulse, times=[0.3], grid=(65, 65))
    distance = np.hypot(solution.x[:, None] - 0.3, solution.y - 0.3)
    assert np.abs(solution.u[0][distance > 0.48]).max() < 1e-4 * np.abs(solution.u).max()
