"""Material fields on a space: values at the nodes, or at the nodes of each element where they jump.

A speed that jumps must not be looked up at a node on the interface, where it has two values. `PerElement`
gives it element by element: one value each, or a function that each element evaluates on its own side.

>>> layers = PerElement(lambda x, y: np.where(y < 0.5, 1.0, 3.0))
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slimwave.fem.fields import Field, evaluate, evaluate_speed
from slimwave.fem.gll import Array
from slimwave.fem.pml import Layer
from slimwave.fem.space import GLLSpace

INWARD = 1e-9
"""How far a function's points are moved towards the centre of their element, as a share of the way."""


@dataclass(frozen=True, eq=False)
class PerElement:
    """A material field that may jump between elements.

    Parameters
    ----------
    values
        One value per element of the mesh, shape (elements,), or a function f(x, y), which each element
        evaluates at its nodes moved inward by 1e-9 of the way to its centre.
    """

    values: NDArray[np.floating] | Callable[[Array, Array], ArrayLike]


Material = Field | PerElement


def squared_speed(space: GLLSpace, wave_speed: Material, layer: Layer | None) -> Array:
    """c² at the nodes, shape (n_nodes,), or at the nodes of each element, shape (elements, nodes).

    Inside a matched layer, c is taken from the layer's inner edge. Raises ValueError for speeds that are not
    finite and positive, and arrays of another shape.
    """
    speed = _values(space, wave_speed, layer, "wave_speed")
    if not speed.min() > 0.0:
        raise ValueError(f"wave_speed: expected positive speeds, got {speed.min():g}")
    return speed**2


def damping_at_nodes(space: GLLSpace, damping: Material, layer: Layer | None) -> Array:
    """γ ≥ 0 at the nodes, shape (n_nodes,): where it jumps, the mean of the elements around, by mass."""
    values = _values(space, damping, layer, "damping")
    if not isinstance(damping, PerElement) and not callable(damping) and np.ndim(damping):
        values = np.clip(values, np.min(damping), np.max(damping))
    if values.min() < 0.0:
        raise ValueError(f"damping: expected values of at least 0, got {values.min():g}")
    if values.ndim == 1:
        return values
    total = np.zeros(space.n_nodes)
    np.add.at(total, space.basis.element_dofs.T, space.basis.dx * values)
    return total / space.mass


def _values(space: GLLSpace, material: Material, layer: Layer | None, name: str) -> Array:
    box = space.box if layer is None else layer.window
    if isinstance(material, PerElement):
        if callable(material.values):
            points = _inward_points(space)
            points = points if layer is None else layer.inward(points)
            return evaluate(material.values, points, box, name).reshape(space.basis.dx.shape)
        return _spread(space, np.asarray(material.values, dtype=float), name)
    look_up = evaluate_speed if name == "wave_speed" else evaluate
    if layer is None:
        return look_up(space.by_axes(material), space.points, box, name)
    return look_up(material, layer.inward(space.points), box, name)


def _spread(space: GLLSpace, values: Array, name: str) -> Array:
    """One value per element at the nodes of each element."""
    elements, nodes = space.basis.dx.shape
    if values.shape != (elements,):
        raise ValueError(
            f"{name}: expected one value for each of {elements} elements, got shape {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: expected finite values, got {values[~np.isfinite(values)][0]}")
    return np.repeat(values[:, None], nodes, axis=1)


def _inward_points(space: GLLSpace) -> Array:
    """Nodes of each element, moved towards its centre, shape (2, elements · nodes)."""
    places = space.points[:, space.basis.element_dofs.T]
    centres = places.mean(axis=2, keepdims=True)
    return (places + INWARD * (centres - places)).reshape(2, -1)
