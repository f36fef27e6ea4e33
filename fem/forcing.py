"""Sources f(x, t) and boundary fluxes as loads on the nodes: g = M⁻¹F in u_tt = −L u + g.

A point source δ(x − x_s) s(t) loads the nodes of the element around it with φ_i(x_s) s(t), the consistent
load of the Lagrange basis. A distributed source w(x) s(t) is collocated, and a flux q(x, t) through the
boundary loads its nodes with ∫ q φ_i ds.

>>> from slimwave.fem.signals import Ricker
>>> PointSource((0.5, 0.25), Ricker(frequency=4.0), amplitude=2.0).position
(0.5, 0.25)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slimwave.fem.boundaries import TimeField
from slimwave.fem.facets import FacetNodes
from slimwave.fem.fields import Box, Field, evaluate
from slimwave.fem.gll import Array
from slimwave.fem.sampling import PointSampler
from slimwave.fem.signals import Signal
from slimwave.fem.space import GLLSpace

TimeSignal = Callable[[float], ArrayLike]
"""A function of time; the time is a number, also slightly below 0. A `Signal` is called with many times."""


@dataclass(frozen=True)
class PointSource:
    """f(x, t) = amplitude · δ(x − position) · signal(t); ∫ f dx = amplitude · signal(t)."""

    position: tuple[float, float]
    signal: TimeSignal
    amplitude: float = 1.0


@dataclass(frozen=True, eq=False)
class DistributedSource:
    """f(x, t) = shape(x, y) · signal(t); the shape is a field, see `slimwave.fem.fields`."""

    shape: Field
    signal: TimeSignal


Source = PointSource | DistributedSource


@dataclass(frozen=True, eq=False)
class BoundaryFlux:
    """A prescribed flux c² ∂u/∂n = flux(x, y, t) through a part of the boundary."""

    part: str
    facets: FacetNodes
    flux: TimeField


class Forcing:
    """g(t) = M⁻¹F(t) at those nodes that carry a load.

    Parameters
    ----------
    space
        The discrete space.
    sources, fluxes
        What acts.
    held
        Nodes with prescribed values, which no load moves.
    window
        Where the grid of a shape given as an array lies; by default the domain's bounding box.
    name
        What error messages call the sources.

    Attributes
    ----------
    entries
        g_i = Σ value · strength over the entries of node i: node, column of the strength, value, each (n,).
    n_columns
        Number of strengths: one for each source, and one for each node of each facet with a flux.

    Raises
    ------
    ValueError
        For a source outside the domain or a shape that is not finite; later, for a signal or flux that is
        not finite.
    """

    def __init__(
        self,
        space: GLLSpace,
        sources: Sequence[Source] = (),
        fluxes: Sequence[BoundaryFlux] = (),
        held: NDArray[np.int64] | None = None,
        window: Box | None = None,
        name: str = "sources",
    ):
        self._name, self._sources, self._fluxes = name, list(sources), list(fluxes)
        box = window or space.box
        loads = [_source_load(space, source, box, f"{name}[{k}]") for k, source in enumerate(sources)]
        nodes = [nodes for nodes, _ in loads] + [flux.facets.nodes.ravel() for flux in fluxes]
        values = [values for _, values in loads] + [flux.facets.lengths.ravel() for flux in fluxes]
        shared = [np.zeros(len(own), np.int64) for own, _ in loads]  # a source has one strength for all nodes
        columns = shared + [np.arange(flux.facets.nodes.size) for flux in fluxes]
        counts = [1] * len(loads) + [flux.facets.nodes.size for flux in fluxes]
        starts = np.cumsum([0, *counts])
        self.n_columns = int(starts[-1])
        self._places = [space.points[:, flux.facets.nodes.ravel()] for flux in fluxes]
        self.entries = _entries(space, nodes, columns, values, starts, held)

    def strengths(self, times: Array) -> Array:
        """Signals of the sources and fluxes at the nodes of their facets, shape (times, columns)."""
        found = np.empty((len(times), self.n_columns))
        for k, source in enumerate(self._sources):
            found[:, k] = _signal_values(source.signal, times, f"{self._name}[{k}]")
        start = len(self._sources)
        for flux, (x, y) in zip(self._fluxes, self._places, strict=True):
            for row, t in zip(found, times, strict=True):
                name = f"boundaries[{flux.part!r}]"
                row[start : start + len(x)] = time_values(flux.flux, x, y, float(t), name)
            start += len(x)
        return found


class PrescribedValues:
    """Values u(x, y, t) that are prescribed at nodes; where parts meet, the last one counts.

    Parameters
    ----------
    space
        The discrete space.
    parts
        Name, nodes and value of each part of the boundary.

    Attributes
    ----------
    nodes
        Nodes with prescribed values, shape (k,).
    """

    def __init__(self, space: GLLSpace, parts: Sequence[tuple[str, NDArray[np.int64], TimeField]]):
        self.nodes = np.unique(np.concatenate([np.empty(0, np.int64), *(nodes for _, nodes, _ in parts)]))
        self._parts = [
            (name, np.searchsorted(self.nodes, nodes), space.points[:, nodes], value)
            for name, nodes, value in parts
        ]

    def values(self, times: Array) -> Array:
        """Values at the given times, shape (times, k)."""
        found = np.zeros((len(times), len(self.nodes)))
        for name, rows, (x, y), value in self._parts:
            for own, t in zip(found, times, strict=True):
                own[rows] = time_values(value, x, y, float(t), f"boundaries[{name!r}]")
        return found


def time_values(field: TimeField, x: Array, y: Array, t: float, name: str) -> Array:
    """Values of a field at points (n,) and a time, checked; shape (n,)."""
    values = np.asarray(field(x, y, t) if callable(field) else field, dtype=float)
    if values.shape not in ((), x.shape):
        raise ValueError(
            f"{name}: for x and y of shape {x.shape} the function returned shape {values.shape}; it must "
            "return one value per point"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: expected finite values, got {values[~np.isfinite(values)][0]} at t={t:g}")
    return np.broadcast_to(values, x.shape)


def _source_load(space: GLLSpace, source: Source, box: Box, name: str) -> tuple[NDArray[np.int64], Array]:
    """Nodes, and ∫ f φ_i dx at them for a signal of 1."""
    if isinstance(source, DistributedSource):
        shape = evaluate(source.shape, space.points, box, f"{name}.shape")
        return np.arange(space.n_nodes), space.mass * shape
    point = np.array(source.position, dtype=float)
    if point.shape != (2,) or not np.isfinite([*point, source.amplitude]).all():
        raise ValueError(f"{name}: expected a finite position (x, y) and amplitude, got {source}")
    sampler = PointSampler(space.basis, point[:, None], f"{name}.position")
    return sampler.nodes[:, 0], source.amplitude * sampler.weights[:, 0]


def _entries(
    space: GLLSpace,
    nodes: list[NDArray[np.int64]],
    columns: list[NDArray[np.int64]],
    values: list[Array],
    starts: NDArray[np.int64],
    held: NDArray[np.int64] | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """Divide loads by the mass, drop those at held nodes, and count the columns through."""
    if not nodes:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    node, value = np.concatenate(nodes), np.concatenate(values)
    column = np.concatenate([own + start for own, start in zip(columns, starts, strict=False)])
    free = np.ones(space.n_nodes, dtype=bool)
    free[[] if held is None else held] = False
    kept = free[node] & (value != 0.0)
    return node[kept], column[kept], value[kept] / space.mass[node[kept]]


def _signal_values(signal: TimeSignal, times: Array, name: str) -> Array:
    """Values at all times; only a `Signal` is known to take them at once."""
    if isinstance(signal, Signal):
        values = np.asarray(signal(times), dtype=float)
        values = values if values.shape == times.shape else np.full(len(times), np.nan)
    else:
        values = np.empty(len(times))
        for k, t in enumerate(times):
            value = np.asarray(signal(float(t)), dtype=float)
            values[k] = value.item() if value.size == 1 else np.nan
    if not np.isfinite(values).all():
        t = times[~np.isfinite(values)][0]
        raise ValueError(f"{name}: expected one finite value of the signal at t={t:g}")
    return values
