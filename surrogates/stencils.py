"""Finite-difference stencils between staggered nodes, of any order.

A function known at the nodes …, −h/2, h/2, 3h/2, … is differentiated or interpolated at 0 by r pairs of taps:

    h f'(0) ≈ Σ_{m=1…r} d_m (f((m − ½)h) − f(−(m − ½)h)),    f(0) ≈ Σ_m a_m (f((m − ½)h) + f(−(m − ½)h)),

exact for polynomials of degree 2r, and of degree 2r − 1, respectively (Fornberg, Math. Comp. 51, 699, 1988).

Both follow from one extrapolation. With x_m = m − ½, the polynomial in x² through r values of an even
function gives f(0) = Σ_m l_m f(x_m) with Lagrange's l_m = Π_{j≠m} x_j² / (x_j² − x_m²). For the even part of
f, and for its odd part divided by x, that is

    a_m = l_m / 2,    d_m = l_m / (2 x_m),    l_{m+1} / l_m = −(r − m)(2m − 1) / ((r + m)(2m + 1)).

Products of ratios lose no digits however long the stencil is; a linear system for the taps loses all of them
at a dozen pairs.

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
    return _at_zero(pairs) / (2 * np.arange(pairs) + 1)


def staggered_average(pairs: int) -> Taps:
    """Taps a_1 … a_r of the interpolation, of order 2r."""
    return _at_zero(pairs) / 2


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


def _at_zero(pairs: int) -> Taps:
    """Lagrange's weights l_1 … l_r of an even function's values at ½, 3/2, … in its value at 0."""
    odd = 2 * np.arange(1, pairs + 1) - 1.0
    first = np.prod(odd[1:] ** 2 / (odd[1:] ** 2 - 1))
    m = np.arange(1, pairs)
    ratios = -(pairs - m) / (pairs + m) * odd[:-1] / odd[1:]
    return np.asarray(first * np.cumprod([1.0, *ratios]), dtype=np.float64)
