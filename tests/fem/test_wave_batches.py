"""Batches: every wave as if it were alone, in one medium or many, compiled and by torch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skfem import MeshQuad

from slimwave.fem import marching
from slimwave.fem.batches import WaveBatch
from slimwave.fem.materials import PerElement
from slimwave.fem.media import draw_smooth_random_medium
from slimwave.fem.meshes import rectangle
from slimwave.fem.solver import WaveSolver
from slimwave.fem.sources import GaussianPulses
from slimwave.fem.space import GLLSpace
from slimwave.fem.spectra import stable_time_step
from slimwave.fem.stepping import UnstableTimeStepError

SPACE = GLLSpace(rectangle(2.0, 1.0, (6, 5)), 4)
MIXED = {"left": "neumann", "right": "dirichlet", "bottom": "dirichlet", "top": "neumann"}
WALLS = ["dirichlet", MIXED, "neumann"]
MEDIA = [draw_smooth_random_medium(np.random.default_rng(k), correlation_length=0.4) for k in range(3)]
PULSES = [
    GaussianPulses(np.array([[0.6 + 0.3 * k, 0.5]]), np.array([0.12]), np.array([1.0]), width=2.0)
    for k in range(3)
]
TIMES, GRID = [0.0, 0.1, 0.25, 0.6], (33, 17)
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    ),
]


@pytest.mark.parametrize("scheme", ["lax-wendroff", "leapfrog"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_each_wave_of_a_batch_is_what_it_is_alone(dtype, scheme):
    """Different media, walls and initial fields at the common step: the same numbers, bit by bit."""
    batch = WaveBatch(SPACE, MEDIA, boundaries=WALLS)
    together = batch.run(PULSES, list(reversed(PULSES)), times=TIMES, grid=GRID, dtype=dtype, scheme=scheme)
    assert len(together) == 3
    for k in range(3):
        solver = WaveSolver(SPACE, wave_speed=MEDIA[k], boundaries=WALLS[k])
        step = batch.stable_time_step(scheme)
        alone = solver.run(
            PULSES[k], PULSES[2 - k], times=TIMES, grid=GRID, dtype=dtype, scheme=scheme, time_step=step
        )
        for name in ("u", "v", "energy", "n_dofs", "n_steps", "time_step", "scheme", "order", "x", "y"):
            assert np.array_equal(getattr(together[k], name), getattr(alone, name)), name


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), highest=st.floats(0.5, 3.0), structured=st.booleans())
def test_step_of_the_largest_speed_is_safe_in_slower_media(seed, highest, structured):
    """And it is no smaller than it must be: at that speed everywhere it is the limit."""
    space = GLLSpace(rectangle(1.5, 1.0, (3, 4)), 3, structured=structured)
    step = stable_time_step(space, highest)
    speeds = PerElement(np.random.default_rng(seed).uniform(0.1, highest, 12))
    assert step <= WaveSolver(space, wave_speed=speeds).stable_time_step()
    assert step == pytest.approx(WaveSolver(space, wave_speed=highest).stable_time_step(), rel=1e-8)


EVEN_TIMES = np.linspace(0.0, 0.6, 13)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("times", [TIMES, EVEN_TIMES], ids=["uneven", "even"])
def test_a_wave_does_not_depend_on_its_batch(dtype, times):
    """Alone, twice, or among others in any order: the same numbers, bit by bit."""
    step = WaveBatch(SPACE, MEDIA).stable_time_step()

    def run(numbers):
        batch = WaveBatch(SPACE, [MEDIA[k] for k in numbers], boundaries=[WALLS[k] for k in numbers])
        pulses = [PULSES[k] for k in numbers]
        return batch.run(pulses, pulses, times=times, grid=GRID, dtype=dtype, time_step=step)

    whole = run([0, 1, 2])
    for numbers in ([0], [1], [2], [2, 0], [1, 1, 2, 0, 1]):
        part = run(numbers)
        for name in ("u", "v", "energy"):
            assert np.array_equal(getattr(part, name), getattr(whole, name)[numbers]), name


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_output_times_visited_together_change_nothing(monkeypatch, dtype, outputs):
    """So many at a time, or all of them."""
    batch = WaveBatch(SPACE, MEDIA)
    asked = {"times": EVEN_TIMES, "grid": GRID, "dtype": dtype}
    whole = batch.run(PULSES, PULSES, **asked)
    monkeypatch.setattr(marching, "BUNDLE", outputs * np.dtype(dtype).itemsize * SPACE.grid.layout.size)
    parts = batch.run(PULSES, PULSES, **asked)
    for name in ("u", "v", "energy"):
        assert np.array_equal(getattr(parts, name), getattr(whole, name)), name


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scheme", ["lax-wendroff", "leapfrog"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-11), ("float32", 2e-4)])
def test_torch_gives_the_same_waves(device, dtype, tolerance, scheme):
    """Relative to the largest value; v in float32 is a difference of fields divided by the step."""
    batch = WaveBatch(SPACE, MEDIA, boundaries=WALLS)
    compiled = batch.run(PULSES, 0.5, times=TIMES, grid=GRID, dtype=dtype, scheme=scheme)
    by_torch = batch.run(
        PULSES, 0.5, times=TIMES, grid=GRID, dtype=dtype, scheme=scheme, backend="torch", device=device
    )
    assert by_torch.u.dtype == dtype
    for name in ("u", "v", "energy"):
        ours, theirs = getattr(compiled, name), getattr(by_torch, name)
        assert np.abs(ours - theirs).max() <= tolerance * np.abs(ours).max(), name


@pytest.mark.parametrize("backend", ["compiled", "torch"])
def test_many_states_in_one_medium(backend):
    """One medium for all is the same as a list of equal media."""
    shared = WaveBatch(SPACE, MEDIA[0]).run(PULSES, times=TIMES, grid=GRID, backend=backend)
    listed = WaveBatch(SPACE, [MEDIA[0]] * 3).run(PULSES, times=TIMES, grid=GRID, backend=backend)
    assert np.allclose(shared.u, listed.u, atol=1e-13) and np.allclose(shared.v, listed.v, atol=1e-11)
    assert shared.n_dofs.tolist() == listed.n_dofs.tolist()


@pytest.mark.parametrize("backend", ["compiled", "torch"])
def test_one_state_in_many_media_with_jumps_between_elements(backend):
    media = [PerElement(np.where(np.arange(30) % 7 == k, 2.0, 1.0)) for k in range(2)]
    together = WaveBatch(SPACE, media, boundaries=MIXED).run(
        PULSES[0], times=TIMES, grid=GRID, backend=backend
    )
    for k, medium in enumerate(media):
        alone = WaveSolver(SPACE, wave_speed=medium, boundaries=MIXED).run(
            PULSES[0], times=TIMES, grid=GRID, time_step=together.time_step
        )
        assert np.abs(together.u[k] - alone.u).max() < 1e-12


@settings(max_examples=15, deadline=None)
@given(
    elements=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    order=st.integers(1, 5),
    walls=st.lists(st.sampled_from(["dirichlet", "neumann"]), min_size=4, max_size=4),
    seed=st.integers(0, 99),
)
def test_torch_and_compiled_products_agree_on_any_grid(elements, order, walls, seed):
    space = GLLSpace(rectangle(elements=elements), order)
    rng = np.random.default_rng(seed)
    media = [PerElement(rng.uniform(1, 2, elements[0] * elements[1])) for _ in range(2)]
    batch = WaveBatch(space, media, boundaries=dict(zip(MIXED, walls, strict=True)))
    start = [rng.standard_normal((4, 5)) for _ in range(2)]
    ours, theirs = (
        batch.run(start, times=[0.1], grid=(5, 6), backend=name) for name in ("compiled", "torch")
    )
    assert np.abs(ours.u - theirs.u).max() <= 1e-12 * max(1.0, np.abs(ours.u).max())
    assert ours.energy == pytest.approx(theirs.energy, rel=1e-9)


@pytest.mark.parametrize("backend", ["compiled", "torch"])
def test_progress_is_reported(backend):
    seen = []
    WaveBatch(SPACE, MEDIA).run(
        PULSES,
        times=TIMES,
        grid=GRID,
        backend=backend,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (12, 12) and seen == sorted(set(seen)) and {total for _, total in seen} == {12}


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="wave_speeds: 3, dampings: 1, boundaries: 2"):
        WaveBatch(SPACE, MEDIA, boundaries=["dirichlet", "neumann"])
    with pytest.raises(ValueError, match="wave_speeds: 3, dampings: 2"):
        WaveBatch(SPACE, MEDIA, dampings=[0.0, 1.0])
    with pytest.raises(ValueError, match="the batch: 3, u0s: 2"):
        WaveBatch(SPACE, MEDIA).run(PULSES[:2], times=TIMES, grid=GRID)
    with pytest.raises(ValueError, match="the batch: 3, u0s: 1, v0s: 1, sources: 2"):
        WaveBatch(SPACE, MEDIA).run(PULSES[0], times=TIMES, grid=GRID, sources=[[], []])
    with pytest.raises(ValueError, match="wave_speeds: 0"):
        WaveBatch(SPACE, [])


def test_bad_input_is_named():
    batch = WaveBatch(SPACE, MEDIA)
    with pytest.raises(UnstableTimeStepError, match="largest legal step"):
        batch.run(PULSES, times=TIMES, grid=GRID, time_step=1.0)
    with pytest.raises(ValueError, match="time_step: expected a positive"):
        batch.run(PULSES, times=TIMES, grid=GRID, time_step=0.0)
    with pytest.raises(ValueError, match=r"u0s\[1\]: expected finite"):
        batch.run([0.0, np.inf, 0.0], times=TIMES, grid=GRID)
    with pytest.raises(ValueError, match="backend: expected one of compiled, torch"):
        batch.run(PULSES, times=TIMES, grid=GRID, backend="fortran")
    with pytest.raises(ValueError, match=r"backend: .* runs on the CPU"):
        batch.run(PULSES, times=TIMES, grid=GRID, device="cuda")
    with pytest.raises(ValueError, match="device: torch cannot use 'abacus'"):
        batch.run(PULSES, times=TIMES, grid=GRID, backend="torch", device="abacus")
    with pytest.raises(ValueError, match="dtype: expected one of"):
        batch.run(PULSES, times=TIMES, grid=GRID, dtype="float16")
    with pytest.raises(ValueError, match="dtype: expected one of"):
        batch.run(PULSES, times=TIMES, grid=GRID, dtype="float16", backend="torch")
    with pytest.raises(ValueError, match="times: expected increasing"):
        batch.run(PULSES, times=[0.2, 0.1], grid=GRID)
    with pytest.raises(ValueError, match="grid: expected"):
        batch.run(PULSES, times=TIMES, grid=(1, 5))


def test_bad_batches_are_refused():
    with pytest.raises(ValueError, match="a batch has no matched layers"):
        WaveBatch(SPACE, MEDIA, boundaries=["neumann", MIXED | {"right": "pml"}, "neumann"])
    with pytest.raises(ValueError, match="unknown condition 'glass'"):
        WaveBatch(SPACE, MEDIA, boundaries="glass")
    with pytest.raises(ValueError, match="boundaries: expected a condition"):
        WaveBatch(SPACE, MEDIA, boundaries=3)
    with pytest.raises(ValueError, match="wave_speed: expected positive"):
        WaveBatch(SPACE, [1.0, -1.0])
    skewed = MeshQuad.init_tensor(np.linspace(0, 1, 3), np.linspace(0, 1, 3))
    skewed = MeshQuad(skewed.p + 0.1 * skewed.p[::-1], skewed.t)
    with pytest.raises(ValueError, match="mesh: a batch needs a rectangle"):
        WaveBatch(skewed, 1.0)
    with pytest.raises(ValueError, match="order: 3 was asked for"):
        WaveBatch(SPACE, 1.0, order=3)
