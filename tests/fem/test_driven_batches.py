"""Batches of damped, driven and absorbed waves: every wave as if it were alone, compiled and by torch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slimwave.fem import drives, lane_steps, marching
from slimwave.fem.batches import WaveBatch
from slimwave.fem.boundaries import Dirichlet, Neumann
from slimwave.fem.forcing import DistributedSource, PointSource
from slimwave.fem.media import draw_smooth_random_medium
from slimwave.fem.meshes import rectangle
from slimwave.fem.signals import Ricker, ToneBurst
from slimwave.fem.solver import WaveSolver
from slimwave.fem.space import GLLSpace

SPACE = GLLSpace(rectangle(elements=(5, 6)), 4)
GRID = (17, 13)
DRIVEN = {
    "left": Dirichlet(lambda _, y, t: 0.3 * np.sin(5 * t) * y),
    "right": "absorbing",
    "bottom": Neumann(lambda x, _, t: np.cos(3 * t) * x),
    "top": "dirichlet",
}
SIDES = {"left": "absorbing", "right": "neumann", "bottom": "dirichlet", "top": "absorbing"}
POINT, FIELD = PointSource((0.3, 0.4), Ricker(4.0)), DistributedSource(lambda x, y: x * y, np.cos)

# Kinds of waves: walls, damping, sources.
KINDS = [
    ("neumann", 0.0, []),
    ("neumann", 2.0, [POINT]),
    ("dirichlet", lambda x, y: 3 * x * y, [FIELD]),
    (SIDES, 0.0, [POINT, PointSource((1.0, 0.1), ToneBurst(3.0))]),
    (DRIVEN, 0.0, []),
    (DRIVEN, 1.0, [FIELD, POINT]),
    ("dirichlet", 0.0, [POINT]),
]
MEDIA = [draw_smooth_random_medium(np.random.default_rng(k), correlation_length=0.4) for k in range(7)]
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    ),
]


def start(x, y):
    return np.sin(3 * x) * y


def batch_of(numbers):
    """A batch with these kinds of waves, each in its own medium, and their sources."""
    walls, dampings, sources = zip(*(KINDS[k] for k in numbers), strict=True)
    media = [MEDIA[k] for k in numbers]
    return WaveBatch(SPACE, media, dampings=list(dampings), boundaries=list(walls)), list(sources)


@pytest.mark.parametrize("times", [[0.0, 0.1, 0.2, 0.3], [0.07, 0.12, 0.5]], ids=["even", "uneven"])
@pytest.mark.parametrize("scheme", ["lax-wendroff", "leapfrog"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_each_wave_is_what_it_is_alone(dtype, scheme, times):
    """At the common step: the same numbers, bit by bit."""
    batch, sources = batch_of(range(7))
    options = {"times": times, "grid": GRID, "dtype": dtype, "scheme": scheme}
    options["time_step"] = batch.stable_time_step(scheme)
    together = batch.run(start, 0.3, sources=sources, **options)
    for k, (walls, damping, own) in enumerate(KINDS):
        solver = WaveSolver(SPACE, wave_speed=MEDIA[k], damping=damping, boundaries=walls)
        alone = solver.run(start, 0.3, sources=own, **options)
        assert np.abs(alone.u[-1]).max() > 0.01
        for name in ("u", "v", "energy", "n_dofs", "n_steps", "time_step"):
            assert np.array_equal(getattr(together[k], name), getattr(alone, name)), (k, name)


@settings(max_examples=12, deadline=None)
@given(numbers=st.lists(st.integers(0, 6), min_size=1, max_size=9), outputs=st.integers(1, 4))
def test_company_changes_nothing(numbers, outputs):
    """In any batch, so many output times visited together, a wave is the same to the last bit."""
    options = {"times": [0.05, 0.1, 0.13], "grid": (5, 5), "dtype": "float32", "time_step": 0.01}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marching, "BUNDLE", outputs * 4 * SPACE.grid.layout.size)
        batch, sources = batch_of(numbers)
        together = batch.run(start, sources=sources, **options)
    for k, number in enumerate(numbers):
        single, own = batch_of([number])
        alone = single.run(start, sources=own, **options)
        assert np.array_equal(together.u[k], alone.u[0]) and np.array_equal(together.v[k], alone.v[0])
        assert np.array_equal(together.energy[k], alone.energy[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scheme", ["lax-wendroff", "leapfrog"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-3)])
def test_torch_gives_the_same_waves(device, dtype, tolerance, scheme):
    """Relative to the largest value; v in float32 is a difference of fields divided by the step."""
    batch, sources = batch_of(range(7))
    options = {"times": [0.0, 0.1, 0.23, 0.6], "grid": GRID, "dtype": dtype, "scheme": scheme}
    compiled = batch.run(start, 0.5, sources=sources, **options)
    by_torch = batch.run(start, 0.5, sources=sources, backend="torch", device=device, **options)
    assert by_torch.u.dtype == dtype
    assert np.array_equal(by_torch.step_counts, compiled.step_counts)
    for name in ("u", "v", "energy"):
        for ours, theirs in zip(getattr(compiled, name), getattr(by_torch, name), strict=True):
            assert np.abs(ours - theirs).max() <= tolerance * np.abs(ours).max(), name


def test_loads_evaluated_in_chunks_are_the_same(monkeypatch):
    batch, sources = batch_of([1, 4, 5])
    whole = batch.run(start, sources=sources, times=[0.1, 0.6], grid=(5, 5))
    monkeypatch.setattr(drives, "CHUNK", 3)
    monkeypatch.setattr(lane_steps, "CHUNK", 3)
    parts = batch.run(start, sources=sources, times=[0.1, 0.6], grid=(5, 5))
    assert np.array_equal(whole.u, parts.u) and np.array_equal(whole.v, parts.v)


@pytest.mark.parametrize("backend", ["compiled", "torch"])
def test_sources_for_all_waves_and_for_each(backend):
    options = {"times": [0.2, 0.4], "grid": (9, 9), "backend": backend}
    batch = WaveBatch(SPACE, MEDIA[:2], dampings=1.0)
    shared = batch.run(0.0, sources=[POINT, FIELD], **options)
    listed = batch.run(0.0, sources=[[POINT, FIELD], [POINT, FIELD]], **options)
    assert np.array_equal(shared.u, listed.u) and np.abs(shared.u[:, -1]).max(axis=(1, 2)).min() > 0.01
    parts = [batch.run(0.0, sources=own, **options) for own in ([POINT], [FIELD])]
    assert np.abs(shared.u - parts[0].u - parts[1].u).max() < 1e-12


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_damped_waves_decay_exactly(dtype):
    """A mode with rates of damping of its own, u = exp(−γt/2) (cos Ωt + γ/2Ω sin Ωt) sin(πx) sin(2πy)."""
    rates, times = np.array([0.0, 1.0, 4.0]), np.linspace(0.1, 1.0, 7)
    batch = WaveBatch(rectangle(elements=(8, 8)), 1.0, dampings=list(rates))
    mode = lambda x, y: np.sin(np.pi * x) * np.sin(2 * np.pi * y)  # noqa: E731
    solution = batch.run(mode, times=times, grid=GRID, dtype=dtype)
    omega = np.sqrt(5 * np.pi**2 - rates**2 / 4)[:, None]
    half = rates[:, None] / 2
    decay = np.exp(-half * times) * (np.cos(omega * times) + half / omega * np.sin(omega * times))
    exact = decay[..., None, None] * mode(*np.meshgrid(solution.x, solution.y, indexing="ij"))
    assert np.abs(solution.u - exact).max() < (2e-5 if dtype == "float64" else 1e-4)


@pytest.mark.parametrize("scheme", ["lax-wendroff", "leapfrog"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_energy_never_grows(dtype, scheme):
    """Under damping and absorption, from rough fields, at the largest step; to the accuracy of the energy."""
    dampings = [1.0, lambda x, _: 20 * x, 0.0, lambda _, y: np.where(y > 0.5, 5.0, 0.0)]
    walls = ["neumann", "dirichlet", "absorbing", SIDES]
    batch = WaveBatch(SPACE, MEDIA[:4], dampings=dampings, boundaries=walls)
    pulse = lambda x, y: np.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.02)  # noqa: E731
    solution = batch.run(pulse, times=np.linspace(0, 4, 41), grid=(5, 5), dtype=dtype, scheme=scheme)
    slack = {"lax-wendroff": 2e-4, "leapfrog": 2e-2}[scheme]
    assert np.diff(solution.energy, axis=1).max() < slack * solution.energy[:, 0].max()
    assert np.all(solution.energy[:, -1] < 0.1 * solution.energy[:, 0])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_reciprocity(dtype):
    """Source and receiver exchanged, in one batch; the two waves differ in their sources only."""
    places = [(0.25, 0.5), (0.75, 0.25)]
    sources = [[PointSource(place, Ricker(4.0))] for place in places]
    batch = WaveBatch(rectangle(elements=(8, 8)), MEDIA[0], dampings=0.5, boundaries="neumann")
    solution = batch.run(0.0, times=np.linspace(0.1, 1, 10), grid=(5, 5), sources=sources, dtype=dtype)
    first, second = solution.u[0, :, 3, 1], solution.u[1, :, 1, 2]
    assert np.abs(first).max() > 0.01
    assert np.abs(first - second).max() < {"float64": 1e-11, "float32": 1e-4}[dtype] * np.abs(first).max()


def test_a_layered_medium_reflects_and_absorbs():
    """From speed 1 to 2 at x = 1, a plane pulse sends back (c1 − c2)/(c1 + c2) and passes 2c1/(c1 + c2), with
    the flux c² u_x continuous; both leave through absorbing ends.
    """
    from slimwave.fem.materials import PerElement

    layers = PerElement(lambda x, _: np.where(x < 1, 1.0, 2.0))
    walls = {"left": "absorbing", "right": "absorbing", "bottom": "neumann", "top": "neumann"}
    pulse = lambda x, _: np.exp(-(((x - 0.5) / 0.07) ** 2))  # noqa: E731
    slope = lambda x, y: 2 * (x - 0.5) / 0.07**2 * pulse(x, y)  # noqa: E731
    batch = WaveBatch(rectangle(2.0, 0.1, (40, 2)), [layers, 1.0], boundaries=walls)
    solution = batch.run(pulse, slope, times=[0.8, 2.5], grid=(401, 2), dtype="float32")
    back, passed = solution.u[0, 0, :200, 0], solution.u[0, 0, 200:, 0]
    assert back[np.abs(back).argmax()] == pytest.approx(-1 / 3, abs=2e-3)
    assert passed.max() == pytest.approx(2 / 3, abs=2e-3)
    assert np.abs(solution.u[:, 1]).max() < 2e-3


def test_steps_of_driven_waves_are_refused_when_too_long():
    free, damped = (WaveBatch(SPACE, 1.0, dampings=own) for own in (0.0, lambda x, _: x))
    assert damped.stable_time_step() == pytest.approx(0.9 * free.stable_time_step())
    assert damped.stable_time_step("leapfrog") == free.stable_time_step("leapfrog")
    with pytest.raises(ValueError, match="largest legal step"):
        damped.run(start, times=[0.1], grid=(5, 5), time_step=free.stable_time_step())


def test_bad_drives_are_named():
    batch = WaveBatch(SPACE, MEDIA[:2])
    run = lambda sources: batch.run(0.0, times=[0.1], grid=(5, 5), sources=sources)  # noqa: E731
    with pytest.raises(ValueError, match="damping: expected values of at least 0"):
        WaveBatch(SPACE, 1.0, dampings=[0.0, -1.0])
    with pytest.raises(ValueError, match="sources: expected a list of sources"):
        run([POINT, [POINT]])
    with pytest.raises(ValueError, match=r"sources\[1\]\[0\].position: the point .* outside"):
        run([[], [PointSource((2.0, 2.0), Ricker(4.0))]])
    with pytest.raises(ValueError, match=r"sources\[0\]: expected one finite value .* at t="):
        run([PointSource((0.5, 0.5), lambda t: np.inf if t > 0.05 else 0.0)])
