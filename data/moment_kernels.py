"""Compiled loops for means and squared distances from them, in float64 whatever the type of the values.

Each row is passed twice while it is in the fastest cache: no cancellation, and no copy in another type.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimwave.fem.kernels import compiled

Float64 = NDArray[np.float64]


@compiled("contract", "reassoc", "nsz")
def row_moments(rows: NDArray[Any]) -> tuple[Float64, Float64]:
    """Mean and sum of the squared distances from it of each row; rows (n, length), contiguous."""
    means, squares = np.zeros(len(rows)), np.zeros(len(rows))
    for i in range(len(rows)):
        row, total, spread = rows[i], 0.0, 0.0
        for j in range(row.size):
            total += np.float64(row[j])
        mean = total / row.size
        for j in range(row.size):
            spread += (np.float64(row[j]) - mean) ** 2
        means[i], squares[i] = mean, spread
    return means, squares


@compiled("contract", "reassoc", "nsz")
def row_changes(rows: NDArray[Any]) -> tuple[Float64, Float64]:
    """Like `row_moments`, of the difference of each row and the one before it."""
    means, squares = np.zeros(len(rows) - 1), np.zeros(len(rows) - 1)
    for i in range(len(rows) - 1):
        old, new, total, spread = rows[i], rows[i + 1], 0.0, 0.0
        for j in range(old.size):
            total += np.float64(new[j]) - np.float64(old[j])
        mean = total / old.size
        for j in range(old.size):
            spread += (np.float64(new[j]) - np.float64(old[j]) - mean) ** 2
        means[i], squares[i] = mean, spread
    return means, squares
