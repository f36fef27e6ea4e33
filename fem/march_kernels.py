"""Compiled sequences of time steps on tensor grids, free or driven (see `stepping` and `lane_steps`).

One step reads each block of the mesh once per product. On large meshes, where that costs more than the
arithmetic, several steps follow one another through the blocks like waves, a few blocks apart, so that a
block is fetched from memory once for all of them.
"""

from typing import Any, NamedTuple

from numpy.typing import NDArray

from slimwave.fem.kernels import compiled
from slimwave.fem.lanes import LaneLayout, Strides
from slimwave.fem.line_kernels import block_update, buffer_size, divide

Array = NDArray[Any]

LARGE = 12 * 2**20
"""Bytes of fields and weights from which on they are taken not to stay in the cache between two steps."""

VISIT = 2
"""Number of blocks after which the next of such steps gets its turn; at least 2."""

STEPS_TOGETHER = 12
"""Number of time steps for which a block of such a mesh is fetched from memory once."""


class Drag(NamedTuple):
    """Damping that varies, see `lane_steps`, by lines (`lanes.LaneLayout.by_lines`).

    Attributes
    ----------
    ease, behind, push, pull
        E, B, S and T.
    """

    ease: Array
    behind: Array
    push: Array
    pull: Array


class Loads(NamedTuple):
    """What sources and prescribed values add to a wave.

    A load acts at single places, (place, column, three coefficients), sorted by block, or at all places. With
    the columns g, ḡ, δ of `strengths` at a step it adds c0 g to y, and c1 ḡ + c2 δ to u⁺ (see `lane_steps`).

    Attributes
    ----------
    starts
        First load of each block, shape (blocks + 1,).
    places, columns, coefficients
        Shapes (loads,), (loads,), (loads, 3).
    wide_columns, wide
        The same for loads at all places, shapes (wide,), (wide, 3, size).
    strengths
        g, ḡ and δ, shape (3, steps, columns).
    held_starts, held
        Places with prescribed values, like `starts` and `places`.
    values
        What they are set to in y and in u⁺, shape (2, steps, held).
    """

    starts: NDArray[Any]
    places: NDArray[Any]
    columns: NDArray[Any]
    coefficients: Array
    wide_columns: NDArray[Any]
    wide: Array
    strengths: Array
    held_starts: NDArray[Any]
    held: NDArray[Any]
    values: Array


@compiled()
def _load(loads: Loads, which: int, block: int, step: int, out: Array, strides: Strides, p: int) -> None:
    """Add to one block of y (`which` = 0) or u⁺ (1) what is loaded, and set what is held."""
    if loads.wide_columns.size > 0:
        _load_widely(loads, which, block, step, out, strides, p)
    for k in range(loads.starts[block], loads.starts[block + 1]):
        column = loads.columns[k]
        added = loads.coefficients[k, which] * loads.strengths[which, step, column]
        if which == 1:
            added += loads.coefficients[k, 2] * loads.strengths[2, step, column]
        out[loads.places[k]] += added
    for k in range(loads.held_starts[block], loads.held_starts[block + 1]):
        out[loads.held[k]] = loads.values[which, step, k]


@compiled()
def _load_widely(
    loads: Loads, which: int, block: int, step: int, out: Array, strides: Strides, p: int
) -> None:
    """Add the loads at all places of one block."""
    begin = block * strides.block
    count = min(strides.block, strides.used - begin)
    for wide in range(loads.wide_columns.size):
        column = loads.wide_columns[wide]
        one, other = loads.strengths[which, step, column], loads.strengths[2, step, column]
        for k in range(p * p):
            first = k * strides.lanes + begin
            target, share = out[first : first + count], loads.wide[wide, which, first:]
            if which == 1:
                late = loads.wide[wide, 2, first:]
                for lane in range(count):
                    target[lane] += one * share[lane] + other * late[lane]
            else:
                for lane in range(count):
                    target[lane] += one * share[lane]


@compiled()
def _wave(
    weights: Array,
    levels: Array,
    newest: int,
    inner: Array,
    buffers: tuple[Array, Array, Array],
    scalars: tuple[float, float, float],
    step2: float,
    drag: tuple[Drag, ...],
    forces: Array,
    edges: tuple[int, ...],
    loads: tuple[Loads, ...],
    since: int,
    steps: int,
    stages: int,
    strides: Strides,
    order: tuple[int, ...],
) -> None:
    """`steps` time steps of `stages` products each; see `advance`.

    At each tick, every step visits the `VISIT` blocks behind those of the step before it. There its second
    product keeps one block behind the first, whose weights it finds in the fastest caches.
    """
    zero, one = levels.dtype.type(0), levels.dtype.type(1)
    twelfth, half = step2 / levels.dtype.type(12), step2 / levels.dtype.type(2)
    total, carry, beside = buffers
    ring, p = levels.shape[0], len(order)
    if len(drag) > 0:
        ease, behind, push, pull = drag[0].ease, drag[0].behind, drag[0].push, drag[0].pull
    if len(loads) > 0:
        load = loads[0]
    visits = (strides.blocks + stages - 1 + VISIT - 1) // VISIT
    for tick in range(visits + steps - 1):
        for step in range(max(0, tick - visits + 1), min(steps, tick + 1)):
            number = newest + step
            now, new, old = levels[number % ring], levels[(number + 1) % ring], levels[(number - 1) % ring]
            for visited in range((tick - step) * VISIT, (tick - step + 1) * VISIT):
                for stage in range(stages):
                    block, product = visited - stage, step * stages + stage
                    if block < 0 or block >= strides.blocks:
                        continue
                    if stage < stages - 1:
                        if len(drag) == 0:
                            block_update(
                                weights, now, (now, now, inner), (), total, carry, beside,
                                (one, zero, twelfth), block, product, strides, order,
                            )  # fmt: skip
                        else:
                            block_update(
                                weights, now, (now, old, inner, forces[number % 2], ease), edges, total,
                                carry, beside, (one, half, twelfth), block, product, strides, order,
                            )  # fmt: skip
                        if len(loads) > 0:
                            _load(load, 0, block, since + step, inner, strides, p)
                        continue
                    y = now if stages == 1 else inner
                    if len(drag) == 0:
                        block_update(
                            weights, y, (now, old, new), (), total, carry, beside, scalars, block, product,
                            strides, order,
                        )  # fmt: skip
                    else:
                        block_update(
                            weights, y,
                            (now, old, new, forces[number % 2], forces[(number - 1) % 2], behind, push, pull),
                            edges, total, carry, beside, scalars, block, product, strides, order,
                        )  # fmt: skip
                    if len(loads) > 0:
                        _load(load, 1, block, since + step, new, strides, p)


@compiled()
def advance(
    weights: Array,
    levels: Array,
    newest: int,
    inner: Array,
    buffers: tuple[Array, Array, Array],
    scalars: tuple[float, float, float],
    step2: float,
    drag: tuple[Drag, ...],
    forces: Array,
    edges: tuple[int, ...],
    loads: tuple[Loads, ...],
    since: int,
    steps: int,
    stages: int,
    together: int,
    strides: Strides,
    order: tuple[int, ...],
) -> None:
    """Take `steps` time steps with one wave; each new field replaces the oldest of the levels.

    Parameters
    ----------
    weights
        Of its medium, from `LaneLayout.pack_weights`, shape (n,).
    levels
        Aligned fields at successive times, shape (ring, size); that of time number n lies at n modulo ring.
    newest
        Number of the present time.
    inner
        Buffer for a field.
    buffers
        Those of `line_kernels.divide`.
    scalars
        a, b and s in u⁺ = a u + b u⁻ − s L y where D = D0.
    step2
        Δt² in the type of the fields.
    drag
        Empty, or the one `Drag` of damping that varies.
    forces
        f at the present time and the one before, by lines; that of time number n lies at n modulo 2. They are
        read and set with drag.
    edges
        See `line_kernels.block_update`.
    loads, since
        Empty, or the loads, and how many steps before these they begin.
    stages
        Products per step: 1 for leapfrog, 2 for Lax–Wendroff.
    together
        Number of steps that follow one another through the blocks.
    strides, order
        The layout, and a tuple of p entries, whose length tells the compiler p.
    """
    for done in range(0, steps, together):
        count = min(together, steps - done)
        _wave(
            weights, levels, newest + done, inner, buffers, scalars, step2, drag, forces, edges, loads,
            since + done, count, stages, strides, order,
        )  # fmt: skip


@compiled()
def march(
    weights: Array,
    u: Array,
    old: Array,
    work: Array,
    step2: float,
    steps: int,
    stages: int,
    together: int,
    strides: Strides,
    order: tuple[int, ...],
) -> None:
    """Take `steps` time steps with each free sample, in place; after an odd number, `old` is the newest.

    u⁺ = 2u − u⁻ − Δt² L y with y = u (leapfrog) or y = u − Δt²/12 L u (Lax–Wendroff). `weights` has shape
    (batch, n) or, for one medium, (1, n), u and u⁻ (batch, size). `work` is a buffer of `work_size` numbers
    for 3 fields, aligned. The others are those of `advance`.
    """
    size, real = u.shape[1], u.dtype.type
    levels, inner = work[: 2 * size].reshape(2, size), work[2 * size : 3 * size]
    buffers = divide(work[3 * size :], together * stages, strides, order)
    scalars = (real(2), real(-1), step2)
    for sample in range(u.shape[0]):
        levels[0], levels[1] = u[sample], old[sample]
        advance(
            weights[sample if weights.shape[0] > 1 else 0], levels, 0, inner, buffers, scalars, step2,
            (), levels, (), (), 0, steps, stages, together, strides, order,
        )  # fmt: skip
        u[sample], old[sample] = levels[0], levels[1]


def work_size(layout: LaneLayout, itemsize: int, fields: int, products: int) -> int:
    """Length of the buffer for so many fields and products under way."""
    return fields * layout.size + buffer_size(layout, itemsize, products)


def steps_together(layout: LaneLayout, itemsize: int) -> int:
    """Number of time steps that shall follow one another through the blocks of a mesh."""
    p, lanes = layout.order, layout.strides.lanes
    fields, weights = 3 * p * p * lanes, p * (3 * p + 2) * lanes
    return STEPS_TOGETHER if (fields + weights) * itemsize > LARGE else 1
