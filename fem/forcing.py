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
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from slimwave.fem.boundaries import TimeField
from slimwave.fem.facets import FacetNodes
from slimwave.fem.fields import Box, Field, evaluate
from slimwave.fem.gll import Array
from slimwave.fem.sampling import PointSampler
from slimwave.fem.space import GLLSpace

TimeSignal = Callable[[float], ArrayLike]
"""A function of time; the time is a number, also slightly below 0. See `slimwave.fem.signals`."""


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

    Attributes
    ----------
    nodes
        Nodes that carry a load, shape (k,).

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
    ):
        self._sources, self._fluxes = list(sources), list(fluxes)
        free = np.ones(space.n_nodes)
        free[[] if held is None else held] = 0.0
        box = window or space.box
        columns = [_source_load(space, source, box, f"sources[{k}]") for k, source in enumerate(sources)]
        columns += [_flux_loads(space, flux) for flux in fluxes]
        empty = sp.csc_matrix((space.n_nodes, 0))
        loads = sp.csr_matrix(sp.diags(free / space.mass) @ sp.hstack([empty, *columns]))
        self.nodes = np.flatnonzero(np.diff(loads.indptr))
        self._loads = loads[self.nodes]
        self._places = [space.points[:, flux.facets.nodes.ravel()] for flux in fluxes]

    def __call__(self, t: float) -> Array:
        """Load at time t on `nodes`, shape (k,)."""
        strengths = [np.atleast_1d(np.asarray(source.signal(t), float)) for source in self._sources]
        for flux, (x, y) in zip(self._fluxes, self._places, strict=True):
            strengths.append(time_values(flux.flux, x, y, t, f"boundaries[{flux.part!r}]"))
        for k, strength in enumerate(strengths[: len(self._sources)]):
            if strength.shape != (1,) or not np.isfinite(strength).all():
                raise ValueError(f"sources[{k}]: expected one finite value of the signal at t={t:g}")
        return np.asarray(self._loads @ np.concatenate([*strengths, np.empty(0)]))


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

    def __call__(self, t: float) -> Array:
        """Values at time t, shape (k,)."""
        values = np.zeros(len(self.nodes))
        for name, rows, (x, y), value in self._parts:
            values[rows] = time_values(value, x, y, t, f"boundaries[{name!r}]")
        return values


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


def _source_load(space: GLLSpace, source: Source, box: Box, name: str) -> sp.csc_matrix:
    """∫ f φ_i dx for a signal of 1, one column."""
    load = np.zeros((space.n_nodes, 1))
    if isinstance(source, DistributedSource):
        load[:, 0] = space.mass * evaluate(source.shape, space.points, box, f"{name}.shape")
    else:
        point = np.array(source.position, dtype=float)
        if point.shape != (2,) or not np.isfinite([*point, source.amplitude]).all():
            raise ValueError(f"{name}: expected a finite position (x, y) and amplitude, got {source}")
        sampler = PointSampler(space.basis, point[:, None], f"{name}.position")
        np.add.at(load[:, 0], sampler.nodes[:, 0], source.amplitude * sampler.weights[:, 0])
    return sp.csc_matrix(load)


def _flux_loads(space: GLLSpace, flux: BoundaryFlux) -> sp.csc_matrix:
    """∫ q φ_i ds, one column for the value of q at each node of each facet."""
    nodes = flux.facets.nodes.ravel()
    entries: tuple[Any, Any] = (flux.facets.lengths.ravel(), (nodes, np.arange(len(nodes))))
    return sp.csc_matrix(entries, shape=(space.n_nodes, len(nodes)))
