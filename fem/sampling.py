"""Values on a uniform grid: interpolation with the element's own polynomials, so that no accuracy is lost.

On a tensor grid the interpolation is a product of two one-dimensional ones. Elsewhere each grid point
is looked up in the mesh and mapped back to its element by Newton's method; scikit-fem's own
`basis.probes` would take seconds for points on element edges, where a uniform grid has many.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from skfem import Basis

from slimwave.fem.gll import Array, gll_nodes, lagrange
from slimwave.fem.kernels import tensor_interpolate
from slimwave.fem.structured import Axis, TensorGrid

INSIDE = 1e-9
"""How far outside the unit square the reference coordinates of a point may lie by rounding."""


class Sampler(ABC):
    """Interpolation from a state of an operator (see `operators`) to a grid x (nx,), y (ny,)."""

    x: Array
    y: Array

    @abstractmethod
    def sample(self, state: NDArray[Any]) -> NDArray[Any]:
        """Values on the grid, shape (nx, ny), in the type of the state."""


class TensorSampler(Sampler):
    """Sampling of fields with a frame of `order` zeros around the nodes of a tensor grid."""

    def __init__(self, grid: TensorGrid, x: Array, y: Array):
        self.x, self.y = x, y
        self._along_x = _axis_weights(grid.x, x)
        self._along_y = _axis_weights(grid.y, y)

    def sample(self, state: NDArray[Any]) -> NDArray[Any]:
        """Values on the grid; state has shape (nodes_x + 2p, nodes_y + 2p)."""
        first_x, weights_x = self._along_x
        first_y, weights_y = self._along_y
        row = np.empty(state.shape[1], state.dtype)
        out = np.empty((len(self.x), len(self.y)), state.dtype)
        weights_x, weights_y = weights_x.astype(state.dtype), weights_y.astype(state.dtype)
        tensor_interpolate(first_x, weights_x, first_y, weights_y, state, row, out, (0,) * len(weights_x))
        return out


class SparseSampler(Sampler):
    """Sampling of nodal fields on any mesh of quads.

    Raises
    ------
    ValueError
        If a point of the grid lies outside the mesh.
    """

    def __init__(self, basis: Basis, x: Array, y: Array):
        self.x, self.y = x, y
        element, reference = locate(basis, x, y)
        nodes, (a, b) = basis.elem.nodes, basis.elem.indices.T
        weights = lagrange(nodes, reference[0])[a] * lagrange(nodes, reference[1])[b]
        points = np.broadcast_to(np.arange(len(element)), weights.shape)
        places = (points.ravel(), basis.element_dofs[:, element].ravel())
        self._matrix = sp.csr_matrix((weights.ravel(), places), shape=(len(element), basis.N))

    def sample(self, state: NDArray[Any]) -> NDArray[Any]:
        """Values on the grid; state has shape (nodes,)."""
        values = self._matrix.astype(state.dtype) @ state
        return values.reshape(len(self.x), len(self.y))


def locate(basis: Basis, x: Array, y: Array) -> tuple[NDArray[np.int64], Array]:
    """Element and reference coordinates of each point of a uniform grid x (nx,), y (ny,).

    Returns
    -------
    element
        Shape (nx · ny,), the last index running along y.
    reference
        Shape (2, nx · ny), in the unit square.
    """
    point, element = _candidates(basis, x, y)
    targets = np.stack([x[point // len(y)], y[point % len(y)]])
    reference = _invert(basis, targets, element)
    inside = np.all((reference >= -INSIDE) & (reference <= 1.0 + INSIDE), axis=0)
    found, first = np.unique(point[inside], return_index=True)
    outside = np.setdiff1d(np.arange(len(x) * len(y)), found)
    if outside.size:
        i, j = divmod(int(outside[0]), len(y))
        raise ValueError(
            f"grid: {outside.size} of {len(x) * len(y)} points lie outside the mesh, the first at "
            f"x={x[i]:g}, y={y[j]:g}; the domain must fill its bounding box"
        )
    return element[inside][first], np.clip(reference[:, inside][:, first], 0.0, 1.0)


def _candidates(basis: Basis, x: Array, y: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (point, element) with the point in the element's bounding box, enlarged by a tenth."""
    places = basis.doflocs[:, basis.element_dofs]  # (2, nodes, elements)
    low, high = places.min(axis=1).T, places.max(axis=1).T
    margin = 0.1 * (high - low)
    pairs = []
    for number, (start, end) in enumerate(zip(low - margin, high + margin, strict=True)):
        i = np.arange(*np.searchsorted(x, [start[0], end[0]]))
        j = np.arange(*np.searchsorted(y, [start[1], end[1]]))
        points = (i[:, None] * len(y) + j).ravel()
        pairs.append(np.stack([points, np.full(len(points), number)]))
    point, element = np.concatenate(pairs, axis=1)
    return point, element


def _invert(basis: Basis, targets: Array, element: NDArray[np.int64], iterations: int = 20) -> Array:
    """Reference coordinates of targets (2, n) in the given elements by Newton's method.

    The iterates are kept near the unit square, where the map of a valid element is invertible; a point
    that belongs to another element ends outside the unit square.
    """
    reference = np.full(targets.shape, 0.5)
    for _ in range(iterations):
        local = reference[:, :, None]
        missing = targets - basis.mapping.F(local, tind=element)[:, :, 0]
        inverse = basis.mapping.invDF(local, tind=element)[..., 0]
        update = np.einsum("abn,bn->an", inverse, missing)
        reference = np.clip(reference + update, -0.2, 1.2)
        if np.abs(update).max() < 1e-13:
            break
    return reference


def _axis_weights(axis: Axis, places: Array) -> tuple[NDArray[np.int64], Array]:
    """First node (with the frame) and weights (p + 1, places) of the interpolation along one axis."""
    element = np.clip(np.searchsorted(axis.lines, places, side="right") - 1, 0, len(axis.lines) - 2)
    local = (places - axis.lines[element]) / np.diff(axis.lines)[element]
    nodes, _ = gll_nodes(axis.order)
    return axis.order * (element + 1), lagrange(nodes, local)
