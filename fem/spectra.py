"""A safe bound of the largest eigenvalue of L = M⁻¹K, from which the time step follows.

No eigenvalue of a mesh exceeds the largest one of its elements taken alone: with K_e ≤ λ_e M_e for each
element, K = Σ K_e ≤ Σ λ_e M_e ≤ (max λ_e) M (Irons and Treharne, A bound theorem in eigenvalues and its
practical applications, 1971). Holding nodes at zero only lowers eigenvalues. For GLL elements the bound
lies between 0 and some ten percent above the truth, and it costs next to nothing. Power iterations
stopped early err on the other, unstable side.
"""

from functools import lru_cache

import numpy as np

from slimwave.fem.assembly import element_stiffness
from slimwave.fem.gll import Array, differentiation_matrix, gll_nodes
from slimwave.fem.space import GLLSpace
from slimwave.fem.stepping import find_scheme
from slimwave.fem.structured import TensorGrid, element_nodes

ROUNDING = 1e-9
"""Share of a time step that covers the rounding of speeds at their upper limit."""


def spectral_bound(space: GLLSpace, squared_speed: Array) -> float:
    """Upper bound of the largest eigenvalue of L, in 1/time².

    It is enlarged by 1e-6, because exactly at the limit, which a single element reaches, waves grow linearly.

    Parameters
    ----------
    space
        The discrete space.
    squared_speed
        c² at the nodes, shape (n_nodes,), or at the nodes of each element, shape (elements, nodes).
    """
    if space.grid is not None:
        bound = _tensor_bound(space.grid, _fastest(space, space.grid, squared_speed))
    else:
        bound = _element_bound(space, squared_speed)
    return bound * (1.0 + 1e-6)


def stable_time_step(
    space: GLLSpace,
    largest_speed: float,
    scheme: str = "lax-wendroff",
    *,
    largest_damping: float = 0.0,
    absorbing: bool = False,
) -> float:
    """Time step that is safely stable in every medium with c and γ up to the given ones.

    By collocation, K is a sum of squares with the weights c² ≥ 0: its eigenvalues grow with c everywhere, and
    the constant medium of the largest speed has the largest. Waves that take this step do not depend on which
    media are solved beside them, nor on their walls, sources and dampings. Matched layers need smaller steps.

    Parameters
    ----------
    space
        Where the media lie.
    largest_speed
        Largest c at any node, as the solver sees it.
    scheme
        As in `WaveSolver`.
    largest_damping
        Largest γ; only whether it is zero counts.
    absorbing
        Whether a part of the boundary may absorb.

    Raises
    ------
    ValueError
        For a speed that is not finite and positive, a damping that is not finite or below 0, and an unknown
        scheme.
    """
    rule = find_scheme(scheme)
    if not 0.0 < largest_speed < np.inf:
        raise ValueError(f"largest_speed: expected a finite positive speed, got {largest_speed:g}")
    if not 0.0 <= largest_damping < np.inf:
        raise ValueError(f"largest_damping: expected a finite damping of at least 0, got {largest_damping:g}")
    radius = spectral_bound(space, np.full(space.n_nodes, float(largest_speed) ** 2))
    return rule.largest_step(radius, varies=absorbing or largest_damping > 0.0) * (1.0 - ROUNDING)


def _tensor_bound(grid: TensorGrid, fastest: Array) -> float:
    """Maximum over elements of (max c²) κ (1/hx² + 1/hy²), κ the eigenvalue of the element [0, 1].

    It follows from K_e ≤ max c² (Kx ⊗ My + Mx ⊗ Ky); `fastest` is max c², shape (elements_x, elements_y).
    """
    lengths_x, lengths_y = np.diff(grid.x.lines), np.diff(grid.y.lines)
    scale = float(np.max(fastest * (lengths_x[:, None] ** -2 + lengths_y**-2)))
    return scale * _unit_eigenvalue(grid.x.order)


def _fastest(space: GLLSpace, grid: TensorGrid, squared_speed: Array) -> Array:
    """Maximum of c² in each element, shape (elements_x, elements_y)."""
    if squared_speed.ndim == 2:
        return grid.by_cells(space.basis.element_dofs, squared_speed).max(axis=(1, 3))
    on_grid, p = squared_speed[grid.numbers], grid.x.order
    columns = on_grid[element_nodes(len(grid.x.lines) - 1, p)].max(axis=1)
    return np.asarray(columns[:, element_nodes(len(grid.y.lines) - 1, p)].max(axis=2))


@lru_cache(maxsize=64)
def _unit_eigenvalue(order: int) -> float:
    """Largest eigenvalue of −u'' on one GLL element of length 1."""
    nodes, weights = gll_nodes(order)
    slopes = differentiation_matrix(nodes) * np.sqrt(weights)[:, None] / np.sqrt(weights)
    return float(np.linalg.norm(slopes, 2) ** 2)


def _element_bound(space: GLLSpace, squared_speed: Array) -> float:
    """Largest eigenvalue of M_e⁻¹ K_e over all elements."""
    basis = space.basis
    local = element_stiffness(basis, space.by_elements(squared_speed))
    scale = 1.0 / np.sqrt(basis.dx)
    return float(np.linalg.eigvalsh(scale[:, :, None] * local * scale[:, None, :]).max())
