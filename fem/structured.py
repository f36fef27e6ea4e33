"""Tensor-product grids of GLL nodes: recognising them in a mesh and storing L = M⁻¹K by diagonals.

On axis-aligned rectangles the collocated stiffness has no cross terms: K = Kx + Ky, each acting along
grid lines only. With the one-dimensional lumped masses m and the squared speed c² at the nodes,

    L[(i, j), (k, j)] = 1/m_i Σ_elements h⁻¹ Σ_q w_q c²_(q, j) l_i'(x_q) l_k'(x_q),

and the same along y. One grid row of L is 4p + 1 vectors of length ny.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skfem import Basis, MeshQuad

from slimwave.fem.gll import Array, differentiation_matrix, gll_nodes


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

    def element_stiffness(self) -> Array:
        """T[e, q, i, k] = w_q l_i'(x_q) l_k'(x_q) / h_e, shape (elements, p + 1, p + 1, p + 1)."""
        reference, weights = gll_nodes(self.order)
        slopes = differentiation_matrix(reference)
        unit = weights[:, None, None] * slopes[:, :, None] * slopes[:, None, :]
        return unit / np.diff(self.lines)[:, None, None, None]


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

    @property
    def mass(self) -> Array:
        """Diagonal mass at the grid nodes, shape (nx, ny)."""
        return np.outer(self.x.mass, self.y.mass)

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


def stiffness_diagonals(grid: TensorGrid, squared_speed: Array) -> Array:
    """L = M⁻¹K by diagonals, shape (nx, 4p + 1, ny), in the order that `kernels.stencil_update` reads.

    Parameters
    ----------
    squared_speed
        c² at the grid nodes, shape (nx, ny), or at the nodes of each element, see `TensorGrid.by_cells`.
    """
    p, (nx, ny) = grid.x.order, grid.numbers.shape
    diagonals = np.zeros((nx, 4 * p + 1, ny))
    if squared_speed.ndim == 2:
        along_x = squared_speed[element_nodes((nx - 1) // p, p)]  # (element, q, ny)
        along_y = squared_speed[:, element_nodes((ny - 1) // p, p)]  # (nx, element, q)
    else:
        along_x = _mean_across(grid.y, squared_speed)
        along_y = _mean_across(grid.x, squared_speed.transpose(2, 3, 0, 1)).transpose(2, 0, 1)
    blocks_x = np.einsum("eqik,eqj->ikej", grid.x.element_stiffness(), along_x, optimize=True)
    blocks_y = np.einsum("eqik,xeq->ikxe", grid.y.element_stiffness(), along_y, optimize=True)
    for i, k in np.ndindex(p + 1, p + 1):
        left_or_right = 4 * abs(k - i) - 2 - (k < i) if k != i else 0
        below_or_above = 4 * abs(k - i) - (k < i) if k != i else 0
        diagonals[i : nx - p + i : p, left_or_right] += blocks_x[i, k] / grid.x.mass[i : nx - p + i : p, None]
        diagonals[:, below_or_above, i : ny - p + i : p] += blocks_y[i, k] / grid.y.mass[i : ny - p + i : p]
    return diagonals


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
