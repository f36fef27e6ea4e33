"""Compiled matrix-free products with L = M⁻¹K on tensor grids, and whole sequences of time steps.

Along each line of p + 1 nodes of an element, K acts as Dᵀ G D: differentiate, multiply by the weights
G = c² w_q / h · (mass across the line), differentiate back (sum factorisation: Deville, Fischer and Mund,
High-Order Methods for Incompressible Fluid Flow, 2002, chapter 4). D has the symmetry
D[p − q, p − k] = −D[q, k], so that sums and differences of opposite nodes need only half its products (the
even-odd decomposition of Solomonoff, J. Comput. Phys. 98, 1992). An operator is then 3.5 numbers per node at
p = 4, where sparse rows have 21 with their indices.

The loops go over registers of lanes, one lane per element (see `lanes`). They are written in LLVM's own
vectors through numba's intrinsics: a compiler would have to prove that no two of the dozens of rows overlap
before it may vectorise, and does not. A line ends on the first node of the next element, which gets its share
through `carry` (along x) or the lane beside (along y).

One step reads each block once per product. On large meshes, where that costs more than the arithmetic,
several steps follow one another through the blocks like waves, a few blocks apart, so that a block is fetched
from memory once for all of them.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from slimwave.fem.gll import differentiation_matrix, gll_nodes
from slimwave.fem.kernels import compiled
from slimwave.fem.lanes import ALIGNMENT, GRAIN, LaneLayout, Strides

Array = NDArray[Any]

LARGE = 12 * 2**20
"""Bytes of fields and weights from which on they are taken not to stay in the cache between two steps."""

VISIT = 2
"""Number of blocks after which the next of such steps gets its turn; at least 2."""

STEPS_TOGETHER = 12
"""Number of time steps for which a block of such a mesh is fetched from memory once."""


class Lanes:
    """A register of numbers in a function under construction; arithmetic appends instructions."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value):
        self.builder = builder
        self.value = value

    def __add__(self, other: "Lanes") -> "Lanes":
        return Lanes(self.builder, self.builder.fadd(self.value, other.value, flags=("contract",)))

    def __sub__(self, other: "Lanes") -> "Lanes":
        return Lanes(self.builder, self.builder.fsub(self.value, other.value, flags=("contract",)))

    def __mul__(self, other: "Lanes | float") -> "Lanes":
        if isinstance(other, Lanes):
            factor = other.value
        else:
            factor = ir.Constant(self.value.type, [float(other)] * self.value.type.count)
        return Lanes(self.builder, self.builder.fmul(self.value, factor, flags=("contract",)))


class Memory:
    """Access to numba's arrays of one type, a register at a time."""

    def __init__(self, builder: ir.IRBuilder, real: ir.Type, bytes_each: int):
        self.builder = builder
        self.bytes_each = bytes_each
        self.type = ir.VectorType(real, ALIGNMENT // bytes_each)

    def _address(self, data: ir.Value, index: ir.Value) -> ir.Value:
        return self.builder.bitcast(self.builder.gep(data, [index]), self.type.as_pointer())

    def load(self, data: ir.Value, index: ir.Value) -> Lanes:
        """Read the register that begins at data[index]."""
        return Lanes(self.builder, self.builder.load(self._address(data, index), align=self.bytes_each))

    def store(self, lanes: Lanes, data: ir.Value, index: ir.Value) -> None:
        """Write a register to data[index] and on."""
        self.builder.store(lanes.value, self._address(data, index), align=self.bytes_each)

    def spread(self, scalar: ir.Value) -> Lanes:
        """Fill a register with one number."""
        start = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(start, scalar, ir.Constant(ir.IntType(32), 0))
        return Lanes(self.builder, self._shuffle(first, start, [0] * self.type.count))

    def shift(self, before: Lanes, lanes: Lanes) -> Lanes:
        """Move all lanes up by one; the last lane of `before` comes in."""
        order = list(range(self.type.count - 1, 2 * self.type.count - 1))
        return Lanes(self.builder, self._shuffle(before.value, lanes.value, order))

    def _shuffle(self, left: ir.Value, right: ir.Value, order: list[int]) -> ir.Value:
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order)
        return self.builder.shuffle_vector(left, right, mask)


def differentiate(matrix: NDArray[np.float64], u: list[Any]) -> list[Any]:
    """D u from the values at the p + 1 nodes of a line; they may be anything that adds and scales."""
    p = len(u) - 1
    half, middle = (p + 1) // 2, p // 2
    if p % 2 == 0:  # rows of D sum to zero
        u = [value - u[middle] for value in u]
    even = [u[k] + u[p - k] for k in range(half)]
    odd = [u[k] - u[p - k] for k in range(half)]
    slopes: list[Any] = [None] * (p + 1)
    for q in range(half):
        from_even = _combine(0.5 * (matrix[q] + matrix[q, ::-1]), even)
        from_odd = _combine(0.5 * (matrix[q] - matrix[q, ::-1]), odd)
        slopes[q], slopes[p - q] = from_odd + from_even, from_odd - from_even
    if p % 2 == 0:
        slopes[middle] = _combine(matrix[middle], odd)
    return slopes


def differentiate_back(matrix: NDArray[np.float64], t: list[Any]) -> list[Any]:
    """Dᵀ t for the values t at the p + 1 nodes of a line; see `differentiate`."""
    p = len(t) - 1
    half, middle = (p + 1) // 2, p // 2
    even = [t[q] - t[p - q] for q in range(half)]
    odd = [t[q] + t[p - q] for q in range(half)]
    sums: list[Any] = [None] * (p + 1)
    for k in range(half):
        from_even = _combine(0.5 * (matrix[:, k] + matrix[:, p - k]), even)
        from_odd = _combine(0.5 * (matrix[:, k] - matrix[:, p - k]), odd)
        if p % 2 == 0:
            from_odd = from_odd + t[middle] * matrix[middle, k]
            sums[middle] = from_even if k == 0 else sums[middle] + from_even
        sums[k], sums[p - k] = from_even + from_odd, from_even - from_odd
    if p % 2 == 0:  # the sum over all nodes is zero
        sums[middle] = sums[middle] * -2.0
    return sums


def _combine(coefficients: NDArray[np.float64], values: list[Any]) -> Any:
    """Σ coefficients · values over the values; there may be more coefficients."""
    total = values[0] * coefficients[0]
    for coefficient, value in zip(coefficients[1:], values[1:], strict=False):
        total = total + value * coefficient
    return total


def instructions(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function for compiled code of one that writes LLVM instructions."""
    return cast(Callable[..., Any], intrinsic(function))


class _Line:
    """What the two intrinsics share: pointers, indices and the product Dᵀ G D of one line."""

    def __init__(self, context: Any, builder: ir.IRBuilder, signature: Any, values: Any, order: int):
        self.builder = builder
        self.order = order
        arrays = [kind for kind in signature.args if isinstance(kind, types.Array)]
        real = arrays[0].dtype
        self.memory = Memory(builder, context.get_value_type(real), real.bitwidth // 8)
        self.data = [
            context.make_array(kind)(context, builder, value).data
            for kind, value in zip(arrays, values, strict=False)
        ]
        self.matrix = differentiation_matrix(gll_nodes(order)[0])

    def at(self, start: ir.Value, distance: ir.Value | int, count: int) -> ir.Value:
        """Index start + count · distance."""
        times = ir.Constant(start.type, count if isinstance(distance, ir.Value) else count * distance)
        return self.builder.add(
            start, self.builder.mul(distance, times) if isinstance(distance, ir.Value) else times
        )

    def product(self, weights: ir.Value, g: ir.Value, y: ir.Value, nodes: list[ir.Value]) -> list[Lanes]:
        """Dᵀ G D y for the nodes at these indices and the weights from weights[g] on."""
        slopes = differentiate(self.matrix, [self.memory.load(y, node) for node in nodes])
        factors = [self.memory.load(weights, self.at(g, GRAIN, q)) for q in range(self.order + 1)]
        fluxes = [slope * factor for slope, factor in zip(slopes, factors, strict=True)]
        return differentiate_back(self.matrix, fluxes)


@instructions
def _line_along_x(_typing: Any, weights, y, total, carry, g, node, place, end, lanes, next_x, order):  # type: ignore[no-untyped-def]
    """Put the product of one register of lines along x into `total`, its last entry into `carry`."""
    signature = types.void(weights, y, total, carry, g, node, place, end, lanes, next_x, order)
    p = len(order)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        line = _Line(context, builder, signature, values, p)
        weights, y, total, carry = line.data
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
    _typing: Any, weights, y, x, out, total, carry, beside, a, b, s, g, node, place, end, slot, lanes,
    apart, first, order,
):  # fmt: skip
    """Add the product of one register of lines along y to `total` and update `out` with it.

    `first` is a tuple, empty but for lines with the first nodes of elements along x, which take `carry` in.
    """
    signature = types.void(
        weights, y, x, out, total, carry, beside, a, b, s, g, node, place, end, slot, lanes, apart, first,
        order,
    )  # fmt: skip
    p = len(order)
    takes_carry = len(first) > 0

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        line = _Line(context, builder, signature, values, p)
        weights, y, x, out, total, carry, beside = line.data
        scalars, (g, node, place, end, slot, lanes, apart) = values[7:10], values[10:17]
        memory = line.memory
        a, b, s = (memory.spread(scalar) for scalar in scalars)
        one = ir.Constant(node.type, 1)
        nodes = [line.at(node, lanes, k) for k in range(p)]
        product = line.product(weights, g, y, [*nodes, builder.add(node, one)])
        before = memory.load(beside, slot)
        memory.store(product[p], beside, slot)
        product[0] = product[0] + memory.shift(before, product[p])
        for k in range(p):
            force = product[k] + memory.load(total, line.at(place, GRAIN, k))
            if takes_carry:
                force = force + memory.load(carry, line.at(end, apart, k))
            scale = s * memory.load(weights, line.at(g, GRAIN, p + 1 + k))
            kept = memory.load(x, nodes[k]) * a + memory.load(out, nodes[k]) * b
            memory.store(kept - force * scale, out, nodes[k])
        return context.get_dummy_value()

    return signature, generate


@compiled()
def _block_update(
    weights: Array,
    y: Array,
    x: Array,
    out: Array,
    total: Array,
    carry: Array,
    beside: Array,
    factors: tuple[float, float, float],
    block: int,
    product: int,
    strides: Strides,
    order: tuple[int, ...],
) -> None:
    """Out ← a·x + b·out − s·L y for one block.

    `carry` and `beside` hold, for each product under way, what its previous block has left for this one.
    """
    a, b, s = factors
    p, lanes, column, apart = len(order), strides.lanes, strides.column, strides.carry
    width = ALIGNMENT // y.itemsize
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
        _line_along_y(
            weights, y, x, out, total, carry, beside, a, b, s, g, first + lane, place, end + lane, slot,
            lanes, apart, (0,), order,
        )  # fmt: skip
        if lane < inner:
            for k in range(1, p):
                _line_along_y(
                    weights, y, x, out, total, carry, beside, a, b, s, g + k * line_y,
                    first + k * p * lanes + lane, place + k * p * GRAIN, end + lane, slot + k * width, lanes,
                    apart, (), order,
                )  # fmt: skip


@compiled()
def _wave(
    weights: Array,
    u: Array,
    old: Array,
    scratch: Array,
    total: Array,
    carry: Array,
    beside: Array,
    step2: float,
    steps: int,
    stages: int,
    strides: Strides,
    order: tuple[int, ...],
) -> None:
    """`steps` time steps of `stages` products each.

    At each tick, every step visits the `VISIT` blocks behind those of the step before it. There its second
    product keeps one block behind the first, whose weights it finds in the fastest caches.
    """
    zero, one, two = u.dtype.type(0), u.dtype.type(1), u.dtype.type(2)
    twelfth = step2 / u.dtype.type(12)
    visits = (strides.blocks + stages - 1 + VISIT - 1) // VISIT
    for tick in range(visits + steps - 1):
        for step in range(max(0, tick - visits + 1), min(steps, tick + 1)):
            new, now = (old, u) if step % 2 == 0 else (u, old)
            for visited in range((tick - step) * VISIT, (tick - step + 1) * VISIT):
                for stage in range(stages):
                    block = visited - stage
                    if stage < stages - 1:
                        y, x, out, factors = now, now, scratch, (one, zero, twelfth)
                    else:
                        y, x, out, factors = now if stages == 1 else scratch, now, new, (two, -one, step2)
                    if 0 <= block < strides.blocks:
                        _block_update(
                            weights, y, x, out, total, carry, beside, factors, block, step * stages + stage,
                            strides, order,
                        )  # fmt: skip


@compiled()
def advance(
    table: Array,
    u: Array,
    old: Array,
    scratch: Array,
    buffers: tuple[Array, Array, Array],
    step2: float,
    steps: int,
    stages: int,
    together: int,
    strides: Strides,
    order: tuple[int, ...],
) -> tuple[Array, Array]:
    """Take `steps` time steps with one wave, in place; return its newest and its last field.

    The fields are aligned, `buffers` those of `divide`; for the others see `march`.
    """
    done = 0
    while done < steps:
        count = min(together, steps - done)
        _wave(table, u, old, scratch, *buffers, step2, count, stages, strides, order)
        if count % 2 == 1:
            u, old = old, u
        done += count
    return u, old


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
    """Take `steps` time steps with each sample, in place; after an odd number, `old` is the newest field.

    u⁺ = 2u − u⁻ − Δt² L y with y = u (leapfrog) or y = u − Δt²/12 L u (Lax–Wendroff).

    Parameters
    ----------
    weights
        From `LaneLayout.pack_weights`, shape (batch, n) or, for one medium, (1, n).
    u, old
        u and u⁻, shape (batch, size).
    work
        Buffer of `work_size` numbers, aligned.
    step2
        Δt² in the type of the fields.
    stages
        Products per step: 1 for leapfrog, 2 for Lax–Wendroff.
    together
        Number of steps that follow one another through the blocks.
    strides, order
        The layout, and a tuple of p entries, whose length tells the compiler p.
    """
    size = u.shape[1]
    fields = (work[:size], work[size : 2 * size])
    scratch = work[2 * size : 3 * size]
    buffers = divide(work[3 * size :], together * stages, strides, order)
    for sample in range(u.shape[0]):
        fields[0][:], fields[1][:] = u[sample], old[sample]
        table = weights[sample if weights.shape[0] > 1 else 0]
        advance(table, *fields, scratch, buffers, step2, steps, stages, together, strides, order)
        u[sample], old[sample] = fields


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
    """Out ← a·x + b·out − s·L y with `factors` = (a, b, s) for each sample; see `march`."""
    total, carry, beside = divide(work, 1, strides, order)
    for sample in range(y.shape[0]):
        table = weights[sample if weights.shape[0] > 1 else 0]
        for block in range(strides.blocks):
            _block_update(
                table, y[sample], x[sample], out[sample], total, carry, beside, factors, block, 0, strides,
                order,
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


def work_size(layout: LaneLayout, itemsize: int, *, fields: int = 3, products: int = 1) -> int:
    """Length of the buffer of `march`, or of `update`, which keeps no fields in it."""
    strides, p = layout.strides, layout.order
    return fields * layout.size + p * (p * strides.block + products * (strides.carry + ALIGNMENT // itemsize))


def steps_together(layout: LaneLayout, itemsize: int) -> int:
    """Number of time steps that shall follow one another through the blocks of a mesh."""
    p, lanes = layout.order, layout.strides.lanes
    fields, weights = 3 * p * p * lanes, p * (3 * p + 2) * lanes
    return STEPS_TOGETHER if (fields + weights) * itemsize > LARGE else 1
