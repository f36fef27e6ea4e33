"""Making pruned models really smaller: what no longer does anything is removed.

A term of a one-way layer is dead when one of its factor vectors is zero throughout: whatever the others are,
it adds nothing to the kernel. Dropping it is exact, always. A channel that nothing makes, or that nothing
reads, goes together with all that belongs to it, see `narrowing`. Removing one may make the other idle, so
both are repeated until nothing is left to remove.

The output changes by rounding alone.
"""

import copy
import math
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from slimwave.compression.counting import count_parameters
from slimwave.compression.narrowing import NarrowedLayer, narrow_channels
from slimwave.compression.one_way import OneWayConv
from slimwave.compression.rewriting import replace_modules

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class MaterialisedLayer:
    """One one-way layer before and after; `live_terms` of its `rank_before` terms were not dead."""

    name: str
    rank_before: int
    live_terms: int
    rank_after: int
    parameters_before: int
    parameters_after: int

    def __str__(self) -> str:
        """One line."""
        return f"{self.name}: {self.rank_before} terms, {self.live_terms} live, {self.rank_after} kept"


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
    small: nn.Module = copy.deepcopy(model).eval()
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


def live_terms(layer: OneWayConv) -> Tensor:
    """Return the indices of the terms none of whose vectors is zero throughout."""
    alive = [(vectors != 0).any(dim=1) for vectors in layer.term_vectors()]
    return torch.stack(alive).all(dim=0).nonzero().flatten()


def _drop_dead_terms(model: nn.Module, align: int) -> nn.Module:
    smaller: dict[nn.Module, nn.Module] = {}
    for layer in _one_way_layers(model).values():
        live = live_terms(layer)
        smaller[layer] = layer.with_terms(live, align * max(1, math.ceil(len(live) / align)))
    return replace_modules(model, smaller)


def _one_way_layers(model: nn.Module) -> dict[str, OneWayConv]:
    return {name: m for name, m in model.named_modules() if isinstance(m, OneWayConv)}


def _rows(before: nn.Module, after: nn.Module) -> tuple[MaterialisedLayer, ...]:
    new = _one_way_layers(after)
    return tuple(
        MaterialisedLayer(
            name,
            old.rank,
            len(live_terms(new[name])),
            new[name].rank,
            count_parameters(old),
            count_parameters(new[name]),
        )
        for name, old in _one_way_layers(before).items()
    )


def _together(first: NarrowedLayer | None, second: NarrowedLayer) -> NarrowedLayer:
    """Return one row for what two passes did to a layer."""
    if first is None:
        return second
    return replace(second, before=first.before, folded=first.folded + second.folded)
