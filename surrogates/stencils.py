"""Finite-difference stencils between staggered nodes, of any order.

A function known at the nodes …, −h/2, h/2, 3h/2, … is differentiated or interpolated at 0 by r pairs of taps:

    h f'(0) ≈ Σ_{m=1…r} d_m (f((m − ½)h) − f(−(m − ½)h)),    f(0) ≈ Σ_m a_m (f((m − ½)h) + f(−(m − ½)h)),

exact for polynomials of degree 2r, and of degree 2r − 1, respectively (Fornberg, Math. Comp. 51, 699, 1988).

>>> (staggered_derivative(2) * 24).round(12)
array([27., -1.])
>>> (staggered_average(2) * 16).round(12)
array([ 9., -1.])
"""

import numpy as np
from numpy.typing import NDArray

Taps = NDArray[np.float64]


def staggered_derivative(pairs: int) -> Taps:
    """Taps d_1 … d_r of the first derivative in units of 1/h, of order 2r."""
    return _taps(pairs, first_power=1)


def staggered_average(pairs: int) -> Taps:
    """Taps a_1 … a_r of the interpolation, of order 2r."""
    return _taps(pairs, first_power=0)


def midpoint_interpolation(nodes: int, midpoints: int) -> Taps:
    """Matrix (midpoints, nodes) of the cubic interpolation from nodes j / (n − 1) to midpoints (j + ½) / M.

    Each value is taken from the four nearest nodes; those at the ends from one side.

    >>> midpoint_interpolation(5, 4)[1] * 16
    array([-1.,  9.,  9., -1.,  0.])
    """
    places = (np.arange(midpoints) + 0.5) / midpoints * (nodes - 1)
    first = np.clip(np.floor(places).astype(int) - 1, 0, nodes - 4)
    matrix = np.zeros((midpoints, nodes))
    for a in range(4):
        weight = np.ones(midpoints)
        for b in range(4):
            if b != a:
                weight *= (places - first - b) / (a - b)
        matrix[np.arange(midpoints), first + a] = weight
    return matrix


def _taps(pairs: int, first_power: int) -> Taps:
    """Solve 2 Σ_m t_m (m − ½)^p = 1 for the first power p, 0 for the r − 1 powers p + 2, p + 4, …"""
    distances = np.arange(1, pairs + 1) - 0.5
    powers = first_power + 2 * np.arange(pairs)
    target = np.zeros(pairs)
    target[0] = 1.0
    return np.asarray(np.linalg.solve(2 * distances ** powers[:, None], target), dtype=np.float64)
