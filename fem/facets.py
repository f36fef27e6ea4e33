"""Boundary facets as rows of GLL nodes: the diagonal boundary mass and what is prescribed there.

The nodes of an element on one of its facets are the GLL nodes of that facet, so that a boundary integral is
collocated like the volume ones: ∫ q φ_i ds = q(x_i) w_i |dx/dξ|, one number per node.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skfem import Basis

from slimwave.fem.elements import FACET_RUNS
from slimwave.fem.gll import Array

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FacetNodes:
    """GLL nodes on a set of boundary facets.

    Attributes
    ----------
    elements
        Element behind each facet, shape (facets,).
    local
        Local number in the element of each node of a facet, shape (facets, order + 1).
    nodes
        Degree of freedom of each node, same shape.
    lengths
        Quadrature weight times |dx/dξ| at each node, same shape; sums to the length of the boundary.
    """

    elements: Indices
    local: Indices
    nodes: Indices
    lengths: Array

    def distinct(self) -> Indices:
        """Nodes, each once, increasing."""
        return np.unique(self.nodes)

    def integrate(self, values: Array, n_nodes: int) -> Array:
        """∫ values · φ_i ds for every node, shape (n_nodes,); values has shape (facets, order + 1)."""
        total = np.zeros(n_nodes)
        np.add.at(total, self.nodes, self.lengths * values)
        return total


def facet_nodes(basis: Basis, facets: Indices) -> FacetNodes:
    """Nodes and boundary quadrature of the given facets of the mesh, all on its boundary."""
    mesh, element = basis.mesh, basis.elem
    elements = mesh.f2t[0, facets]
    sides = np.argmax(mesh.t2f[:, elements] == facets, axis=0)
    local = _side_nodes(element.order)[sides]
    jacobian = basis.mapping.DF(basis.X, tind=elements)  # ∂x_a/∂ξ_b, shape (2, 2, facets, nodes)
    along = np.where(sides % 2 == 0, 0, 1)  # sides 0 and 2 run along ξ, 1 and 3 along η
    rows = np.arange(len(elements))
    tangent = jacobian[:, along, rows][:, rows[:, None], local]  # (2, facets, order + 1)
    lengths = element.weights * np.hypot(tangent[0], tangent[1])
    nodes = basis.element_dofs[local, elements[:, None]]
    return FacetNodes(elements, local, nodes, lengths)


def _side_nodes(order: int) -> Indices:
    """Local numbers of the nodes of each side in the order of `FACET_RUNS`, shape (4, order + 1)."""
    inner = 4 + (order - 1) * np.arange(4)[:, None] + np.arange(order - 1)
    starts, ends = np.array(FACET_RUNS).T
    return np.column_stack([starts, inner, ends])
