"""Compiled interpolation from one tensor grid to another, a row at a time so that a SIMD unit can follow."""

from typing import Any

from numpy.typing import NDArray

from slimwave.fem.kernels import compiled

Array = NDArray[Any]


@compiled("contract")
def combine_rows(first: Array, weights: Array, rows: Array, out: Array) -> None:
    """Write Σ_k weights[k, a] · rows[first[a] + k] into row a of `out`.

    Shapes: first (m,), weights (terms, m), rows (n, length), out (m, length).
    """
    for a in range(out.shape[0]):
        target = out[a]
        row, weight = rows[first[a]], weights[0, a]
        for j in range(target.size):
            target[j] = weight * row[j]
        for k in range(1, weights.shape[0]):
            row, weight = rows[first[a] + k], weights[k, a]
            for j in range(target.size):
                target[j] += weight * row[j]


@compiled("contract")
def interpolate(
    first_x: Array,
    weights_x: Array,
    first_y: Array,
    weights_y: Array,
    fields: Array,
    half: Array,
    turned: Array,
    out: Array,
) -> None:
    """out[s, a, b] = Σ_ij weights_x[i, a] weights_y[j, b] fields[s, first_y[b] + j, first_x[a] + i].

    Shapes: fields (batch, ny, nx), y first; out (batch, ma, mb); buffers half (mb, nx) and turned (nx, mb).
    """
    for s in range(out.shape[0]):
        combine_rows(first_y, weights_y, fields[s], half)
        for i in range(turned.shape[0]):
            for b in range(turned.shape[1]):
                turned[i, b] = half[b, i]
        combine_rows(first_x, weights_x, turned, out[s])
