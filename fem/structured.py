"""Tensor-product grids of GLL nodes: recognising them in a mesh, and the stiffness along their lines.

On axis-aligned rectangles the collocated stiffness has no cross terms: K = Kx + Ky, each acting along
grid lines only. With the one-dimensional lumped masses m, the squared speed c² at the nodes and the matrix D
of derivatives on the element [0, 1],

    (Kx u)_(i, j) = m_j Σ_elements Σ_q D[q, i] (w_q / h) c²_(q, j) Σ_k D[q, k] u_(k, j),

and the same along y.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from skfem import Basis, MeshQuad

from slimwave.fem.gll import Array, gll_nodes
from slimwave.fem.lanes import LaneLayout


@dataclass(frozen=True, eq=False)
class Axis:
    """GLL nodes along one axis of a tensor grid.

    Attributes
    ----------
    lines
        Element boundaries, shape (elements + 1,).
    nodes
        All nodes, shape (elements · p + 1,).
    mass
        Lumped one-dimensional mass at the nodes, same shape.
    order
        p.
    """

    lines: Array
    nodes: Array
    mass: Array
    order: int

    @classmethod
    def from_lines(cls, lines: Array, order: int) -> "Axis":
        """Place the GLL nodes of `order` between the element boundaries `lines`."""
        reference, weights = gll_nodes(order)
        lengths = np.diff(lines)
        nodes = np.append((lines[:-1, None] + lengths[:, None] * reference[:-1]).ravel(), lines[-1])
        mass = np.zeros(len(nodes))
        np.add.at(mass, element_nodes(len(lengths), order), lengths[:, None] * weights)
        return cls(lines, nodes, mass, order)

    @cached_property
    def conductance(self) -> Array:
        """w_q / h of each node of each element, shape (elements, p + 1)."""
        _, weights = gll_nodes(self.order)
        return weights / np.diff(self.lines)[:, None]


@dataclass(frozen=True, eq=False)
class TensorGrid:
    """The nodes of a basis as a grid of two axes.

    Attributes
    ----------
    x, y
        The axes.
    numbers
        Degree of freedom of the basis at each grid node, shape (nx, ny).
    """

    x: Axis
    y: Axis
    numbers: NDArray[np.int64]

    @cached_property
    def mass(self) -> Array:
        """Diagonal mass at the grid nodes, shape (nx, ny)."""
        return np.outer(self.x.mass, self.y.mass)

    @cached_property
    def layout(self) -> LaneLayout:
        """How the states of an operator on this grid lie in memory."""
        return LaneLayout((len(self.x.lines) - 1, len(self.y.lines) - 1), self.x.order)

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """Position in a state of each degree of freedom of the basis."""
        places = np.empty(self.numbers.size, dtype=np.int64)
        places[self.numbers] = self.layout.places
        return places

    @cached_property
    def packed_mass(self) -> Array:
        """Diagonal mass in the layout of a state."""
        return self.layout.pack(self.mass)

    def by_cells(self, element_dofs: NDArray[np.int64], values: Array) -> Array:
        """Bring values at the nodes of each element, (elements, nodes), into the order of the grid.

        Returns
        -------
        array (elements_x, p + 1, elements_y, p + 1)
        """
        p = self.x.order
        places = np.empty(self.numbers.size, dtype=np.int64)
        places[self.numbers.ravel()] = np.arange(self.numbers.size)
        i, j = np.divmod(places[element_dofs.T], self.numbers.shape[1])
        column, row = i.min(axis=1, keepdims=True) // p, j.min(axis=1, keepdims=True) // p
        cells = np.empty((len(self.x.lines) - 1, p + 1, len(self.y.lines) - 1, p + 1))
        cells[column, i - p * column, row, j - p * row] = values
        return cells


def find_tensor_grid(basis: Basis, order: int) -> TensorGrid | None:
    """Return the grid on which the nodes of a basis lie, or None where the mesh is not a tensor-product one.

    The elements may be numbered and turned in any way and have any aspect, as long as they are the
    cells between straight lines x = const and y = const of a full rectangle.
    """
    mesh = basis.mesh
    if type(mesh) is not MeshQuad:
        return None
    tolerances = 1e-9 * np.ptp(mesh.p, axis=1)
    lines = [_distinct(*pair) for pair in zip(mesh.p, tolerances, strict=True)]
    corners = np.stack([_nearest(*triple)[mesh.t] for triple in zip(lines, mesh.p, tolerances, strict=True)])
    cells = np.unique(corners.min(axis=1), axis=1)
    full = cells.shape[1] == mesh.t.shape[1] == (len(lines[0]) - 1) * (len(lines[1]) - 1)
    upright = np.all(np.sort(corners, axis=1) - corners.min(axis=1)[:, None] == [[[0], [0], [1], [1]]])
    if not (full and upright):
        return None
    x, y = (Axis.from_lines(line, order) for line in lines)
    i, j = (_nearest(*triple) for triple in zip((x.nodes, y.nodes), basis.doflocs, tolerances, strict=True))
    numbers = np.empty((len(x.nodes), len(y.nodes)), dtype=np.int64)
    numbers[i, j] = np.arange(basis.N)
    return TensorGrid(x, y, numbers)


def line_weights(grid: TensorGrid, squared_speed: Array) -> tuple[Array, Array]:
    """G = c² w_q / h · (mass across the line) of all lines, so that K = Σ_elements Dᵀ G D along each axis.

    Shapes (..., elements x, p + 1, ny) for the lines along x and (..., nx, elements y, p + 1) along y.

    Parameters
    ----------
    squared_speed
        c² at the grid nodes, shape (..., nx, ny), or, for one medium, at the nodes of each element, shape
        (elements x, p + 1, elements y, p + 1), see `TensorGrid.by_cells`.
    """
    x, y = grid.x, grid.y
    if squared_speed.shape[-2:] == grid.numbers.shape:
        along_x = squared_speed[..., element_nodes(len(x.lines) - 1, x.order), :]
        along_y = squared_speed[..., element_nodes(len(y.lines) - 1, y.order)]
    else:
        along_x = _mean_across(y, squared_speed)
        along_y = _mean_across(x, squared_speed.transpose(2, 3, 0, 1)).transpose(2, 0, 1)
    along_x = along_x * (x.conductance[:, :, None] * y.mass)
    along_y = along_y * (x.mass[:, None, None] * y.conductance)
    return along_x, along_y


def _mean_across(axis: Axis, cells: Array) -> Array:
    """Mean, weighted by mass, of the values that the elements on both sides of a node have there.

    Cells have shape (a, b, elements, p + 1), the result (a, b, nodes of the axis): across an interface, half
    of a node's mass belongs to either side.
    """
    _, weights = gll_nodes(axis.order)
    shares = np.diff(axis.lines)[:, None] * weights
    total = np.zeros((*cells.shape[:2], len(axis.nodes)))
    places = element_nodes(len(shares), axis.order)
    for k in range(axis.order + 1):
        total[..., places[:, k]] += shares[:, k] * cells[..., k]
    return total / axis.mass


def element_nodes(elements: int, order: int) -> NDArray[np.int64]:
    """Numbers of the nodes of each element along an axis, shape (elements, order + 1)."""
    return order * np.arange(elements)[:, None] + np.arange(order + 1)


def _distinct(values: Array, tolerance: float) -> Array:
    """Increasing values, those closer than the tolerance merged."""
    ordered = np.sort(values)
    return ordered[np.append(True, np.diff(ordered) > tolerance)]


def _nearest(levels: Array, values: Array, tolerance: float) -> NDArray[np.int64]:
    """Number of the level, among increasing ones, that each value equals within the tolerance."""
    return np.searchsorted(levels, values - tolerance)
