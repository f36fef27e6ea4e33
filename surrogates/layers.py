"""Layers that all networks share."""

from torch import nn

from slimwave.compression.arguments import full_rank
from slimwave.compression.formats import make_conv
from slimwave.surrogates.network_shapes import NetworkShape


def network_conv(
    shape: NetworkShape, in_channels: int, out_channels: int, kernel_size: int, *, bias: bool, axes: int = 2
) -> nn.Module:
    """Build a valid convolution in the format of a network.

    A kernel to or from fewer channels than the network is wide, as at its first layer, never needs more terms
    than its full rank and takes no more.

    Raises
    ------
    ValueError
        If the rank is above the full rank of a kernel between hidden layers.
    """
    terms = shape.terms(max(in_channels, out_channels))
    if terms is not None and min(in_channels, out_channels) < shape.width:
        terms = min(terms, full_rank(in_channels, out_channels, (kernel_size,) * axes))
    return make_conv(shape.conv, in_channels, out_channels, kernel_size, rank=terms, axes=axes, bias=bias)
