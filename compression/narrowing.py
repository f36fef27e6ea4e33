"""Removing channels that do nothing, exactly.

A channel between two convolutions goes if

- nothing hears it: the weights that read it are zero in every layer that it feeds; or
- it is silent: all weights that make it are zero, so that it holds its bias b and, after the steps φ that
  treat each channel by itself, the constant φ(b). What a reading layer makes of that constant,
  φ(b) Σ_taps K[:, channel], moves into the bias of that layer.

With zeros around the grid a constant other than 0 has an edge there, and no bias can stand in for it: such a
channel stays, and the report says why.  So it does for layers whose channels cannot be taken out: in groups,
transposed, linear, with hooks or parametrizations, and of classes that it does not know.
"""

import copy
import math
from dataclasses import dataclass, replace
from typing import TypeGuard, cast

import torch
from torch import Tensor, nn

from slimwave.compression.cp import CPConv
from slimwave.compression.dense import DenseConv2d, DenseConv3d
from slimwave.compression.depthwise import DepthwiseConv
from slimwave.compression.factored import Conv, FactoredConv
from slimwave.compression.one_way import OneWayConv
from slimwave.compression.rewriting import replace_modules
from slimwave.compression.roles import WEIGHTED
from slimwave.compression.separable import SeparableConv
from slimwave.compression.streams import Stream, addition_to, find_streams
from slimwave.compression.tucker import TuckerConv

Layer = Conv | OneWayConv
NARROWED = (nn.Conv2d, nn.Conv3d, DenseConv2d, DenseConv3d, CPConv, SeparableConv)
"""Exactly these classes lose channels; a class below them may do more than they do."""


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
    report = {}
    for stream in _streams_of(model):
        obstacle = _obstacle(model, stream)
        if obstacle:
            narrowed = _stuck(stream.producer, _silent(model.get_submodule(stream.producer)), obstacle)
        else:
            model, narrowed = _narrow(model, stream, align)
        if narrowed is not None:
            report[stream.producer] = narrowed
    return model, report | _stuck_inside(model)


def _streams_of(model: nn.Module) -> list[Stream]:
    """Return the stream of every layer with weights, in the order in which they run as far as it is known."""
    factors = {
        part for m in model.modules() if isinstance(m, FactoredConv) for part in m.modules() if part is not m
    }
    layers = [
        name
        for name, m in model.named_modules()
        if isinstance(m, (*WEIGHTED, FactoredConv)) and m not in factors
    ]
    try:
        found = {stream.producer: stream for stream in find_streams(model)}
        obstacle = "what reads them cannot be followed"
    except ValueError as error:
        found, obstacle = {}, str(error)
    return [*found.values(), *(Stream(name, obstacle=obstacle) for name in layers if name not in found)]


def _narrow(model: nn.Module, stream: Stream, align: int) -> tuple[nn.Module, NarrowedLayer | None]:
    producer, name = _layer(model, stream.producer), stream.producer
    readers = [_layer(model, consumer.name) for consumer in stream.consumers]
    silent = _silent(producer)
    unheard = torch.stack([(_reading(r).weight == 0).transpose(0, 1).flatten(1).all(dim=1) for r in readers])
    unheard = unheard.all(dim=0)
    constants = _constants(producer, silent & ~unheard, stream)
    edged = torch.stack(
        [(c != 0) & _pads_with_zeros(r) for c, r in zip(constants, readers, strict=True)]
    ).any(dim=0)
    idle = (silent | unheard) & ~edged
    channels, live = len(idle), len(idle) - int(idle.sum())
    obstacle = f"{int(edged.sum())} hold a constant with zeros padded around it" if bool(edged.any()) else ""
    if live == channels:
        kept = NarrowedLayer(name, channels, channels, channels, obstacle=obstacle)
        return model, kept if obstacle else None
    keep = _keep(idle, align)
    gone = torch.ones_like(idle).index_fill(0, keep, False)
    new: dict[nn.Module, nn.Module] = {producer: _with_outputs(producer, keep)}
    new |= {m: _with_numbers(m, keep) for m in map(model.get_submodule, stream.per_channel)}
    for reader, constant in zip(readers, constants, strict=True):
        new[reader] = _with_inputs(reader, keep, torch.where(gone, constant, 0.0))
    folded = int((gone & torch.stack([c != 0 for c in constants]).any(dim=0)).sum())
    return replace_modules(model, new), NarrowedLayer(name, channels, live, len(keep), folded, obstacle)


def _obstacle(model: nn.Module, stream: Stream) -> str:
    """Say why the channels of a stream must stay, if that can be said without looking at weights."""
    unfit = _unfit(model.get_submodule(stream.producer))
    if unfit:
        return f"they cannot be removed from such a layer ({unfit})"
    reasons = {consumer.name: _unfit(model.get_submodule(consumer.name)) for consumer in stream.consumers}
    feeds = [f"they feed {name!r} ({reason})" for name, reason in reasons.items() if reason]
    return stream.obstacle or next(iter(feeds), "")


def _unfit(layer: nn.Module) -> str:
    """Say what keeps a layer from being narrowed, if anything does."""
    kind, addition = type(layer).__name__, addition_to(layer)
    if addition:
        return f"{kind} {addition}"
    if not _is_layer(layer):
        return kind
    groups = _making(layer).groups
    return f"{kind} in {groups} groups" if groups > 1 else ""


def _stuck(name: str, idle: Tensor, obstacle: str) -> NarrowedLayer | None:
    """Return the row of a layer whose idle channels, if it has any, all stay."""
    count = int(idle.sum())
    if count == 0:
        return None
    return NarrowedLayer(name, len(idle), len(idle) - count, len(idle), obstacle=obstacle)


def _stuck_inside(model: nn.Module) -> dict[str, NarrowedLayer]:
    """Return rows of idle channels between the factors of layers, by the factor that makes them."""
    rows: dict[str, NarrowedLayer] = {}
    for name, layer in model.named_modules():
        for factor, idle in _idle_inside(layer).items():
            path = f"{name}.{factor}" if name else factor
            row = _stuck(
                path, idle, f"they lie inside a layer that cannot be narrowed ({type(layer).__name__})"
            )
            rows |= {path: row} if row else {}
    return rows


def _idle_inside(layer: nn.Module) -> dict[str, Tensor]:
    """Return which channels between the factors of a layer are silent or unheard, by factor."""
    if isinstance(layer, TuckerConv):
        pairs = {"mix_in": (layer.mix_in, layer.core), "core": (layer.core, layer.mix_out)}
    elif isinstance(layer, DepthwiseConv):
        pairs = {"filters": (layer.filters, layer.mix)}
    else:
        return {}
    return {name: _silent(first) | _silent(second, axis=1) for name, (first, second) in pairs.items()}


def _silent(layer: nn.Module, axis: int = 0) -> Tensor:
    """Return the channels that no weight makes (or, along axis 1, that no weight reads), (C,)."""
    if isinstance(layer, OneWayConv):
        layer = layer.mix_out
    weight = layer.kernel() if isinstance(layer, FactoredConv) else cast("Tensor", layer.weight)
    if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        weight = weight.reshape(layer.groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)
    return (weight == 0).transpose(0, axis).flatten(1).all(dim=1)


def _constants(producer: Layer, silent: Tensor, stream: Stream) -> list[Tensor]:
    """Return what each reader sees of each silent channel, and 0 for the others, (C,)."""
    making = _making(producer)
    held = torch.zeros_like(making.weight[:, 0].flatten(1)[:, 0]) if making.bias is None else making.bias
    field = held.reshape(1, -1, *[1] * (making.weight.dim() - 2))
    # a copy for each: steps may work in place, and the field is the bias itself
    return [torch.where(silent, c.hears(field.clone()).flatten(), 0.0) for c in stream.consumers]


def _keep(idle: Tensor, align: int) -> Tensor:
    """Return the channels to keep: the live ones, and idle ones up to a multiple of `align`, in order."""
    live, spare = (~idle).nonzero().flatten(), idle.nonzero().flatten()
    wanted = min(len(idle), align * max(1, math.ceil(len(live) / align)))
    return torch.cat([live, spare[: wanted - len(live)]]).sort().values


def _is_layer(module: nn.Module) -> TypeGuard[Layer]:
    return type(module) in NARROWED


def _layer(model: nn.Module, name: str) -> Layer:
    layer = model.get_submodule(name)
    assert _is_layer(layer), name
    return layer


def _making(layer: Layer) -> Conv:
    """Return the convolution in a layer that makes its output channels."""
    return layer.mix_out if isinstance(layer, OneWayConv) else layer


def _reading(layer: Layer) -> Conv:
    """Return the convolution in a layer that reads its input channels."""
    return layer.mix_in if isinstance(layer, OneWayConv) else layer


def _pads_with_zeros(layer: Layer) -> bool:
    if isinstance(layer, OneWayConv):
        return layer.shape.padding_mode == "zeros" and any(layer.shape.cells)
    if layer.padding == "same":
        cells = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    else:
        cells = [] if isinstance(layer.padding, str) else list(layer.padding)
    return layer.padding_mode == "zeros" and any(cells)


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


def _with_numbers(module: nn.Module, keep: Tensor) -> nn.Module:
    """Return a copy of a norm or activation with the numbers of the channels `keep` only."""
    module = copy.deepcopy(module)
    for name, parameter in module.named_parameters():
        setattr(module, name, nn.Parameter(parameter[keep]))
    for name, buffer in module.named_buffers():
        setattr(module, name, buffer[keep] if buffer.dim() else buffer)
    for count in {"num_features", "num_parameters"} & vars(module).keys():
        setattr(module, count, len(keep))
    return module


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
