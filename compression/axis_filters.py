"""Depthwise filters along one axis as layers: torch's convolutions, or compiled loops where those are faster.

On one CPU thread, in single precision, a filter and its backward pass take a third of the time of torch's
depthwise convolution (:mod:`slimwave.compression.axis_kernels`); with several threads, on GPUs, in mixed
precision, without numba, and wherever a graph is recorded (export, compilation, counting), the layer is the
convolution that it derives from. Both agree to rounding.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from slimwave.compression.axis_kernels import (
    COMPILED,
    filter_kernels,
    weight_gradient_across,
    weight_gradient_along,
)

_as_convolutions = ContextVar("_as_convolutions", default=False)


@contextmanager
def as_convolutions() -> Iterator[None]:
    """Inside the block every filter runs as torch's convolution, which tools that watch torch can see."""
    token = _as_convolutions.set(True)
    try:
        yield
    finally:
        _as_convolutions.reset(token)


def filter_along(x: Tensor, weight: Tensor, axis: int) -> Tensor:
    """Filter each channel along one axis of the grid.

    Parameters
    ----------
    x: (batch, channels, *grid)
        A grid of two or three axes.
    weight: (channels, taps)
    axis
        Axis of the grid, from 0.

    Returns
    -------
    Tensor: (batch, channels, *grid), shorter by taps − 1 along the axis.

    Raises
    ------
    ValueError
        If the grid is shorter than the filter.
    """
    if _runs_compiled(x, weight):
        filtered: Tensor = _AxisFilter.apply(x, weight, axis)  # type: ignore[no-untyped-call]
        return filtered
    shape = [len(weight), 1, *(1 for _ in x.shape[2:])]
    shape[axis + 2] = weight.shape[1]
    convolution = nn.functional.conv2d if x.dim() == 4 else nn.functional.conv3d
    return convolution(x, weight.reshape(shape), groups=len(weight))


class AxisFilter2d(nn.Conv2d):
    """A `Conv2d` with one group per channel and a kernel along one axis."""

    def forward(self, x: Tensor) -> Tensor:
        """Filter `x: (batch, channels, nx, ny)`."""
        return _filtered(self, x) if _suits(self, x) else super().forward(x)


class AxisFilter3d(nn.Conv3d):
    """A `Conv3d` with one group per channel and a kernel along one axis."""

    def forward(self, x: Tensor) -> Tensor:
        """Filter `x: (batch, channels, nt, nx, ny)`."""
        return _filtered(self, x) if _suits(self, x) else super().forward(x)


AXIS_FILTER_OF: dict[int, Callable[..., AxisFilter2d | AxisFilter3d]] = {2: AxisFilter2d, 3: AxisFilter3d}


def _filtered(layer: nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor:
    return filter_along(x, layer.weight.flatten(1), int(np.argmax(layer.kernel_size)))


def _suits(layer: nn.Conv2d | nn.Conv3d, x: Tensor) -> bool:
    """Whether a layer is a bare filter, and the compiled loops would run it."""
    simple = all(step == 1 for step in (*layer.stride, *layer.dilation)) and not any(layer.padding)
    fits = x.dim() == len(layer.kernel_size) + 2 and layer.bias is None
    return simple and fits and _runs_compiled(x, layer.weight)


def _runs_compiled(x: Tensor, weight: Tensor) -> bool:
    """Whether the compiled loops can filter a field, and are the faster way."""
    plain = type(x) is Tensor and x.is_cpu and x.dtype is weight.dtype is torch.float32
    lone = torch.get_num_threads() == 1 and not torch.is_autocast_enabled("cpu")
    watched = torch.compiler.is_compiling() or _as_convolutions.get() or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    return COMPILED and plain and lone and not watched


class _AxisFilter(torch.autograd.Function):
    """The filter, and its gradients by the same loops."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, axis: int) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.axis = axis
        return _correlated(x, weight, axis)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = _correlated(_padded(gradient, weight.shape[1] - 1, ctx.axis), weight.flip(1), ctx.axis)
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(x, gradient, weight, ctx.axis)
        return of_x, of_weight, None


def _correlated(x: Tensor, weight: Tensor, axis: int) -> Tensor:
    """Return y[p] = Σ_k w[k] x[p + k]."""
    taps = weight.shape[1]
    shape = list(x.shape)
    shape[axis + 2] -= taps - 1
    if min(shape) < 0 or shape[axis + 2] < 1:
        raise ValueError(
            f"expected at least {taps} nodes along axis {axis}, got a field of {tuple(x.shape[2:])}; "
            "use a finer grid or a shorter kernel"
        )
    y = x.new_empty(shape)
    kernels = filter_kernels(taps)
    fields = _planes(x.detach(), axis), weight.detach().numpy(), _planes(y, axis)
    (kernels.along if fields[0].ndim == 4 else kernels.across)(*fields)
    return y


def _weight_gradient(x: Tensor, gradient: Tensor, weight: Tensor, axis: int) -> Tensor:
    of_weight = torch.zeros_like(weight)
    fields = _planes(x.detach(), axis), _planes(gradient.detach(), axis), of_weight.numpy()
    (weight_gradient_along if fields[0].ndim == 4 else weight_gradient_across)(*fields)
    return of_weight


def _padded(field: Tensor, nodes: int, axis: int) -> Tensor:
    """Add zeros before and after one axis of the grid."""
    pads = [0, 0] * (field.dim() - 2)
    place = 2 * (field.dim() - 3 - axis)
    pads[place] = pads[place + 1] = nodes
    return nn.functional.pad(field, pads)


def _planes(field: Tensor, axis: int) -> Any:
    """View as (samples, channels, before, nodes, after), or without ``after`` where nothing comes after."""
    samples, channels, *grid = field.shape
    before, after = math.prod(grid[:axis]), math.prod(grid[axis + 1 :])
    shape = (samples, channels, before, grid[axis])
    return field.view(shape if axis == len(grid) - 1 else (*shape, after)).numpy()
