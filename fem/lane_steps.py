"""Steps of one driven wave on a tensor grid, in compiled marches; see `driven`.

With z = Δt w and d = Δt D / 12, a step of Lax–Wendroff is

    z = R ((u − u⁻) − Δt²/2 (L u − g)),      R = 1 / (1 + Δt D / 2),
    y = u − Δt²/12 (L u − g) − d z,
    u⁺ = u + B (u − u⁻) − S (L y + d L z) + S (ḡ + Δt/24 D δ),

with B = Q/P and S = Δt²/P, P and Q = 1 + Δt²D²/12 ± Δt D/2, and for each load ḡ = (g⁺ + 10 g + g⁻)/12 and
δ = g⁺ − g⁻. Where D is one number, z is left out, and B and S are numbers.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimwave.fem import visits
from slimwave.fem.drives import CHUNK, Drive, Terms
from slimwave.fem.gll import Array
from slimwave.fem.lanes import GRAIN, LaneLayout, rounded
from slimwave.fem.march_kernels import Loads
from slimwave.fem.operators import State, TensorOperator
from slimwave.fem.readings import Readings
from slimwave.fem.stepping import Scheme

WIDE = 0.25
"""Share of the places of a state from which on a load counts as one at all places."""


class LaneSteps:
    """The scheme with all that belongs to a place put together beforehand.

    Parameters
    ----------
    operator, scheme
        L, and how time is stepped.
    drive, terms
        What is added, at the nodes and at the places of a state.
    """

    def __init__(self, operator: TensorOperator, scheme: Scheme, drive: Drive, terms: Terms):
        self._operator, self._order, self._terms = operator, scheme.order, terms
        self._weights = Weights(terms.damping[0], terms.time_step, scheme.order)
        self._drag = self._drag_of_places(drive) if drive.needs_tables(scheme.order) else ()
        even = Weights(drive.damping.max(), terms.time_step, scheme.order)
        scalars = 1.0 + even.behind, -even.behind, even.push
        self._scalars = tuple(operator.dtype.type(scalar) for scalar in scalars)
        self._loads, self._held_columns = self._packed_loads()
        self._loaded = bool(terms.values.size or terms.held.size)
        self._work, self._together = operator.work(2, scheme.order // 2)

    def visit(
        self, levels: NDArray[Any], newest: int, readings: Readings, fields: State, velocities: State
    ) -> None:
        """Take steps and read the wave on the way; see `visits.drive` for levels, fields and velocities."""
        layout, step2 = self._operator.layout, self._operator.dtype.type(self._terms.time_step**2)
        for taken, inside, part in readings.chunks(CHUNK):
            loads = (self._loads_at(newest + taken, part.steps),) if self._loaded else ()
            visits.drive(
                self._operator.weights[0], levels, newest + taken, self._work, self._scalars, step2,
                self._drag, loads, part.steps, part.ends, part.values, part.slopes, self._order // 2,
                self._together, layout.strides, (0,) * layout.order, fields[inside], velocities[inside],
            )  # fmt: skip

    def save(self) -> dict[str, NDArray[Any]]:
        """What a continuation needs beyond the levels: nothing."""
        return {}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Take up what `save` returned."""

    def _drag_of_places(self, drive: Drive) -> tuple[NDArray[Any], ...]:
        """R, d, B, S with the inverse mass, and the marks."""
        weights, operator = self._weights, self._operator
        inverse_mass = np.zeros(operator.mass.size)
        inverse_mass[operator.places] = 1.0 / operator.mass[operator.places]
        inverse_mass[operator.places[drive.prescribed.nodes]] = 0.0
        tables = weights.relief, weights.drag, weights.behind, weights.push * inverse_mass
        marks = marked_lines(operator.layout, weights.drag != 0.0)
        return (*(table.astype(operator.dtype) for table in tables), marks)

    def _packed_loads(self) -> tuple[Loads, NDArray[np.int64]]:
        """All that does not depend on time, and the columns of prescribed values in their order by blocks."""
        terms, size, dtype = self._terms, self._operator.layout.size, self._operator.dtype
        coefficients = self._weights.coefficients(terms.places, bool(self._drag)) * terms.values[:, None]
        broad = np.bincount(terms.columns, minlength=terms.n_columns) > WIDE * size
        spread = broad[terms.columns]
        wide = np.zeros((int(broad.sum()), 4, size), dtype)
        rows = (np.cumsum(broad) - 1)[terms.columns[spread]]
        wide[rows, :, terms.places[spread]] = coefficients[spread]
        single = np.flatnonzero(~spread)
        order, starts = self._by_blocks(terms.places[single])
        held_order, held_starts = self._by_blocks(terms.held)
        chosen = single[order]
        loads = Loads(
            starts=starts,
            places=terms.places[chosen],
            columns=terms.columns[chosen],
            coefficients=np.ascontiguousarray(coefficients[chosen], dtype),
            wide_columns=np.flatnonzero(broad),
            wide=wide,
            strengths=np.zeros((3, 0, 0), dtype),
            held_starts=held_starts,
            held=terms.held[held_order],
            values=np.zeros((3, 0, 0), dtype),
        )
        return loads, held_order

    def _by_blocks(self, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Order of places by block, and where each block starts."""
        strides = self._operator.layout.strides
        block = places % strides.lanes // strides.block
        order = np.argsort(block, kind="stable")
        return order, np.searchsorted(block[order], np.arange(strides.blocks + 1))

    def _loads_at(self, first: int, count: int) -> Loads:
        """The loads of `count` steps from time number `first` on."""
        dtype = self._operator.dtype
        strengths = self._terms.loads_of_steps(first, count, self._order)
        values = self._terms.values_of_steps(first, count)[:, :, self._held_columns]
        return self._loads._replace(strengths=strengths.astype(dtype), values=values.astype(dtype))


class Weights:
    """B, S, R and d of the scheme for a damping D.

    Parameters
    ----------
    damping
        D, of any shape.
    step, order
        Δt, and the order of the scheme.
    """

    def __init__(self, damping: Any, step: float, order: int):
        self._step, self._order, self._damping = step, order, damping
        mass = 1.0 + step**2 * damping**2 / 12 if order == 4 else np.ones_like(damping)
        after = 1.0 / (mass + 0.5 * step * damping)
        self.behind, self.push = (mass - 0.5 * step * damping) * after, step**2 * after
        self.relief, self.drag = 1.0 / (1.0 + 0.5 * step * damping), step * damping / 12

    def coefficients(self, places: NDArray[np.int64], varies: bool) -> Array:
        """What a load g of 1 adds to y and z, and what ḡ and δ of 1 add to u⁺, shape (places, 4)."""
        damping, relief, drag, push = (
            values.ravel()[places] for values in (self._damping, self.relief, self.drag, self.push)
        )
        to_z = 0.5 * self._step**2 * relief * varies
        to_y = self._step**2 / 12 - drag * to_z
        return np.stack([to_y, to_z, push, push * self._step / 24 * damping], axis=1)


def marked_lines(layout: LaneLayout, nonzero: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Mark the lines with a place that is not zero, see `line_kernels.block_update`, shape (lines,)."""
    p, strides = layout.order, layout.strides
    lanes = rounded(strides.used)
    own = np.zeros((p, p, lanes + strides.column + GRAIN), dtype=bool)
    own[..., : strides.used] = nonzero[: p * p * strides.lanes].reshape(p, p, -1)[..., : strides.used]
    along_x = own[..., :lanes].any(axis=0) | own[0, :, strides.column : strides.column + lanes]
    along_y = own[..., :lanes].any(axis=1) | own[:, 0, 1 : 1 + lanes]
    marks = [lines.reshape(p, -1, GRAIN).any(axis=2).T.ravel() for lines in (along_x, along_y)]
    return np.concatenate(marks).astype(np.uint8)
