"""Making pruned one-way layers really smaller: rank terms that no longer do anything are removed.

A term of a one-way layer is dead when one of its factor vectors is zero throughout: whatever the others are,
it adds nothing to the kernel.  Dropping it is exact, always; the output changes by rounding alone.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slimwave.compression.counting import count_parameters
from slimwave.compression.one_way import OneWayConv
from slimwave.compression.rewriting import replace_modules


@dataclass(frozen=True)
class MaterialisedLayer:
    """One layer before and after; `live_terms` of its `rank_before` terms were not dead."""

    name: str
    rank_before: int
    live_terms: int
    rank_after: int
    parameters_before: int
    parameters_after: int


@dataclass(frozen=True)
class MaterialiseReport:
    """What `materialise` did to each one-way layer, and to the parameters of the whole model."""

    layers: tuple[MaterialisedLayer, ...]
    parameters_before: int
    parameters_after: int

    def __str__(self) -> str:
        """One line per layer."""
        lines = [
            f"{layer.name}: {layer.rank_before} terms, {layer.live_terms} live, {layer.rank_after} kept"
            for layer in self.layers
        ]
        lines.append(f"parameters: {self.parameters_before} before, {self.parameters_after} after")
        return "\n".join(lines)


def materialise(model: nn.Module, align: int = 1) -> tuple[nn.Module, MaterialiseReport]:
    """Return a copy of `model` whose one-way layers hold their live terms only, and a report.

    Parameters
    ----------
    align
        Ranks are padded with zero terms up to a multiple of it, which is exact too and may be faster: ONNX
        Runtime takes nearly three times as long for rank 31 or 33 as for 32, so `align=16` serves it best.
        A layer without a live term keeps `align` zero terms.

    Raises
    ------
    ValueError
        If `align` is below 1.
    """
    if align < 1:
        raise ValueError(f"align: expected at least 1, got {align}")
    model = copy.deepcopy(model)
    layers = {name: m for name, m in model.named_modules() if isinstance(m, OneWayConv)}
    smaller: dict[nn.Module, nn.Module] = {}
    report = []
    for name, layer in layers.items():
        live = live_terms(layer)
        new = layer.with_terms(live, align * max(1, math.ceil(len(live) / align)))
        smaller[layer] = new
        sizes = count_parameters(layer), count_parameters(new)
        report.append(MaterialisedLayer(name, layer.rank, len(live), new.rank, *sizes))
    before = count_parameters(model)
    model = replace_modules(model, smaller)
    return model, MaterialiseReport(tuple(report), before, count_parameters(model))


def live_terms(layer: OneWayConv) -> Tensor:
    """Return the indices of the terms none of whose vectors is zero throughout."""
    alive = [(vectors != 0).any(dim=1) for vectors in layer.term_vectors()]
    return torch.stack(alive).all(dim=0).nonzero().flatten()
