"""The step that is safe for all media up to a speed, drawn before any of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skfem import MeshQuad

from slimwave.fem.batches import WaveBatch
from slimwave.fem.materials import PerElement
from slimwave.fem.meshes import disk, rectangle
from slimwave.fem.solver import WaveSolver
from slimwave.fem.space import GLLSpace
from slimwave.fem.spectra import stable_time_step

SKEWED = MeshQuad(
    rectangle(elements=(3, 3)).p + 0.2 * rectangle(elements=(3, 3)).p[::-1] ** 2, rectangle(elements=(3, 3)).t
)
SPACES = [
    GLLSpace(rectangle(2.0, 1.0, (5, 3)), 4),
    GLLSpace(rectangle(elements=(4, 4)), 2),
    GLLSpace(SKEWED, 3),
    GLLSpace(disk(elements=2), 3),
]


@settings(max_examples=60, deadline=None)
@given(
    space=st.sampled_from(SPACES),
    max_speed=st.floats(0.1, 10.0),
    share=st.floats(0.01, 1.0),
    kind=st.sampled_from(["constant", "function", "elements", "random"]),
    max_damping=st.sampled_from([0.0, 0.5, 100.0]),
    walls=st.sampled_from(["neumann", "dirichlet", "absorbing"]),
    scheme=st.sampled_from(["lax-wendroff", "leapfrog"]),
    seed=st.integers(0, 99),
)
def test_no_medium_up_to_the_speed_needs_a_smaller_step(
    space, max_speed, share, kind, max_damping, walls, scheme, seed
):
    rng = np.random.default_rng(seed)
    low = share * max_speed
    medium = {
        "constant": max_speed,
        "function": lambda x, y: np.where(x < y, max_speed, low),
        "elements": PerElement(rng.uniform(low, max_speed, space.mesh.nelements)),
        "random": lambda x, _: np.clip(max_speed * np.abs(rng.standard_normal(x.shape)), low, max_speed),
    }[kind]
    damping = (lambda x, _: max_damping * rng.uniform(size=x.shape)) if seed % 2 else max_damping
    solver = WaveSolver(space, wave_speed=medium, damping=damping, boundaries=walls)
    absorbing = walls == "absorbing"
    step = stable_time_step(space, max_speed, scheme, largest_damping=max_damping, absorbing=absorbing)
    assert step <= solver.stable_time_step(scheme)
    if kind == "constant" and (max_damping == 0.0 or seed % 2 or scheme == "leapfrog"):
        assert step == pytest.approx(solver.stable_time_step(scheme), rel=1e-8)


def test_with_it_a_wave_does_not_depend_on_the_media_beside_it():
    """Without it, the common step is that of the fastest medium present."""
    space = SPACES[0]
    media = [lambda x, _, k=k: 1 + k * x / 6 for k in range(4)]
    pulse = lambda x, y: np.exp(-((x - 1) ** 2 + (y - 0.5) ** 2) / 0.02)  # noqa: E731
    options = {"times": [0.2, 0.4], "grid": (9, 9), "dtype": "float32"}
    step = stable_time_step(space, 2.0, absorbing=True)
    runs = [
        [
            WaveBatch(space, own, boundaries="absorbing").run(pulse, time_step=given, **options)
            for own in (media, media[:1])
        ]
        for given in (step, None)
    ]
    (whole, one), (whole_free, one_free) = runs
    assert whole.n_steps == one.n_steps and np.array_equal(whole.u[0], one.u[0])
    assert not np.array_equal(whole_free.u[0], one_free.u[0])


def test_bad_limits_are_named():
    with pytest.raises(ValueError, match="largest_speed: expected a finite positive speed, got 0"):
        stable_time_step(SPACES[0], 0.0)
    with pytest.raises(ValueError, match="largest_speed: expected a finite positive speed, got inf"):
        stable_time_step(SPACES[0], np.inf)
    with pytest.raises(ValueError, match="largest_damping: expected a finite damping of at least 0, got -1"):
        stable_time_step(SPACES[0], 1.0, largest_damping=-1.0)
    with pytest.raises(ValueError, match="scheme: unknown scheme"):
        stable_time_step(SPACES[0], 1.0, "euler")
