"""Assembly on any mesh of quads: diagonal mass and sparse stiffness by one batched product.

With ξ the reference coordinates, G = c² |J| w J⁻¹J⁻ᵀ at the quadrature nodes q and the reference derivatives
D_a[q, i] = ∂φ_i/∂ξ_a (x_q), the stiffness of an element is

    K[i, j] = Σ_q Σ_ab G_ab[q] D_a[q, i] D_b[q, j],

a product of the metric (elements, nodes) with a table (nodes, pairs) that all elements share.
"""

import numpy as np
import scipy.sparse as sp
from skfem import Basis

from slimwave.fem.elements import ElementQuadGLL
from slimwave.fem.gll import Array, differentiation_matrix


def mass_diagonal(basis: Basis) -> Array:
    """Diagonal of the mass matrix, shape (basis.N,): quadrature weights times |J|, summed over elements."""
    mass = np.zeros(basis.N)
    np.add.at(mass, basis.element_dofs, basis.dx.T)
    return mass


def stiffness_matrix(basis: Basis, squared_speed: Array) -> sp.csr_matrix:
    """Stiffness K of ∫ c² ∇u·∇v, shape (basis.N, basis.N).

    Parameters
    ----------
    basis
        From `elements.gll_basis`.
    squared_speed
        c² at the nodes of each element, shape (elements, nodes).
    """
    local = element_stiffness(basis, squared_speed)
    rows, columns = np.nonzero(np.any(local != 0.0, axis=0))
    dofs = basis.element_dofs
    places = (dofs[rows].T.ravel(), dofs[columns].T.ravel())
    return sp.csr_matrix((local[:, rows, columns].ravel(), places), shape=(basis.N, basis.N))


def element_stiffness(basis: Basis, squared_speed: Array) -> Array:
    """Stiffness matrix of every element, shape (elements, nodes, nodes); see `stiffness_matrix`."""
    along, cross, across = _metric(basis, squared_speed)
    slopes_x, slopes_y = _reference_slopes(basis.elem)
    local = along @ _pairs(slopes_x, slopes_x) + across @ _pairs(slopes_y, slopes_y)
    if np.abs(cross).max() > 1e-13 * np.abs(along).max():  # parallel to the axes there is no cross term
        local += cross @ (_pairs(slopes_x, slopes_y) + _pairs(slopes_y, slopes_x))
    return local.reshape(-1, len(slopes_x), len(slopes_x))


def _metric(basis: Basis, squared_speed: Array) -> tuple[Array, Array, Array]:
    """G_11, G_12, G_22 at the nodes, each (elements, nodes)."""
    inverse = basis.mapping.invDF(basis.X)  # ∂ξ_a/∂x_b, shape (2, 2, elements, nodes)
    weight = basis.dx * squared_speed
    along = weight * (inverse[0, 0] ** 2 + inverse[0, 1] ** 2)
    cross = weight * (inverse[0, 0] * inverse[1, 0] + inverse[0, 1] * inverse[1, 1])
    across = weight * (inverse[1, 0] ** 2 + inverse[1, 1] ** 2)
    return along, cross, across


def _reference_slopes(element: ElementQuadGLL) -> tuple[Array, Array]:
    """∂φ_i/∂ξ and ∂φ_i/∂η at the nodes q, each (q, i): φ_i = l_a(ξ) l_b(η), and l is 0 or 1 at the nodes."""
    slopes = differentiation_matrix(element.nodes)
    a, b = element.indices.T
    along = np.where(b[:, None] == b[None, :], slopes[a[:, None], a[None, :]], 0.0)
    across = np.where(a[:, None] == a[None, :], slopes[b[:, None], b[None, :]], 0.0)
    return along, across


def _pairs(left: Array, right: Array) -> Array:
    """T[q, (i, j)] = left[q, i] right[q, j]."""
    return (left[:, :, None] * right[:, None, :]).reshape(len(left), -1)
