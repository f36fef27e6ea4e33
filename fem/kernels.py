"""Compiled inner loops: energies, sums of products, and L = M⁻¹K in compressed sparse rows, for any mesh.

They work in float32 and float64 and release the interpreter lock. Of the fast-math freedoms they use the
contraction of a product and a sum (FMA) and the summation of a row in another order. Tensor grids have faster
loops of their own, see `line_kernels`.
"""

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numpy.typing import NDArray

Array = NDArray[Any]
Pair = tuple[Array, Array]
F = TypeVar("F", bound=Callable[..., Any])


def compiled(*fastmath: str) -> Callable[[F], F]:
    """Compile with numba on first use and keep the machine code on disk where any cache folder can be
    written.

    numba looks beside the source, then in the user's cache folder, and raises when both are read-only,
    as in some containers. The code is then compiled once per process: slower to start, same results.
    """

    def decorate(function: F) -> F:
        compiled_function = numba.njit(nogil=True, fastmath=set(fastmath), error_model="numpy")(function)
        with contextlib.suppress(RuntimeError):
            compiled_function.enable_caching()
        return cast(F, compiled_function)

    return decorate


@compiled("contract", "reassoc", "nsz")
def sparse_update(
    starts: Array,
    columns: Array,
    entries: Array,
    y: Array,
    x: Array,
    out: Array,
    a: float,
    b: float,
    s: float,
) -> None:
    """Out ← a·x + b·out − s·L y for L in compressed sparse rows; y, x, out have shape (n,)."""
    zero = y.dtype.type(0)
    for i in range(y.size):
        total = zero
        for k in range(starts[i], starts[i + 1]):
            total += entries[k] * y[columns[k]]
        out[i] = a * x[i] + b * out[i] - s * total


@compiled("contract", "reassoc", "nsz")
def sparse_leapfrog(
    starts: Array, columns: Array, entries: Array, u: Array, old: Array, step2: float, steps: int
) -> Pair:
    """`steps` times u⁺ = 2u − u⁻ − Δt² L u in place, `step2` = Δt²; returns the newest and the last field."""
    one, two = u.dtype.type(1), u.dtype.type(2)
    for _ in range(steps):
        sparse_update(starts, columns, entries, u, u, old, two, -one, step2)
        u, old = old, u
    return u, old


@compiled("contract", "reassoc", "nsz")
def sparse_lax_wendroff(
    starts: Array,
    columns: Array,
    entries: Array,
    u: Array,
    old: Array,
    scratch: Array,
    step2: float,
    steps: int,
) -> Pair:
    """`steps` times u⁺ = 2u − u⁻ − Δt² L (u − Δt²/12 L u) in place; see `sparse_leapfrog`."""
    zero, one, two = u.dtype.type(0), u.dtype.type(1), u.dtype.type(2)
    twelfth = step2 / u.dtype.type(12)
    for _ in range(steps):
        sparse_update(starts, columns, entries, u, u, scratch, one, zero, twelfth)
        sparse_update(starts, columns, entries, scratch, u, old, two, -one, step2)
        u, old = old, u
    return u, old


@compiled("contract")
def sum_of_products(left: Array, right: Array, out: Array) -> None:
    """out[i, j] += Σ_k left[k, i] · right[k, j]."""
    for i in range(out.shape[0]):
        row = out[i]
        for k in range(left.shape[0]):
            factor, other = left[k, i], right[k]
            for j in range(row.size):
                row[j] += factor * other[j]


@compiled("contract", "reassoc", "nsz")
def energies(mass: Array, u: Array, v: Array, force: Array, out: Array) -> None:
    """out[n] ← ½ Σ mass (v² + u · force), summed in the type of the mass; fields of shape (n, size)."""
    for n in range(out.size):
        total = mass.dtype.type(0)
        for i in range(mass.size):
            total += mass[i] * (v[n, i] * v[n, i] + u[n, i] * force[n, i])
        out[n] = total / 2


@compiled("contract", "reassoc", "nsz")
def weighted_sum(weights: Array, left: Array, right: Array) -> float:
    """Return Σ weights · left · right, summed in the type of the weights; all of shape (n,)."""
    total = weights.dtype.type(0)
    for i in range(weights.size):
        total += weights[i] * left[i] * right[i]
    return total
