"""Gauss–Lobatto–Legendre (GLL) nodes and the Lagrange polynomials on them.

The p + 1 GLL nodes of the interval are its ends and the roots of P'_p, the derivative of the Legendre
polynomial. As quadrature they are exact to degree 2p − 1; with Lagrange polynomials on the same nodes
the mass matrix of an element becomes diagonal (Canuto, Hussaini, Quarteroni and Zang, Spectral Methods,
Springer 2006, section 2.3).

>>> nodes, weights = gll_nodes(2)
>>> nodes.tolist()
[0.0, 0.5, 1.0]
>>> (6 * weights).round(12).tolist()
[1.0, 4.0, 1.0]
"""

from functools import lru_cache
from numbers import Integral

import numpy as np
from numpy.polynomial import Legendre
from numpy.typing import NDArray

Array = NDArray[np.float64]


@lru_cache(maxsize=64)
def gll_nodes(order: int) -> tuple[Array, Array]:
    """Nodes and weights on [0, 1], each of shape (order + 1,), the nodes increasing; both are read-only.

    On [−1, 1] the weights are w = 2 / (p (p + 1) P_p(ξ)²).

    Raises
    ------
    ValueError
        If `order` is not an integer of at least 1.
    """
    if not isinstance(order, Integral) or order < 1:
        raise ValueError(f"order: expected an integer of at least 1, got {order!r}")
    legendre = Legendre.basis(order)
    slope, curvature = legendre.deriv(), legendre.deriv(2)
    interior = np.sort(slope.roots().real)
    interior = interior - slope(interior) / curvature(interior)  # one Newton step: roots to the last bit
    nodes = np.concatenate([[-1.0], 0.5 * (interior - interior[::-1]), [1.0]])
    weights = 2.0 / (order * (order + 1) * legendre(nodes) ** 2)
    nodes, weights = 0.5 * (nodes + 1.0), 0.5 * weights
    for shared in (nodes, weights):
        shared.flags.writeable = False
    return nodes, weights


def lagrange(nodes: Array, x: Array) -> Array:
    """Values l_i(x) of the Lagrange polynomials, shape (nodes,) + x.shape.

    Products, not the barycentric form: exactly 0 and 1 at the nodes, with no special case there.
    """
    values = np.ones((len(nodes), *np.shape(x)))
    for i, own in enumerate(nodes):
        for other in np.delete(nodes, i):
            values[i] *= (x - other) / (own - other)
    return values


def lagrange_slopes(nodes: Array, x: Array) -> Array:
    """Derivatives l_i'(x), shape (nodes,) + x.shape, from l_i' = Σ_k l_k'(x_j) expansion at the nodes."""
    return np.tensordot(differentiation_matrix(nodes), lagrange(nodes, x), axes=(0, 0))


def differentiation_matrix(nodes: Array) -> Array:
    """Return the matrix D[q, k] = l_k'(x_q), shape (nodes, nodes), from the barycentric weights.

    D[q, k] = (b_k / b_q) / (x_q − x_k) for q ≠ k, and rows sum to zero (Berrut and Trefethen,
    Barycentric Lagrange interpolation, SIAM Review 46, 2004, section 9.3).
    """
    distance = nodes[:, None] - nodes[None, :] + np.eye(len(nodes))
    barycentric = 1.0 / distance.prod(axis=1)
    matrix = barycentric[None, :] / barycentric[:, None] / distance
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return matrix
