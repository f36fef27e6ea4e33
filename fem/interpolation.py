"""Compiled interpolation of states (see `lanes`) to a uniform grid, straight from their layout.

Along x, the nodes of a column of elements lie side by side, so that registers of them are combined at once.
That leaves, for each x of the grid, a line of nodes along y, in the order [b, element]. Along y, a register
holds neighbouring points of the grid. The nodes of all elements in which these lie are combined with a table
of weights, which are zero for the nodes of another point's element: adding zeros is exact, and cheaper than
collecting the right nodes for each point.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numpy.typing import DTypeLike, NDArray

from slimwave.fem.gll import Array
from slimwave.fem.kernels import compiled
from slimwave.fem.lane_code import Lanes, Memory, instructions
from slimwave.fem.lanes import ALIGNMENT, LaneLayout, aligned_zeros, rounded

ROWS = 4
"""Number of values of x that are worked on together, so that weights are loaded once for all of them."""


class Tables(NamedTuple):
    """Where the points of a grid lie, and their weights, as `interpolate` takes them.

    Attributes
    ----------
    elements_x, weights_x
        Element of each x and the weights of its nodes, shapes (nx,) and (nx, p + 1).
    blocks
        First element along y of each register of points, and how many more it takes; shape (registers, 2).
    weights_y
        Weights of the nodes from that element's first on, shape (registers, nodes, width).
    """

    elements_x: NDArray[np.int64]
    weights_x: NDArray[Any]
    blocks: NDArray[np.int64]
    weights_y: NDArray[Any]


def make_tables(
    along_x: tuple[NDArray[np.int64], Array], along_y: tuple[NDArray[np.int64], Array], dtype: DTypeLike
) -> Tables:
    """Return the tables for the elements (points,) and weights (p + 1, points) along each axis."""
    (elements_x, weights_x), (elements_y, weights_y) = along_x, along_y
    width, p = ALIGNMENT // np.dtype(dtype).itemsize, len(weights_y) - 1
    first = elements_y[::width]
    last = np.append(elements_y[width - 1 :: width], elements_y[-1])[: len(first)]
    blocks = np.stack([first, last - first], axis=1)
    table = aligned_zeros((len(blocks), p * int(blocks[:, 1].max() + 1) + 1, width), dtype)
    block, place = np.divmod(np.arange(len(elements_y)), width)
    nodes = p * (elements_y - first[block]) + np.arange(p + 1)[:, None]
    table[block, nodes, place] = weights_y
    return Tables(elements_x, np.ascontiguousarray(weights_x.T, dtype), blocks, table)


def interpolate(tables: Tables, states: NDArray[Any], layout: LaneLayout, out: NDArray[Any]) -> None:
    """Write the values of states (n, size) on the grid to `out` (n, nx, ny)."""
    columns = rounded(layout.strides.column)
    half = aligned_zeros((ROWS, layout.order * columns), states.dtype)
    lines = aligned_zeros((ROWS, tables.weights_y.shape[0] * tables.weights_y.shape[2]), states.dtype)
    strides = layout.strides
    _interpolate(tables, states, half, lines, out, strides.lanes, strides.column, (0,) * layout.order)


@compiled()
def _interpolate(
    tables: Tables,
    states: NDArray[Any],
    half: NDArray[Any],
    lines: NDArray[Any],
    out: NDArray[Any],
    lanes: int,
    column: int,
    order: tuple[int, ...],
) -> None:
    """See `interpolate`; `half` holds lines of nodes along y of `ROWS` values of x, `lines` their points."""
    p = len(order)
    width = ALIGNMENT // states.itemsize
    apart, columns = half.shape[1], half.shape[1] // p
    window, length = tables.weights_y.shape[1], lines.shape[1]
    weights_x, weights_y = tables.weights_x.reshape(-1), tables.weights_y.reshape(-1)
    nodes, points = half.reshape(-1), lines.reshape(-1)
    for s in range(states.shape[0]):
        state = states[s]
        for first in range(0, out.shape[1], ROWS):
            rows = min(ROWS, out.shape[1] - first)
            for r in range(rows):
                start = tables.elements_x[first + r] * column
                for b in range(p):
                    for lane in range(0, columns, width):
                        _combine_along_x(
                            weights_x, state, nodes, (first + r) * (p + 1), b * lanes + start + lane,
                            column, p * lanes, r * apart + b * columns + lane, order,
                        )  # fmt: skip
            for block in range(tables.blocks.shape[0]):
                _combine_along_y(
                    weights_y, nodes, points, block * window * width, tables.blocks[block, 0],
                    tables.blocks[block, 1] + 1, columns, apart, block * width, length, order,
                )  # fmt: skip
            for r in range(rows):
                for k in range(out.shape[2]):
                    out[s, first + r, k] = lines[r, k]


class _Code:
    """What the two intrinsics share: pointers to the three arrays, and sums of indices."""

    def __init__(self, context: Any, builder: ir.IRBuilder, signature: Any, values: Any):
        self.builder = builder
        real = signature.args[0].dtype
        self.memory = Memory(builder, context.get_value_type(real), real.bitwidth // 8)
        self.data = [
            context.make_array(kind)(context, builder, value).data
            for kind, value in zip(signature.args[:3], values, strict=False)
        ]

    def at(self, start: ir.Value, distance: ir.Value, times: int = 1) -> ir.Value:
        """Index start + times · distance."""
        return self.builder.add(start, self.builder.mul(distance, ir.Constant(start.type, times)))

    def spread(self, data: ir.Value, index: ir.Value) -> Lanes:
        """Fill a register with data[index]."""
        return self.memory.spread(self.builder.load(self.builder.gep(data, [index])))


@instructions
def _combine_along_x(_typing: Any, weights, state, nodes, w, node, column, apart, place, order):  # type: ignore[no-untyped-def]
    """Put Σ_k weights[w + k] · (node k of the element) into a register of `nodes`."""
    signature = types.void(weights, state, nodes, w, node, column, apart, place, order)
    p = len(order)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        code = _Code(context, builder, signature, values)
        weights, state, nodes = code.data
        w, node, column, apart, place = values[3:8]
        one = ir.Constant(w.type, 1)
        places = [code.at(node, apart, k) for k in range(p)] + [builder.add(node, column)]
        total = code.memory.load(state, places[0]) * code.spread(weights, w)
        for k in range(1, p + 1):
            total = total + code.memory.load(state, places[k]) * code.spread(weights, code.at(w, one, k))
        code.memory.store(total, nodes, place)
        return context.get_dummy_value()

    return signature, generate


@instructions
def _combine_along_y(  # type: ignore[no-untyped-def]
    _typing: Any, weights, nodes, points, w, element, count, columns, apart, place, length, order
):
    """Put Σ weights · nodes of `count` elements into a register of each of the `ROWS` rows of `points`."""
    signature = types.void(weights, nodes, points, w, element, count, columns, apart, place, length, order)
    p = len(order)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        code = _Code(context, builder, signature, values)
        weights, nodes, points = code.data
        w, element, count, columns, apart, place, length = values[3:10]
        register = code.memory.type
        zeros = ir.Constant(register, [0.0] * register.count)
        totals = [cgutils.alloca_once_value(builder, zeros) for _ in range(ROWS)]  # type: ignore[no-untyped-call]
        width = ir.Constant(w.type, register.count)

        def add(node: ir.Value, weight: ir.Value) -> None:
            factor = code.memory.load(weights, weight)
            for r, total in enumerate(totals):
                product = factor * code.spread(nodes, code.at(node, apart, r))
                builder.store((Lanes(builder, builder.load(total)) + product).value, total)

        def weight_of(number: ir.Value, b: int) -> ir.Value:
            return code.at(code.at(w, builder.mul(number, width), p), width, b)

        with cgutils.for_range(builder, count) as loop:
            for b in range(p):
                node = code.at(builder.add(element, loop.index), columns, b)
                add(node, weight_of(loop.index, b))
        add(builder.add(element, count), weight_of(count, 0))
        for r, total in enumerate(totals):
            code.memory.store(Lanes(builder, builder.load(total)), points, code.at(place, length, r))
        return context.get_dummy_value()

    return signature, generate
