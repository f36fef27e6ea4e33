"""Perfectly matched layers: waves enter without reflection and die out inside.

With damping profiles ζ1(x), ζ2(y) that are zero in the domain, the layer of Grote and Sim (Efficient PML for
the wave equation, arXiv:1001.0319, 2010, eq. 2.9) adds two fields φ1, φ2 to the wave equation:

    u_tt + (ζ1 + ζ2) u_t + ζ1 ζ2 u = ∇·(c² ∇u) + ∇·φ,
    φ1_t = −ζ1 φ1 + c² (ζ2 − ζ1) u_x,
    φ2_t = −ζ2 φ2 + c² (ζ1 − ζ2) u_y.

φ lives at the GLL nodes of the elements of the layer and may jump between them; only its weak divergence
enters. In time it is advanced by the trapezoidal rule between two values of u. The layer relies on c not
changing along its normal: media are therefore continued from the edge of the layer outwards (`Layer.inward`).
"""

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from skfem import Basis

from slimwave.fem.boundaries import PML, SIDES
from slimwave.fem.fields import Box
from slimwave.fem.gll import Array
from slimwave.fem.operators import State, WaveOperator
from slimwave.fem.space import GLLSpace
from slimwave.fem.structured import Axis, TensorGrid, find_tensor_grid

Indices = NDArray[np.int64]


class Layer:
    """Where the layers of a rectangle lie.

    Parameters
    ----------
    space
        A space on a rectangle of upright elements.
    parts
        Condition and facets of each part of the boundary that has a layer, by the part's name.

    Attributes
    ----------
    sides
        The layer on each side that has one.
    window
        The rectangle without its layers.

    Raises
    ------
    ValueError
        For a mesh that is no tensor-product rectangle, a part that is not made of whole sides, or layers
        that leave nothing of the domain.
    """

    def __init__(self, space: GLLSpace, parts: Mapping[str, tuple[PML, Indices]]):
        grid = find_tensor_grid(space.basis, space.order)
        if grid is None:
            raise ValueError(
                "boundaries: a PML needs a rectangle of upright elements; use 'absorbing' on other meshes"
            )
        self.sides: dict[str, PML] = {}
        for name, (layer, facets) in parts.items():
            self.sides |= dict.fromkeys(_whole_sides(space, grid, name, facets), layer)
        left, right = _inner_edges(grid.x, self.sides, "left", "right")
        bottom, top = _inner_edges(grid.y, self.sides, "bottom", "top")
        self.window = Box(left, right, bottom, top)
        self._outer = space.box

    def inward(self, points: Array) -> Array:
        """Move points (2, n) in a layer straight back to the edge of the domain."""
        window = self.window
        low, high = np.array([[window.left], [window.bottom]]), np.array([[window.right], [window.top]])
        return np.clip(points, low, high)

    def profiles(self, points: Array, speed: float) -> tuple[Array, Array]:
        """ζ1, ζ2 at points (2, n): quadratic, ζ = 3 c ln(1/R) / (2 w) · (depth / w)²."""
        window, outer = self.window, self._outer
        depths = {
            "left": (window.left - points[0], window.left - outer.left),
            "right": (points[0] - window.right, outer.right - window.right),
            "bottom": (window.bottom - points[1], window.bottom - outer.bottom),
            "top": (points[1] - window.top, outer.top - window.top),
        }
        zeta = dict.fromkeys(SIDES, np.zeros(points.shape[1]))
        for side, layer in self.sides.items():
            depth, width = depths[side]
            strength = 1.5 * speed * np.log(1.0 / layer.reflection) / width
            zeta[side] = strength * np.clip(depth / width, 0.0, 1.0) ** 2
        return zeta["left"] + zeta["right"], zeta["bottom"] + zeta["top"]


class MatchedLayer:
    """The terms of the layer on a space, for one medium.

    Parameters
    ----------
    space, layer
        Where it lies.
    squared_speed
        c² at the nodes of each element, shape (elements, nodes).
    held
        Nodes with prescribed values.

    Attributes
    ----------
    drag
        ζ1 + ζ2 at the nodes, shape (n_nodes,).
    stiffening
        ζ1 ζ2 at the nodes, shape (n_nodes,).
    steepest
        Largest of ζ1 and ζ2.
    """

    def __init__(self, space: GLLSpace, layer: Layer, squared_speed: Array, held: Indices):
        fastest = float(np.sqrt(squared_speed.max()))
        zeta1, zeta2 = layer.profiles(space.points, fastest)
        self.drag, self.stiffening = zeta1 + zeta2, zeta1 * zeta2
        self.steepest = float(max(zeta1.max(), zeta2.max()))
        dofs = space.basis.element_dofs
        inside = np.flatnonzero(self.drag[dofs].any(axis=0))
        self.nodes = np.unique(dofs[:, inside])
        self.profiles = np.stack([zeta[dofs[:, inside]].T.ravel() for zeta in (zeta1, zeta2)])
        self.squared_speed = squared_speed[inside].ravel()
        self.gradient = _gradients(space.basis, inside, self.nodes)
        weights = sp.diags(np.tile(space.basis.dx[inside].ravel(), 2))
        moved = np.where(np.isin(self.nodes, held), 0.0, 1.0 / space.mass[self.nodes])
        self.divergence = sp.csr_matrix(sp.diags(moved) @ self.gradient.T @ weights)


class LayerFields:
    """φ1 and φ2 of a run.

    Parameters
    ----------
    layer
        The terms of the layer.
    operator
        Whose states u is.

    Attributes
    ----------
    values
        φ1 and φ2 at the nodes of the elements in the layer, shape (2, elements · nodes).
    places
        Where the nodes of the layer lie in a state.
    """

    def __init__(self, layer: MatchedLayer, operator: WaveOperator):
        self.values = np.zeros(layer.profiles.shape, operator.dtype)
        self.places = operator.places[layer.nodes]
        self._gradient = layer.gradient.astype(operator.dtype)
        self._divergence = layer.divergence.astype(operator.dtype)
        self._zeta = layer.profiles
        zeta1, zeta2 = layer.profiles
        self._coupling = layer.squared_speed * np.stack([zeta2 - zeta1, zeta1 - zeta2])

    def force(self) -> State:
        """−M⁻¹ of the weak divergence of φ at `places`, to be added to L u."""
        return np.asarray(self._divergence @ self.values.ravel())

    def advance(self, mean: State, step: float) -> None:
        """Advance φ by one time step, given the mean of u over the step at `places`."""
        decay = 1.0 / (1.0 + 0.5 * step * self._zeta)
        gradient = np.asarray(self._gradient @ mean).reshape(self.values.shape)
        gain = (step * decay * self._coupling).astype(self.values.dtype)
        self.values *= ((1.0 - 0.5 * step * self._zeta) * decay).astype(self.values.dtype)
        self.values += gain * gradient


def _whole_sides(space: GLLSpace, grid: TensorGrid, name: str, facets: Indices) -> list[str]:
    """Sides of the rectangle that the facets of a part cover."""
    mesh, box = space.mesh, space.box
    x, y = mesh.p[:, mesh.facets[:, facets]].mean(axis=1)
    slack = 1e-9 * max(box.right - box.left, box.top - box.bottom)
    rows, columns = len(grid.y.lines) - 1, len(grid.x.lines) - 1
    found = {
        "left": (np.sum(x <= box.left + slack), rows),
        "right": (np.sum(x >= box.right - slack), rows),
        "bottom": (np.sum(y <= box.bottom + slack), columns),
        "top": (np.sum(y >= box.top - slack), columns),
    }
    if any(count not in (0, whole) for count, whole in found.values()):
        raise ValueError(f"boundaries[{name!r}]: a PML needs whole sides of the rectangle")
    return [side for side, (count, _) in found.items() if count]


def _inner_edges(axis: Axis, sides: Mapping[str, PML], low: str, high: str) -> tuple[float, float]:
    """Ends of the axis without its layers."""
    first, last = (sides[side].elements if side in sides else 0 for side in (low, high))
    elements = len(axis.lines) - 1
    if first + last >= elements:
        raise ValueError(
            f"boundaries: the PML on {low} and {high} take {first} + {last} layers of elements, but the mesh "
            f"has {elements} there; use thinner layers or a mesh that extends beyond the domain"
        )
    return float(axis.lines[first]), float(axis.lines[elements - last])


def _gradients(basis: Basis, elements: Indices, nodes: Indices) -> sp.csr_matrix:
    """∂u/∂x, then ∂u/∂y, at the nodes of each of the elements, from the values of u at `nodes`."""
    slopes = np.stack(
        [basis.elem.gbasis(basis.mapping, basis.X, i, tind=elements)[0].grad for i in range(basis.Nbfun)]
    )
    _, axes, count, places = slopes.shape  # (node, axis, element, place)
    columns = np.searchsorted(nodes, basis.element_dofs[:, elements])[:, None, :, None]
    rows = np.arange(axes * count * places).reshape(axes, count, places)
    kept = np.abs(slopes) > 1e-12 * np.abs(slopes).max()
    where = (np.broadcast_to(rows, slopes.shape)[kept], np.broadcast_to(columns, slopes.shape)[kept])
    return sp.csr_matrix((slopes[kept], where), shape=(rows.size, len(nodes)))
