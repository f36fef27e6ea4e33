"""Compiled marches of a free wave on a tensor grid through many output times, without a way back to Python.

The wave and its weights stay in the fastest caches from the first output time to the last.
"""

from typing import Any

from numpy.typing import NDArray

from slimwave.fem.kernels import compiled
from slimwave.fem.lanes import Strides
from slimwave.fem.line_kernels import advance, divide

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
    `line_kernels.work_size` numbers with four fields; the others are those of `line_kernels.march`.
    """
    size, looks_ahead = fields.shape[1], changes.shape[0] > 0
    u, old, ahead = work[:size], work[size : 2 * size], work[2 * size : 3 * size]
    scratch, buffers = work[3 * size : 4 * size], divide(work[4 * size :], together * stages, strides, order)
    copy(levels[0], u)
    copy(levels[1], old)
    for number in range(counts.size):
        count = counts[number]
        if number > 0 and looks_ahead:
            u, old, ahead = ahead, u, old
            count -= 1
        u, old = advance(table, u, old, scratch, buffers, step2, count, stages, together, strides, order)
        copy(u, fields[number])
        if looks_ahead:
            copy(old, ahead)
            advance(table, u, ahead, scratch, buffers, step2, 1, stages, together, strides, order)
            for k in range(size):
                changes[number, k] = ahead[k] - old[k]
    copy(u, levels[0])
    copy(old, levels[1])
    copy(ahead, levels[2])


@compiled()
def copy(source: Array, target: Array) -> None:
    """Copy a field."""
    for k in range(target.size):
        target[k] = source[k]
