"""Layout of fields on a tensor grid for SIMD: the nodes sorted by their place in the element.

Node (i, j) of a grid of order p is node (a, b) of element (e, f): i = p e + a, j = p f + b with
0 ≤ a, b < p. The last line of nodes along an axis counts as a = 0 of one more, empty element. All nodes of
a class (a, b) lie side by side, one lane per element, so that a SIMD unit works on as many elements at once
as it has lanes, whatever the order:

    state[a, b, lane],   lane = (elements along y + 1) e + f.

The compiled loops pass over a large mesh in blocks of lanes, of which a few fit into a fast cache. Lanes and
classes without a node hold zeros.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

ALIGNMENT = 64
"""Bytes of a SIMD register and of a cache line."""

GRAIN = 16
"""Lanes are counted in multiples of this: one register of float32, two of float64."""

SMALLEST_BLOCK = 512
"""Lanes of a block of a large mesh, unless its columns are longer."""

LARGEST_BLOCK = 2048
"""Lanes of the largest mesh that is worked on as one block."""


class Strides(NamedTuple):
    """The layout in numbers, as the compiled loops want it.

    Attributes
    ----------
    lanes
        Distance of two classes in a state.
    column
        Lanes from an element to the next one along x.
    used, inner
        Number of lanes that hold nodes with a = 0, and with a > 0.
    block, blocks
        Lanes of a block, and how many there are.
    carry
        Length of one line of the carry, see `line_kernels`.
    """

    lanes: int
    column: int
    used: int
    inner: int
    block: int
    blocks: int
    carry: int


@dataclass(frozen=True)
class LaneLayout:
    """Layout of the nodes of `elements` = (along x, along y) elements of order p."""

    elements: tuple[int, int]
    order: int

    @cached_property
    def strides(self) -> Strides:
        """The layout in numbers."""
        along_x, column = self.elements[0], self.elements[1] + 1
        used = (along_x + 1) * column
        block = rounded(used if used <= LARGEST_BLOCK else max(column + 1, SMALLEST_BLOCK))
        # An odd multiple of the grain, so that the classes do not fall into the same sets of the cache.
        lanes = rounded(used) + (rounded(used) // GRAIN + 1) % 2 * GRAIN
        return Strides(
            lanes, column, used, used - column, block, -(-used // block), block + rounded(column) + GRAIN
        )

    @cached_property
    def size(self) -> int:
        """Length of a state, with a margin of zeros that the last lanes may read."""
        return self.order**2 * self.strides.lanes + rounded(self.strides.column + GRAIN)

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """Position in a state of each node of the grid, shape (p · along x + 1, p · along y + 1)."""
        p, strides = self.order, self.strides
        (e, a), (f, b) = (divmod(np.arange(p * n + 1), p) for n in self.elements)
        return (e * strides.column + a * p * strides.lanes)[:, None] + b * strides.lanes + f

    def pack(self, values: NDArray[Any]) -> NDArray[Any]:
        """Bring grid values (..., nx, ny) into the layout, shape (..., size)."""
        state = np.zeros((*values.shape[:-2], self.size), values.dtype)
        state[..., self.places] = values
        return state

    def unpack(self, state: NDArray[Any]) -> NDArray[Any]:
        """Grid values (..., nx, ny) of a state (..., size)."""
        return state[..., self.places]

    def by_lines(self, states: NDArray[Any]) -> NDArray[Any]:
        """Values of states (..., size) in the order in which lines along y read them, shape (..., n).

        For each `GRAIN` of lanes the classes [a, b].
        """
        p, strides = self.order, self.strides
        classes = states[..., : p * p * strides.lanes].reshape(*states.shape[:-1], p * p, -1, GRAIN)
        kept = classes[..., : rounded(strides.used) // GRAIN, :]
        return np.moveaxis(kept, -3, -2).reshape(*states.shape[:-1], -1)

    def pack_weights(
        self, along_x: NDArray[Any], along_y: NDArray[Any], inverse_mass: NDArray[Any], dtype: DTypeLike
    ) -> NDArray[Any]:
        """Bring the factors of `line_kernels` into the layout, shape (..., n).

        They are put in the order in which they are read: for each `GRAIN` of lanes the weights along x
        [b, q]; after all of those, for each `GRAIN` of lanes and each a, the weights along y [q] and the
        inverse mass [b].

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
        p, lanes = self.order, rounded(self.strides.used)
        table = aligned_zeros((*along_x.shape[:-3], p * (3 * p + 2) * lanes), dtype)
        for places, values in zip(self._weight_places, (along_x, along_y, inverse_mass), strict=True):
            table[..., places] = values
        return table

    @cached_property
    def _weight_places(self) -> tuple[NDArray[np.int64], ...]:
        p, strides, (columns, rows) = self.order, self.strides, self.elements
        (e, a), (f, b) = (divmod(np.arange(p * n + 1), p) for n in self.elements)
        grain, within = np.divmod(np.arange(strides.used).reshape(columns + 1, rows + 1), GRAIN)
        start_x = grain * (p * (p + 1) * GRAIN) + within
        start_y = p * (p + 1) * rounded(strides.used) + grain * (p * (2 * p + 1) * GRAIN) + within
        q = np.arange(p + 1) * GRAIN
        line_x, line_y = b * ((p + 1) * GRAIN), a * ((2 * p + 1) * GRAIN)
        return (
            start_x[:columns, None, f] + q[:, None] + line_x,
            start_y[e, :rows, None] + q + line_y[:, None, None],
            start_y[e][:, f] + line_y[:, None] + (p + 1 + b) * GRAIN,
        )


def aligned_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros that begin at a multiple of `ALIGNMENT` bytes: registers are loaded faster from there."""
    itemsize = np.dtype(dtype).itemsize
    count = prod(shape)
    buffer = np.empty(count + ALIGNMENT // itemsize, dtype)  # unlike zeros, this asks for huge pages
    buffer[:] = 0.0
    start = -(buffer.ctypes.data // itemsize) % (ALIGNMENT // itemsize)
    return buffer[start : start + count].reshape(shape)


def rounded(lanes: int) -> int:
    """Round up to a multiple of `GRAIN`."""
    return -(-lanes // GRAIN) * GRAIN
