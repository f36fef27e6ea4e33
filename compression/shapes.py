"""The shape of a convolution: what every format of it has in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from slimwave.compression.arguments import PerAxis, check_channels, check_odd_kernel, per_axis

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


@dataclass(frozen=True)
class ConvShape:
    """A convolution C_in → C_out over 2 axes (space) or 3 (space and time), in one group.

    Build it with `ConvShape.of`, which checks and takes one integer where all axes are alike.

    >>> ConvShape.of(3, 8, 5, stride=2, padding=2).output_grid((16, 20))
    (8, 10)
    """

    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    bias: bool
    padding_mode: str

    @classmethod
    def of(
        cls,
        in_channels: int,
        out_channels: int,
        kernel_size: PerAxis,
        *,
        axes: int = 2,
        stride: PerAxis = 1,
        padding: PerAxis | str = 0,
        dilation: PerAxis = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> "ConvShape":
        """Check the arguments of a convolution, which are those of `torch.nn.Conv2d`.

        Parameters
        ----------
        axes
            2 or 3.
        padding
            Cells, or "same" (with stride 1) or "valid".

        Raises
        ------
        ValueError
            Zero channels, an even kernel, another number of axes, lengths that do not fit the axes.
        """
        if axes not in (2, 3):
            raise ValueError(f"axes: expected 2 or 3, got {axes}")
        check_channels(in_channels, out_channels)
        kernel = per_axis("kernel_size", kernel_size, axes, minimum=1)
        check_odd_kernel(kernel)
        strides = per_axis("stride", stride, axes, minimum=1)
        if padding_mode not in PADDING_MODES:
            raise ValueError(
                f"padding_mode: expected one of {', '.join(PADDING_MODES)}, got {padding_mode!r}"
            )
        return cls(
            in_channels,
            out_channels,
            kernel,
            strides,
            _padding(padding, strides),
            per_axis("dilation", dilation, axes, minimum=1),
            bias,
            padding_mode,
        )

    @property
    def axes(self) -> int:
        """Number of axes n."""
        return len(self.kernel_size)

    @property
    def kernel_volume(self) -> int:
        """∏ k_j."""
        return prod(self.kernel_size)

    @property
    def fan_in(self) -> int:
        """C_in ∏ k_j, the inputs of one output."""
        return self.in_channels * self.kernel_volume

    @property
    def dense_weights(self) -> int:
        """C_in C_out ∏ k_j."""
        return self.out_channels * self.fan_in

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """Shape of the dense kernel K."""
        return (self.out_channels, self.in_channels, *self.kernel_size)

    @property
    def cells(self) -> tuple[int, ...]:
        """Padding in cells per axis, on each side."""
        match self.padding:
            case "same":
                return tuple(d * (k - 1) // 2 for d, k in zip(self.dilation, self.kernel_size, strict=True))
            case "valid":
                return (0,) * self.axes
            case str():
                raise AssertionError(self.padding)
            case _:
                return self.padding

    def output_grid(self, grid: Sequence[int]) -> tuple[int, ...]:
        """Return the grid of the output: ⌊(g + 2 p − d (k − 1) − 1) / s⌋ + 1 along each axis."""
        sides = zip(grid, self.cells, self.dilation, self.kernel_size, self.stride, strict=True)
        return tuple((g + 2 * p - d * (k - 1) - 1) // s + 1 for g, p, d, k, s in sides)

    def nodes_after_axes(self, grid: Sequence[int]) -> list[int]:
        """Return the grid nodes that are left after filtering along the first 0, 1, … n axes in turn."""
        out = self.output_grid(grid)
        return [prod((*out[:j], *grid[j:])) for j in range(self.axes + 1)]


def _padding(padding: PerAxis | str, stride: tuple[int, ...]) -> tuple[int, ...] | str:
    if not isinstance(padding, str):
        return per_axis("padding", padding, len(stride), minimum=0)
    if padding not in ("same", "valid"):
        raise ValueError(f"padding: expected cells, 'same' or 'valid', got {padding!r}")
    if padding == "same" and set(stride) != {1}:
        raise ValueError(f"padding: 'same' needs stride 1, got stride {stride}; give the cells instead")
    return padding
