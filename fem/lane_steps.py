"""Steps of one driven wave on a tensor grid, in compiled marches; see `driven`.

With z = Δt w, R = 1 / (1 + Δt D / 2) and d = Δt D / 12, a step of Lax–Wendroff is

    z = R ((u − u⁻) − Δt²/2 (L u − g)),
    y = u − Δt²/12 (L u − g) − d z,
    u⁺ = u + B (u − u⁻) − Δt²/P (L y + d L z) + Δt²/P (ḡ + Δt/24 D δ),

B = Q/P, P and Q = 1 + Δt²D²/12 ± Δt D/2, and for each load ḡ = (g⁺ + 10 g + g⁻)/12 and δ = g⁺ − g⁻. Two
observations make it cheap.

* A constant D0, the value of D at most nodes, drops out of the terms with z: d = Δt (D − D0) / 12 gives the
  same step. (Where u is prescribed, y = ū + Δt D0/12 z then.)
* z is a combination of fields whose products with L are known: z = R0 (6 y − 5 u − u⁻), R0 that of D0. So
  L z = R0 (6 L y − 5 f − f⁻) with f = L u takes no third product.

That leaves, with E = R d, S = Δt²/P (1 + 6 R0 d) M⁻¹ and T = Δt²/P R0 d,

    y = u − Δt²/12 f − E ((u − u⁻) − Δt²/2 f) + …,    u⁺ = u + B (u − u⁻) − S K y + T (5 f + f⁻) + ….
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimwave.fem import visits
from slimwave.fem.drives import CHUNK, Drive, Terms
from slimwave.fem.gll import Array
from slimwave.fem.lanes import aligned_zeros
from slimwave.fem.march_kernels import Drag, Loads
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
    last
        The field one step before the start.
    """

    def __init__(self, operator: TensorOperator, scheme: Scheme, drive: Drive, terms: Terms, last: State):
        self._operator, self._order, self._terms = operator, scheme.order, terms
        self._weights = Weights(terms.damping[0], drive.level, terms.time_step, scheme.order)
        even = Weights(np.array(drive.level), drive.level, terms.time_step, scheme.order)
        kind = operator.dtype.type
        self._scalars = kind(1.0 + even.behind), kind(-even.behind), kind(even.push)
        self._forces = np.zeros((2, 0), operator.dtype)
        self._drag: tuple[Drag, ...] = ()
        self._edges: tuple[int, ...] = ()
        if drive.uneven:
            self._set_drag(drive, last)
        self._loads, self._held_columns = self._packed_loads()
        self._loaded = bool(terms.values.size or terms.held.size)
        self._work, self._together = operator.work(1, scheme.order // 2)

    def visit(
        self, levels: NDArray[Any], newest: int, readings: Readings, fields: State, velocities: State
    ) -> None:
        """Take steps and read the wave on the way; see `visits.drive` for levels, fields and velocities."""
        layout, step2 = self._operator.layout, self._operator.dtype.type(self._terms.time_step**2)
        for taken, inside, part in readings.chunks(CHUNK):
            loads = (self._loads_at(newest + taken, part.steps),) if self._drag or self._loaded else ()
            visits.drive(
                self._operator.weights[0], levels, newest + taken, self._work, self._scalars, step2,
                self._drag, self._forces, self._edges, loads, part.steps, part.ends, part.values, part.slopes,
                self._order // 2, self._together, layout.strides, (0,) * layout.order, fields[inside],
                velocities[inside],
            )  # fmt: skip

    def save(self) -> dict[str, NDArray[Any]]:
        """What a continuation needs beyond the levels, as arrays."""
        return {"forces": self._forces}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Take up what `save` returned."""
        self._forces[...] = saved["forces"]

    def _set_drag(self, drive: Drive, last: State) -> None:
        """E, B, S and T, f one step before the start, and whether D differs from D0 at edges only."""
        weights, operator = self._weights, self._operator
        inverse_mass = np.zeros(operator.mass.size)
        inverse_mass[operator.places] = 1.0 / operator.mass[operator.places]
        inverse_mass[operator.places[drive.prescribed.nodes]] = 0.0
        layout, tables = (
            operator.layout,
            (weights.ease, weights.behind, weights.push * inverse_mass, weights.pull),
        )
        packed = aligned_zeros((4, layout.by_lines(inverse_mass).size), operator.dtype)
        packed[...] = layout.by_lines(np.stack(tables))
        self._drag = (Drag(*packed),)
        self._forces = aligned_zeros((2, packed.shape[1]), operator.dtype)
        self._forces[1] = layout.by_lines(operator.apply(last))
        differs = np.zeros(operator.mass.size, dtype=bool)
        differs[operator.places] = drive.differs
        p, lanes = layout.order, layout.strides.lanes
        self._edges = () if differs[: p * p * lanes].reshape(p, p, lanes)[1:, 1:].any() else (0,)

    def _packed_loads(self) -> tuple[Loads, NDArray[np.int64]]:
        """All that does not depend on time, and the columns of prescribed values in their order by blocks."""
        terms, size, dtype = self._terms, self._operator.layout.size, self._operator.dtype
        coefficients = self._weights.coefficients(terms.places) * terms.values[:, None]
        broad = np.bincount(terms.columns, minlength=terms.n_columns) > WIDE * size
        spread = broad[terms.columns]
        wide = np.zeros((int(broad.sum()), 3, size), dtype)
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
            values=np.zeros((2, 0, 0), dtype),
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
    """B, S (without the inverse mass), E and T of the scheme for a damping D.

    Parameters
    ----------
    damping, level
        D and D0, of shapes that go together.
    step, order
        Δt, and the order of the scheme.
    """

    def __init__(self, damping: Array, level: Array | float, step: float, order: int):
        self._step, self._order, self._damping = step, order, damping
        mass = 1.0 + step**2 * damping**2 / 12 if order == 4 else np.ones_like(damping)
        self._after = step**2 / (mass + 0.5 * step * damping)
        self.behind = (mass - 0.5 * step * damping) * self._after / step**2
        drag = step * (damping - level) / 12 if order == 4 else np.zeros_like(damping)
        self.ease, even_relief = drag / (1.0 + 0.5 * step * damping), 1.0 / (1.0 + 0.5 * step * level)
        self.push, self.pull = (
            self._after * (1.0 + 6.0 * even_relief * drag),
            self._after * even_relief * drag,
        )

    def coefficients(self, places: NDArray[np.int64]) -> Array:
        """What a load g of 1 adds to y, and what ḡ and δ of 1 add to u⁺, shape (places, 3)."""
        damping, ease, after = (values.ravel()[places] for values in (self._damping, self.ease, self._after))
        to_y = self._step**2 * (1.0 / 12 - 0.5 * ease)
        return np.stack([to_y, after, after * self._step / 24 * damping], axis=1)
