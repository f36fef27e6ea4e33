"""Compiled convolution with a sparse kernel: real speed from zeros, on one CPU core.

A convolution without stride is a sum of shifted planes,

    y[o, p] = b[o] + Σ_n w_n · x[s_n + p]    over the nonzero weights n of output channel o,

where s_n is the place, in a flat padded input, of the channel and the tap that w_n belongs to. That holds
for any kernel size, dilation and number of groups, so one loop serves k×k kernels, the 1×1 factors of one-way
layers and their depthwise filters. A tile of output pixels stays in registers while the weights pass by: one
load and one multiply–add per weight and register, nothing for a zero. A ReLU costs two instructions per
register, just before the tile is stored.

Runtimes for dense layers gain nothing from zeros, and general sparse matrix products lose to them (im2col
costs more than it saves).

Without numba this module can be imported, and `UNAVAILABLE` says why nothing in it can be called.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

try:
    import numba
    from llvmlite import binding, ir  # type: ignore[import-untyped]
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic
except ModuleNotFoundError as error:
    UNAVAILABLE = f"{str(error.name).partition('.')[0]} is missing: pip install numba"
except ImportError as error:
    UNAVAILABLE = f"numba does not load ({error}): pip install --upgrade numba"
else:
    disabled = numba.config.DISABLE_JIT  # type: ignore[attr-defined]
    UNAVAILABLE = "numba compiles nothing: unset NUMBA_DISABLE_JIT" if disabled else ""

Floats = NDArray[np.float32]
Places = NDArray[np.int64]
Kernel = tuple[Places, Places, Floats, Floats]
Pair = tuple[int, int]
Floor = np.float32 | None
F = TypeVar("F", bound=Callable[..., Any])

LANES = 16 if not UNAVAILABLE and binding.get_host_cpu_features().get("avx512f") else 8
"""Numbers in a register; AVX-512 has 32 registers of 16, AVX2 16 of 8, NEON 32 of half as many."""

WIDE = (2, 4)
NARROW = (8, 1)
"""Rows and registers per row of the two tiles: eight sums that do not wait for one another."""

SMALLEST = (NARROW[0], NARROW[1] * LANES)
"""Fewest rows and columns of an output plane."""

SLAB = 16
"""Rows of the output that go through a chain of kernels together."""

STEP = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("source", "source_pitch", "target", "target_pitch", "target_plane"),
            *("rows", "columns", "first", "last", "relu"),
        )
    ]
)
"""One convolution of a run, see `sparse_run`.

`source`: place of its padded input in the memory; `target`: place of the first output pixel there, in y for
the last one; `…_pitch`, `…_plane`: steps to the next row and the next channel; `rows`, `columns`: size of the
output; `first`, `last`: its output channels among those of the whole run, `last` excluded; `relu`: 1 or 0.
"""


def _instruction(function: Callable[..., Any]) -> Any:
    """Make a function that writes machine instructions callable from compiled code."""
    return function if UNAVAILABLE else intrinsic(function)


def _tile(rows: int, registers: int) -> Any:
    """Write the instructions for one tile of `rows` × `registers · LANES` pixels of one output channel.

    Where its last argument is a number, sums below it become it; for None there is not even a comparison.
    """

    def tile(  # type: ignore[no-untyped-def]  # numba calls it with the types of the arguments
        _typing, y, _y_place, _y_pitch, x, _x_place, _x_pitch, values, places, _first, _last, _bias, floor
    ):
        long = types.int64
        arguments = (y, long, long, x, long, long, values, places, long, long, types.float32, floor)
        return types.void(*arguments), _Tile(rows, registers, bounded=floor is not types.none)

    return _instruction(tile)


class _Tile:
    """Generates the tile's loop over the weights first … last − 1; see `_tile` for the arguments."""

    def __init__(self, rows: int, registers: int, bounded: bool):
        self.rows, self.registers, self.bounded = rows, registers, bounded
        self.vector = ir.VectorType(ir.FloatType(), LANES)

    def __call__(self, context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        y_place, y_pitch, x_place, x_pitch = values[1], values[2], values[4], values[5]
        y, x, weights, places = (self._data(context, builder, signature, values, n) for n in (0, 3, 6, 7))
        sums = [
            cgutils.alloca_once(builder, self.vector)  # type: ignore[no-untyped-call]
            for _ in range(self.rows * self.registers)
        ]
        for total in sums:
            builder.store(self._spread(builder, values[10]), total)
        one = ir.Constant(ir.IntType(64), 1)
        with cgutils.for_range_slice(builder, values[8], values[9], one, inc=True) as (n, _):
            weight = self._spread(builder, builder.load(builder.gep(weights, [n])))
            start = builder.add(x_place, builder.load(builder.gep(places, [n])))
            for total, address in zip(sums, self._addresses(builder, x, start, x_pitch), strict=True):
                term = builder.fmul(weight, builder.load(address, align=4), flags=("contract",))
                builder.store(builder.fadd(builder.load(total), term, flags=("contract",)), total)
        for total, address in zip(sums, self._addresses(builder, y, y_place, y_pitch), strict=True):
            builder.store(self._raised(builder, builder.load(total), values[11]), address, align=4)
        return context.get_dummy_value()

    def _raised(self, builder: ir.IRBuilder, sums: ir.Value, floor: ir.Value) -> ir.Value:
        """Raise sums to the floor, if there is one; NaN is below nothing and stays."""
        if not self.bounded:
            return sums
        least = self._spread(builder, floor)
        return builder.select(builder.fcmp_ordered("<", sums, least), least, sums)

    @staticmethod
    def _data(context: Any, builder: ir.IRBuilder, signature: Any, values: Any, n: int) -> ir.Value:
        return context.make_array(signature.args[n])(context, builder, values[n]).data

    def _addresses(
        self, builder: ir.IRBuilder, data: ir.Value, place: ir.Value, pitch: ir.Value
    ) -> list[ir.Value]:
        """Where the registers of the tile's rows lie, row after row."""
        found = []
        for row in range(self.rows):
            place = builder.add(place, pitch) if row else place
            for register in range(self.registers):
                index = builder.add(place, ir.Constant(ir.IntType(64), register * LANES))
                found.append(builder.bitcast(builder.gep(data, [index]), self.vector.as_pointer()))
        return found

    def _spread(self, builder: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
        """Fill a register with one number."""
        empty = ir.Constant(self.vector, ir.Undefined)
        single = builder.insert_element(empty, scalar, ir.Constant(ir.IntType(32), 0))
        order = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(single, empty, order)


def _register_copy(_typing, y, _y_place, x, _x_place):  # type: ignore[no-untyped-def]
    """Copy one register from x[x_place …] to y[y_place …]; a loop over numbers takes four times as long."""

    def instructions(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        data = [context.make_array(signature.args[n])(context, builder, values[n]).data for n in (0, 2)]
        vector = ir.VectorType(ir.FloatType(), LANES).as_pointer()
        places = (values[1], values[3])
        target, source = (
            builder.bitcast(builder.gep(array, [place]), vector)
            for array, place in zip(data, places, strict=True)
        )
        builder.store(builder.load(source, align=4), target, align=4)
        return context.get_dummy_value()

    return types.void(y, types.int64, x, types.int64), instructions


_copy: Any = _instruction(_register_copy)
_wide_tile, _narrow_tile = _tile(*WIDE), _tile(*NARROW)


def compiled(function: F) -> F:
    """Compile on first use; keep the machine code on disk where a cache folder can be written."""
    if UNAVAILABLE:
        return function
    compiled_function = numba.njit(nogil=True, error_model="numpy")(function)
    with contextlib.suppress(RuntimeError):
        compiled_function.enable_caching()
    return cast(F, compiled_function)


@compiled
def _wide_columns(
    x: Floats, y: Floats, corner: Pair, pitch: Pair, plane: int, size: Pair, kernel: Kernel, floor: Floor
) -> None:
    """Fill the first columns of all channels, `size` = (rows, columns) with whole wide tiles.

    `corner` and `pitch`: first place, and step from row to row, in x and in y; `plane`: step from channel to
    channel in y. Outputs below `floor` become it, unless it is None. A last, odd row is computed with the one
    before it once more.
    """
    starts, places, values, bias = kernel
    for top in range(0, size[0], 2):
        i = min(top, size[0] - 2)
        for j in range(0, size[1], 4 * LANES):
            source, target = corner[0] + i * pitch[0] + j, corner[1] + i * pitch[1] + j
            for o in range(bias.size):
                first, last = starts[o], starts[o + 1]
                _wide_tile(
                    y, target, pitch[1], x, source, pitch[0], values, places, first, last, bias[o], floor
                )
                target += plane


@compiled
def _narrow_columns(
    x: Floats,
    y: Floats,
    corner: Pair,
    pitch: Pair,
    plane: int,
    size: Pair,
    done: int,
    kernel: Kernel,
    floor: Floor,
) -> None:
    """Fill the columns from `done` on, of all channels; see `_wide_columns`."""
    starts, places, values, bias = kernel
    for top in range(0, size[0], 8):
        i = min(top, size[0] - 8)
        for left in range(done, size[1], LANES):
            j = min(left, size[1] - LANES)
            source, target = corner[0] + i * pitch[0] + j, corner[1] + i * pitch[1] + j
            for o in range(bias.size):
                first, last = starts[o], starts[o + 1]
                _narrow_tile(
                    y, target, pitch[1], x, source, pitch[0], values, places, first, last, bias[o], floor
                )
                target += plane


@compiled
def _convolve(
    x: Floats, y: Floats, corner: Pair, pitch: Pair, plane: int, size: Pair, kernel: Kernel, floor: Floor
) -> None:
    """Fill all `size` = (rows, columns) pixels of all channels; see `_wide_columns`."""
    wide = size[1] - size[1] % (4 * LANES)
    _wide_columns(x, y, corner, pitch, plane, (size[0], wide), kernel, floor)
    _narrow_columns(x, y, corner, pitch, plane, size, wide, kernel, floor)


@compiled
def _stage(slab: Floats, y: Floats, corner: Pair, plane: int, size: Pair, kernel: Kernel) -> None:
    """Convolve a slab; see `_wide_columns`."""
    _convolve(slab.ravel(), y, corner, (slab.shape[2], size[1]), plane, size, kernel, None)


@compiled
def _fill_slab(x: Floats, n: int, top: int, zeros: Pair, slab: Floats) -> None:
    """Copy what the output rows from `top` on need of sample n, with zeros around it."""
    channels, height, width = x.shape[1:]
    rows, columns = slab.shape[1:]
    source, target = x.ravel(), slab.ravel()
    for channel in range(channels):
        for i in range(rows):
            row, line = top + i - zeros[0], (channel * rows + i) * columns
            if 0 <= row < height:
                first = ((n * channels + channel) * height + row) * width
                target[line : line + zeros[1]] = 0
                for j in range(0, width, LANES):
                    step = min(j, width - LANES)
                    _copy(target, line + zeros[1] + step, source, first + step)
                target[line + zeros[1] + width : line + columns] = 0
            else:
                target[line : line + columns] = 0


@compiled
def sparse_convolution(x: Floats, y: Floats, kernel: Kernel) -> None:
    """Convolve without padding, with a sparse kernel, on one core.

    Parameters
    ----------
    x
        Input, shape (batch, channels, depth, height, width), contiguous; depth 1 for two axes.
    y
        Output, of such a shape too; height and width at least `SMALLEST`. Filled.
    kernel
        (starts, places, values, bias): output channel o has the weights `values[starts[o] : starts[o + 1]]`.
        They belong to these `places` in a sample, for the first output pixel; bias has shape (channels,).
    """
    batch, channels, depth, height, width = y.shape
    source, target = x.ravel(), y.ravel()
    plane, pitch = height * width, (x.shape[4], width)
    for n in range(batch):
        for t in range(depth):
            corner = n * x[0].size + t * x.shape[3] * x.shape[4], (n * channels * depth + t) * plane
            _convolve(source, target, corner, pitch, depth * plane, (height, width), kernel, None)


@compiled
def sparse_chain(
    x: Floats, zeros: Pair, slabs: tuple[Floats, ...], y: Floats, kernels: tuple[Kernel, ...]
) -> None:
    """Pad with zeros, then convolve with one sparse kernel after the other, on one core, over two axes.

    A few rows go through the whole chain before the next ones, so that all that lies between input and
    output stays in the cache. For a very sparse kernel a padded copy alone would double the time.

    Parameters
    ----------
    x, y
        Input and output, shape (batch, channels, height, width), contiguous.
    zeros
        Zeros to add on either side of the two axes.
    slabs
        Memory to work in: for the input of each kernel an array (channels, rows, columns), with as many rows
        as `SLAB` rows of the output need.
    kernels
        See `sparse_convolution`; their `places` are places in the slab.
    """
    channels, height, width = y.shape[1:]
    target = y.ravel()
    for n in range(len(y)):
        for start in range(0, height, SLAB):
            top = min(start, height - SMALLEST[0])
            spare = SLAB - min(SLAB, height - top)
            _fill_slab(x, n, top, zeros, slabs[0])
            for stage in range(len(kernels) - 1):
                _, rows, columns = slabs[stage + 1].shape
                size, origin = (rows - spare, columns), (0, 0)
                _stage(slabs[stage], slabs[stage + 1].ravel(), origin, rows * columns, size, kernels[stage])
            corner = 0, n * channels * height * width + top * width
            size = (SLAB - spare, width)
            _stage(slabs[len(kernels) - 1], target, corner, height * width, size, kernels[len(kernels) - 1])


@compiled
def _copy_inside(x: Floats, n: int, memory: Floats, place: int, pitch: int, plane: int) -> None:
    """Copy sample n into the memory, its first pixel to this place; see `STEP`."""
    channels, height, width = x.shape[1:]
    source, first = x.ravel(), n * channels * height * width
    for channel in range(channels):
        for i in range(height):
            target = place + channel * plane + i * pitch
            for j in range(0, width, LANES):
                step = min(j, width - LANES)
                _copy(memory, target + step, source, first + step)
            first += width


@compiled
def sparse_run(
    x: Floats,
    inside: tuple[int, int, int],
    memory: Floats,
    y: Floats,
    steps: NDArray[np.void],
    starts: Places,
    places: Places,
    values: Floats,
    bias: Floats,
) -> None:
    """Run several layers, each a padding by zeros, a sparse kernel and perhaps a ReLU, on one core.

    Each layer writes its output inside the borders of the next one's padded input. The borders are zero from
    the start and nobody writes them, so padding costs nothing.

    Parameters
    ----------
    x, y
        Input and output, shape (batch, channels, height, width), contiguous; no plane on the way is smaller
        than `SMALLEST`, and the input no narrower.
    inside
        Place of the first pixel of x in the memory, and the steps to the next row and channel there.
    memory
        The padded inputs of all layers, flat, with their borders zero.
    steps
        The layers, an array of `STEP`.
    starts, places, values, bias
        The kernels of all layers, those of one after those of the other; see `sparse_convolution`.
    """
    target = y.ravel()
    for n in range(len(y)):
        _copy_inside(x, n, memory, inside[0], inside[1], inside[2])
        for k in range(len(steps)):
            step = steps[k]
            kernel = starts[step.first : step.last + 1], places, values, bias[step.first : step.last]
            pitch, size = (step.source_pitch, step.target_pitch), (step.rows, step.columns)
            out = memory if k < len(steps) - 1 else target
            corner = step.source, step.target + (0 if k < len(steps) - 1 else n * y[0].size)
            if step.relu:
                _convolve(memory, out, corner, pitch, step.target_plane, size, kernel, np.float32(0))
            else:
                _convolve(memory, out, corner, pitch, step.target_plane, size, kernel, None)
