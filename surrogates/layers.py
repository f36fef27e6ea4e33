"""Layers that all networks share."""

from torch import nn

from slimwave.compression.choices import RANKED_FORMATS
from slimwave.compression.formats import format_class, make_conv
from slimwave.compression.shapes import ConvShape
from slimwave.surrogates.network_shapes import NetworkShape


def network_conv(
    shape: NetworkShape,
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, ...],
    *,
    bias: bool,
    axes: int = 2,
) -> nn.Module:
    """Build a valid convolution in the format of a network.

    A kernel to or from another number of channels than the network is wide, as at its first layer, never
    needs more terms than its full rank and takes no more.

    Raises
    ------
    ValueError
        If the rank is above the full rank of a kernel between hidden layers.
    """
    rank = shape.rank
    if rank is None and shape.conv in RANKED_FORMATS:
        rank = 1.0
    if isinstance(rank, int) and {in_channels, out_channels} != {shape.width}:
        conv = ConvShape.of(in_channels, out_channels, kernel_size, axes=axes, bias=bias)
        rank = min(rank, format_class(shape.conv, axes).full_rank(conv))
    return make_conv(shape.conv, in_channels, out_channels, kernel_size, rank=rank, axes=axes, bias=bias)
