"""The rank of a compressed layer: a number of terms, a share of the channels, or a target ratio.

One setting, `rank`, in three typed forms that read alike in Python, in YAML and on the command line:

| form | example | meaning |
|---|---|---|
| whole number | `16` | R = 16 terms in every layer |
| fraction in (0, 1] | `0.5` | R = half of the larger of C_in and C_out (`1.0`: all; `1`: one term) |
| text `"Nx"` | `"8x"` | the largest R with which the layer has at most 1/8 of the dense kernel's weights |

A number is held to; a share and a ratio are wishes for many layers at once and never ask for more than the
full rank, which thin layers reach soon.
"""

import math
from collections.abc import Callable
from numbers import Integral

Rank = int | float | str


def check_rank_form(rank: Rank, name: str = "rank") -> None:
    """Refuse what is none of the three forms.

    Raises
    ------
    ValueError
        A number below 1, a fraction outside (0, 1], a ratio that is not written "Nx" with N > 0.
    """
    if isinstance(rank, str):
        ratio_of(rank, name)
    elif isinstance(rank, float):
        if not 0.0 < rank <= 1.0:
            raise ValueError(
                f"{name}: expected a share of the channels above 0 and at most 1, got {rank}; "
                "write a number of terms as a whole number"
            )
    elif isinstance(rank, bool) or not isinstance(rank, Integral) or rank < 1:
        raise ValueError(
            f"{name}: expected a whole number of at least 1, a share such as 0.5, or a ratio such as '8x', "
            f"got {rank!r}"
        )


def ratio_of(rank: str, name: str = "rank") -> float:
    """Return the N of "Nx"."""
    try:
        ratio = float(rank.removesuffix("x")) if rank.endswith("x") else math.nan
    except ValueError:
        ratio = math.nan
    if not 0.0 < ratio < math.inf:
        raise ValueError(
            f"{name}: expected a ratio such as '8x' (dense weights over kept ones), got {rank!r}"
        )
    return ratio


def resolve_rank(
    rank: Rank, *, channels: int, dense_weights: int, weight_count: Callable[[int], int], full_rank: int
) -> int:
    """Return R for one layer; a number (numpy's too) as it is, which the layer itself checks.

    Parameters
    ----------
    channels
        The larger of C_in and C_out.
    dense_weights
        C_in C_out ∏ k_j.
    weight_count
        Weights of the compressed layer as a function of R, growing with it.
    full_rank
        The largest R that is of use.

    Raises
    ------
    ValueError
        A malformed rank, a ratio that even one term does not reach.
    """
    check_rank_form(rank)
    if isinstance(rank, str):
        return _rank_of_ratio(ratio_of(rank), dense_weights, weight_count, full_rank)
    if isinstance(rank, float):
        return min(max(1, round(rank * channels)), full_rank)
    return int(rank)


def _rank_of_ratio(
    ratio: float, dense_weights: int, weight_count: Callable[[int], int], full_rank: int
) -> int:
    if weight_count(1) * ratio > dense_weights:
        largest = dense_weights / weight_count(1)
        raise ValueError(f"rank: one term reaches a ratio of {largest:.3g}x at most, got '{ratio:g}x'")
    low, high = 1, full_rank  # weight_count(low) fits; halve until the next rank does not
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if weight_count(middle) * ratio <= dense_weights else (low, middle - 1)
    return low
