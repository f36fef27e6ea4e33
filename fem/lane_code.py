"""Writing LLVM instructions for registers of lanes, and the derivative along a line of GLL nodes in them.

The loops of `line_kernels` are written in LLVM's own vectors through numba's intrinsics: a compiler would
have to prove that no two of the dozens of rows overlap before it may vectorise, and does not.

D has the symmetry D[p − q, p − k] = −D[q, k], so that sums and differences of opposite nodes need only half
its products (the even-odd decomposition of Solomonoff, J. Comput. Phys. 98, 1992).
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.extending import intrinsic
from numpy.typing import NDArray

from slimwave.fem.gll import differentiation_matrix, gll_nodes
from slimwave.fem.lanes import ALIGNMENT, GRAIN


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


class Line:
    """A line of p + 1 nodes in a function under construction: its arguments, indices and the product Dᵀ G D.

    Parameters
    ----------
    context, builder, signature, values
        What numba hands to the generator of an intrinsic; the first argument is an array.
    order
        p.
    """

    def __init__(self, context: Any, builder: ir.IRBuilder, signature: Any, values: Any, order: int):
        self.builder = builder
        self.order = order
        self._context, self._kinds, self._values = context, signature.args, values
        real = self._kinds[0].dtype
        self.memory = Memory(builder, context.get_value_type(real), real.bitwidth // 8)
        self._matrix = differentiation_matrix(gll_nodes(order)[0])

    def array(self, position: int) -> ir.Value:
        """Where the data of an argument that is an array begin."""
        return self._data(self._kinds[position], self._values[position])

    def arrays(self, position: int) -> list[ir.Value]:
        """Where the data of an argument that is a tuple of arrays begin."""
        pairs = zip(self._kinds[position], self._unpacked(position), strict=True)
        return [self._data(kind, value) for kind, value in pairs]

    def scalars(self, position: int) -> list[Lanes]:
        """Registers filled with the numbers of an argument that is a tuple."""
        return [self.memory.spread(value) for value in self._unpacked(position)]

    def at(self, start: ir.Value, distance: ir.Value | int, count: int) -> ir.Value:
        """Index start + count · distance."""
        times = ir.Constant(start.type, count if isinstance(distance, ir.Value) else count * distance)
        return self.builder.add(
            start, self.builder.mul(distance, times) if isinstance(distance, ir.Value) else times
        )

    def product(self, weights: ir.Value, g: ir.Value, y: ir.Value, nodes: list[ir.Value]) -> list[Lanes]:
        """Dᵀ G D y for the nodes at these indices and the weights from weights[g] on."""
        slopes = differentiate(self._matrix, [self.memory.load(y, node) for node in nodes])
        factors = [self.memory.load(weights, self.at(g, GRAIN, q)) for q in range(self.order + 1)]
        fluxes = [slope * factor for slope, factor in zip(slopes, factors, strict=True)]
        return differentiate_back(self._matrix, fluxes)

    def _data(self, kind: Any, value: ir.Value) -> ir.Value:
        return self._context.make_array(kind)(self._context, self.builder, value).data

    def _unpacked(self, position: int) -> list[ir.Value]:
        count = len(self._kinds[position])
        return [self.builder.extract_value(self._values[position], k) for k in range(count)]
