"""Energy of sampled fields, against standing waves whose energy is known for every pair of walls."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimwave.data.grid_energy import grid_energy

WIDTH, HEIGHT = 1.2, 0.7
SHAPES = {(-1, -1): (np.sin, 0.0), (1, 1): (np.cos, 0.0), (-1, 1): (np.sin, 0.5), (1, -1): (np.cos, 0.5)}
"""Modes of [0, 1] by the signs of its ends: shape and shift s of the mode shape((n + s) π x)."""


def mode(signs: tuple[int, int], number: int, nodes: int, length: float) -> tuple[np.ndarray, float]:
    shape, shift = SHAPES[signs]
    wave_number = (number + shift) * np.pi / length
    return shape(wave_number * np.linspace(0, length, nodes)), wave_number


@given(
    in_x=st.sampled_from(list(SHAPES)),
    in_y=st.sampled_from(list(SHAPES)),
    number=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    phase=st.floats(0, 2 * np.pi),
)
def test_standing_wave(
    in_x: tuple[int, int], in_y: tuple[int, int], number: tuple[int, int], phase: float
) -> None:
    """U = cos(φ) X(x) Y(y), v = −ω sin(φ) X Y, ω = c |k|: the energy is ω² · area / 8 at any φ."""
    nx, ny, c = 24, 19, 1.5
    x, kx = mode(in_x, number[0], nx, WIDTH)
    y, ky = mode(in_y, number[1], ny, HEIGHT)
    omega = c * np.hypot(kx, ky)
    u = np.cos(phase) * np.multiply.outer(x, y)[None]
    v = -omega * np.sin(phase) * np.multiply.outer(x, y)[None]
    spacing = (WIDTH / (nx - 1), HEIGHT / (ny - 1))
    energy = grid_energy(u, v, np.full((nx, ny), c), np.array([*in_x, *in_y]), spacing)
    assert energy == pytest.approx([omega**2 * WIDTH * HEIGHT / 8], rel=1e-12)


@pytest.mark.parametrize("low", [-1, 0, 1])
@pytest.mark.parametrize("high", [-1, 0, 1])
def test_open_sides_need_no_image(low: int, high: int) -> None:
    """A smooth field that obeys its walls and does as it likes at open sides, against quadrature in 1D."""
    nodes, length = 41, 1.3
    x = np.linspace(0, length, nodes)
    bend = {-1: (np.sin, np.cos, 1), 1: (np.cos, np.sin, -1)}
    if low or high:
        signs = (low or high, high or low)
        (shape, slope, sign), shift = bend[signs[0]], SHAPES[signs][1]
        wave_number = (2 + shift) * np.pi / length
        u, exact = shape(wave_number * x), sign * wave_number * slope(wave_number * x)
    else:
        u, exact = (
            np.exp(1.2 * x) * np.sin(3 * x),
            np.exp(1.2 * x) * (1.2 * np.sin(3 * x) + 3 * np.cos(3 * x)),
        )
    field = np.broadcast_to(u[:, None], (1, nodes, 9)).copy()
    energy = grid_energy(field, 0 * field, np.ones((nodes, 9)), np.array([low, high, 1, 1]), (x[1], 0.1))
    weights = np.full(nodes, x[1])
    weights[[0, -1]] *= 0.5
    assert energy == pytest.approx([0.5 * (exact**2) @ weights * 0.8], rel=2e-4)
