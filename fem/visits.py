"""Compiled marches of a wave on a tensor grid through many output times, without a way back to Python.

The wave and its weights stay in the fastest caches from the first output time to the last.
"""

from typing import Any

from numpy.typing import NDArray

from slimwave.fem.kernels import compiled
from slimwave.fem.lanes import Strides
from slimwave.fem.line_kernels import divide
from slimwave.fem.march_kernels import Drag, Loads, advance

Array = NDArray[Any]


@compiled()
def visit(
    table: Array,
    levels: tuple[Array, Array, Array],
    work: Array,
    step2: float,
    counts: NDArray[Any],
    stages: int,
    together: int,
    strides: Strides,
    order: tuple[int, ...],
    fields: Array,
    changes: Array,
) -> None:
    """Take counts[n] time steps to output n, for each n; see `operators.WaveOperator.visit`.

    The levels u, u⁻ and u⁺ are overwritten with those of the last output. `work` is a buffer of
    `march_kernels.work_size` numbers with four fields; the others are those of `march_kernels.march`.
    """
    size, looks_ahead, real = fields.shape[1], changes.shape[0] > 0, fields.dtype.type
    # Two steps between the same two fields, or three fields in turn, so that those around an output stay.
    ring = work[: 3 * size].reshape(3, size)[: 3 if looks_ahead else 2]
    inner, buffers = work[3 * size : 4 * size], divide(work[4 * size :], together * stages, strides, order)
    scalars, count = (real(2), real(-1), step2), len(ring)
    copy(levels[0], ring[0])
    copy(levels[1], ring[count - 1])
    newest = 0
    for number in range(counts.size):
        steps = counts[number] - (1 if number > 0 and looks_ahead else 0)
        advance(
            table, ring, newest, inner, buffers, scalars, step2, (), ring, (), (), 0, steps, stages, together,
            strides, order,
        )  # fmt: skip
        newest += steps
        copy(ring[newest % count], fields[number])
        if looks_ahead:
            advance(
                table, ring, newest, inner, buffers, scalars, step2, (), ring, (), (), 0, 1, stages, together,
                strides, order,
            )  # fmt: skip
            newest += 1
            ahead, old = ring[newest % count], ring[(newest + 1) % count]
            for k in range(size):
                changes[number, k] = ahead[k] - old[k]
    if looks_ahead:
        copy(ring[newest % count], levels[2])
        newest -= 1
    copy(ring[newest % count], levels[0])
    copy(ring[(newest + count - 1) % count], levels[1])


@compiled()
def drive(
    table: Array,
    levels: Array,
    newest: int,
    work: Array,
    scalars: tuple[float, float, float],
    step2: float,
    drag: tuple[Drag, ...],
    forces: Array,
    edges: tuple[int, ...],
    loads: tuple[Loads, ...],
    steps: int,
    ends: NDArray[Any],
    values: Array,
    slopes: Array,
    stages: int,
    together: int,
    strides: Strides,
    order: tuple[int, ...],
    fields: Array,
    velocities: Array,
) -> None:
    """Take `steps` time steps with a driven wave and read it after ends[n] of them, for each n.

    Parameters
    ----------
    work
        Buffer of `march_kernels.work_size` numbers for a field, aligned.
    loads
        Empty, or those from the first step on.
    ends
        Increasing, at most `steps`.
    values, slopes
        Weights of all levels, the oldest first, shape (outputs, ring).
    fields, velocities
        Receive their sums with these weights, shape (outputs, size); there may be no velocities.

    The others are those of `march_kernels.advance`.
    """
    inner, buffers = (
        work[: levels.shape[1]],
        divide(work[levels.shape[1] :], together * stages, strides, order),
    )
    done = 0
    for number in range(ends.size + 1):
        end = ends[number] if number < ends.size else steps
        advance(
            table, levels, newest + done, inner, buffers, scalars, step2, drag, forces, edges, loads, done,
            end - done,
            stages, together, strides, order,
        )  # fmt: skip
        done = end
        if number < ends.size:
            combine(levels, newest + done + 1, values[number], fields[number])
            if velocities.shape[0] > 0:
                combine(levels, newest + done + 1, slopes[number], velocities[number])


@compiled("contract")
def combine(levels: Array, oldest: int, weights: Array, out: Array) -> None:
    """Write the sum of all levels with their weights to `out`; the oldest lies at its number modulo ring."""
    out[:] = 0
    for k in range(weights.size):
        weight, level = weights[k], levels[(oldest + k) % levels.shape[0]]
        if weight != 0:
            for j in range(out.size):
                out[j] += weight * level[j]


@compiled()
def copy(source: Array, target: Array) -> None:
    """Copy a field."""
    for k in range(target.size):
        target[k] = source[k]
