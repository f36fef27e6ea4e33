"""Fields as a user gives them: a number, a function of (x, y) or an array on a grid.

An array of shape (nx, ny) holds values at the nodes of a uniform grid over the bounding box of the
domain, x first, walls included. Between the nodes it is interpolated by bicubic splines, which keep the
fourth order of smooth data.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

Field = float | Callable[[Array, Array], ArrayLike] | NDArray[np.floating]
"""A number, a vectorised function f(x, y), or an array (nx, ny) on the bounding box of the domain."""


@runtime_checkable
class OnAxes(Protocol):
    """A function f(x, y) that has a faster way to its values at all pairs of two axes.

    Wherever the nodes of a space form such a grid, the solver takes it.
    """

    def on_axes(self, x: Array, y: Array) -> Array:
        """Values at all pairs of x (nx,) and y (ny,), equal to f(x, y) to rounding; shape (nx, ny)."""


def values_on_axes(function: Callable[[Array, Array], ArrayLike], x: Array, y: Array) -> Array:
    """Values of a function f(x, y) at all pairs of x (nx,) and y (ny,), shape (nx, ny).

    Raises
    ------
    ValueError
        If the function returns another shape.
    """
    if isinstance(function, OnAxes):
        values = np.asarray(function.on_axes(x, y), dtype=float)
    else:
        values = np.asarray(function(*np.meshgrid(x, y, indexing="ij")), dtype=float)
    if values.shape != (len(x), len(y)):
        raise ValueError(
            f"expected values of shape {(len(x), len(y))} on these axes, but {type(function).__name__} "
            f"returned shape {values.shape}"
        )
    return values


@dataclass(frozen=True)
class Box:
    """Axis-aligned rectangle [left, right] × [bottom, top]."""

    left: float
    right: float
    bottom: float
    top: float

    def grid(self, nx: int, ny: int) -> tuple[Array, Array]:
        """Coordinates x (nx,) and y (ny,) of a uniform grid that includes the walls."""
        return np.linspace(self.left, self.right, nx), np.linspace(self.bottom, self.top, ny)


def evaluate(field: Field, points: Array, box: Box, name: str) -> Array:
    """Values of a field at points of shape (2, n); the result has shape (n,).

    Parameters
    ----------
    field
        See `Field`.
    points
        Coordinates, shape (2, n), inside `box`.
    box
        Where the grid of an array lies.
    name
        The argument's name, for error messages.

    Raises
    ------
    ValueError
        For arrays that are not two-dimensional, functions that return another shape, and values that are
        not finite.
    """
    if callable(field):
        values = _from_function(field, points, name)
    elif np.ndim(field) == 0:
        values = np.full(points.shape[1], float(field))
    else:
        values = _from_array(np.asarray(field, dtype=float), points, box, name)
    _check_finite(values, points, name)
    return values


def evaluate_speed(field: Field, points: Array, box: Box, name: str = "wave_speed") -> Array:
    """Like `evaluate` for a speed, which must be positive.

    A spline overshoots at a jump, so that the values of an array are brought back into the array's own range.
    """
    values = evaluate(field, points, box, name)
    if not callable(field) and np.ndim(field):
        values = np.clip(values, np.min(field), np.max(field))
    if values.min() <= 0.0:
        x, y = points[:, values.argmin()]
        raise ValueError(f"{name}: expected positive speeds, got {values.min():g} at x={x:g}, y={y:g}")
    return values


def _from_function(function: Callable[[Array, Array], ArrayLike], points: Array, name: str) -> Array:
    values = np.asarray(function(points[0], points[1]), dtype=float)
    if values.shape not in ((), points[0].shape):
        raise ValueError(
            f"{name}: for x and y of shape {points[0].shape} the function returned shape {values.shape}; "
            "it must return one value per point"
        )
    return np.broadcast_to(values, points[0].shape).copy()


def _from_array(array: Array, points: Array, box: Box, name: str) -> Array:
    if array.ndim != 2 or min(array.shape) < 2:
        raise ValueError(
            f"{name}: expected an array (nx, ny) with at least 2 x 2 values, got shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite values, got {array[~np.isfinite(array)][0]} in the array")
    from scipy.interpolate import RectBivariateSpline  # slow to load, and few fields are arrays

    x, y = box.grid(*array.shape)
    spline = RectBivariateSpline(x, y, array, kx=min(3, len(x) - 1), ky=min(3, len(y) - 1))
    return np.asarray(spline(points[0], points[1], grid=False))


def _check_finite(values: Array, points: Array, name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        x, y = points[:, bad[0]]
        raise ValueError(f"{name}: expected finite values, got {values[bad[0]]} at x={x:g}, y={y:g}")
