"""One-way convolution: a kernel written as a sum of R rank-one terms, every factor a vector.

The dense kernel of a convolution C_in → C_out with n spatial axes is replaced by its CP form

    K[o, i, a_1 … a_n] = Σ_r  A[o, r] · f¹_r[a_1] · … · fⁿ_r[a_n] · B[r, i],

and applied factor by factor: a 1×1 convolution B (C_in → R), one depthwise filter along each axis in turn,
a 1×1 convolution A (R → C_out) with the bias.  The dense kernel is never formed.  Its weights number
R (C_in + C_out + Σ k_j) + C_out, so that long filters are almost free.

Source: one-way ("a priori" compressed) filters of arXiv 2304.04964.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from slimwave.compression.arguments import (
    PerAxis,
    check_channels,
    check_odd_kernel,
    check_rank,
    per_axis,
)

Conv = nn.Conv2d | nn.Conv3d
CONV_OF_AXES: dict[int, Callable[..., Conv]] = {2: nn.Conv2d, 3: nn.Conv3d}


class OneWayConv(nn.Module):
    """CP convolution over 2 or 3 axes: 1×1 → a depthwise filter along each axis → 1×1.

    Equal to `torch.nn.Conv2d`/`Conv3d` with the composed kernel `self.kernel()`, to rounding: the first
    factor has no bias, so padding each axis in its own filter pads as the dense layer does.

    Parameters
    ----------
    in_channels, out_channels
        C_in and C_out.
    kernel_size
        One odd size per axis, `(k_1, k_2)` or `(k_1, k_2, k_3)`; its length chooses the number of axes.
    rank
        Number R of rank-one terms, 1 … `full_rank(C_in, C_out, kernel_size)`.  ONNX Runtime is fastest at
        multiples of 16.
    stride, padding, dilation
        As in `torch.nn.Conv2d`: one integer, or one per axis; `padding` also "same" or "valid".
    bias
        Whether a bias is added to each output channel.
    padding_mode
        "zeros", "reflect", "replicate" or "circular".

    Shapes
    ------
    input `(batch, C_in, *grid)`, output `(batch, C_out, *grid')` with `grid'` as for the dense layer.

    Raises
    ------
    ValueError
        Zero channels, an even kernel, another number of axes than 2 or 3, a rank outside its range.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sequence[int],
        rank: int,
        *,
        stride: PerAxis = 1,
        padding: PerAxis | str = 0,
        dilation: PerAxis = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__()
        axes = len(kernel_size)
        if axes not in CONV_OF_AXES:
            raise ValueError(f"kernel_size: expected 2 or 3 axes, got {tuple(kernel_size)}")
        check_channels(in_channels, out_channels)
        self.kernel_size = per_axis("kernel_size", kernel_size, axes, minimum=1)
        check_odd_kernel(self.kernel_size)
        check_rank(rank, in_channels, out_channels, self.kernel_size)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = per_axis("stride", stride, axes, minimum=1)
        self.dilation = per_axis("dilation", dilation, axes, minimum=1)
        self.padding = padding if isinstance(padding, str) else per_axis("padding", padding, axes, minimum=0)
        self.padding_mode = padding_mode
        self._build_factors(rank, bias=bias)
        self.reset_parameters()

    def _build_factors(self, rank: int, *, bias: bool) -> None:
        conv = CONV_OF_AXES[len(self.kernel_size)]
        self.rank = rank
        self.mix_in = conv(self.in_channels, rank, 1, bias=False)
        self.axis_filters = nn.ModuleList(
            self._axis_filter(conv, rank, axis) for axis in range(len(self.kernel_size))
        )
        self.mix_out = conv(rank, self.out_channels, 1, bias=bias)

    def _axis_filter(self, conv: Callable[..., Conv], rank: int, axis: int) -> Conv:
        def along(values: Sequence[int], elsewhere: int) -> tuple[int, ...]:
            return tuple(v if j == axis else elsewhere for j, v in enumerate(values))

        return conv(
            rank,
            rank,
            along(self.kernel_size, 1),
            stride=along(self.stride, 1),
            padding=self.padding if isinstance(self.padding, str) else along(self.padding, 0),
            dilation=along(self.dilation, 1),
            groups=rank,
            bias=False,
            padding_mode=self.padding_mode,
        )

    @torch.no_grad()
    def reset_parameters(self, kernel_std: float | None = None) -> None:
        """Draw new factors whose composed kernel has the variance of a dense layer's kernel.

        Factors drawn as in single layers would shrink the signal four times over.  Here every factor vector
        of every term is a random direction of the same length λ,

            Var K = R λ^(2n+4) / (C_out · ∏_j k_j · C_in) = kernel_std²,

        so that the magnitude of an entry is its share in the term, whichever factor it stands in, and pruning
        by magnitude over the whole network does not empty one factor before the others.

        The directions of consecutive terms are orthogonal as long as there is room, so that together they
        treat all channels and all wavelengths alike.  Independent directions have the same variance on
        average, but in a deep network that average is made of a few huge and many tiny outcomes.

        Parameters
        ----------
        kernel_std
            Standard deviation σ of the composed kernel's entries.  The default is `torch.nn.Conv2d`'s own,
            σ² = 1 / (3 C_in ∏ k_j).  With 0 only A is zero, so that the layer can still learn.
        """
        fan_in = self.in_channels * math.prod(self.kernel_size)
        std = 1.0 / math.sqrt(3.0 * fan_in) if kernel_std is None else kernel_std
        product = std * math.sqrt(
            fan_in * self.out_channels / self.rank
        )  # of the lengths of a term's vectors
        length = product ** (1 / (len(self.kernel_size) + 2)) or 1.0
        _fill(self.mix_in.weight, length * _directions(self.rank, self.in_channels))
        for axis_filter, k in zip(self.axis_filters, self.kernel_size, strict=True):
            _fill(cast("Tensor", axis_filter.weight), length * _directions(self.rank, k))
        outer_length = product / length ** (len(self.kernel_size) + 1)
        _fill(self.mix_out.weight, outer_length * _directions(self.rank, self.out_channels).T)
        if self.mix_out.bias is not None:
            self.mix_out.bias.uniform_(-1.0 / math.sqrt(fan_in), 1.0 / math.sqrt(fan_in))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the factors in turn to `x: (batch, C_in, *grid)`."""
        x = self.mix_in(x)
        for axis_filter in self.axis_filters:
            x = axis_filter(x)
        return self.mix_out(x)

    def factors(self) -> tuple[Tensor, list[Tensor], Tensor]:
        """Return A `(C_out, R)`, the axis filters `[(R, k_j), …]` and B `(R, C_in)`."""
        filters = [cast("Tensor", f.weight).flatten(1) for f in self.axis_filters]
        return self.mix_out.weight.flatten(1), filters, self.mix_in.weight.flatten(1)

    def kernel(self) -> Tensor:
        """Return the composed dense kernel K, `(C_out, C_in, k_1, …, k_n)`."""
        outer, filters, terms = self.factors()
        for f in filters:
            terms = terms[..., None] * f.view(self.rank, *[1] * (terms.dim() - 1), -1)
        return torch.tensordot(outer, terms, dims=1)

    def with_terms(self, terms: Tensor, rank: int) -> "OneWayConv":
        """Return a copy that holds the terms `terms` (indices) of this layer and zero terms up to `rank`."""
        layer = copy.deepcopy(self)
        layer._build_factors(rank, bias=self.mix_out.bias is not None)
        layer.to(self.mix_in.weight)
        layer.train(self.training)
        kept = slice(0, len(terms))
        with torch.no_grad():
            for new, old in zip(
                (layer.mix_in, *layer.axis_filters), (self.mix_in, *self.axis_filters), strict=True
            ):
                weight = cast("Tensor", new.weight).zero_()
                weight[kept] = cast("Tensor", old.weight)[terms]
            layer.mix_out.weight.zero_()[:, kept] = self.mix_out.weight[:, terms]
            if layer.mix_out.bias is not None and self.mix_out.bias is not None:
                layer.mix_out.bias.copy_(self.mix_out.bias)
        return layer

    @staticmethod
    def parameter_count(
        in_channels: int, out_channels: int, kernel_size: Sequence[int], rank: int, *, bias: bool = True
    ) -> int:
        """Return R (C_in + C_out + Σ_j k_j) + C_out; without the last term if there is no bias."""
        return rank * (in_channels + out_channels + sum(kernel_size)) + (out_channels if bias else 0)

    def extra_repr(self) -> str:
        """Describe the layer as `torch.nn.Conv2d` does."""
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, rank={self.rank}"


def _fill(weight: Tensor, values: Tensor) -> None:
    weight.copy_(values.reshape(weight.shape))


def _directions(count: int, size: int) -> Tensor:
    """Return `count` random unit vectors `(count, size)`; each run of `size` of them is orthogonal."""
    runs = [
        nn.init.orthogonal_(torch.empty(size, size, dtype=torch.float32))
        for _ in range(math.ceil(count / size))
    ]
    return torch.cat(runs)[:count]
