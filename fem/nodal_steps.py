"""Steps of one driven wave by whole-array operations, on any mesh and with matched layers; see `driven`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from slimwave.fem.drives import CHUNK, Drive, Terms
from slimwave.fem.gll import Array
from slimwave.fem.operators import State, WaveOperator
from slimwave.fem.pml import LayerFields
from slimwave.fem.readings import Readings
from slimwave.fem.stepping import Scheme


class NodalSteps:
    """The scheme as it is written in `driven`, term by term.

    Parameters
    ----------
    operator, scheme
        L, and how time is stepped.
    drive, terms
        What is added, at the nodes and at the places of a state.
    """

    def __init__(self, operator: WaveOperator, scheme: Scheme, drive: Drive, terms: Terms):
        self._operator, self._scheme, self._terms = operator, scheme, terms
        self._step, self._drive = terms.time_step, drive
        self._layer = None if drive.layer is None else LayerFields(drive.layer, operator)
        self._loaded, rows = np.unique(terms.places, return_inverse=True)
        shape = (len(self._loaded), terms.n_columns)
        self._loads = sp.csr_matrix((terms.values, (rows, terms.columns)), shape=shape)
        self._damping = terms.damping[0].astype(operator.dtype)
        self._final, self._predictor = self._weights(scheme.order), self._weights(2)
        self._scratch, self._force, self._product = np.zeros((3, operator.mass.size), operator.dtype)

    def visit(
        self, levels: NDArray[Any], newest: int, readings: Readings, fields: State, velocities: State
    ) -> None:
        """Take steps and read the wave on the way; see `visits.drive` for levels, fields and velocities."""
        for taken, inside, part in readings.chunks(CHUNK):
            first, own = newest + taken, velocities[inside]
            loads = self._terms.strengths_around(first, part.steps) @ self._loads.T
            values = self._terms.prescribed_around(first, part.steps)
            done = 0
            for number, end in enumerate(part.ends):
                self._advance(levels, first + done, loads[done : end + 2], values[done : end + 2])
                done = int(end)
                oldest_first = levels[(first + done + 1 + np.arange(len(levels))) % len(levels)]
                fields[inside][number] = part.values[number] @ oldest_first
                if len(own):
                    own[number] = part.slopes[number] @ oldest_first
            self._advance(levels, first + done, loads[done:], values[done:])

    def save(self) -> dict[str, NDArray[Any]]:
        """What a continuation needs beyond the levels, as arrays."""
        return {} if self._layer is None else {"layer": self._layer.values}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Take up what `save` returned."""
        if self._layer is not None:
            self._layer.values[...] = saved["layer"]

    def _advance(self, levels: NDArray[Any], newest: int, loads: Array, values: Array) -> None:
        """Take as many steps as there are loads, but for those of the times before and after."""
        ring = len(levels)
        for k in range(len(loads) - 2):
            before, now, after = (levels[(newest + k + shift) % ring] for shift in (-1, 0, 1))
            self._take_step(now, before, after, loads[k : k + 3], values[k : k + 3])

    def _take_step(self, u: State, before: State, out: State, loads: Array, values: Array) -> None:
        """Write u⁺ into `out`; loads and prescribed values are those of the times before, now and after."""
        force = self._second_order_force(u, loads[1])
        if self._scheme.order == 4:
            force = self._fourth_order_force(u, before, force, loads, values)
        new = _combine(self._final, u, before, force)
        new[self._terms.held] = values[2]
        if self._layer is not None:
            places = self._layer.places
            self._layer.advance(0.5 * (u[places] + new[places]), self._step)
        out[...] = new

    def _second_order_force(self, u: State, load: Array) -> State:
        """L u − g and what the layer adds."""
        self._operator.update(u, u, self._force, 0.0, 0.0, -1.0)
        self._force[self._loaded] -= load
        if self._layer is not None:
            self._force[self._layer.places] += self._layer.force()
        return self._force

    def _fourth_order_force(
        self, u: State, before: State, force: State, loads: Array, values: Array
    ) -> State:
        """L (u + Δt²/12 a) + Δt²/12 D L w, less what comes of g; `force` is −a but for the damping."""
        operator, step = self._operator, self._step
        velocity = self._predicted_velocity(u, before, force, values) if self._drive.varies else None
        inner = self._scratch
        np.multiply(force, -(step**2) / 12, out=inner)
        inner += u
        if velocity is not None:
            inner -= step**2 / 12 * self._damping * velocity
        inner[self._terms.held] = _mean(values)
        operator.update(inner, inner, force, 0.0, 0.0, -1.0)
        if velocity is not None:
            operator.update(velocity, velocity, self._product, 0.0, 0.0, -1.0)
            self._product *= self._damping
            self._product *= step**2 / 12
            force += self._product
        force[self._loaded] -= _mean(loads)
        force[self._loaded] -= step / 24 * self._damping[self._loaded] * (loads[2] - loads[0])
        if self._layer is not None:
            force[self._layer.places] += self._layer.force()
        return force

    def _predicted_velocity(self, u: State, before: State, force: State, values: Array) -> State:
        """W: the centred difference with a leapfrog step ahead."""
        ahead = _combine(self._predictor, u, before, force)
        ahead[self._terms.held] = values[2]
        ahead -= before
        ahead *= 0.5 / self._step
        return ahead

    def _weights(self, order: int) -> tuple[State, State, State]:
        """Weights of u, u⁻ and the force in P u⁺ = 2 m u − Q u⁻ − Δt² (force + ζ1ζ2 u), divided by P.

        m = 1 + Δt²D²/12 (order 4) or 1 (order 2), P and Q are m ± Δt/2 times all drag.
        """
        step, damping = self._step, self._terms.damping[0]
        mass = 1.0 + step**2 * damping**2 / 12 if order == 4 else 1.0
        drag, stiffening = damping + self._terms.backing[0], np.zeros_like(damping)
        if self._drive.layer is not None:
            places = self._operator.places
            drag[places] += self._drive.layer.drag
            stiffening[places] = self._drive.layer.stiffening
        after = 1.0 / (mass + 0.5 * step * drag)
        centre = (2.0 * mass - step**2 * stiffening) * after
        weights = centre, (mass - 0.5 * step * drag) * after, step**2 * after
        return tuple(weight.astype(self._operator.dtype) for weight in weights)


def _combine(weights: tuple[State, State, State], u: State, before: State, force: State) -> State:
    centre, behind, push = weights
    new = centre * u
    new -= behind * before
    new -= push * force
    return new


def _mean(values: Array) -> Array:
    """(f⁺ + 10 f + f⁻)/12 = f + Δt²/12 f'' + O(Δt⁴)."""
    past, present, future = values
    return np.asarray((past + 10.0 * present + future) / 12.0)
