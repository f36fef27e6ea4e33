"""The outer format: the kernel of every pair of channels is an outer product of vectors, of rank one.

    K[o, i, a_1 … a_n] = f¹[o, i, a_1] · … · fⁿ[o, i, a_n]

with C_in C_out Σ k_j weights.  A chain of filters would need C_in C_out planes between them, which takes 10
to 35 times as long as the dense convolution (24 channels, 64² nodes, one thread).  So the kernel is composed
and applied as a dense one: the format saves weights, not multiplications.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slimwave.compression.factored import FactoredConv, directions, equal_lengths, fill
from slimwave.compression.shapes import ConvShape


class OuterConv(FactoredConv):
    """Convolution whose kernel has rank one for every pair of an output and an input channel."""

    @classmethod
    def full_rank(cls, _shape: ConvShape) -> int:
        """Return 0: there is no rank to choose."""
        return 0

    @classmethod
    def weight_count(cls, shape: ConvShape, _rank: int = 0) -> int:
        """Return C_in C_out Σ k_j."""
        return shape.in_channels * shape.out_channels * sum(shape.kernel_size)

    @classmethod
    def mac_count(cls, shape: ConvShape, _rank: int, grid: Sequence[int]) -> int:
        """Return what the dense convolution takes; composing the kernel is not counted."""
        return shape.dense_weights * shape.nodes_after_axes(grid)[-1]

    def _build(self, _rank: int) -> None:
        shape = self.shape
        pair = (shape.out_channels, shape.in_channels)
        self.weight_names = tuple(f"filter_{j}" for j in range(shape.axes))
        for name, k in zip(self.weight_names, shape.kernel_size, strict=True):
            self.register_parameter(name, nn.Parameter(torch.empty(*pair, k)))
        self.register_parameter("bias", nn.Parameter(torch.empty(pair[0])) if shape.bias else None)

    def _reset_factors(self, product: float) -> None:
        """Var K = (product of a pair's lengths)² / ∏ k_j."""
        shape = self.shape
        pairs = shape.out_channels * shape.in_channels
        length, last = equal_lengths(product / pairs**0.5, shape.axes)
        for weight in self._filters():
            fill(weight, length * directions(pairs, weight.shape[-1]))
        self._filters()[-1].mul_(last / length)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x: (batch, C_in, *grid)` with the composed kernel."""
        shape = self.shape
        cells = shape.cells
        if shape.padding_mode != "zeros":
            x = F.pad(x, [p for p in reversed(cells) for _ in range(2)], mode=shape.padding_mode)
            cells = (0,) * shape.axes
        convolve = F.conv2d if shape.axes == 2 else F.conv3d
        return convolve(x, self.kernel(), self.bias_vector, shape.stride, cells, shape.dilation)

    def kernel(self) -> Tensor:
        """Return the composed dense kernel K, `(C_out, C_in, k_1, …, k_n)`."""
        kernel: Tensor = self._filters()[0]
        for f in self._filters()[1:]:
            kernel = kernel[..., None] * f[(..., *[None] * (kernel.dim() - 2), slice(None))]
        return kernel

    @property
    def bias_vector(self) -> Tensor | None:
        """The bias of the output channels."""
        return self._parameters["bias"]

    def _filters(self) -> list[nn.Parameter]:
        return [self.get_parameter(name) for name in self.weight_names]
