"""What the compressed formats share: a kernel held as factors whose product is the dense kernel.

A format is a class below `FactoredConv`, in a file of its own.  It says how many weights and
multiply–accumulates it takes, which rank is full, how its factors are drawn, and what dense kernel they make.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from slimwave.compression.axis_filters import AXIS_FILTER_OF
from slimwave.compression.shapes import ConvShape

Conv = nn.Conv2d | nn.Conv3d
CONV_OF_AXES: dict[int, Callable[..., Conv]] = {2: nn.Conv2d, 3: nn.Conv3d}


class FactoredConv(nn.Module, ABC):
    """A convolution whose kernel is a product of factors; equal to a dense one with `kernel()`, to rounding.

    Parameters
    ----------
    shape
        Channels, kernel, stride, padding, dilation, bias; see `ConvShape.of`.
    rank
        1 … `full_rank(shape)`; 0 for a format that has none.

    Shapes
    ------
    input `(batch, C_in, *grid)`, output `(batch, C_out, *shape.output_grid(grid))`.

    Raises
    ------
    ValueError
        A rank outside its range.
    """

    weight_names: tuple[str, ...] = ()
    """Parameters of the layer itself, not of a torch convolution in it, that are weights."""

    def __init__(self, shape: ConvShape, rank: int = 0) -> None:
        super().__init__()
        largest = self.full_rank(shape)
        if not min(1, largest) <= rank <= largest:
            raise ValueError(
                f"rank: expected 1 to {largest} (the full rank of a {shape.in_channels} -> "
                f"{shape.out_channels} kernel of size {shape.kernel_size}), got {rank}"
            )
        self.shape = shape
        self._build(rank)
        self.reset_parameters()

    @classmethod
    @abstractmethod
    def full_rank(cls, shape: ConvShape) -> int:
        """Return the largest rank of use: with it every kernel can be written.  0: the format has none."""

    @classmethod
    @abstractmethod
    def weight_count(cls, shape: ConvShape, rank: int = 0) -> int:
        """Return the number of weights, without the bias."""

    @classmethod
    def parameter_count(cls, shape: ConvShape, rank: int = 0) -> int:
        """Return the number of parameters: the weights, and C_out for the bias if there is one."""
        return cls.weight_count(shape, rank) + (shape.out_channels if shape.bias else 0)

    @classmethod
    @abstractmethod
    def mac_count(cls, shape: ConvShape, rank: int, grid: Sequence[int]) -> int:
        """Return the multiply–accumulates of one input `(1, C_in, *grid)`."""

    @abstractmethod
    def _build(self, rank: int) -> None:
        """Make the factors, of any value."""

    @abstractmethod
    def _reset_factors(self, product: float) -> None:
        """Draw the factors; `product` is that of the lengths of the vectors whose product is one slice."""

    @abstractmethod
    def kernel(self) -> Tensor:
        """Return the composed dense kernel K, `(C_out, C_in, k_1, …, k_n)`."""

    @property
    @abstractmethod
    def bias_vector(self) -> Tensor | None:
        """The bias of the output channels."""

    @torch.no_grad()
    def reset_parameters(self, kernel_std: float | None = None) -> None:
        """Draw new factors whose composed kernel has the variance of a dense layer's kernel.

        Factors drawn as in single layers would shrink the signal once each.  Here all factor vectors are
        random directions of one length λ, chosen so that the composed kernel has the variance that is asked
        for.  So the magnitude of an entry is its share in the product, whichever factor it stands in, and
        pruning by magnitude over the whole network does not empty one factor before the others.

        Consecutive directions are orthogonal as long as there is room, so that together they treat all
        channels and all wavelengths alike.  Independent directions have the same variance on average, but in
        a deep network that average is made of a few huge and many tiny outcomes.

        Parameters
        ----------
        kernel_std
            Standard deviation σ of the composed kernel's entries.  The default is `torch.nn.Conv2d`'s own,
            σ² = 1 / (3 C_in ∏ k_j).  With 0 only the last factor is zero, so that the layer can still learn.
        """
        fan_in = self.shape.fan_in
        std = 1.0 / math.sqrt(3.0 * fan_in) if kernel_std is None else kernel_std
        self._reset_factors(std * math.sqrt(self.shape.dense_weights))
        if self.bias_vector is not None:
            self.bias_vector.uniform_(-1.0 / math.sqrt(fan_in), 1.0 / math.sqrt(fan_in))

    def _stage(
        self,
        in_channels: int,
        out_channels: int,
        along: Collection[int] = (),
        *,
        groups: int = 1,
        bias: bool = False,
        filters: bool = False,
    ) -> Conv:
        """Return one convolution of the chain, with the shape's kernel and steps on the axes `along` only.

        With `filters` it is one filter per channel along a single axis.
        """
        shape = self.shape
        conv: Callable[..., Conv] = (AXIS_FILTER_OF if filters else CONV_OF_AXES)[shape.axes]

        def on_axes(values: Sequence[int], elsewhere: int) -> tuple[int, ...]:
            return tuple(v if j in along else elsewhere for j, v in enumerate(values))

        return conv(
            in_channels,
            out_channels,
            on_axes(shape.kernel_size, 1),
            stride=on_axes(shape.stride, 1),
            padding=on_axes(shape.cells, 0),
            dilation=on_axes(shape.dilation, 1),
            groups=in_channels if filters else groups,
            bias=bias,
            padding_mode=shape.padding_mode,
        )

    def extra_repr(self) -> str:
        """Describe the layer as `torch.nn.Conv2d` does."""
        shape = self.shape
        return f"{shape.in_channels}, {shape.out_channels}, kernel_size={shape.kernel_size}"


def equal_lengths(product: float, count: int) -> tuple[float, float]:
    """Split the product of `count` vectors' lengths evenly: return λ, and the length of the last vector.

    A product of 0 makes the last vector alone zero.
    """
    length = product ** (1 / count) or 1.0
    return length, product / length ** (count - 1)


def directions(count: int, size: int) -> Tensor:
    """Return `count` random unit vectors `(count, size)`; each run of `size` of them is orthogonal."""
    q, r = torch.linalg.qr(torch.randn(math.ceil(count / size), size, size, dtype=torch.float32))
    uniform = q * r.diagonal(dim1=1, dim2=2).sign()[:, None]  # QR alone prefers some orientations
    return uniform.mT.reshape(-1, size)[:count]


def fill(weight: Tensor, values: Tensor) -> None:
    """Overwrite `weight` by as many `values` of another shape."""
    weight.copy_(values.reshape(weight.shape))
