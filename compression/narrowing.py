"""Removing channels that do nothing, exactly.

A channel between two convolutions goes if

- nothing hears it: the weights that read it are zero in every layer that it feeds; or
- it is silent: all weights that make it are zero, so that it holds its bias b and, after an elementwise
  function φ, the constant φ(b). What a reading layer makes of that constant, φ(b) Σ_taps K[:, channel],
  moves into the bias of that layer.

With zeros around the grid a constant other than 0 has an edge there, and no bias can stand in for it: such a
channel stays, and the report says why.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

import torch
from torch import Tensor, nn

from slimwave.compression.factored import Conv, FactoredConv
from slimwave.compression.one_way import OneWayConv
from slimwave.compression.rewriting import replace_modules
from slimwave.compression.streams import Stream, find_streams

Layer = Conv | OneWayConv


@dataclass(frozen=True)
class NarrowedLayer:
    """Output channels of one layer: `live` of `before` do something, `after` are left.

    `folded` of those removed were constants that moved into a bias. `obstacle` says why idle channels stay.
    """

    name: str
    before: int
    live: int
    after: int
    folded: int = 0
    obstacle: str = ""

    def __str__(self) -> str:
        """One line."""
        line = f"{self.name}: {self.before} channels, {self.live} live, {self.after} kept"
        line += f", {self.folded} folded into biases" if self.folded else ""
        return f"{line}; idle ones stay: {self.obstacle}" if self.obstacle else line


@torch.no_grad()
def narrow_channels(model: nn.Module, align: int = 1) -> tuple[nn.Module, dict[str, NarrowedLayer]]:
    """Remove idle channels in place; return the (new) root, and what was or could not be done by layer.

    Parameters
    ----------
    model
        In evaluation mode. Layers without idle channels are left alone and not reported.
    align
        As many idle channels stay as make the number a multiple of it.
    """
    layers = _layers(model)
    try:
        streams = [stream for stream in find_streams(model) if stream.producer in layers]
    except ValueError as error:
        streams = [Stream(name, obstacle=str(error)) for name in layers]
    report = {}
    for stream in streams:
        model, narrowed = _narrow(model, stream, align)
        if narrowed is not None:
            report[stream.producer] = narrowed
    return model, report


def _narrow(model: nn.Module, stream: Stream, align: int) -> tuple[nn.Module, NarrowedLayer | None]:
    producer, name = model.get_submodule(stream.producer), stream.producer
    if not _is_layer(producer):
        return model, None
    silent = (_making(producer).weight == 0).flatten(1).all(dim=1)
    channels = len(silent)
    readers = [layer for reader, _ in stream.consumers if _is_layer(layer := model.get_submodule(reader))]
    obstacle = stream.obstacle or _unreadable(stream, readers)
    if obstacle:
        idle = int(silent.sum())
        kept = NarrowedLayer(name, channels, channels - idle, channels, obstacle=obstacle)
        return model, kept if idle else None
    unheard = torch.stack([(_reading(r).weight == 0).transpose(0, 1).flatten(1).all(dim=1) for r in readers])
    constants = [
        _constants(producer, silent & ~unheard.all(dim=0), function) for _, function in stream.consumers
    ]
    edged = torch.stack(
        [(c != 0) & _pads_with_zeros(r) for c, r in zip(constants, readers, strict=True)]
    ).any(dim=0)
    idle_channels = (silent | unheard.all(dim=0)) & ~edged
    live = channels - int(idle_channels.sum())
    obstacle = f"{int(edged.sum())} hold a constant with zeros padded around it" if bool(edged.any()) else ""
    if live == channels:
        return model, NarrowedLayer(
            name, channels, channels, channels, obstacle=obstacle
        ) if obstacle else None
    keep = _keep(idle_channels, align)
    gone = torch.ones_like(silent).index_fill(0, keep, False)
    new: dict[nn.Module, nn.Module] = {producer: _with_outputs(producer, keep)}
    for reader, constant in zip(readers, constants, strict=True):
        new[reader] = _with_inputs(reader, keep, torch.where(gone, constant, 0.0))
    folded = int((gone & torch.stack([c != 0 for c in constants]).any(dim=0)).sum())
    return replace_modules(model, new), NarrowedLayer(name, channels, live, len(keep), folded, obstacle)


def _unreadable(stream: Stream, readers: Sequence[Layer]) -> str:
    """Say why the inputs of a reader cannot be narrowed, if that is so."""
    if len(readers) < len(stream.consumers):
        return "they feed a format whose inputs cannot be narrowed"
    return "they feed a grouped convolution" if any(_reading(r).groups > 1 for r in readers) else ""


def _constants(producer: Layer, silent: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return what a reader sees of each silent channel, and 0 for the others, (C,)."""
    making = _making(producer)
    held = torch.zeros_like(making.weight[:, 0].flatten(1)[:, 0]) if making.bias is None else making.bias
    field = held.reshape(1, -1, *[1] * (making.weight.dim() - 2))
    return torch.where(silent, function(field).flatten(), 0.0)


def _keep(idle: Tensor, align: int) -> Tensor:
    """Return the channels to keep: the live ones, and idle ones up to a multiple of `align`, in order."""
    live, spare = (~idle).nonzero().flatten(), idle.nonzero().flatten()
    wanted = min(len(idle), align * max(1, math.ceil(len(live) / align)))
    return torch.cat([live, spare[: wanted - len(live)]]).sort().values


def _is_layer(module: nn.Module) -> TypeGuard[Layer]:
    return isinstance(module, nn.Conv2d | nn.Conv3d | OneWayConv)


def _layers(model: nn.Module) -> list[str]:
    """Return the names of all layers, without the factors inside them."""
    factors = {
        part for m in model.modules() if isinstance(m, FactoredConv) for part in m.modules() if part is not m
    }
    return [name for name, m in model.named_modules() if _is_layer(m) and m not in factors]


def _making(layer: Layer) -> Conv:
    """Return the convolution in a layer that makes its output channels."""
    return layer.mix_out if isinstance(layer, OneWayConv) else layer


def _reading(layer: Layer) -> Conv:
    """Return the convolution in a layer that reads its input channels."""
    return layer.mix_in if isinstance(layer, OneWayConv) else layer


def _pads_with_zeros(layer: Layer) -> bool:
    if isinstance(layer, OneWayConv):
        return layer.shape.padding_mode == "zeros" and any(layer.shape.cells)
    return layer.padding_mode == "zeros" and layer.padding != "valid" and any(layer.padding)


def _with_outputs(layer: Layer, keep: Tensor) -> Layer:
    """Return a copy that makes the channels `keep` only."""
    layer = copy.deepcopy(layer)
    making = _making(layer)
    making.out_channels = len(keep)
    making.weight = nn.Parameter(making.weight[keep])
    making.bias = None if making.bias is None else nn.Parameter(making.bias[keep])
    if isinstance(layer, OneWayConv):
        layer.shape = replace(layer.shape, out_channels=len(keep))
    return layer


def _with_inputs(layer: Layer, keep: Tensor, constants: Tensor) -> Layer:
    """Return a copy that reads the channels `keep`, and has the effect of `constants` (C,) in its bias."""
    layer = copy.deepcopy(layer)
    reading, making = _reading(layer), _making(layer)
    if bool(constants.any()):
        kernel = layer.kernel() if isinstance(layer, OneWayConv) else layer.weight
        change = kernel.flatten(2).sum(dim=2) @ constants
        making.bias = nn.Parameter(change if making.bias is None else making.bias + change)
    reading.in_channels = len(keep)
    reading.weight = nn.Parameter(reading.weight[:, keep])
    if isinstance(layer, OneWayConv):
        layer.shape = replace(layer.shape, in_channels=len(keep), bias=making.bias is not None)
    return layer
