"""Compiled inner loops: the update out ← a·x + b·out − s·L y and whole sequences of time steps.

L = M⁻¹K is stored in one of two ways:

* by diagonals, for a tensor-product grid of GLL nodes (``stencil_*``). Node (i, j) is coupled to the
  nodes at most p places away along x or along y, so that a row of the grid needs 4p + 1 vectors that are
  read in order and multiplied with shifted rows of the field: the loop that a SIMD unit likes.
* as compressed sparse rows, for any other mesh (``sparse_*``).

All work in float32 and float64 and release the interpreter lock. Of the fast-math freedoms, the stencils
use only the contraction of a product and a sum (FMA); the sparse rows may also be summed in another order.
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


@compiled("contract")
def stencil_update(
    diagonals: Array, y: Array, x: Array, out: Array, a: float, b: float, s: float, reach: tuple[int, ...]
) -> None:
    """Out ← a·x + b·out − s·L y on a tensor grid.

    Parameters
    ----------
    diagonals
        L, shape (nx, 4p + 1, ny). Entry 0 is the diagonal; 4d − 3, 4d − 2, 4d − 1, 4d couple to the node
        d places to the left, right, below and above.
    y, x, out
        Fields with a frame of p zeros, shape (nx + 2p, ny + 2p). `out` may be `x`, but not `y`.
    a, b, s
        Scalars of the fields' type.
    reach
        Tuple of p entries. Only its length counts: it is part of the type, so that the compiler knows p,
        unrolls the loop over d and vectorises the one over j.
    """
    p = len(reach)
    nx, _, ny = diagonals.shape
    for i in range(nx):
        row = diagonals[i]
        for j in range(ny):
            total = row[0, j] * y[i + p, j + p]
            for d in range(1, p + 1):
                total += (
                    row[4 * d - 3, j] * y[i + p - d, j + p]
                    + row[4 * d - 2, j] * y[i + p + d, j + p]
                    + row[4 * d - 1, j] * y[i + p, j + p - d]
                    + row[4 * d, j] * y[i + p, j + p + d]
                )
            out[i + p, j + p] = a * x[i + p, j + p] + b * out[i + p, j + p] - s * total


@compiled("contract")
def stencil_leapfrog(
    diagonals: Array, u: Array, old: Array, step2: float, steps: int, reach: tuple[int, ...]
) -> Pair:
    """`steps` times u⁺ = 2u − u⁻ − Δt² L u in place, `step2` = Δt²; returns the newest and the last field."""
    one, two = u.dtype.type(1), u.dtype.type(2)
    for _ in range(steps):
        stencil_update(diagonals, u, u, old, two, -one, step2, reach)
        u, old = old, u
    return u, old


@compiled("contract")
def stencil_lax_wendroff(
    diagonals: Array, u: Array, old: Array, scratch: Array, step2: float, steps: int, reach: tuple[int, ...]
) -> Pair:
    """`steps` times u⁺ = 2u − u⁻ − Δt² L (u − Δt²/12 L u) in place; see `stencil_leapfrog`."""
    zero, one, two = u.dtype.type(0), u.dtype.type(1), u.dtype.type(2)
    twelfth = step2 / u.dtype.type(12)
    for _ in range(steps):
        stencil_update(diagonals, u, u, scratch, one, zero, twelfth, reach)
        stencil_update(diagonals, scratch, u, old, two, -one, step2, reach)
        u, old = old, u
    return u, old


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
    """`stencil_leapfrog` for compressed sparse rows."""
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
    """`stencil_lax_wendroff` for compressed sparse rows."""
    zero, one, two = u.dtype.type(0), u.dtype.type(1), u.dtype.type(2)
    twelfth = step2 / u.dtype.type(12)
    for _ in range(steps):
        sparse_update(starts, columns, entries, u, u, scratch, one, zero, twelfth)
        sparse_update(starts, columns, entries, scratch, u, old, two, -one, step2)
        u, old = old, u
    return u, old


@compiled("contract", "reassoc", "nsz")
def weighted_sum(weights: Array, left: Array, right: Array) -> float:
    """Return Σ weights · left · right, summed in the type of the weights; all of shape (n,)."""
    total = weights.dtype.type(0)
    for i in range(weights.size):
        total += weights[i] * left[i] * right[i]
    return total


@compiled("contract")
def tensor_interpolate(
    first_x: Array,
    weights_x: Array,
    first_y: Array,
    weights_y: Array,
    field: Array,
    row: Array,
    out: Array,
    terms: tuple[int, ...],
) -> None:
    """Interpolate a tensor grid to another: out[a, b] = Σ_ij wx[i, a] wy[j, b] field[fx[a] + i, fy[b] + j].

    Shapes: first_x (ma,), weights_x (p + 1, ma), likewise y with mb; out (ma, mb). `row` is a buffer of the
    length of a row of `field`, `terms` a tuple of p + 1 entries (its length unrolls the loops).
    """
    for a in range(out.shape[0]):
        for j in range(row.size):
            total = weights_x[0, a] * field[first_x[a], j]
            for i in range(1, len(terms)):
                total += weights_x[i, a] * field[first_x[a] + i, j]
            row[j] = total
        for b in range(out.shape[1]):
            total = weights_y[0, b] * row[first_y[b]]
            for j in range(1, len(terms)):
                total += weights_y[j, b] * row[first_y[b] + j]
            out[a, b] = total
