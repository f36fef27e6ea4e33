"""Values on a uniform grid or at points, by the element's own polynomials, so that no accuracy is lost.

On a tensor grid the interpolation is a product of two one-dimensional ones. Elsewhere each point
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
from slimwave.fem.interpolation import interpolate, make_tables
from slimwave.fem.structured import Axis, TensorGrid

INSIDE = 1e-9
"""How far outside the unit square the reference coordinates of a point may lie by rounding."""


class Sampler(ABC):
    """Interpolation from a state of an operator (see `operators`) to a grid x (nx,), y (ny,)."""

    x: Array
    y: Array
    inside: NDArray[np.bool_]
    """Which points of the grid lie in the domain, shape (nx, ny)."""

    @abstractmethod
    def sample(self, states: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Values of states (..., size) on the grid, shape (..., nx, ny), zero outside the domain.

        They have the type of the states. They are written to `out` where it is given, of shape (n, nx, ny).
        """


class TensorSampler(Sampler):
    """Sampling of states on a tensor grid, along one axis after the other."""

    def __init__(self, grid: TensorGrid, x: Array, y: Array):
        self.x, self.y = x, y
        self.inside = np.ones((len(x), len(y)), dtype=bool)
        self._layout = grid.layout
        along_x, along_y = axis_weights(grid.x, x), axis_weights(grid.y, y)
        self._tables = {
            np.dtype(dtype): make_tables(along_x, along_y, dtype) for dtype in (np.float32, np.float64)
        }

    def sample(self, states: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """See `Sampler.sample`."""
        flat = states.reshape(-1, states.shape[-1])
        if out is None:
            out = np.empty((len(flat), len(self.x), len(self.y)), states.dtype)
        interpolate(self._tables[states.dtype], flat, self._layout, out)
        return out.reshape(*states.shape[:-1], *out.shape[1:])


class SparseSampler(Sampler):
    """Sampling of nodal fields on any mesh of quads."""

    def __init__(self, basis: Basis, x: Array, y: Array):
        self.x, self.y = x, y
        element, reference = locate_grid(basis, x, y)
        self.inside = (element >= 0).reshape(len(x), len(y))
        points = np.flatnonzero(element >= 0)
        nodes, weights = interpolation(basis, element[points], reference[:, points])
        rows = np.broadcast_to(points, nodes.shape)
        places = (rows.ravel(), nodes.ravel())
        matrix = sp.csr_matrix((weights.ravel(), places), shape=(len(element), basis.N))
        self._matrices = {matrix.dtype: matrix}

    def sample(self, states: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """See `Sampler.sample`."""
        flat = states.reshape(-1, states.shape[-1])
        if out is None:
            out = np.empty((len(flat), len(self.x), len(self.y)), states.dtype)
        if states.dtype not in self._matrices:
            self._matrices[states.dtype] = self._matrices[np.dtype(float)].astype(states.dtype)
        for state, values in zip(flat, out, strict=True):
            values[...] = (self._matrices[states.dtype] @ state).reshape(values.shape)
        return out.reshape(*states.shape[:-1], *out.shape[1:])


class PointSampler:
    """Values of fields at points anywhere in the domain.

    Parameters
    ----------
    basis
        From `elements.gll_basis`.
    points
        Shape (2, n).
    name
        What the points are, for error messages.

    Attributes
    ----------
    nodes, weights
        Nodes of the element around each point and their weights, shape (nodes per element, n).

    Raises
    ------
    ValueError
        If a point lies outside the domain.
    """

    def __init__(self, basis: Basis, points: Array, name: str):
        element, reference = locate_points(basis, points)
        outside = np.flatnonzero(element < 0)
        if outside.size:
            x, y = points[:, outside[0]]
            raise ValueError(f"{name}: the point x={x:g}, y={y:g} lies outside the domain")
        self.nodes, self.weights = interpolation(basis, element, reference)

    def sample(self, states: NDArray[Any], places: NDArray[np.int64]) -> NDArray[Any]:
        """Values of states (..., size) at the points, shape (..., n); `places` is that of their operator."""
        values = states[..., places[self.nodes]]
        weights = self.weights.astype(states.dtype)
        total = values[..., 0, :] * weights[0]
        for k in range(1, len(weights)):  # in this order, however many states there are
            total += values[..., k, :] * weights[k]
        return total


def interpolation(
    basis: Basis, element: NDArray[np.int64], reference: Array
) -> tuple[NDArray[np.int64], Array]:
    """Nodes and weights of the interpolation at points of elements, each (nodes per element, points)."""
    nodes, (a, b) = basis.elem.nodes, basis.elem.indices.T
    weights = lagrange(nodes, reference[0])[a] * lagrange(nodes, reference[1])[b]
    return basis.element_dofs[:, element], weights


def locate_grid(basis: Basis, x: Array, y: Array) -> tuple[NDArray[np.int64], Array]:
    """Locate the points of a uniform grid x (nx,), y (ny,), the last index running along y.

    Returns
    -------
    element
        Element of each point, −1 outside the domain, shape (nx · ny,).
    reference
        Reference coordinates in the unit square, shape (2, nx · ny).
    """
    point, element = _candidates(basis, x, y)
    targets = np.stack([np.repeat(x, len(y)), np.tile(y, len(x))])
    return _choose(basis, targets, point, element)


def locate_points(basis: Basis, points: Array) -> tuple[NDArray[np.int64], Array]:
    """Locate scattered points of shape (2, n); see `locate_grid`."""
    low, high = _enlarged_boxes(basis)
    inside = np.all((points[:, :, None] >= low.T[:, None]) & (points[:, :, None] <= high.T[:, None]), axis=0)
    point, element = np.nonzero(inside)
    return _choose(basis, points, point, element)


def _choose(
    basis: Basis, targets: Array, point: NDArray[np.int64], element: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Array]:
    """Of the candidate pairs (point, element), keep for each point the first that contains it."""
    reference = _invert(basis, targets[:, point], element)
    inside = np.all((reference >= -INSIDE) & (reference <= 1.0 + INSIDE), axis=0)
    found, first = np.unique(point[inside], return_index=True)
    elements = np.full(targets.shape[1], -1)
    elements[found] = element[inside][first]
    places = np.zeros_like(targets)
    places[:, found] = np.clip(reference[:, inside][:, first], 0.0, 1.0)
    return elements, places


def _candidates(basis: Basis, x: Array, y: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (point, element) with the point in the element's enlarged bounding box."""
    pairs = []
    for number, (start, end) in enumerate(zip(*_enlarged_boxes(basis), strict=True)):
        i = np.arange(*np.searchsorted(x, [start[0], end[0]]))
        j = np.arange(*np.searchsorted(y, [start[1], end[1]]))
        points = (i[:, None] * len(y) + j).ravel()
        pairs.append(np.stack([points, np.full(len(points), number)]))
    point, element = np.concatenate(pairs, axis=1)
    return point, element


def _enlarged_boxes(basis: Basis) -> tuple[Array, Array]:
    """Lower and upper corners of the elements' bounding boxes, enlarged by a tenth, each (elements, 2)."""
    places = basis.doflocs[:, basis.element_dofs]  # (2, nodes, elements)
    low, high = places.min(axis=1).T, places.max(axis=1).T
    margin = 0.1 * (high - low)
    return low - margin, high + margin


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
        if np.abs(update).max(initial=0.0) < 1e-13:
            break
    return reference


def axis_weights(axis: Axis, places: Array) -> tuple[NDArray[np.int64], Array]:
    """Element (places,) and weights (p + 1, places) of its nodes in the interpolation along one axis."""
    element = np.clip(np.searchsorted(axis.lines, places, side="right") - 1, 0, len(axis.lines) - 2)
    local = (places - axis.lines[element]) / np.diff(axis.lines)[element]
    nodes, _ = gll_nodes(axis.order)
    return element, lagrange(nodes, local)


def axis_matrix(axis: Axis, places: Array) -> Array:
    """Matrix of the interpolation along one axis, shape (places, nodes)."""
    element, weights = axis_weights(axis, places)
    matrix = np.zeros((len(places), len(axis.nodes)))
    matrix[np.arange(len(places)), axis.order * element + np.arange(axis.order + 1)[:, None]] = weights
    return matrix
