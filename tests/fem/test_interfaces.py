"""Sharp media: exact reflection and transmission; an independent solver; plane waves; signals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skfem import MeshQuad

from slimwave.fem.boundaries import Dirichlet
from slimwave.fem.materials import PerElement
from slimwave.fem.meshes import rectangle
from slimwave.fem.plane_waves import PlaneWave
from slimwave.fem.signals import GaussianDerivative, Ricker, SampledSignal, ToneBurst
from slimwave.fem.solver import WaveSolver
from slimwave.fem.space import GLLSpace

PULSE = Ricker(frequency=5.0, delay=0.0)
SPEEDS, INTERFACES = (1.5, 3.0, 1.0), (1.0, 1.6)


def layer_speed(x, _):
    return np.where(x < INTERFACES[0], SPEEDS[0], np.where(x < INTERFACES[1], SPEEDS[1], SPEEDS[2]))


def through_layers(x, t):
    """Exact wave of s(t − (x − 0.4)/c1) that meets the layers c1 | c2 | c3 head-on.

    u and c² u_x are continuous, so that a wave in layer a meeting layer b is reflected by
    (ca − cb)/(ca + cb) and transmitted by 2 ca/(ca + cb); the sum runs over the echoes in the middle layer.
    """
    (c1, c2, c3), (x1, x2) = SPEEDS, INTERFACES
    back = lambda a, b: (a - b) / (a + b)  # noqa: E731
    through = lambda a, b: 2 * a / (a + b)  # noqa: E731
    arrival, crossing = (x1 - 0.4) / c1, (x2 - x1) / c2
    first = PULSE(t - (x - 0.4) / c1) + back(c1, c2) * PULSE(t - arrival - (x1 - x) / c1)
    middle, last = 0 * x, 0 * x
    for echo in range(12):
        size = through(c1, c2) * (back(c2, c3) * back(c2, c1)) ** echo
        begin = arrival + 2 * echo * crossing
        middle += size * PULSE(t - begin - (x - x1) / c2)
        middle += size * back(c2, c3) * PULSE(t - begin - crossing - (x2 - x) / c2)
        last += size * through(c2, c3) * PULSE(t - begin - crossing - (x - x2) / c3)
        home = size * back(c2, c3) * through(c2, c1)
        first += home * PULSE(t - begin - 2 * crossing - (x1 - x) / c1)
    return np.where(x < x1, first, np.where(x < x2, middle, last))


def layered_error(elements, speed, order=4, structured=True):
    space = GLLSpace(rectangle(2.4, 0.2, (elements, 1)), order, structured=structured)
    walls = {"left": "absorbing", "right": "absorbing", "bottom": "neumann", "top": "neumann"}
    wave = PlaneWave(PULSE, angle=0.0, speed=SPEEDS[0], origin=(0.4, 0.0))
    solution = WaveSolver(space, wave_speed=speed, boundaries=walls).run(
        wave.u0, wave.v0, times=np.linspace(0.1, 1.2, 12), grid=(241, 3)
    )
    exact = np.stack([through_layers(solution.x, t) for t in solution.times])
    return np.linalg.norm(solution.u[:, :, 1] - exact) / np.linalg.norm(exact)


@pytest.mark.parametrize("structured", [True, False])
def test_layers_reflect_and_transmit_exactly(structured):
    """With c evaluated per element, the order survives the jumps; looked up at the nodes, it does not."""
    coarse, fine = (layered_error(n, PerElement(layer_speed), structured=structured) for n in (48, 96))
    assert fine < 1e-4 and np.log2(coarse / fine) > 3.8
    assert layered_error(96, layer_speed) > 200 * fine


def test_one_value_per_element_equals_the_function():
    mesh = rectangle(2.4, 0.2, (24, 1))
    centres = mesh.p[:, mesh.t].mean(axis=1)
    numbers, function = PerElement(layer_speed(*centres)), PerElement(layer_speed)
    assert layered_error(24, numbers) == pytest.approx(layered_error(24, function), rel=1e-9)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(5), r"wave_speed: expected one value for each of 16 elements, got shape \(5,\)"),
        (np.full(16, np.nan), "wave_speed: expected finite values, got nan"),
        (np.zeros(16), "wave_speed: expected positive speeds, got 0"),
        (lambda x, _: x - 0.5, "wave_speed: expected positive speeds, got -0.5"),
    ],
)
def test_bad_values_per_element_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        WaveSolver(rectangle(elements=(4, 4)), wave_speed=PerElement(values))


@pytest.mark.parametrize(
    ("damping", "message"),
    [
        (-1.0, "damping: expected values of at least 0, got -1"),
        (np.nan, "damping: expected finite values, got nan"),
        (PerElement(-np.ones(16)), "damping: expected values of at least 0, got -1"),
        (PerElement(np.ones(3)), "damping: expected one value for each of 16 elements"),
        (np.ones(3), r"damping: expected an array \(nx, ny\)"),
    ],
)
def test_bad_damping_is_refused(damping, message):
    with pytest.raises(ValueError, match=message):
        WaveSolver(rectangle(elements=(4, 4)), damping=damping)


def test_damping_as_number_function_array_and_per_element_agree():
    start = lambda x, y: np.sin(np.pi * x) * np.sin(np.pi * y)  # noqa: E731
    forms = [2.0, lambda x, _: 2.0 + 0 * x, np.full((3, 4), 2.0), PerElement(np.full(16, 2.0))]
    found = [
        WaveSolver(rectangle(elements=(4, 4)), damping=form).run(start, times=[0.7], grid=(9, 9)).u
        for form in forms
    ]
    assert max(np.abs(other - found[0]).max() for other in found[1:]) < 1e-12


def test_a_plane_wave_crosses_the_domain_at_an_angle():
    """Wave u = s(t − n·x/c) prescribed on a skewed domain's whole boundary, from its own initial fields."""
    wave = PlaneWave(GaussianDerivative(3.0, delay=0.2), angle=0.6, speed=1.3, origin=(-0.2, 0.1))
    mesh = rectangle(elements=(12, 12))
    skewed = MeshQuad(mesh.p + 0.2 * np.sin(mesh.p[::-1]), mesh.t)
    solver = WaveSolver(skewed, wave_speed=1.3, boundaries=Dirichlet(wave))
    solution = solver.run(wave.u0, wave.v0, times=[0.0, 0.4, 0.9], nodes=True)
    exact = np.stack([wave(*solution.nodes.points, t) for t in solution.times])
    assert np.abs(solution.nodes.u - exact).max() < 5e-4


def finite_differences(speed, start, cells, end):
    """Second-order finite differences of u_tt = ∇·(c² ∇u) on the unit square, u = 0 on the walls."""
    x = np.linspace(0.0, 1.0, cells + 1)
    h, half = x[1], 0.5 * (x[1:] + x[:-1])
    inner = x[1:-1]
    along = speed(half[:, None], inner) ** 2 / h**2
    across = speed(inner[:, None], half) ** 2 / h**2
    steps = int(np.ceil(end / (0.5 * h / 2.0)))
    dt = end / steps
    u = start(x[:, None], x)
    u[[0, -1]] = u[:, [0, -1]] = 0.0

    def force(u):
        out = np.zeros_like(u)
        flow_x, flow_y = along * np.diff(u[:, 1:-1], axis=0), across * np.diff(u[1:-1], axis=1)
        out[1:-1, 1:-1] = np.diff(flow_x, axis=0) + np.diff(flow_y, axis=1)
        return out

    old = u + 0.5 * dt**2 * force(u)
    for _ in range(steps):
        u, old = 2 * u - old + dt**2 * force(u), u
    return u


def test_agreement_with_finite_differences():
    """An independent solver converges to ours: at 80 and 160 cells, to a quarter and below 4e-3."""
    speed = lambda x, y: 1.0 + 0.5 * np.sin(3 * x) * np.cos(2 * y)  # noqa: E731
    start = lambda x, y: np.exp(-((x - 0.4) ** 2 + (y - 0.55) ** 2) / 0.02)  # noqa: E731
    ours = (
        WaveSolver(rectangle(elements=(12, 12)), wave_speed=speed).run(start, times=[0.8], grid=(81, 81)).u[0]
    )
    coarse, fine = (
        finite_differences(speed, start, 80, 0.8),
        finite_differences(speed, start, 160, 0.8)[::2, ::2],
    )
    errors = [np.linalg.norm(other - ours) / np.linalg.norm(ours) for other in (coarse, fine)]
    assert errors[1] < 4e-3 and 3.5 < errors[0] / errors[1] < 4.5


SIGNALS = [
    Ricker(4.0),
    GaussianDerivative(3.0),
    ToneBurst(5.0, cycles=4, start=0.1),
    SampledSignal(np.linspace(0, 1, 30), np.sin(7 * np.linspace(0, 1, 30))),
]


@pytest.mark.parametrize("signal", SIGNALS)
@given(t=st.floats(-0.5, 1.5))
def test_signals_know_their_derivative(signal, t):
    step = 1e-5
    slope = (signal(t + step) - signal(t - step)) / (2 * step)
    if isinstance(signal, SampledSignal) and min(abs(t), abs(t - 1)) < 1e-4:
        return
    assert signal.derivative(t) == pytest.approx(float(slope), abs=1e-5)


@pytest.mark.parametrize("kind", [Ricker, GaussianDerivative, ToneBurst])
def test_the_spectrum_of_a_pulse_peaks_at_its_frequency(kind):
    pulse = kind(10.0)
    t = np.linspace(-4, 4, 2**13, endpoint=False)
    spectrum = np.abs(np.fft.rfft(pulse(t)))
    assert np.fft.rfftfreq(t.size, t[1] - t[0])[spectrum.argmax()] == pytest.approx(10.0, abs=0.3)
    assert np.abs(pulse(t)).max() == pytest.approx(1.0, abs=0.05) and abs(pulse(0.0)) < 1e-3


def test_samples_are_met_and_silence_surrounds_them():
    signal = SampledSignal(np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 2.0, 0.5, 1.0]))
    assert signal(np.array([0.0, 1.0, 3.0])) == pytest.approx([1.0, 2.0, 1.0])
    assert np.all(signal(np.array([-0.1, 3.1])) == 0.0) and np.all(
        signal.derivative(np.array([-1, 4])) == 0.0
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ricker(0.0), "frequency: expected a positive number, got 0"),
        (lambda: GaussianDerivative(-1.0), "frequency: expected a positive number, got -1"),
        (lambda: ToneBurst(1.0, cycles=0), "cycles: expected a positive integer, got 0"),
        (
            lambda: SampledSignal(np.arange(3.0), np.ones(3)),
            "times, values: expected two sequences of one length",
        ),
        (lambda: SampledSignal(np.zeros(5), np.ones(5)), "times: expected increasing times"),
        (lambda: SampledSignal(np.arange(5.0), np.full(5, np.nan)), "times, values: expected finite numbers"),
        (lambda: PlaneWave(Ricker(1.0), 0.0, speed=0.0), "speed: expected a positive number, got 0"),
        (lambda: PlaneWave(Ricker(1.0), np.nan), "angle, origin: expected finite numbers"),
    ],
)
def test_bad_signals_and_waves_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
