"""Convolution layers that skip their zeros: pruned weights become time saved.

`SparseConv` wraps a trained `Conv2d` or `Conv3d` and computes the same output with the compiled loop of
`sparse_kernels`, whose cost is proportional to the nonzero weights. It is for inference on one CPU core:
where gradients are wanted, on a GPU, in other types than float32, or while a model is exported, the wrapped
layer computes as ever.

>>> layer = nn.Conv2d(8, 8, 3)
>>> with torch.no_grad():
...     _ = layer.weight.masked_fill_(torch.rand_like(layer.weight) < 0.9, 0.0)
...     x = torch.randn(1, 8, 32, 32)
...     torch.allclose(SparseConv(layer)(x), layer(x), atol=1e-5)
True
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slimwave.compression.sparse_kernels import (
    SLAB,
    SMALLEST,
    Kernel,
    Padding,
    padded_convolution,
    sparse_convolution,
)

Conv = nn.Conv2d | nn.Conv3d


class SparseConv(nn.Module):
    """A convolution of 2 or 3 axes that multiplies by its nonzero weights only.

    Parameters
    ----------
    dense
        The layer whose weights are used, any kernel size, dilation, padding and number of groups; it stays
        the owner of its parameters, and changes to them are seen.

    Shapes
    ------
    input `(batch, C_in, *grid)`, output `(batch, C_out, *grid')`, as for the dense layer.

    Raises
    ------
    ValueError
        For a stride, which breaks the regular pattern of the loop, and for layers that are not plain
        convolutions over 2 or 3 axes.
    """

    def __init__(self, dense: Conv) -> None:
        super().__init__()
        if type(dense) not in (nn.Conv2d, nn.Conv3d):
            raise ValueError(f"dense: expected a Conv2d or Conv3d, got {type(dense).__name__}")
        if set(dense.stride) != {1}:
            raise ValueError(f"dense: expected stride 1, got {tuple(dense.stride)}; leave this layer dense")
        self.dense = dense
        self._plans: dict[torch.Size, Plan | None] = {}
        self._planned: tuple[object, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x: (batch, C_in, *grid)`."""
        plan = self._plan(x)
        if plan is None:
            return self.dense(x)
        if plan.images:
            x = F.pad(x, plan.images, mode=self.dense.padding_mode)
        y = torch.empty(plan.output)
        source = x.detach().contiguous().numpy().reshape(plan.input_volumes)
        target = y.numpy().reshape(plan.volumes)
        if plan.slab is None:
            sparse_convolution(source, target, plan.kernel)
        else:
            padded_convolution(source, plan.zeros, np.empty(plan.slab, np.float32), target, plan.kernel)
        return y

    def serves(self, x: Tensor) -> bool:
        """Whether the sparse loop takes this input here and now; otherwise the dense layer does."""
        return self._plan(x) is not None

    def _plan(self, x: Tensor) -> "Plan | None":
        own = self._modules["dense"]._parameters  # type: ignore[union-attr]  # as self.dense.weight, 5 µs sooner
        weight, bias = own["weight"], own["bias"]
        assert weight is not None
        if not (x.is_cpu and x.dtype is weight.dtype is torch.float32) or type(x) is not Tensor:
            return None
        if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
            return None
        if torch.compiler.is_compiling():
            return None
        state = (id(weight), weight._version, id(bias), None if bias is None else bias._version)
        if state != self._planned:
            self._plans, self._planned = {}, state
        if x.shape not in self._plans:
            self._plans[x.shape] = plan_for(self.dense, x.shape)
        return self._plans[x.shape]


class Plan(NamedTuple):
    """All that the sparse loop needs besides the input, for inputs of one shape.

    Attributes
    ----------
    images
        Padding that is not by zeros, as `torch.nn.functional.pad` takes it; empty if there is none.
    output
        Shape of the output.
    input_volumes, volumes
        Shapes of the input (with its images) and of the output, over three axes.
    zeros, slab
        Padding by zeros, and the shape of the memory it needs, see `padded_convolution`; None without it.
    kernel
        See `sparse_convolution`.
    """

    images: list[int]
    output: tuple[int, ...]
    input_volumes: tuple[int, ...]
    volumes: tuple[int, ...]
    zeros: Padding
    slab: tuple[int, ...] | None
    kernel: Kernel


def plan_for(layer: Conv, shape: Sequence[int]) -> Plan | None:
    """Return the plan for inputs of this shape, or None where its planes are below `SMALLEST`."""
    axes = len(layer.kernel_size)
    if len(shape) != axes + 2:
        return None
    spans = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    pairs = _padding(layer, spans)
    padded = [n + sum(pair) for n, pair in zip(shape[2:], pairs, strict=True)]
    grid = [n - span for n, span in zip(padded, spans, strict=True)]
    if grid[-2] < SMALLEST[0] or min(grid[-1], shape[-1]) < SMALLEST[1] or min(grid) < 1:
        return None
    by_zeros = layer.padding_mode == "zeros" and any(map(any, pairs))
    zeros = [(0, 0)] * (3 - axes) + (pairs if by_zeros else [(0, 0)] * axes)
    present = list(shape[2:]) if by_zeros else padded
    slab = [1] * (3 - axes) + [span + 1 for span in spans[:-2]] + [SLAB + spans[-2], padded[-1]]
    lines = slab[3 - axes :] if by_zeros else padded
    return Plan(
        images=[] if by_zeros or padded == list(shape[2:]) else [n for pair in reversed(pairs) for n in pair],
        output=(shape[0], layer.out_channels, *grid),
        input_volumes=_volumes(shape[0], layer.in_channels, present),
        volumes=_volumes(shape[0], layer.out_channels, grid),
        zeros=(zeros[0], zeros[1], zeros[2]),
        slab=(layer.in_channels, *slab) if by_zeros else None,
        kernel=nonzero_places(layer, [prod(lines[axis:]) for axis in range(axes + 1)]),
    )


def _volumes(batch: int, channels: int, grid: Sequence[int]) -> tuple[int, ...]:
    """Shape over three axes, the first of length 1 where there are two."""
    return (batch, channels, *[1] * (3 - len(grid)), *grid)


def _padding(layer: Conv, spans: Sequence[int]) -> list[tuple[int, int]]:
    """Nodes to add before and after each axis."""
    if isinstance(layer.padding, str):
        same = layer.padding == "same"
        return [(span // 2, span - span // 2) if same else (0, 0) for span in spans]
    return [(p, p) for p in layer.padding]


def nonzero_places(layer: Conv, steps: Sequence[int]) -> Kernel:
    """Return the nonzero weights of a layer as (starts, places, values, bias), see `sparse_convolution`.

    Parameters
    ----------
    steps
        Steps in the padded input from one channel, and one node along each axis, to the next.
    """
    weight = layer.weight.detach().numpy()
    out, channel, *taps = np.nonzero(weight)
    group = out // (layer.out_channels // layer.groups)
    places = (channel + group * weight.shape[1]) * steps[0]
    for tap, dilation, step in zip(taps, layer.dilation, steps[1:], strict=True):
        places = places + tap * dilation * step
    order = np.lexsort((places, out))
    starts = np.searchsorted(out[order], np.arange(layer.out_channels + 1))
    values = weight[np.nonzero(weight)][order]
    bias = np.zeros(layer.out_channels, np.float32) if layer.bias is None else layer.bias.detach().numpy()
    return starts.astype(np.int64), places[order].astype(np.int64), values, bias.copy()
