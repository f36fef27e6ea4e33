"""Compiled matrix-free products with L = M⁻¹K on tensor grids, each followed by what a time step makes of it.

Along each line of p + 1 nodes of an element, K acts as Dᵀ G D: differentiate, multiply by the weights
G = c² w_q / h · (mass across the line), differentiate back (sum factorisation: Deville, Fischer and Mund,
High-Order Methods for Incompressible Fluid Flow, 2002, chapter 4). An operator is then 3.5 numbers per node
at p = 4, where sparse rows have 21 with their indices.

The loops go over registers of lanes, one lane per element (see `lanes` and `lane_code`). A line ends on the
first node of the next element, which gets its share through `carry` (along x) or the lane beside (along y).
"""

from typing import Any

from numba import types
from numpy.typing import NDArray

from slimwave.fem.kernels import compiled
from slimwave.fem.lane_code import Line, instructions
from slimwave.fem.lanes import ALIGNMENT, GRAIN, LaneLayout, Strides
from slimwave.fem.node_code import Node, finish

Array = NDArray[Any]


@instructions
def _line_along_x(  # type: ignore[no-untyped-def]
    _typing: Any, weights, y, total, carry, g, node, place, end, lanes, next_x, order
):  # fmt: skip
    """Put the product of one register of lines along x into `total`, its last entry into `carry`."""
    signature = types.void(weights, y, total, carry, g, node, place, end, lanes, next_x, order)
    p = len(order)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        line = Line(context, builder, signature, values, p)
        weights, y, total, carry = (line.array(k) for k in range(4))
        g, node, place, end, lanes, next_x = values[4:10]
        nodes = [line.at(node, lanes, k * p) for k in range(p)] + [builder.add(node, next_x)]
        product = line.product(weights, g, y, nodes)
        for k in range(p):
            line.memory.store(product[k], total, line.at(place, GRAIN, k * p))
        line.memory.store(product[p], carry, end)
        return context.get_dummy_value()

    return signature, generate


@instructions
def _line_along_y(  # type: ignore[no-untyped-def]
    _typing: Any, weights, y, fields, total, carry, beside, factors, g, row, node, place, end, slot, lanes,
    apart, first, edges, order,
):  # fmt: skip
    """Add the product of one register of lines along y to `total` and do with it what `fields` ask for.

    `first` is a tuple, empty but for lines with the first nodes of elements along x, which take `carry` in;
    `edges` is one too, empty unless damping differs at the first node of an element's line only.
    """
    signature = types.void(
        weights, y, fields, total, carry, beside, factors, g, row, node, place, end, slot, lanes, apart,
        first, edges, order,
    )  # fmt: skip
    p, takes_carry, edges_only = len(order), len(first) > 0, len(edges) > 0

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        line = Line(context, builder, signature, values, p)
        weights, y, total, carry, beside = (line.array(k) for k in (0, 1, 3, 4, 5))
        fields, factors = line.arrays(2), line.scalars(6)
        g, row, node, place, end, slot, lanes, apart = values[7:15]
        memory = line.memory
        places = [line.at(node, lanes, k) for k in range(p)] + [line.at(node, 1, 1)]
        product = line.product(weights, g, y, places)
        before = memory.load(beside, slot)
        memory.store(product[p], beside, slot)
        product[0] = product[0] + memory.shift(before, product[p])
        nodes = []
        for k in range(p):
            force = product[k] + memory.load(total, line.at(place, GRAIN, k))
            if takes_carry:
                force = force + memory.load(carry, line.at(end, apart, k))
            inverse_mass = memory.load(weights, line.at(g, GRAIN, p + 1 + k))
            nodes.append(Node(memory, places[k], line.at(row, GRAIN, k), force, inverse_mass))
        finish(nodes, fields, factors, edges_only=edges_only)
        return context.get_dummy_value()

    return signature, generate


@compiled()
def block_update(
    weights: Array,
    y: Array,
    fields: tuple[Array, ...],
    edges: tuple[int, ...],
    total: Array,
    carry: Array,
    beside: Array,
    factors: tuple[float, float, float],
    block: int,
    product: int,
    strides: Strides,
    order: tuple[int, ...],
) -> None:
    """Multiply one block with K and go on as `fields` ask for.

    Parameters
    ----------
    weights
        Of one medium, from `LaneLayout.pack_weights`.
    y
        The field.
    fields, factors
        What is done with the product, see `node_code.finish`.
    edges
        Empty, or one number if damping differs at the edges of elements only, the first nodes of their lines.
    total, carry, beside
        Buffers; the last two hold, for each product under way, what its previous block has left for this one.
    product
        Number of the product among these.
    """
    p, lanes, column, apart = len(order), strides.lanes, strides.column, strides.carry
    width = ALIGNMENT // total.itemsize
    line_x, line_y = (p + 1) * GRAIN, (2 * p + 1) * GRAIN
    first = block * strides.block
    used = min(strides.block, strides.used - first)
    inner = min(strides.block, (max(0, strides.inner - first) + GRAIN - 1) // GRAIN * GRAIN)
    end, slot = product * p * apart, product * p * width
    along_x = first * p * (p + 1)
    along_y = (strides.used + GRAIN - 1) // GRAIN * p * line_x + first * p * (2 * p + 1)
    if block == 0:
        beside[slot : slot + p * width] = 0
    for k in range(p):
        left = end + k * apart
        for lane in range(column):
            carry[left + lane] = carry[left + strides.block + lane] if block > 0 else 0
    for lane in range(0, inner, width):
        grain, within = lane // GRAIN, lane % GRAIN
        for k in range(p):
            _line_along_x(
                weights, y, total, carry, along_x + (grain * p + k) * line_x + within,
                first + k * lanes + lane, (grain * p * p + k) * GRAIN + within,
                end + k * apart + column + lane, lanes, column, order,
            )  # fmt: skip
    if inner < used:
        total[inner * p * p :] = 0
    for lane in range(0, used, width):
        grain, within = lane // GRAIN, lane % GRAIN
        g, place = along_y + grain * p * line_y + within, grain * p * p * GRAIN + within
        row = first * p * p + place
        _line_along_y(
            weights, y, fields, total, carry, beside, factors, g, row, first + lane, place, end + lane,
            slot, lanes, apart, (0,), (), order,
        )  # fmt: skip
        if lane < inner:
            for k in range(1, p):
                _line_along_y(
                    weights, y, fields, total, carry, beside, factors, g + k * line_y,
                    row + k * p * GRAIN, first + k * p * lanes + lane, place + k * p * GRAIN, end + lane,
                    slot + k * width, lanes, apart, (), edges, order,
                )  # fmt: skip


@compiled()
def update(
    weights: Array,
    y: Array,
    x: Array,
    out: Array,
    work: Array,
    factors: tuple[float, float, float],
    strides: Strides,
    order: tuple[int, ...],
) -> None:
    """Out ← a·x + b·out − s·L y with `factors` = (a, b, s) for each sample of a batch (batch, size)."""
    total, carry, beside = divide(work, 1, strides, order)
    for sample in range(y.shape[0]):
        table = weights[sample if weights.shape[0] > 1 else 0]
        fields = (x[sample], out[sample], out[sample])
        for block in range(strides.blocks):
            block_update(
                table, y[sample], fields, (), total, carry, beside, factors, block, 0, strides, order
            )  # fmt: skip


@compiled()
def divide(
    work: Array, products: int, strides: Strides, order: tuple[int, ...]
) -> tuple[Array, Array, Array]:
    """Buffers `total`, `carry` and `beside` for so many products under way."""
    p = len(order)
    start = p * p * strides.block
    end = start + products * p * strides.carry
    return work[:start], work[start:end], work[end : end + products * p * (ALIGNMENT // work.itemsize)]


def buffer_size(layout: LaneLayout, itemsize: int, products: int = 1) -> int:
    """Length of the buffer that `divide` divides."""
    strides, p = layout.strides, layout.order
    return p * (p * strides.block + products * (strides.carry + ALIGNMENT // itemsize))
