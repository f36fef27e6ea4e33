"""Convolution layers that skip their zeros: pruned weights become time saved.

`SparseConv` wraps a trained dense or one-way layer and computes the same output with the compiled loops of
`sparse_kernels`, whose cost is proportional to the nonzero weights. The factors of a one-way layer run as one
chain, without a trip to memory between them. It is for inference on one CPU core: where gradients are wanted,
on a GPU, in other types than float32, while a model is exported or traced, without numba, and for inputs that
do not fit the layer, the wrapped layer computes (or complains) as ever.

The weights are read once, and again whenever they have changed, in place or by new ones. What is written
through `.data` leaves no trace and is not seen. No change to weights made under `torch.inference_mode` leaves
one, so that layers with such weights compute as ever.

>>> layer = nn.Conv2d(8, 8, 3)
>>> with torch.no_grad():
...     _ = layer.weight.masked_fill_(torch.rand_like(layer.weight) < 0.9, 0.0)
...     x = torch.randn(1, 8, 32, 32)
...     torch.allclose(SparseConv(layer)(x), layer(x), atol=1e-5)
True
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from slimwave.compression.dense import DenseConv2d, DenseConv3d
from slimwave.compression.factored import Conv
from slimwave.compression.one_way import OneWayConv
from slimwave.compression.sparse_kernels import (
    SLAB,
    SMALLEST,
    UNAVAILABLE,
    Kernel,
    Pair,
    sparse_chain,
    sparse_convolution,
)

PLAIN = (nn.Conv2d, nn.Conv3d, DenseConv2d, DenseConv3d)
PLANS = 8
"""Shapes of inputs whose plans are kept."""


class Skipping(nn.Module, ABC):
    """Computes what a module does by loops that skip zeros, and lets the module itself do what they cannot.

    Parameters
    ----------
    layer
        The module.
    stages
        All convolutions in it.

    Raises
    ------
    ValueError
        If a part of the module has hooks.
    """

    _plans: dict[torch.Size, Callable[[Tensor], Tensor] | None]
    _planned: list[tuple[int, int]]

    def __init__(self, layer: nn.Module, stages: Sequence[Conv]) -> None:
        super().__init__()
        if any(has_hooks(part) for part in layer.modules()):
            raise ValueError("layer: expected no hooks, which the loops would not call; remove them first")
        self.layer = layer
        self._parameters_used = [stage._parameters for stage in stages]
        self._forget()

    @abstractmethod
    def plan_for(self, shape: torch.Size) -> Callable[[Tensor], Tensor] | None:
        """Return what computes inputs of this shape with the present weights; None if the loops cannot."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module to `x: (batch, C_in, *grid)`."""
        plan = self._plan(x)
        return self.layer(x) if plan is None else plan(x)

    def serves(self, x: Tensor) -> bool:
        """Whether the sparse loops take this input here and now; otherwise the module itself does."""
        return self._plan(x) is not None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the plans out of copies and files: they belong to these weights."""
        empty: dict[str, Any] = {"_plans": {}, "_planned": [], "_kept": []}
        return {name: empty.get(name, value) for name, value in vars(self).items()}

    def _plan(self, x: Tensor) -> Callable[[Tensor], Tensor] | None:
        weights = [w for own in self._parameters_used for w in own.values() if w is not None]
        if UNAVAILABLE or type(x) is not Tensor or not all(map(_readable, (x, *weights))):
            return None
        if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *weights)):
            return None
        if _watched() or any(w.is_inference() for w in weights):
            return None
        if [(id(w), w._version) for w in weights] != self._planned:
            self._forget(weights)
        plans = self._plans
        if x.shape not in plans:
            if len(plans) >= PLANS:
                plans = self._plans = {}
            plans[x.shape] = self.plan_for(x.shape)
        return plans[x.shape]

    def _forget(self, weights: Sequence[Tensor] = ()) -> None:
        """Drop all plans; the next ones belong to these weights, kept here lest others take their ids."""
        self._plans = {}
        self._planned, self._kept = [(id(w), w._version) for w in weights], list(weights)


class SparseConv(Skipping):
    """A convolution that multiplies by its nonzero weights only.

    Parameters
    ----------
    layer
        The layer whose weights are used; it stays their owner, and changes to them are seen. A dense
        convolution over 2 or 3 axes with any kernel size, dilation, padding and number of groups, or a
        one-way convolution over 2 axes.

    Shapes
    ------
    input `(batch, C_in, *grid)`, output `(batch, C_out, *grid')`, as for the layer itself.

    Raises
    ------
    ValueError
        For a stride, which breaks the regular pattern of the loops, for hooks, and for all other layers.
    """

    layer: Conv | OneWayConv

    def __init__(self, layer: Conv | OneWayConv) -> None:
        super().__init__(layer, stages_of(layer))

    def plan_for(self, shape: torch.Size) -> Callable[[Tensor], Tensor] | None:
        """Return the plan for inputs of this shape, or None."""
        plan = plan_for(self.layer, shape)
        return None if plan is None else plan.convolve


def _readable(x: Tensor) -> bool:
    """Whether the loops can read a tensor."""
    return x.is_cpu and x.dtype is torch.float32 and x.layout is torch.strided


def _watched() -> bool:
    """Whether somebody follows what torch computes, which the loops would hide, or wants another type."""
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    followed = forward_ad._current_level >= 0 or torch._C._functorch.peek_interpreter_stack() is not None
    return recorded or followed or torch.is_autocast_enabled("cpu")


class Plan(NamedTuple):
    """All that the sparse loops need besides the input, for inputs of one shape.

    Attributes
    ----------
    images, mode
        Padding that the loops do not do, as `torch.nn.functional.pad` takes it; empty if there is none.
    output
        Shape of the output.
    zeros, slabs
        Padding by zeros, and the shapes of the memory in between, see `sparse_chain`; without slabs it is a
        `sparse_convolution`.
    kernels
        One for each stage.
    """

    images: list[int]
    mode: str
    output: tuple[int, ...]
    zeros: Pair
    slabs: list[tuple[int, int, int]]
    kernels: tuple[Kernel, ...]

    def convolve(self, x: Tensor) -> Tensor:
        """Convolve `x`."""
        if self.images:
            x = F.pad(x, self.images, mode=self.mode)
        source, y = x.detach().contiguous().numpy(), torch.empty(self.output)
        if self.slabs:
            slabs = tuple(np.empty(shape, np.float32) for shape in self.slabs)
            sparse_chain(source, self.zeros, slabs, y.numpy(), self.kernels)
        else:
            volumes = y.numpy().reshape(_volumes(y.shape))
            sparse_convolution(source.reshape(_volumes(x.shape)), volumes, self.kernels[0])
        return y


def stages_of(layer: nn.Module) -> list[Conv]:
    """Return the convolutions that a layer applies one after the other; ValueError if it cannot be served."""
    if type(layer) in PLAIN:
        stages = [layer]
    elif isinstance(layer, OneWayConv) and layer.shape.axes == 2:
        stages = [layer.mix_in, *layer.axis_filters, layer.mix_out]
    else:
        kind = type(layer).__name__
        raise ValueError(f"layer: expected a plain convolution, or a one-way one over 2 axes, got {kind}")
    convolutions = [stage for stage in stages if isinstance(stage, nn.Conv2d | nn.Conv3d)]
    if any(set(stage.stride) != {1} for stage in convolutions):
        raise ValueError("layer: expected stride 1; leave this layer as it is")
    return convolutions


def has_hooks(module: nn.Module) -> bool:
    """Whether calling a module does more than its class says (the masks of `torch.nn.utils.prune`, say)."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def fits(stages: Sequence[Conv], shape: Sequence[int]) -> bool:
    """Whether inputs of this shape, and the weights as they are now, suit the stages.

    Compiled code checks nothing, so whatever is wrong must be found before it.
    """
    channels, axes = shape[1] if len(shape) > 1 else 0, len(stages[0].kernel_size)
    for stage in stages:
        kernel = (stage.out_channels, stage.in_channels // stage.groups, *stage.kernel_size)
        if stage.in_channels != channels or stage.weight.shape != kernel:
            return False
        if stage.bias is not None and stage.bias.shape != (stage.out_channels,):
            return False
        channels = stage.out_channels
    return len(shape) == axes + 2


def plan_for(layer: Conv | OneWayConv, shape: Sequence[int]) -> Plan | None:
    """Return the plan for inputs of this shape; None if they do not fit, or for planes below `SMALLEST`."""
    stages = stages_of(layer)
    axes = len(stages[0].kernel_size)
    if not fits(stages, shape):
        return None
    spans = [[d * (k - 1) for d, k in zip(s.dilation, s.kernel_size, strict=True)] for s in stages]
    pairs = [padding_of(layer, axis, sum(span[axis] for span in spans)) for axis in range(axes)]
    if any(nodes < 0 for pair in pairs for nodes in pair):
        return None
    grids = [[n + sum(pair) for n, pair in zip(shape[2:], pairs, strict=True)]]
    for span in spans:
        grids.append([n - s for n, s in zip(grids[-1], span, strict=True)])
    if grids[-1][-2] < SMALLEST[0] or min(grids[-1][-1], shape[-1]) < SMALLEST[1] or min(grids[-1]) < 1:
        return None
    output = (shape[0], stages[-1].out_channels, *grids[-1])
    mode = stages[0].padding_mode
    by_loops = axes == 2 and mode == "zeros" and all(before == after for before, after in pairs)
    if len(stages) == 1 and (not by_loops or not any(map(any, pairs))):
        images = [nodes for pair in reversed(pairs) for nodes in pair] if any(map(any, pairs)) else []
        kernel = nonzero_places(stages[0], grids[0])
        return Plan(images, "constant" if mode == "zeros" else mode, output, (0, 0), [], (kernel,))
    images = [] if by_loops else [nodes for pair in reversed(pairs) for nodes in pair]
    zeros = (pairs[0][0], pairs[1][0]) if by_loops else (0, 0)
    slabs = [
        (stage.in_channels, SLAB + grid[0] - grids[-1][0], grid[1])
        for stage, grid in zip(stages, grids[:-1], strict=True)
    ]
    kernels = tuple(nonzero_places(stage, slab[1:]) for stage, slab in zip(stages, slabs, strict=True))
    return Plan(images, mode, output, zeros, slabs, kernels)


def padding_of(layer: Conv | OneWayConv, axis: int, span: int) -> Pair:
    """Nodes that a layer adds before and after an axis along which its kernels span so many cells."""
    padding = layer.shape.cells if isinstance(layer, OneWayConv) else layer.padding
    if isinstance(padding, str):
        return (span // 2, span - span // 2) if padding == "same" else (0, 0)
    return padding[axis], padding[axis]


def _volumes(shape: Sequence[int]) -> tuple[int, ...]:
    """Shape over three axes, the first of length 1 where there are two."""
    return (*shape[:2], *[1] * (5 - len(shape)), *shape[2:])


def nonzero_places(layer: Conv, grid: Sequence[int]) -> Kernel:
    """Return the nonzero weights of a layer as (starts, places, values, bias), see `sparse_convolution`.

    Parameters
    ----------
    grid
        Nodes of its (padded) input along each axis.
    """
    steps = [prod(grid[axis:]) for axis in range(len(grid) + 1)]  # of a channel, and along each axis
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
