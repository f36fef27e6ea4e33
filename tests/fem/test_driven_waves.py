"""Damping, sources, prescribed boundaries and absorption: exact solutions, and the order in time."""

import numpy as np
import pytest

from slimwave.fem.boundaries import Absorbing, Dirichlet, Neumann
from slimwave.fem.forcing import DistributedSource, PointSource
from slimwave.fem.materials import PerElement
from slimwave.fem.meshes import rectangle
from slimwave.fem.plane_waves import PlaneWave
from slimwave.fem.signals import Ricker, ToneBurst
from slimwave.fem.solver import WaveSolver
from slimwave.fem.space import GLLSpace

GRID = (17, 13)
TIMES = np.linspace(0.1, 1.0, 10)
FINE = GLLSpace(rectangle(elements=(4, 4)), 8)
SCHEMES = [("lax-wendroff", 3.9), ("leapfrog", 1.9)]


def shape(x, y):
    return np.sin(np.pi * x) * np.sin(2 * np.pi * y)


def errors(solution, exact_u, exact_v):
    """Relative L2 errors of u and v; the exact fields are functions of (x, y, t)."""
    x, y = np.meshgrid(solution.x, solution.y, indexing="ij")
    pairs = ((solution.u, exact_u), (solution.v, exact_v))
    exact = [np.stack([function(x, y, t) for t in solution.times]) for _, function in pairs]
    return [
        np.linalg.norm(found - right) / np.linalg.norm(right)
        for (found, _), right in zip(pairs, exact, strict=True)
    ]


def least_rate(solve, exact, scheme):
    """Observed order in time of u and v when the step is halved (Lax–Wendroff) or taken down to a quarter."""
    steps = 0.1 / np.array([10, 20] if scheme == "lax-wendroff" else [32, 64])
    found = np.array([errors(solve(step), *exact) for step in steps])
    return np.log2(found[0] / found[1]).min()


@pytest.mark.parametrize(("scheme", "order"), SCHEMES)
def test_uniform_damping_decays_exactly(scheme, order):
    """With u = exp(−γt/2) (cos Ωt + γ/2Ω sin Ωt) sin(πx) sin(2πy), Ω² = 5π² − γ²/4, starts at rest."""
    rate = 3.0
    omega = np.sqrt(5 * np.pi**2 - rate**2 / 4)

    def amplitude(t):
        return np.exp(-rate * t / 2) * (np.cos(omega * t) + rate / 2 / omega * np.sin(omega * t))

    def slope(t):
        return -5 * np.pi**2 / omega * np.exp(-rate * t / 2) * np.sin(omega * t)

    solver = WaveSolver(FINE, damping=rate)
    exact = (lambda x, y, t: amplitude(t) * shape(x, y)), (lambda x, y, t: slope(t) * shape(x, y))
    solve = lambda step: solver.run(shape, times=TIMES, grid=GRID, time_step=step, scheme=scheme)  # noqa: E731
    assert least_rate(solve, exact, scheme) >= order
    assert max(errors(solve(0.1 / 20 if order > 2 else 0.1 / 64), *exact)) < (3e-5 if order > 2 else 3e-3)


def manufactured(damping, omega=5.0):
    """Return sources that make u = cos(ωt + 0.3) shape(x, y) the solution for a damping γ(x, y), c = 1."""
    stretch = lambda x, y: (5 * np.pi**2 - omega**2) * shape(x, y)  # noqa: E731
    drag = lambda x, y: -omega * damping(x, y) * shape(x, y)  # noqa: E731
    sources = [
        DistributedSource(stretch, lambda t: np.cos(omega * t + 0.3)),
        DistributedSource(drag, lambda t: np.sin(omega * t + 0.3)),
    ]
    exact = (
        lambda x, y, t: np.cos(omega * t + 0.3) * shape(x, y),
        lambda x, y, t: -omega * np.sin(omega * t + 0.3) * shape(x, y),
    )
    return sources, exact


DAMPINGS = [
    pytest.param(lambda x, _: 0 * x, id="none"),
    pytest.param(lambda x, _: 2.0 + 0 * x, id="uniform"),
    pytest.param(lambda x, y: 4.0 * x + 3 * np.cos(2 * y) ** 2, id="variable"),
]


@pytest.mark.parametrize("structured", [True, False])
@pytest.mark.parametrize("damping", DAMPINGS)
@pytest.mark.parametrize(("scheme", "order"), SCHEMES)
def test_order_in_time_with_sources_and_damping(damping, scheme, order, structured):
    sources, exact = manufactured(damping)
    space = FINE if structured else GLLSpace(FINE.mesh, 8, structured=False)
    solver = WaveSolver(space, damping=damping)

    def solve(step):
        start = [lambda x, y, f=f: f(x, y, 0.0) for f in exact]
        return solver.run(*start, times=TIMES, grid=GRID, sources=sources, time_step=step, scheme=scheme)

    assert least_rate(solve, exact, scheme) >= order


@pytest.mark.parametrize("damping", DAMPINGS)
def test_uneven_output_times_keep_the_order_of_driven_waves(damping):
    """As many output times as steps, lying between them: u and v are interpolated in time."""
    sources, exact = manufactured(damping)
    solver = WaveSolver(FINE, damping=damping)
    found = []
    for step in (0.01, 0.005):
        count = round(1.1 / step)
        share = np.linspace(0.0, 1.0, count + 1)[1:]
        times = share + 0.05 * np.sin(6 * np.pi * share) / (6 * np.pi)
        start = [lambda x, y, f=f: f(x, y, 0.0) for f in exact]
        solution = solver.run(*start, times=times, grid=GRID, sources=sources, time_step=step)
        assert solution.n_steps == round(1.0 / step)
        found.append(errors(solution, *exact))
    assert np.log2(np.divide(*found)).min() >= 3.9


def incoming(t):
    """A smooth pulse that enters at x = 0."""
    return np.exp(-0.5 * ((t - 0.5) / 0.1) ** 2)


def incoming_slope(t):
    return -(t - 0.5) / 0.01 * incoming(t)


ENTRIES = [
    pytest.param(Dirichlet(lambda x, _, t: incoming(t) + 0 * x), id="dirichlet"),
    pytest.param(Neumann(lambda _x, _y, t: 1.5 * incoming_slope(t)), id="neumann"),
]
CHANNEL = GLLSpace(rectangle(1.0, 0.25, (6, 1)), 8)


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(("scheme", "order"), SCHEMES)
def test_a_wave_enters_on_the_left_and_leaves_on_the_right(entry, scheme, order):
    """With u = s(t − x/c) between free walls, c = 1.5: prescribed u or flux c² ∂u/∂n = c s' on the left,
    first-order absorption, exact for this wave, on the right. All three keep the order of the scheme.
    """
    walls = {"left": entry, "right": Absorbing(), "bottom": "neumann", "top": "neumann"}
    solver = WaveSolver(CHANNEL, wave_speed=1.5, boundaries=walls)
    exact = (lambda x, _, t: incoming(t - x / 1.5)), (lambda x, _, t: incoming_slope(t - x / 1.5))
    start = [lambda x, y, f=f: f(x, y, 0.0) for f in exact]
    base = solver.stable_time_step(scheme)
    times = np.linspace(0.2, 1.6, 8)
    found = []
    for step in (base / 2, base / 4):
        solution = solver.run(*start, times=times, grid=GRID, time_step=step, scheme=scheme)
        found.append(errors(solution, *exact))
    assert np.log2(np.divide(*found)).min() >= order
    assert max(found[1]) < (1e-5 if order > 2 else 1e-2)


def reflected_share(elements):
    """What two absorbing ends send back of a pulse, at the solver's own step."""
    wave = PlaneWave(Ricker(5.0, delay=0.0), angle=0.0, speed=1.5, origin=(0.5, 0.0))
    walls = {"left": "absorbing", "right": "absorbing", "bottom": "neumann", "top": "neumann"}
    solver = WaveSolver(rectangle(1.0, 0.2, (elements, 1)), wave_speed=1.5, boundaries=walls)
    solution = solver.run(wave.u0, wave.v0, times=[0.0, 0.8], nodes=True)
    first, last = (np.sqrt((u**2 * solver.space.mass).sum()) for u in solution.nodes.u)
    return last / first


def test_absorption_gains_order_2_when_mesh_and_step_are_refined_together():
    coarse, fine = reflected_share(40), reflected_share(80)
    assert fine < 1e-3 and np.log2(coarse / fine) > 1.7


def test_uneven_output_times_are_stable_with_absorption():
    walls = {"left": ENTRIES[0].values[0], "right": "absorbing", "bottom": "neumann", "top": "absorbing"}
    solver = WaveSolver(CHANNEL, boundaries=walls)
    gaps = solver.stable_time_step() * np.random.default_rng(0).uniform(0.8, 1.0, 600)
    rough = np.random.default_rng(1)
    solution = solver.run(lambda x, _: rough.standard_normal(x.shape), times=np.cumsum(gaps), grid=(5, 5))
    assert np.abs(solution.u).max() < 10 and solution.energy[-1] < 0.5 * solution.energy[0]


def test_absorbing_boundaries_drain_a_box():
    """First order lets about a tenth of a round wave stay in the box."""
    pulse = lambda x, y: np.exp(-((x - 0.4) ** 2 + (y - 0.4) ** 2) / 0.0128)  # noqa: E731
    solver = WaveSolver(rectangle(elements=(12, 12)), boundaries="absorbing")
    solution = solver.run(pulse, times=[0.0, 0.5, 1.5, 3.0], grid=(33, 33))
    norms = np.linalg.norm(solution.u, axis=(1, 2))
    assert norms[2] < 0.12 * norms[0] and norms[3] < 0.03 * norms[0]
    assert np.all(np.diff(solution.energy) < 0)


@pytest.mark.parametrize("scheme", ["lax-wendroff", "leapfrog"])
@pytest.mark.parametrize("case", ["absorbing", "jump", "both"])
def test_the_largest_step_stays_bounded_for_rough_data_with_drag(scheme, case):
    """Random nodal noise, damping that jumps from 0 to the steepest that the step allows."""
    space = GLLSpace(rectangle(elements=(3, 3)), 4)
    jump = PerElement(lambda x, _: np.where(x < 1 / 3, 0.0, 90.0))
    damping, walls = {
        "absorbing": (0.0, "absorbing"),
        "jump": (jump, "neumann"),
        "both": (jump, "absorbing"),
    }[case]
    solver = WaveSolver(
        space, damping=damping, boundaries=walls, wave_speed=lambda _, y: np.where(y > 0.5, 2, 1.0)
    )
    noise = np.random.default_rng(0)
    solution = solver.run(
        lambda x, _: noise.standard_normal(x.shape), times=[40.0], grid=(9, 9), scheme=scheme
    )
    assert solution.n_steps > 500 and np.abs(solution.u).max() < 10


def test_energy_decays_at_the_rate_of_the_damping():
    """d/dt E = −∫ γ v²: the energy of a damped wave between free walls never grows."""
    solver = WaveSolver(FINE, damping=lambda x, _: 3 * x, boundaries="neumann")
    start = lambda x, y: np.cos(np.pi * x) * np.cos(np.pi * y)  # noqa: E731
    solution = solver.run(start, times=np.linspace(0, 2, 201), nodes=True)
    power = (3 * FINE.points[0] * FINE.mass * solution.nodes.v**2).sum(axis=1)
    lost = np.trapezoid(power, solution.times)
    assert solution.energy[0] - solution.energy[-1] == pytest.approx(lost, rel=1e-3)
    assert np.diff(solution.energy).max() < 1e-6


def medium(x, y):
    return 1.0 + 0.5 * np.sin(3 * x + y) ** 2


@pytest.mark.parametrize(
    ("scheme", "damping", "slack"),
    [
        ("lax-wendroff", 1.0, 1e-11),
        ("leapfrog", lambda _, y: 2 * y, 1e-11),
        ("lax-wendroff", lambda _, y: y, 1e-4),
    ],
)
@pytest.mark.parametrize("walls", ["neumann", "dirichlet", "absorbing"])
def test_reciprocity(scheme, damping, slack, walls):
    """Exchanging source and receiver leaves the trace as it is, in any medium, to rounding; only the
    predictor of Lax–Wendroff with damping that varies makes it hold to the accuracy of the scheme.
    """
    one, two = (0.31, 0.42), (0.77, 0.58)
    solver = WaveSolver(rectangle(elements=(8, 8)), wave_speed=medium, damping=damping, boundaries=walls)
    times = np.linspace(0.05, 1.0, 20)
    traces = [
        solver.run(times=times, receivers=[heard], sources=[PointSource(sent, Ricker(4.0))], scheme=scheme)
        for sent, heard in ((one, two), (two, one))
    ]
    first, second = (solution.receivers.u[:, 0] for solution in traces)
    if walls == "absorbing" and scheme == "lax-wendroff":
        slack = 1e-4
    assert np.abs(first).max() > 0.01
    assert np.abs(first - second).max() < slack * np.abs(first).max()


def test_superposition_of_sources_and_fields():
    solver = WaveSolver(rectangle(elements=(6, 6)), wave_speed=medium, damping=lambda x, _: x)
    one = PointSource((0.3, 0.4), Ricker(3.0), amplitude=2.0)
    two = DistributedSource(shape, ToneBurst(2.0, cycles=2))
    run = lambda u0, sources: solver.run(u0, times=[0.5, 1.0], grid=GRID, sources=sources)  # noqa: E731
    parts = [run(shape, []), run(0.0, [one]), run(0.0, [two])]
    whole = run(shape, [one, two])
    assert np.abs(whole.u - sum(part.u for part in parts)).max() < 1e-12
    assert np.abs(whole.v - sum(part.v for part in parts)).max() < 1e-10


def test_a_point_source_radiates_the_green_function():
    """In the plane, u = ∫ s(t − τ) H(τ − r) / (2π √(τ² − r²)) dτ before any echo, c = 1."""
    pulse = Ricker(3.0)
    solver = WaveSolver(rectangle(2.0, 2.0, (20, 20)), boundaries="neumann")
    heard = np.array([[1.43, 1.21], [0.7, 0.81]])
    times = np.linspace(0.3, 1.2, 10)
    solution = solver.run(times=times, receivers=heard, sources=[PointSource((1.03, 0.97), pulse)])
    distance = np.hypot(*(heard - [1.03, 0.97]).T)
    # τ = √(r² + q²) takes the singularity out of the integral: dτ / √(τ² − r²) = dq / τ.
    q = np.linspace(0.0, 2.5, 20_001)
    tau = np.hypot(distance[:, None], q)
    exact = np.array([np.trapezoid(pulse(t - tau) / tau, q, axis=1) for t in times]) / (2 * np.pi)
    assert np.abs(solution.receivers.u - exact).max() < 2e-3 * np.abs(exact).max()
