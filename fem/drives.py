"""What is added to u_tt = −L u: for one wave at its nodes, for a batch at the places of its states."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimwave.fem.forcing import Forcing, PrescribedValues
from slimwave.fem.gll import Array
from slimwave.fem.pml import MatchedLayer

CHUNK = 512
"""Number of times for which loads and prescribed values are evaluated at once."""


@dataclass(frozen=True, eq=False)
class Drive:
    """What is added to u_tt = −L u.

    Attributes
    ----------
    damping
        D at the nodes, shape (n_nodes,).
    forcing
        g.
    prescribed
        Values at the Dirichlet nodes.
    moving
        Whether these are not zero for good.
    layer
        Matched layer, or None.
    backing
        Drag of the boundary behind the layer at the nodes, shape (n_nodes,).
    """

    damping: Array
    forcing: Forcing
    prescribed: PrescribedValues
    moving: bool
    layer: MatchedLayer | None
    backing: Array

    @property
    def acts(self) -> bool:
        """Whether anything is added at all."""
        loaded = bool(self.forcing.entries[0].size)
        return bool(self.damping.any() or loaded or self.moving or self.layer is not None)

    @cached_property
    def level(self) -> float:
        """D0: the value of D at most free nodes, as far as there is one."""
        free = np.delete(self.damping, self.prescribed.nodes)
        return float(np.partition(free, free.size // 2)[free.size // 2]) if free.size else 0.0

    @cached_property
    def differs(self) -> NDArray[np.bool_]:
        """At which free nodes D is not D0, shape (n_nodes,)."""
        differs = np.abs(self.damping - self.level) > 1e-14 * np.max(self.damping)
        differs[self.prescribed.nodes] = False
        return differs

    @cached_property
    def uneven(self) -> bool:
        """Whether D is not one number at the free nodes."""
        return bool(self.differs.any())

    @property
    def varies(self) -> bool:
        """Whether the terms with w are needed: D is not one number, or prescribed values meet damping."""
        return self.uneven or (self.moving and bool(self.damping.any()))


def waves_alike(drives: Sequence[Drive]) -> Iterator[tuple[bool, NDArray[np.int64]]]:
    """Sort waves into free ones, driven ones and ones whose damping varies: are they driven, and which."""
    acts = np.array([drive.acts for drive in drives])
    uneven = np.array([drive.uneven for drive in drives])
    for driven, chosen in ((False, ~acts), (True, acts & ~uneven), (True, acts & uneven)):
        if chosen.any():
            yield driven, np.flatnonzero(chosen)


class Terms:
    """The drives of a batch of waves in the layout of their states, which lie one behind the other.

    Parameters
    ----------
    nodes, size
        Place of each node in a state, and the length of a state.
    drives
        One for each wave. Waves with the same `Forcing` share the evaluation of its signals.
    time_step
        Δt.
    horizon
        Number of the last time at which a field will be asked for.

    Attributes
    ----------
    damping, backing
        Shape (batch, size), float64.
    places, columns, values
        g = Σ value · strength over the entries of a place, each (n,).
    held
        Places with prescribed values that move.
    """

    def __init__(
        self, nodes: NDArray[np.int64], size: int, drives: Sequence[Drive], time_step: float, horizon: int
    ):
        self.time_step = time_step
        self.damping, self.backing = np.zeros((2, len(drives), size))
        self._forcings: dict[int, Forcing] = {}
        self._prescribed = [drive.prescribed for drive in drives if drive.moving]
        starts: dict[int, int] = {}
        entries, held, levels, columns = [], [np.empty(0, np.int64)], [np.empty(0)], 0
        for wave, drive in enumerate(drives):
            self.damping[wave, nodes], self.backing[wave, nodes] = drive.damping, drive.backing
            if id(drive.forcing) not in starts:
                starts[id(drive.forcing)], self._forcings[id(drive.forcing)] = columns, drive.forcing
                columns += drive.forcing.n_columns
            node, column, value = drive.forcing.entries
            entries.append((wave * size + nodes[node], column + starts[id(drive.forcing)], value))
            if drive.moving:
                held.append(wave * size + nodes[drive.prescribed.nodes])
                levels.append(np.full(len(drive.prescribed.nodes), drive.level))
        self.places, self.columns, self.values = (np.concatenate(part) for part in zip(*entries, strict=True))
        self.held = np.concatenate(held)
        self._held_levels = np.concatenate(levels)
        self.n_columns = columns
        self._strengths = TimeRows(self.strengths, time_step, horizon)
        self._set = TimeRows(self.prescribed, time_step, horizon)

    def strengths(self, times: Array) -> Array:
        """Strengths of all columns, shape (times, columns)."""
        parts = [forcing.strengths(times) for forcing in self._forcings.values()]
        return np.concatenate(parts, axis=1)

    def prescribed(self, times: Array) -> Array:
        """Values at `held`, shape (times, held)."""
        parts = [values.values(times) for values in self._prescribed]
        return np.concatenate([np.empty((len(times), 0)), *parts], axis=1)

    def loads_of_steps(self, first: int, count: int, order: int) -> Array:
        """What the steps from time number `first` on make of the strengths, shape (3, count, columns).

        At each time g, (g⁺ + 10 g + g⁻)/12 and g⁺ − g⁻; of order 2 g, g and 0.
        """
        g = self.strengths_around(first, count)
        now = g[1:-1]
        if order == 2:
            return np.stack([now, now, np.zeros_like(now)])
        return np.stack([now, (g[:-2] + 10.0 * now + g[2:]) / 12.0, g[2:] - g[:-2]])

    def values_of_steps(self, first: int, count: int) -> Array:
        """What the same steps set in y and u⁺ of `lane_steps`, shape (2, count, held)."""
        values = self.prescribed_around(first, count)
        past, now, ahead = values[:-2], values[1:-1], values[2:]
        y = (past + 10.0 * now + ahead) / 12.0
        return np.stack([y + self.time_step / 24.0 * self._held_levels * (ahead - past), ahead])

    def strengths_around(self, first: int, count: int) -> Array:
        """Strengths from the time before number `first` to the one after the `count`-th from there on."""
        return self._strengths.around(first, count)

    def prescribed_around(self, first: int, count: int) -> Array:
        """Prescribed values at the same times."""
        return self._set.around(first, count)


class TimeRows:
    """Values at the times of successive steps, evaluated many at once and kept.

    Parameters
    ----------
    values
        Gives the values (times, n) at some times (times,).
    time_step, horizon
        Times are whole multiples of the step, up to `horizon` unless later ones are asked for.
    """

    def __init__(self, values: Callable[[Array], Array], time_step: float, horizon: int):
        self._values, self._step, self._horizon = values, time_step, horizon
        self._start, self._rows = 0, np.empty((0, 0))

    def around(self, first: int, count: int) -> NDArray[Any]:
        """Values at the times number first − 1 to first + count, shape (count + 2, n)."""
        begin, end = first - 1, first + count + 1
        if begin < self._start or end > self._start + len(self._rows):
            last = max(end, min(begin + CHUNK, self._horizon + 1))
            self._start, self._rows = begin, self._values(self._step * np.arange(float(begin), float(last)))
        return self._rows[begin - self._start : end - self._start]
