"""The formats in which a network can hold its convolutions, by name.

`make_conv` is what networks call, so that one network is the full or a compressed CNN by a word of its
configuration:

>>> make_conv("dense", 24, 24, 5).kernel().shape
torch.Size([24, 24, 5, 5])
>>> make_conv("cp", 24, 24, 5, rank=16).kernel().shape
torch.Size([24, 24, 5, 5])
>>> make_conv("separable", 24, 24, 5, rank="4x").rank
15

The names are `FORMATS`; `RANKED_FORMATS` are those that need a rank.  Both come from
`slimwave.compression.choices`, which loads without torch.

| format | weights, C_in → C_out, kernel ∏ k_j | |
|---|---|---|
| `dense` | C_in C_out ∏ k_j | torch's convolution |
| `cp` | R (C_in + C_out + Σ k_j) | every factor a vector |
| `separable` | R (k_1 C_in + k_2 C_out) | channels and an axis together |
| `outer` | C_in C_out Σ k_j | a kernel of rank one per pair of channels |
| `depthwise` | C_in (∏ k_j + C_out) | a filter per channel, then 1×1 |
| `tucker` | R (C_in + C_out) + R² ∏ k_j | a small dense core; for comparison |
"""

from functools import partial

from torch import nn

from slimwave.compression.arguments import PerAxis
from slimwave.compression.choices import FORMATS, RANKED_FORMATS
from slimwave.compression.cp import CPConv
from slimwave.compression.dense import DenseConv2d, DenseConv3d
from slimwave.compression.depthwise import DepthwiseConv
from slimwave.compression.factored import FactoredConv
from slimwave.compression.outer import OuterConv
from slimwave.compression.ranks import Rank, resolve_rank
from slimwave.compression.separable import SeparableConv
from slimwave.compression.shapes import ConvShape
from slimwave.compression.tucker import TuckerConv

FormatClass = type[FactoredConv] | type[DenseConv2d] | type[DenseConv3d]

FACTORED: dict[str, type[FactoredConv]] = {
    "cp": CPConv,
    "separable": SeparableConv,
    "outer": OuterConv,
    "depthwise": DepthwiseConv,
    "tucker": TuckerConv,
}


def format_class(conv: str, axes: int = 2) -> FormatClass:
    """Return the layer class of a format: its counts are class methods, `shape, rank` its arguments.

    >>> format_class("cp").parameter_count(ConvShape.of(32, 32, 3), 32)
    2272

    Raises
    ------
    ValueError
        No format has that name.
    """
    if conv == "dense":
        return DenseConv2d if axes == 2 else DenseConv3d
    if conv not in FACTORED:
        raise ValueError(f"conv: expected one of {', '.join(FORMATS)}, got {conv!r}")
    return FACTORED[conv]


def layer_rank(conv: str, shape: ConvShape, rank: Rank | None) -> int:
    """Return the number R that `rank` means for one layer, 0 for a format without a rank.

    Raises
    ------
    ValueError
        A rank that is missing, needless, malformed or out of range.
    """
    layer = format_class(conv, shape.axes)
    if rank is None or conv not in RANKED_FORMATS:
        if conv in RANKED_FORMATS:
            raise ValueError(f"rank: conv={conv!r} needs one; give rank=R, the number of terms, or '8x'")
        if rank is not None:
            choices = ", ".join(RANKED_FORMATS)
            raise ValueError(
                f"rank: conv={conv!r} has none, got {rank!r}; leave rank out, or choose {choices}"
            )
        return 0
    return resolve_rank(
        rank,
        channels=max(shape.in_channels, shape.out_channels),
        dense_weights=shape.dense_weights,
        weight_count=partial(layer.weight_count, shape),
        full_rank=layer.full_rank(shape),
    )


def make_conv(
    conv: str,
    in_channels: int,
    out_channels: int,
    kernel_size: PerAxis,
    *,
    rank: Rank | None = None,
    axes: int = 2,
    bias: bool = True,
    stride: PerAxis = 1,
    padding: PerAxis | str = 0,
    dilation: PerAxis = 1,
    padding_mode: str = "zeros",
) -> nn.Module:
    """Build a convolution C_in → C_out in the format named `conv`; it has a `kernel()`.

    Parameters
    ----------
    conv
        One of `FORMATS`.
    kernel_size
        One odd size for all axes, or one per axis.
    rank
        For the formats that have one: a number of terms, a share of the channels, or a ratio such as "8x";
        see :mod:`slimwave.compression.ranks`.
    axes
        2 (space) or 3 (space and time).
    stride, padding, dilation, padding_mode
        As in `torch.nn.Conv2d`: one integer, or one per axis; `padding` also "same" or "valid".

    Raises
    ------
    ValueError
        Unknown format, zero channels, even kernel, rank missing, needless or outside 1 … full rank.
    """
    shape = ConvShape.of(
        in_channels,
        out_channels,
        kernel_size,
        axes=axes,
        stride=stride,
        padding=padding,
        dilation=dilation,
        bias=bias,
        padding_mode=padding_mode,
    )
    layer = format_class(conv, axes)
    return layer(shape, layer_rank(conv, shape, rank))
