"""The formats in which a network can hold its convolutions, by name.

`make_conv` is what networks call, so that one network is the full or the compressed CNN by a word of its
configuration:

>>> make_conv("dense", 24, 24, 5).weight.shape
torch.Size([24, 24, 5, 5])
>>> make_conv("cp", 24, 24, 5, rank=16).kernel().shape
torch.Size([24, 24, 5, 5])
"""

from typing import Any

from torch import nn

from slimwave.compression.arguments import PerAxis, check_channels, check_odd_kernel, per_axis
from slimwave.compression.one_way import CONV_OF_AXES, OneWayConv

FORMATS = ("dense", "cp")


def make_conv(
    conv: str,
    in_channels: int,
    out_channels: int,
    kernel_size: PerAxis,
    *,
    rank: int | None = None,
    axes: int = 2,
    bias: bool = True,
    stride: PerAxis = 1,
    padding: PerAxis | str = 0,
    dilation: PerAxis = 1,
    padding_mode: str = "zeros",
) -> nn.Module:
    """Build a convolution C_in → C_out in the format named `conv`.

    Parameters
    ----------
    conv
        "dense" (`torch.nn.Conv2d`/`Conv3d`) or "cp" (`OneWayConv`).
    kernel_size
        One odd size for all axes, or one per axis.
    rank
        Number of rank-one terms; needed by "cp", refused by "dense".
    axes
        2 (space) or 3 (space and time).

    Raises
    ------
    ValueError
        Unknown format, zero channels, even kernel, rank missing, needless or outside 1 … full rank.
    """
    if conv not in FORMATS:
        raise ValueError(f"conv: expected one of {', '.join(FORMATS)}, got {conv!r}")
    if axes not in CONV_OF_AXES:
        raise ValueError(f"axes: expected 2 or 3, got {axes}")
    check_channels(in_channels, out_channels)
    kernel = per_axis("kernel_size", kernel_size, axes, minimum=1)
    check_odd_kernel(kernel)
    if (rank is None) != (conv == "dense"):
        remedy = "give rank=R, the number of terms" if rank is None else "leave rank out, or choose conv='cp'"
        raise ValueError(f"rank: got {rank} with conv={conv!r}; {remedy}")
    settings: dict[str, Any] = {
        "stride": per_axis("stride", stride, axes, minimum=1),
        "padding": padding if isinstance(padding, str) else per_axis("padding", padding, axes, minimum=0),
        "dilation": per_axis("dilation", dilation, axes, minimum=1),
        "bias": bias,
        "padding_mode": padding_mode,
    }
    if rank is not None:
        return OneWayConv(in_channels, out_channels, kernel, rank, **settings)
    return CONV_OF_AXES[axes](in_channels, out_channels, kernel, **settings)
