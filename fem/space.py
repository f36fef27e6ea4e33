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
from skfem import Mesh
from skfem.refdom import RefQuad

from slimwave.fem.assembly import mass_diagonal
from slimwave.fem.boundaries import resolve_boundaries
from slimwave.fem.elements import gll_basis
from slimwave.fem.fields import Box
from slimwave.fem.gll import Array
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
        For a mesh that does not consist of quads, or an order below 1.
    """

    def __init__(self, mesh: Mesh, order: int = 4, *, structured: bool = True):
        if getattr(mesh, "refdom", None) is not RefQuad:
            raise ValueError(f"mesh: expected a scikit-fem mesh of quads, got {type(mesh).__name__}")
        self.mesh = mesh
        self.order = order
        self.basis = gll_basis(mesh, order)
        self.points: Array = self.basis.doflocs
        self.mass = mass_diagonal(self.basis)
        self.grid: TensorGrid | None = find_tensor_grid(self.basis, order) if structured else None
        (left, bottom), (right, top) = self.points.min(axis=1), self.points.max(axis=1)
        self.box = Box(float(left), float(right), float(bottom), float(top))
        self._samplers: dict[tuple[int, int], Sampler] = {}

    @property
    def n_nodes(self) -> int:
        """Number of nodes, those on Dirichlet sides included."""
        return len(self.mass)

    @cached_property
    def _boundary(self) -> NDArray[np.int64]:
        return np.asarray(self.mesh.boundary_facets())

    def dirichlet_nodes(self, boundaries: str | Mapping[str, str]) -> NDArray[np.int64]:
        """Nodes held at zero, for one condition on all sides or a mapping from the mesh's side names.

        Raises
        ------
        ValueError
            For unknown conditions, and for a mapping that does not match the named sides of the mesh.
        """
        named = self.mesh.boundaries or {}
        if isinstance(boundaries, str):
            condition = resolve_boundaries(boundaries, ["all"])["all"]
            facets = self._boundary if condition == "dirichlet" else self._boundary[:0]
        else:
            self._check_named(named)
            conditions = resolve_boundaries(boundaries, list(named))
            held = [named[side] for side, condition in conditions.items() if condition == "dirichlet"]
            facets = np.concatenate([*held, self._boundary[:0]])
        return np.asarray(self.basis.get_dofs(facets).flatten(), dtype=np.int64)

    def _check_named(self, named: Mapping[str, NDArray[np.int64]]) -> None:
        covered = np.concatenate([*named.values(), self._boundary[:0]])
        bare = len(np.setdiff1d(self._boundary, covered))
        if bare:
            raise ValueError(
                f"boundaries: {bare} of {len(self._boundary)} boundary facets of the mesh belong to no named "
                "side; name them with mesh.with_boundaries({...}), or give one condition for all"
            )

    def sampler(self, nx: int, ny: int) -> Sampler:
        """Interpolation to the uniform grid (nx, ny) on the bounding box; kept for the next call."""
        if (nx, ny) not in self._samplers:
            x, y = self.box.grid(nx, ny)
            if self.grid is not None:
                self._samplers[nx, ny] = TensorSampler(self.grid, x, y)
            else:
                self._samplers[nx, ny] = SparseSampler(self.basis, x, y)
        return self._samplers[nx, ny]
