"""Making pruned models really smaller: what no longer does anything is removed.

A term of a one-way layer is dead when one of its factor vectors is zero throughout: whatever the others are,
it adds nothing to the kernel. Dropping it is exact, always. A channel that nothing makes, or that nothing
reads, goes together with all that belongs to it, see `narrowing`. Removing one may make the other idle, so
both are repeated until nothing is left to remove.

The output, in evaluation mode, changes by rounding alone. Where that cannot be vouched for, layers stay as
they are and the report says why.
"""

import copy
import math
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from slimwave.compression.counting import count_parameters
from slimwave.compression.cp import CPConv
from slimwave.compression.narrowing import NarrowedLayer, narrow_channels
from slimwave.compression.one_way import OneWayConv
from slimwave.compression.rewriting import replace_modules
from slimwave.compression.separable import SeparableConv
from slimwave.compression.streams import addition_to

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class MaterialisedLayer:
    """One one-way layer before and after; `live_terms` of its `rank_before` terms were not dead.

    `obstacle` says why dead terms stay.
    """

    name: str
    rank_before: int
    live_terms: int
    rank_after: int
    parameters_before: int
    parameters_after: int
    obstacle: str = ""

    def __str__(self) -> str:
        """One line."""
        line = f"{self.name}: {self.rank_before} terms, {self.live_terms} live, {self.rank_after} kept"
        return f"{line}; dead ones stay: {self.obstacle}" if self.obstacle else line


@dataclass(frozen=True)
class MaterialiseReport:
    """What `materialise` did to each one-way layer, to channels, and to the parameters of the whole model.

    `channels` names only layers with channels that do nothing, those that had to stay included.
    """

    layers: tuple[MaterialisedLayer, ...]
    channels: tuple[NarrowedLayer, ...]
    parameters_before: int
    parameters_after: int

    def __str__(self) -> str:
        """One line per layer."""
        lines = [str(layer) for layer in (*self.layers, *self.channels)]
        lines.append(f"parameters: {self.parameters_before} before, {self.parameters_after} after")
        return "\n".join(lines)


def materialise(model: Model, align: int = 1) -> tuple[Model, MaterialiseReport]:
    """Return a copy of `model` without dead terms and idle channels, and a report.

    Parameters
    ----------
    align
        Ranks and numbers of channels stay, or become, multiples of it, by terms and channels of zeros. That
        is exact too and may be faster: ONNX Runtime takes nearly three times as long for rank 31 or 33 as for
        32, so `align=16` serves it best. Channels never become more than they were.

    Raises
    ------
    ValueError
        If `align` is below 1.
    """
    if align < 1:
        raise ValueError(f"align: expected at least 1, got {align}")
    modes = {name: module.training for name, module in model.named_modules()}
    small: nn.Module = copy.deepcopy(model, _computed_tensors(model)).eval()
    channels: dict[str, NarrowedLayer] = {}
    size = 0
    while count_parameters(small) != size:
        size = count_parameters(small)
        small = _drop_dead_terms(small, align)
        small, found = narrow_channels(small, align)
        channels |= {name: _together(channels.get(name), row) for name, row in found.items()}
    layers = _rows(model, small)
    report = MaterialiseReport(
        layers, tuple(channels.values()), count_parameters(model), count_parameters(small)
    )
    for name, module in small.named_modules():
        module.training = modes[name]
    return cast(Model, small), report


def _computed_tensors(model: nn.Module) -> dict[int, Tensor]:
    """Return copies, by id, of tensors that hooks (weight norm, torch's masks) computed: deepcopy cannot."""
    tensors = [
        t for m in model.modules() for t in vars(m).values() if isinstance(t, Tensor) and not t.is_leaf
    ]
    return {id(t): t.detach().clone() for t in tensors}


def live_terms(layer: OneWayConv) -> Tensor:
    """Return the indices of the terms none of whose vectors is zero throughout."""
    alive = [(vectors != 0).any(dim=1) for vectors in layer.term_vectors()]
    return torch.stack(alive).all(dim=0).nonzero().flatten()


def _drop_dead_terms(model: nn.Module, align: int) -> nn.Module:
    smaller: dict[nn.Module, nn.Module] = {}
    for layer in _one_way_layers(model).values():
        if _unfit(layer):
            continue
        live = live_terms(layer)
        smaller[layer] = layer.with_terms(live, align * max(1, math.ceil(len(live) / align)))
    return replace_modules(model, smaller)


def _unfit(layer: OneWayConv) -> str:
    """Say why terms cannot be taken out of a layer, if that is so: hooks and the like would be lost."""
    addition, kind = addition_to(layer), type(layer)
    return f"{kind.__name__} {addition}".strip() if addition or kind not in (CPConv, SeparableConv) else ""


def _one_way_layers(model: nn.Module) -> dict[str, OneWayConv]:
    return {name: m for name, m in model.named_modules() if isinstance(m, OneWayConv)}


def _rows(before: nn.Module, after: nn.Module) -> tuple[MaterialisedLayer, ...]:
    new = _one_way_layers(after)
    return tuple(_row(name, old, new[name]) for name, old in _one_way_layers(before).items())


def _row(name: str, old: OneWayConv, new: OneWayConv) -> MaterialisedLayer:
    live, sizes = len(live_terms(new)), (count_parameters(old), count_parameters(new))
    obstacle = _unfit(new) if live < new.rank else ""
    return MaterialisedLayer(name, old.rank, live, new.rank, *sizes, obstacle=obstacle)


def _together(first: NarrowedLayer | None, second: NarrowedLayer) -> NarrowedLayer:
    """Return one row for what two passes did to a layer."""
    if first is None:
        return second
    return replace(second, before=first.before, folded=first.folded + second.folded)
