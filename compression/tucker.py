"""The Tucker format (Tucker-2, over the channels): a small dense convolution between two 1×1 ones.

    K[o, i, a] = Σ_{s, r}  A[o, s] · G[s, r, a] · B[r, i],   r ≤ min(R, C_in), s ≤ min(R, C_out)

(Kim et al., ICLR 2016).  It is what a trained dense network is usually decomposed into, and stands here to be
compared with at equal parameters.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from slimwave.compression.factored import FactoredConv, directions, equal_lengths, fill
from slimwave.compression.shapes import ConvShape


class TuckerConv(FactoredConv):
    """Tucker-2 convolution: 1×1 (C_in → R) → k_1 × … × k_n (R → R) → 1×1 (R → C_out)."""

    @classmethod
    def full_rank(cls, shape: ConvShape) -> int:
        """Return max(C_in, C_out)."""
        return max(shape.in_channels, shape.out_channels)

    @classmethod
    def inner_channels(cls, shape: ConvShape, rank: int) -> tuple[int, int]:
        """Return min(R, C_in) and min(R, C_out), the channels of the core G."""
        return min(rank, shape.in_channels), min(rank, shape.out_channels)

    @classmethod
    def weight_count(cls, shape: ConvShape, rank: int = 0) -> int:
        """Return C_in R_in + R_in R_out ∏ k_j + R_out C_out."""
        inner, outer = cls.inner_channels(shape, rank)
        return shape.in_channels * inner + inner * outer * shape.kernel_volume + outer * shape.out_channels

    @classmethod
    def mac_count(cls, shape: ConvShape, rank: int, grid: Sequence[int]) -> int:
        """Return the first factor's weights on the full grid, the others' on the output grid."""
        first = shape.in_channels * min(rank, shape.in_channels)
        nodes = shape.nodes_after_axes(grid)
        return first * nodes[0] + (cls.weight_count(shape, rank) - first) * nodes[-1]

    def _build(self, rank: int) -> None:
        inner, outer = self.inner_channels(self.shape, rank)
        self.rank = rank
        self.mix_in = self._stage(self.shape.in_channels, inner)
        self.core = self._stage(inner, outer, range(self.shape.axes))
        self.mix_out = self._stage(outer, self.shape.out_channels, bias=self.shape.bias)

    def _reset_factors(self, product: float) -> None:
        """Var K = R_in R_out (product of three lengths)² / (C_out C_in ∏ k_j)."""
        inner, outer = self.inner_channels(self.shape, self.rank)
        length, last = equal_lengths(product / (inner * outer) ** 0.5, 3)
        fill(self.mix_in.weight, length * directions(inner, self.shape.in_channels))
        fill(self.core.weight, length * directions(inner * outer, self.shape.kernel_volume))
        fill(self.mix_out.weight, last * directions(outer, self.shape.out_channels).T)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the factors in turn to `x: (batch, C_in, *grid)`."""
        return self.mix_out(self.core(self.mix_in(x)))

    def kernel(self) -> Tensor:
        """Return the composed dense kernel K, `(C_out, C_in, k_1, …, k_n)`."""
        outer, inner = self.mix_out.weight.flatten(1), self.mix_in.weight.flatten(1)
        return torch.einsum("os,sr...,ri->oi...", outer, self.core.weight, inner)

    @property
    def bias_vector(self) -> Tensor | None:
        """The bias of the output channels."""
        return self.mix_out.bias

    def extra_repr(self) -> str:
        """Add the rank."""
        return f"{super().extra_repr()}, rank={self.rank}"
