"""Quadrilateral spectral element of any order for scikit-fem, with orientation-safe degrees of freedom.

``gll_basis(mesh, order)`` is an ordinary scikit-fem basis: it assembles forms, finds boundary nodes and
projects. Its quadrature points are its nodes, so that its mass matrix is exactly diagonal.
"""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skfem import Basis, Mesh
from skfem.assembly.basis.abstract_basis import AbstractBasis
from skfem.assembly.dofs import Dofs
from skfem.element.element_h1 import ElementH1
from skfem.refdom import RefQuad

from slimwave.fem.gll import gll_nodes, lagrange, lagrange_slopes

Array = NDArray[np.float64]

FACET_RUNS = ((0, 1), (1, 2), (3, 2), (0, 3))
"""From which local vertex to which the nodes of each local facet are numbered by `ElementQuadGLL`."""


class ElementQuadGLL(ElementH1):  # type: ignore[misc]
    """Lagrange element on the (order + 1)² tensor-product GLL nodes of the unit square.

    Local nodes are numbered as scikit-fem wants them: vertices, then facets (0,1), (1,2), (2,3), (0,3),
    then the interior.

    Attributes
    ----------
    indices
        Position (i, j) of each local node among the GLL nodes, shape (nodes, 2).
    """

    refdom = RefQuad
    nodal_dofs = 1

    def __init__(self, order: int):
        self.order = order
        self.nodes, self.weights = gll_nodes(order)
        self.facet_dofs = order - 1
        self.interior_dofs = (order - 1) ** 2
        self.maxdeg = 2 * order
        self.dofnames = ["u"] * (1 + self.facet_dofs + self.interior_dofs)
        self.indices = _local_indices(order)
        self.doflocs = self.nodes[self.indices]

    def lbasis(self, X: Array, i: int) -> tuple[Array, Array]:
        """Value and gradient of local basis function i at X, shape (2, ...)."""
        a, b = self.indices[i]
        value_x, value_y = lagrange(self.nodes, X[0])[a], lagrange(self.nodes, X[1])[b]
        slope_x, slope_y = lagrange_slopes(self.nodes, X[0])[a], lagrange_slopes(self.nodes, X[1])[b]
        return value_x * value_y, np.array([slope_x * value_y, value_x * slope_y])

    def quadrature(self) -> tuple[Array, Array]:
        """Points (2, nodes) and weights (nodes,) of the quadrature that makes the mass matrix diagonal."""
        return self.doflocs.T.copy(), self.weights[self.indices].prod(axis=1)


class GLLBasis(Basis):  # type: ignore[misc]
    """Basis of `ElementQuadGLL` with its nodes as quadrature points.

    The values and gradients of the basis functions, (p + 1)⁴ numbers per element that only scikit-fem's own
    assembly needs, are computed on first use.
    """

    def __init__(self, mesh: Mesh, element: ElementQuadGLL):
        AbstractBasis.__init__(
            self,
            mesh,
            element,
            quadrature=element.quadrature(),
            refdom=mesh.refdom,
            dofs=oriented_dofs(mesh, element),
        )
        self.tind = None
        self.nelems = mesh.nelements
        self.dx = np.abs(self.mapping.detDF(self.X)) * self.W

    @cached_property
    def basis(self) -> list[Any]:
        """Values and gradients of the local basis functions at the nodes, as scikit-fem wants them."""
        return [self.elem.gbasis(self.mapping, self.X, j, tind=None) for j in range(self.Nbfun)]


def gll_basis(mesh: Mesh, order: int) -> GLLBasis:
    """Return the basis of GLL quads of the given order on a mesh of quads, straight or curved."""
    return GLLBasis(mesh, ElementQuadGLL(order))


def oriented_dofs(mesh: Mesh, element: ElementQuadGLL) -> Dofs:
    """Degrees of freedom whose order along a facet is the same for both elements that share it.

    scikit-fem numbers the nodes of a facet once and hands both elements the same list, although one of
    them may run along the facet in the other direction. From order 3 on, neighbours that are rotated
    against each other would then be glued together back to front, without any error message. The list is
    reversed where the element runs from the higher vertex number to the lower.
    """
    dofs = Dofs(mesh, element)
    count = element.facet_dofs
    for facet, (start, end) in enumerate(FACET_RUNS):
        rows = slice(4 + facet * count, 4 + (facet + 1) * count)
        backwards = mesh.t[start] > mesh.t[end]
        dofs.element_dofs[rows, backwards] = dofs.element_dofs[rows, backwards][::-1]
    return dofs


def _local_indices(p: int) -> NDArray[np.int64]:
    inner = range(1, p)
    vertices = [(0, 0), (p, 0), (p, p), (0, p)]
    facets = (
        [(k, 0) for k in inner] + [(p, k) for k in inner] + [(k, p) for k in inner] + [(0, k) for k in inner]
    )
    interior = [(i, j) for j in inner for i in inner]
    return np.array(vertices + facets + interior)
