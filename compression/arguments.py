"""Checks of a convolution's arguments, shared by every format."""

from collections.abc import Sequence
from math import prod

PerAxis = int | Sequence[int]


def per_axis(name: str, value: PerAxis, axes: int, *, minimum: int) -> tuple[int, ...]:
    """Return `value` as one integer per axis, each at least `minimum`.

    Raises
    ------
    ValueError
        If a sequence has another length than `axes`, or an entry is too small or not a whole number.
    """
    values = tuple(value) if isinstance(value, Sequence) else (value,) * axes
    if len(values) != axes:
        raise ValueError(f"{name}: expected one integer or {axes} (one per axis), got {value!r}")
    if any(not isinstance(v, int) or isinstance(v, bool) or v < minimum for v in values):
        raise ValueError(f"{name}: expected integers of at least {minimum}, got {value!r}")
    return values


def check_channels(in_channels: int, out_channels: int) -> None:
    """Refuse a convolution without input or output channels."""
    for name, value in (("in_channels", in_channels), ("out_channels", out_channels)):
        if value < 1:
            raise ValueError(f"{name}: a convolution needs at least one channel, got {value}")


def check_odd_kernel(kernel_size: Sequence[int]) -> None:
    """Refuse an even kernel, which has no centre node to stand on."""
    if any(k % 2 == 0 for k in kernel_size):
        raise ValueError(
            f"kernel_size: expected odd sizes (a kernel is centred on a node), got {tuple(kernel_size)}"
        )


def full_rank(in_channels: int, out_channels: int, kernel_size: Sequence[int]) -> int:
    """Return the rank with which CP can write every kernel of this shape.

    A tensor with sides s_1 … s_m never needs more than ∏ s_i / max s_i rank-one terms.
    """
    sides = (in_channels, out_channels, *kernel_size)
    return prod(sides) // max(sides)
