"""The discrete space: a mesh with GLL nodes, and what is set up once per mesh and shared by all media on it.

>>> from slimwave.fem.meshes import rectangle
>>> space = GLLSpace(rectangle(elements=(3, 2)), order=4)
>>> space.points.shape
(2, 117)
"""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from skfem import Basis, Mesh
from skfem.refdom import RefQuad

from slimwave.fem.assembly import mass_diagonal
from slimwave.fem.boundaries import Boundaries, BoundaryCondition, Dirichlet, resolve_conditions
from slimwave.fem.elements import gll_basis
from slimwave.fem.facets import facet_nodes
from slimwave.fem.fields import Box, Field, OnAxes, evaluate, values_on_axes
from slimwave.fem.gll import Array, gll_nodes
from slimwave.fem.memory import SPACE_PER_NODE, require_memory
from slimwave.fem.sampling import Sampler, SparseSampler, TensorSampler
from slimwave.fem.structured import TensorGrid, find_tensor_grid


class GLLSpace:
    """Continuous functions that are polynomials of degree `order` on each quad of a mesh.

    Parameters
    ----------
    mesh
        Any scikit-fem mesh of quads, straight (`MeshQuad`) or curved (`MeshQuad2`).
    order
        Polynomial degree p. For smooth waves 4 or 5 costs least per digit.
    structured
        Whether to use the grid structure of a tensor-product mesh. False treats it like any other mesh,
        which gives the same results, slower.

    Attributes
    ----------
    basis : skfem.Basis
    points : array (2, n_nodes)
        Places of the nodes.
    mass : array (n_nodes,)
        Diagonal mass matrix.
    grid : TensorGrid or None
        The nodes as a tensor grid.
    box : Box
        Bounding box of the domain.

    Raises
    ------
    ValueError
        For a mesh that does not consist of quads, elements that are inverted or folded, an order below 1,
        or a space that does not fit into memory.
    """

    def __init__(self, mesh: Mesh, order: int = 4, *, structured: bool = True):
        if getattr(mesh, "refdom", None) is not RefQuad:
            raise ValueError(f"mesh: expected a scikit-fem mesh of quads, got {type(mesh).__name__}")
        gll_nodes(order)  # refuses orders that are not positive integers
        size = SPACE_PER_NODE * mesh.nelements * order**2
        what = f"order {order} on {mesh.nelements} elements"
        require_memory(size, "mesh, order", what, "use fewer elements or a lower order")
        self.mesh = mesh
        self.order = order
        self.basis = gll_basis(mesh, order)
        _check_elements(self.basis)
        self.points: Array = self.basis.doflocs
        self.mass = mass_diagonal(self.basis)
        self.grid: TensorGrid | None = find_tensor_grid(self.basis, order) if structured else None
        (left, bottom), (right, top) = self.points.min(axis=1), self.points.max(axis=1)
        self.box = Box(float(left), float(right), float(bottom), float(top))
        self._samplers: dict[tuple[int, int, Box], Sampler] = {}

    @property
    def n_nodes(self) -> int:
        """Number of nodes, those on Dirichlet sides included."""
        return len(self.mass)

    @cached_property
    def _boundary(self) -> NDArray[np.int64]:
        return np.asarray(self.mesh.boundary_facets())

    def by_elements(self, values: Array) -> Array:
        """Nodal values (n_nodes,) at the nodes of each element, (elements, nodes); those pass unchanged."""
        return values if values.ndim == 2 else values[self.basis.element_dofs].T

    def nodal(self, field: Field, name: str, box: Box | None = None) -> Array:
        """Values of a field at the nodes, shape (n_nodes,); see `fields.evaluate`, by default with `box`."""
        return evaluate(self.by_axes(field), self.points, box or self.box, name)

    def by_axes(self, field: Field) -> Field:
        """Return the field, or its values at the nodes as a function of these, found axis by axis.

        This takes a field with `OnAxes` and a tensor grid.
        """
        if self.grid is None or not isinstance(field, OnAxes):
            return field
        values = np.empty(self.n_nodes)
        values[self.grid.numbers] = values_on_axes(field, self.grid.x.nodes, self.grid.y.nodes)
        return lambda *_: values

    def parts(self, boundaries: Boundaries) -> list[tuple[str, BoundaryCondition, NDArray[np.int64]]]:
        """Name, condition and facets of each part of the boundary.

        Raises
        ------
        ValueError
            For unknown conditions, and for a mapping that does not match the named parts of the mesh.
        """
        if not isinstance(boundaries, Mapping):
            return [("all", resolve_conditions(boundaries, ["all"])["all"], self._boundary)]
        named = {name: np.asarray(facets) for name, facets in (self.mesh.boundaries or {}).items()}
        self._check_named(named)
        conditions = resolve_conditions(boundaries, list(named))
        return [(name, condition, named[name]) for name, condition in conditions.items()]

    def dirichlet_nodes(self, boundaries: Boundaries) -> NDArray[np.int64]:
        """Nodes on the Dirichlet parts of the boundary; see `parts`."""
        held = [facets for _, condition, facets in self.parts(boundaries) if isinstance(condition, Dirichlet)]
        return facet_nodes(self.basis, np.concatenate([*held, self._boundary[:0]])).distinct()

    def _check_named(self, named: Mapping[str, NDArray[np.int64]]) -> None:
        covered = np.concatenate([*named.values(), self._boundary[:0]])
        bare = len(np.setdiff1d(self._boundary, covered))
        if bare:
            raise ValueError(
                f"boundaries: {bare} of {len(self._boundary)} boundary facets of the mesh belong to no named "
                "side; name them with mesh.with_boundaries({...}), or give one condition for all"
            )

    def sampler(self, nx: int, ny: int, window: Box | None = None) -> Sampler:
        """Interpolation to the uniform grid (nx, ny) on a window, by default the domain's bounding box.

        It is kept for the next call.
        """
        key = (nx, ny, window or self.box)
        if key not in self._samplers:
            x, y = key[2].grid(nx, ny)
            if self.grid is not None:
                self._samplers[key] = TensorSampler(self.grid, x, y)
            else:
                self._samplers[key] = SparseSampler(self.basis, x, y)
        return self._samplers[key]


def _check_elements(basis: Basis) -> None:
    """Refuse elements whose map folds over, and elements listed in the opposite sense of the others."""
    jacobian = basis.mapping.detDF(basis.X)
    sense = np.sign(np.median(jacobian))
    bad = np.flatnonzero((sense * jacobian).min(axis=1) <= 0.0)
    if bad.size:
        x, y = basis.mesh.p[:, basis.mesh.t[:, bad[0]]].mean(axis=1)
        raise ValueError(
            f"mesh: {bad.size} of {len(jacobian)} elements are inverted or folded, the first is {bad[0]}"
            f" near x={x:g}, y={y:g}; move its vertices, or list them in the same sense as elsewhere"
        )


def as_space(mesh_or_space: Mesh | GLLSpace, order: int | None) -> GLLSpace:
    """Return the space given, or one of the order (4 for None) on the mesh given.

    Raises
    ------
    ValueError
        If a space is given and another order than its own is asked for.
    """
    if not isinstance(mesh_or_space, GLLSpace):
        return GLLSpace(mesh_or_space, 4 if order is None else order)
    if order not in (None, mesh_or_space.order):
        raise ValueError(f"order: {order} was asked for, but the space given has order {mesh_or_space.order}")
    return mesh_or_space
