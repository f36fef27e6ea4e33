"""Energy of sampled fields, ½ ∫ (v² + c² ∇u·∇u), to judge snapshots without the solver that made them.

A field between walls continues beyond them as its mirror image: odd at a Dirichlet wall, even at a Neumann
wall. Mirrored twice it is periodic, so that its derivative comes from a Fourier transform with spectral
accuracy (Boyd, Chebyshev and Fourier Spectral Methods, 2001, ch. 8). An absorbing side has no image; along an
axis with such an end the derivative is that of a cubic spline, continued beyond the other end if that is a
wall.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Array = NDArray[Any]

IMAGE_NODES = 8
"""Nodes by which a spline is continued beyond a wall; its slopes forget its ends within as many."""


def grid_energy(u: Array, v: Array, c: Array, walls: Array, spacing: tuple[float, float]) -> Array:
    """Return the energy of each snapshot.

    Parameters
    ----------
    u, v
        Shape (T, nx, ny).
    c
        Wave speed, (nx, ny).
    walls
        Left, right, bottom, top: −1 Dirichlet, +1 Neumann, 0 absorbing.
    spacing
        (dx, dy), in units of length.

    Returns
    -------
    array
        Shape (T,).
    """
    weights = np.multiply.outer(_trapezoid(u.shape[1], spacing[0]), _trapezoid(u.shape[2], spacing[1]))
    energy: Array = np.einsum("txy,xy->t", energy_density(u, v, c, walls, spacing), weights)
    return energy


def energy_density(u: Array, v: Array, c: Array, walls: Array, spacing: tuple[float, float]) -> Array:
    """Return ½ (v² + c² ∇u·∇u) at the nodes, (T, nx, ny); see :func:`grid_energy`."""
    along_x = _derivative(u.swapaxes(-1, -2), walls[0], walls[1], spacing[0]).swapaxes(-1, -2)
    along_y = _derivative(u, walls[2], walls[3], spacing[1])
    density: Array = 0.5 * (v.astype(np.float64) ** 2 + c.astype(np.float64) ** 2 * (along_x**2 + along_y**2))
    return density


def _derivative(values: Array, low: float, high: float, step: float) -> Array:
    """Derivative along the last axis, whose ends are walls with the given mirror signs, or open (0)."""
    return _spectral(values, low, high, step) if low and high else _spline(values, low, high, step)


def _spline(values: Array, low: float, high: float, step: float) -> Array:
    before = low * values[..., IMAGE_NODES:0:-1] if low else values[..., :0]
    after = high * values[..., -2 : -IMAGE_NODES - 2 : -1] if high else values[..., :0]
    continued = np.concatenate([before, values, after], axis=-1).astype(np.float64)
    nodes = step * (np.arange(continued.shape[-1]) - before.shape[-1])
    inside = nodes[before.shape[-1] : before.shape[-1] + values.shape[-1]]
    slopes: Array = CubicSpline(nodes, continued, axis=-1)(inside, 1)
    return slopes


def _spectral(values: Array, low: float, high: float, step: float) -> Array:
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
