"""The dense format: torch's own convolutions, with the questions that every format answers.

y[o] = Σ_i K[o, i] * x[i] + b[o],   C_in C_out ∏ k_j weights
"""

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from slimwave.compression.shapes import ConvShape


class _Dense:
    """What a dense convolution costs, and its kernel by the name that all formats have."""

    @classmethod
    def full_rank(cls, _shape: ConvShape) -> int:
        """Return 0: there is no rank to choose."""
        return 0

    @classmethod
    def weight_count(cls, shape: ConvShape, _rank: int = 0) -> int:
        """Return C_in C_out ∏ k_j."""
        return shape.dense_weights

    @classmethod
    def parameter_count(cls, shape: ConvShape, _rank: int = 0) -> int:
        """Return the number of parameters: the weights, and C_out for the bias if there is one."""
        return shape.dense_weights + (shape.out_channels if shape.bias else 0)

    @classmethod
    def mac_count(cls, shape: ConvShape, _rank: int, grid: Sequence[int]) -> int:
        """Return the weights times the output nodes."""
        return shape.dense_weights * shape.nodes_after_axes(grid)[-1]

    def kernel(self) -> Tensor:
        """Return the kernel K, `(C_out, C_in, k_1, …, k_n)`."""
        return cast("nn.Conv2d", self).weight


class DenseConv2d(_Dense, nn.Conv2d):
    """`torch.nn.Conv2d` of a shape."""

    def __init__(self, shape: ConvShape, _rank: int = 0) -> None:
        super().__init__(**_torch_arguments(shape))


class DenseConv3d(_Dense, nn.Conv3d):
    """`torch.nn.Conv3d` of a shape."""

    def __init__(self, shape: ConvShape, _rank: int = 0) -> None:
        super().__init__(**_torch_arguments(shape))


def _torch_arguments(shape: ConvShape) -> dict[str, Any]:
    return {
        "in_channels": shape.in_channels,
        "out_channels": shape.out_channels,
        "kernel_size": shape.kernel_size,
        "stride": shape.stride,
        "padding": shape.padding,
        "dilation": shape.dilation,
        "bias": shape.bias,
        "padding_mode": shape.padding_mode,
    }
