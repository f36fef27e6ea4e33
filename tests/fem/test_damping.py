"""Damping fields: values in their range, places where they should be, bad arguments refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimwave.fem.damping import RandomDamping, SpongeDamping, UniformDamping, draw_random_damping
from slimwave.fem.media import draw_smooth_random_medium
from slimwave.fem.meshes import rectangle
from slimwave.fem.solver import WaveSolver

X, Y = np.meshgrid(np.linspace(0, 2, 41), np.linspace(0, 1, 21), indexing="ij")


@given(strength=st.floats(0, 10), seed=st.integers(0, 2**32))
def test_values_lie_between_zero_and_the_strength(strength, seed):
    rng = np.random.default_rng(seed)
    for damping in (
        UniformDamping(strength),
        draw_random_damping(rng, correlation_length=0.2, strength=strength),
        SpongeDamping(strength, 0.3, 2.0, 1.0),
    ):
        values = damping(X, Y)
        assert values.shape == X.shape
        assert values.min() >= 0 and values.max() <= strength


def test_a_sponge_lies_along_all_sides():
    values = SpongeDamping(3.0, 0.25, 2.0, 1.0)(X, Y)
    inside = (X >= 0.25) & (X <= 1.75) & (Y >= 0.25) & (Y <= 0.75)
    assert values[inside].max() < 1e-12
    assert values[~inside].min() >= 0
    assert np.allclose([values[0], values[-1]], 3.0)
    assert np.allclose([values[:, 0], values[:, -1]], 3.0)
    np.testing.assert_allclose(values, values[::-1, ::-1], atol=1e-12)


def test_random_damping_varies_like_a_random_medium():
    """The same wave vectors and phases give the same field, scaled."""
    medium = draw_smooth_random_medium(np.random.default_rng(1), min_speed=1.0, max_speed=2.0)
    damping = RandomDamping(medium.wave_vectors, medium.phases, 4.0)
    np.testing.assert_allclose(damping(X, Y), 4.0 * (medium(X, Y) - 1.0), rtol=1e-12, atol=1e-12)


def test_a_mode_under_uniform_damping_decays_as_the_formula_says():
    """U = sin sin · exp(−γt/2) (cos ωt + γ/2ω sin ωt), ω² = 2π² − γ²/4."""
    gamma, t = 1.5, 0.8
    solver = WaveSolver(rectangle(elements=(6, 6)), damping=UniformDamping(gamma), order=5)
    u = solver.run(lambda x, y: np.sin(np.pi * x) * np.sin(np.pi * y), times=[t], grid=(9, 9)).u[0, 4, 4]
    omega = np.sqrt(2 * np.pi**2 - gamma**2 / 4)
    exact = np.exp(-gamma * t / 2) * (np.cos(omega * t) + gamma / (2 * omega) * np.sin(omega * t))
    assert abs(u - exact) < 1e-6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UniformDamping(-1.0), "strength: expected a number of at least 0, got -1"),
        (lambda: SpongeDamping(np.inf, 0.1), "strength: expected"),
        (lambda: SpongeDamping(1.0, 0.0), "thickness: expected a positive number, got 0"),
        (
            lambda: draw_random_damping(np.random.default_rng(0), correlation_length=0.0, strength=1.0),
            "correlation_length: expected a positive number",
        ),
    ],
)
def test_bad_damping_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
