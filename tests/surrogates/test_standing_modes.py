"""Standing waves of an axis: orthogonal and exact for all walls; and the shears against their formulas."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch

from slimwave.surrogates.shears import LIMITS, advance, forces_per_step, stable_limit
from slimwave.surrogates.standing_modes import standing_modes
from slimwave.surrogates.stencils import midpoint_interpolation

PAIRS = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=2)), dtype=torch.float64)
NODES, MIDPOINTS = 20, 13


def test_a_field_within_the_band_goes_to_the_midpoints_and_back() -> None:
    axis = standing_modes(PAIRS[:, 0], PAIRS[:, 1], NODES, MIDPOINTS)
    there = axis.to_inner @ axis.to_grid
    projection = axis.modes @ axis.modes.mT
    assert torch.allclose(there, projection, atol=1e-12)
    assert torch.allclose(projection @ projection, projection, atol=1e-12)
    assert torch.linalg.matrix_rank(projection).tolist() == [12, 13, 13, 13]


def test_values_and_derivatives_are_those_of_the_wave() -> None:
    """A sine or cosine of κ x on 20 nodes, evaluated and differentiated on 13 midpoints, for all pairs."""
    x = np.linspace(0, 1, NODES)
    middle = (np.arange(MIDPOINTS) + 0.5) / MIDPOINTS
    axis = standing_modes(PAIRS[:, 0], PAIRS[:, 1], NODES, MIDPOINTS)
    derivative = (axis.partners * (math.pi * axis.numbers)[:, None]) @ axis.modes.mT
    for pair, (low, high) in enumerate(PAIRS.tolist()):
        k = math.pi * (5.0 if low == high else 5.5)
        wave, slope = (np.sin, np.cos) if low < 0 else (np.cos, lambda y: -np.sin(y))
        inner = axis.to_inner[pair] @ torch.from_numpy(wave(k * x))
        assert np.allclose(inner.numpy(), wave(k * middle), atol=1e-12)
        assert np.allclose((derivative[pair] @ inner).numpy(), k * slope(k * middle), atol=1e-10)
        assert np.allclose((axis.to_grid[pair] @ inner).numpy(), wave(k * x), atol=1e-12)


def test_the_interpolation_to_midpoints_is_exact_for_cubics() -> None:
    for nodes, midpoints in ((5, 4), (20, 13), (9, 8)):
        x, middle = np.linspace(-1, 1, nodes), -1 + 2 * (np.arange(midpoints) + 0.5) / midpoints
        matrix = midpoint_interpolation(nodes, midpoints)
        assert np.allclose(matrix @ (x**3 - 2 * x**2 + 1), middle**3 - 2 * middle**2 + 1, atol=1e-12)


@pytest.mark.parametrize("order", [2, 4])
def test_a_substep_is_a_rotation_up_to_the_limit_and_not_beyond(order: int) -> None:
    z = torch.linspace(0, 1.2 * LIMITS[order], 400, dtype=torch.float64)
    calls = []

    def force(u: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return z * u

    one, none = torch.ones_like(z), torch.zeros_like(z)
    (a, c), (b, d) = (advance(order, 1, u, w, force) for u, w in ((one, none), (none, one)))
    assert len(calls) == 2 * forces_per_step(order, 1)
    assert torch.allclose(a * d - b * c, one, atol=1e-12)
    assert torch.allclose(a, d, atol=1e-12)
    cosine = (a + d) / 2
    expected = 1 - z / 2 if order == 2 else 1 - z / 2 + z**2 / 24 - z**3 / 864
    assert torch.allclose(cosine, expected, atol=1e-12)
    inside = z <= stable_limit(order)
    assert bool((cosine[inside].abs() <= 1).all())
    assert bool((cosine[z > LIMITS[order]] < -1).all())


@pytest.mark.parametrize("order", [2, 4])
def test_the_shears_converge_to_the_rotation_with_their_order(order: int) -> None:
    """Against cos t and −sin t for u_tt = −u."""
    errors = []
    for substeps in (8, 16):
        dt = 2.0 / substeps
        force = partial(torch.mul, torch.tensor(dt**2, dtype=torch.float64))
        u, w = advance(order, substeps, torch.ones(1).double(), torch.zeros(1).double(), force)
        errors.append(math.hypot(float(u) - math.cos(2.0), float(w) / dt + math.sin(2.0)))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)
