"""Layout of fields on a tensor grid for SIMD: the nodes sorted by their place in the element.

Node (i, j) of a grid of order p is node (a, b) of element (e, f): i = p e + a, j = p f + b with
0 ≤ a, b < p. The last line of nodes along an axis counts as a = 0 of one more, empty element. All nodes of
a class (a, b) lie side by side, one lane per element, so that a SIMD unit works on as many elements at once
as it has lanes, whatever the order:

    state[block, a, b, lane].

A small mesh is one block with the lanes (e, f); of a large one each column e of elements is a block with the
lanes f, so that the blocks of a few columns stay in the cache. Lanes and classes without a node hold zeros.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

ALIGNMENT = 64
"""Bytes of a SIMD register and of a cache line."""

GRAIN = 16
"""Lanes are counted in multiples of this: one register of float32, two of float64."""

LARGEST_BLOCK = 512
"""Lanes of the largest mesh that is kept in one block."""


class Strides(NamedTuple):
    """The layout in numbers, as the compiled loops want it.

    Attributes
    ----------
    blocks
        Number of blocks.
    lanes
        Distance of two classes in memory.
    used, inner, last_inner
        Lanes of a block that hold nodes with a = 0; with a > 0; and the latter in the last block.
    along_x
        From a node of class a = 0 to that of the next element along x.
    state, weights
        Sizes of one block of a state and of the weights.
    carry_x
        Lanes from an element to the next one along x, 0 if that is in the next block.
    carry
        Length of one line of the carry, see `line_kernels`.
    """

    blocks: int
    lanes: int
    used: int
    inner: int
    last_inner: int
    along_x: int
    state: int
    weights: int
    carry_x: int
    carry: int


@dataclass(frozen=True)
class LaneLayout:
    """Layout of the nodes of `elements` = (along x, along y) elements of order p."""

    elements: tuple[int, int]
    order: int

    @property
    def one_block(self) -> bool:
        """Whether the whole mesh is one block."""
        return (self.elements[0] + 1) * (self.elements[1] + 1) <= LARGEST_BLOCK

    @cached_property
    def strides(self) -> Strides:
        """The layout in numbers."""
        (along_x, along_y), p = self.elements, self.order
        column = along_y + 1
        used = (along_x + 1) * column if self.one_block else column
        lanes = _odd_multiple(used)
        block, weights = p * p * lanes, (2 * p * (p + 1) + p * p) * lanes
        if self.one_block:
            inner, carry = along_x * column, _rounded(used + column)
            return Strides(1, lanes, used, inner, inner, column, block, weights, column, carry)
        return Strides(along_x + 1, lanes, used, used, 0, block, block, weights, 0, lanes)

    @cached_property
    def size(self) -> int:
        """Length of a state, with a margin of zeros that the last lanes may read."""
        strides = self.strides
        return strides.blocks * strides.state + _rounded(strides.along_x + 1)

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """Position in a state of each node of the grid, shape (p · along x + 1, p · along y + 1)."""
        p, strides = self.order, self.strides
        (e, a), (f, b) = (divmod(np.arange(p * n + 1), p) for n in self.elements)
        start = e * (strides.carry_x if self.one_block else strides.state)
        return (start + a * p * strides.lanes)[:, None] + b * strides.lanes + f

    def pack(self, values: NDArray[Any]) -> NDArray[Any]:
        """Bring grid values (..., nx, ny) into the layout, shape (..., size)."""
        state = np.zeros((*values.shape[:-2], self.size), values.dtype)
        state[..., self.places] = values
        return state

    def unpack(self, state: NDArray[Any]) -> NDArray[Any]:
        """Grid values (..., nx, ny) of a state (..., size)."""
        return state[..., self.places]

    def pack_weights(
        self, along_x: NDArray[Any], along_y: NDArray[Any], inverse_mass: NDArray[Any], dtype: DTypeLike
    ) -> NDArray[Any]:
        """Bring the factors of `line_kernels` into the layout, shape (..., blocks · weights).

        A block holds for every lane the weights along x [b, q], along y [a, q] and the inverse mass [a, b].

        Parameters
        ----------
        along_x, along_y
            G of the lines along x and along y, shapes (..., elements x, p + 1, ny) and
            (..., nx, elements y, p + 1).
        inverse_mass
            Shape (..., nx, ny).
        dtype
            Type of the weights.
        """
        strides = self.strides
        table = aligned_zeros((*along_x.shape[:-3], strides.blocks * strides.weights), dtype)
        for places, values in zip(self._weight_places, (along_x, along_y, inverse_mass), strict=True):
            table[..., places] = values
        return table

    @cached_property
    def _weight_places(self) -> tuple[NDArray[np.int64], ...]:
        p, strides, (columns, rows) = self.order, self.strides, self.elements
        (e, a), (f, b) = (divmod(np.arange(p * n + 1), p) for n in self.elements)
        column = strides.carry_x or strides.weights  # from an element to the next one along x
        q = np.arange(p + 1) * strides.lanes
        along_y, mass = (n * p * (p + 1) * strides.lanes for n in (1, 2))
        lines_x = b * (p + 1) * strides.lanes + f
        lines_y = along_y + e * column + a * (p + 1) * strides.lanes
        return (
            np.arange(columns)[:, None, None] * column + q[:, None] + lines_x,
            lines_y[:, None, None] + np.arange(rows)[:, None] + q,
            (mass + e * column + a * p * strides.lanes)[:, None] + b * strides.lanes + f,
        )


def aligned_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros that begin at a multiple of `ALIGNMENT` bytes: registers are loaded faster from there."""
    itemsize = np.dtype(dtype).itemsize
    count = int(np.prod(shape))
    buffer = np.zeros(count + ALIGNMENT // itemsize, dtype)
    start = -(buffer.ctypes.data // itemsize) % (ALIGNMENT // itemsize)
    return buffer[start : start + count].reshape(shape)


def _rounded(lanes: int) -> int:
    return -(-lanes // GRAIN) * GRAIN


def _odd_multiple(lanes: int) -> int:
    """Round up to an odd multiple of `GRAIN`, so that the classes do not fall into the same cache sets."""
    grains = -(-lanes // GRAIN)
    return (grains + 1 - grains % 2) * GRAIN
