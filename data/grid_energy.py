"""Energy of sampled fields, ½ ∫ (v² + c² ∇u·∇u), to judge snapshots without the solver that made them.

A field between walls continues beyond them as its mirror image: odd at a Dirichlet wall, even at a Neumann
wall. Mirrored twice it is periodic, so that its derivative comes from a Fourier transform with spectral
accuracy (Boyd, Chebyshev and Fourier Spectral Methods, 2001, ch. 8).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def grid_energy(u: Array, v: Array, c: Array, walls: Array, spacing: tuple[float, float]) -> Array:
    """Return the energy of each snapshot.

    Parameters
    ----------
    u, v
        Shape (T, nx, ny).
    c
        Wave speed, (nx, ny).
    walls
        Mirror signs of left, right, bottom, top.
    spacing
        (dx, dy), in units of length.

    Returns
    -------
    array
        Shape (T,).
    """
    along_x = _derivative(u.swapaxes(-1, -2), walls[0], walls[1], spacing[0]).swapaxes(-1, -2)
    along_y = _derivative(u, walls[2], walls[3], spacing[1])
    density = 0.5 * (v.astype(np.float64) ** 2 + c.astype(np.float64) ** 2 * (along_x**2 + along_y**2))
    weights = np.multiply.outer(_trapezoid(u.shape[1], spacing[0]), _trapezoid(u.shape[2], spacing[1]))
    energy: Array = np.einsum("txy,xy->t", density, weights)
    return energy


def _derivative(values: Array, low: float, high: float, step: float) -> Array:
    """Derivative along the last axis, whose ends are walls with the given mirror signs."""
    mirrored = np.concatenate([values, high * values[..., -2:0:-1]], axis=-1)
    period = np.concatenate([mirrored, low * high * mirrored], axis=-1)
    period[..., period.shape[-1] // 2] = low * high * values[..., 0]
    frequencies = 2.0 * np.pi * np.fft.rfftfreq(period.shape[-1], step)
    slopes = np.fft.irfft(1j * frequencies * np.fft.rfft(period, axis=-1), period.shape[-1], axis=-1)
    inside: Array = slopes[..., : values.shape[-1]]
    return inside


def _trapezoid(nodes: int, step: float) -> Array:
    weights = np.full(nodes, step)
    weights[[0, -1]] *= 0.5
    return weights
