"""Compiled depthwise filters along one axis, and their gradients, on one CPU core.

    y[c, p] = Σ_k w[c, k] x[c, p + k e]        e: one node along the axis

A filter along an axis moves every number once and multiplies it k times, which general convolutions make far
too much of: their backward pass takes several times as long. With the number of taps known to the compiler
these loops read the field once, add k products in a register, and write once.

Fields are contiguous: (samples, channels, before, nodes, after), with the axes before and after the filtered
one flattened. Where nothing comes after it, the loops run along the filtered axis itself.

Without numba, or with its compiler switched off, the loops are Python's own: right, but far too slow to be
used, and `COMPILED` is false.
"""

import contextlib
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

# numba brings llvmlite, which it cannot do without: neither is asked for by itself.
try:
    import numba
except ImportError:  # missing, or not made for this Python or numpy
    COMPILED = False
else:
    COMPILED = not numba.config.DISABLE_JIT  # type: ignore[attr-defined]

Floats = NDArray[np.float32]
F = TypeVar("F", bound=Callable[..., Any])


class FilterKernels(NamedTuple):
    """Loops for one number of taps, ``kernel(x, w, y)``: y ← w * x.

    Attributes
    ----------
    across
        x: (samples, channels, before, nodes + taps − 1, after), w: (channels, taps)
    along
        x: (samples, channels, before, nodes + taps − 1)
    """

    across: Callable[[Floats, Floats, Floats], None]
    along: Callable[[Floats, Floats, Floats], None]


def _compiled(function: F) -> F:
    """Compile on first use, if anything can; keep the machine code on disk where a cache can be written."""
    if not COMPILED:
        return function
    fast = {"contract", "reassoc", "nsz"}
    compiled_function = numba.njit(nogil=True, fastmath=fast, error_model="numpy")(function)
    with contextlib.suppress(RuntimeError):
        compiled_function.enable_caching()
    return cast(F, compiled_function)


@cache
def filter_kernels(taps: int) -> FilterKernels:
    """Return the loops for a number of taps, compiled once per process and number."""

    @_compiled
    def across(x: Floats, w: Floats, y: Floats) -> None:
        samples, channels, before, nodes, after = y.shape
        for n in range(samples):
            for c in range(channels):
                for b in range(before):
                    for i in range(nodes):
                        for j in range(after):
                            total = w[c, 0] * x[n, c, b, i, j]
                            for k in range(1, taps):
                                total += w[c, k] * x[n, c, b, i + k, j]
                            y[n, c, b, i, j] = total

    @_compiled
    def along(x: Floats, w: Floats, y: Floats) -> None:
        samples, channels, before, nodes = y.shape
        for n in range(samples):
            for c in range(channels):
                for b in range(before):
                    for j in range(nodes):
                        total = w[c, 0] * x[n, c, b, j]
                        for k in range(1, taps):
                            total += w[c, k] * x[n, c, b, j + k]
                        y[n, c, b, j] = total

    return FilterKernels(across, along)


@_compiled
def weight_gradient_across(x: Floats, g: Floats, out: Floats) -> None:
    """out[c, k] += Σ g · x shifted by k, for fields as in `FilterKernels.across`."""
    samples, channels, before, nodes, after = g.shape
    for n in range(samples):
        for c in range(channels):
            for b in range(before):
                for i in range(nodes):
                    for k in range(out.shape[1]):
                        total = np.float32(0)
                        for j in range(after):
                            total += g[n, c, b, i, j] * x[n, c, b, i + k, j]
                        out[c, k] += total


@_compiled
def weight_gradient_along(x: Floats, g: Floats, out: Floats) -> None:
    """out[c, k] += Σ g · x shifted by k, for fields as in `FilterKernels.along`."""
    samples, channels, before, nodes = g.shape
    for n in range(samples):
        for c in range(channels):
            for b in range(before):
                for k in range(out.shape[1]):
                    total = np.float32(0)
                    for j in range(nodes):
                        total += g[n, c, b, j] * x[n, c, b, j + k]
                    out[c, k] += total
