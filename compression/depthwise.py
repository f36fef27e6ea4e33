"""The depthwise format, for reference: a filter per input channel, then a 1×1 convolution.

    K[o, i, a] = P[o, i] · D[i, a]

with C_in (∏ k_j + C_out) weights.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from slimwave.compression.factored import FactoredConv, directions, equal_lengths, fill
from slimwave.compression.shapes import ConvShape


class DepthwiseConv(FactoredConv):
    """Depthwise-separable convolution: one k_1 × … × k_n filter per channel, then 1×1."""

    @classmethod
    def full_rank(cls, _shape: ConvShape) -> int:
        """Return 0: there is no rank to choose."""
        return 0

    @classmethod
    def weight_count(cls, shape: ConvShape, _rank: int = 0) -> int:
        """Return C_in (∏ k_j + C_out)."""
        return shape.in_channels * (shape.kernel_volume + shape.out_channels)

    @classmethod
    def mac_count(cls, shape: ConvShape, _rank: int, grid: Sequence[int]) -> int:
        """Return the weights times the output nodes: the filters step over what the stride leaves out."""
        return cls.weight_count(shape) * shape.nodes_after_axes(grid)[-1]

    def _build(self, _rank: int) -> None:
        channels = self.shape.in_channels
        self.filters = self._stage(channels, channels, range(self.shape.axes), groups=channels)
        self.mix = self._stage(channels, self.shape.out_channels, bias=self.shape.bias)

    def _reset_factors(self, product: float) -> None:
        """Var K = C_in (product of two lengths)² / (C_out C_in ∏ k_j)."""
        channels = self.shape.in_channels
        length, last = equal_lengths(product / channels**0.5, 2)
        fill(self.filters.weight, length * directions(channels, self.shape.kernel_volume))
        fill(self.mix.weight, last * directions(channels, self.shape.out_channels).T)

    def forward(self, x: Tensor) -> Tensor:
        """Filter each channel of `x: (batch, C_in, *grid)`, then mix the channels."""
        return self.mix(self.filters(x))

    def kernel(self) -> Tensor:
        """Return the composed dense kernel K, `(C_out, C_in, k_1, …, k_n)`."""
        return torch.einsum("oi...,ij...->oi...", self.mix.weight, self.filters.weight)

    @property
    def bias_vector(self) -> Tensor | None:
        """The bias of the output channels."""
        return self.mix.bias
