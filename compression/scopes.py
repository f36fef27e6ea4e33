"""Scopes of pruning: how a model's weights fall into groups that are measured and pruned each by itself.

A scope lays the weights of a model out as blocks `(groups, members)`: one row per group.  Weights and masks
go through the same `gather`; `scatter` takes masks back to the shapes of the weights.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor


class Scope(ABC):
    """A division of named tensors into groups."""

    @abstractmethod
    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return named blocks `(groups, members)` of the tensors' entries."""

    @abstractmethod
    def scatter(self, blocks: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the entries of `blocks` in the names, shapes and devices of `like`; undoes `gather`."""


class GlobalScope(Scope):
    """All weights of the model are one group: layers compete for what is kept."""

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return one block of one row, named "global", on the first tensor's device."""
        device = next(iter(tensors.values())).device
        return {"global": torch.cat([t.flatten().to(device) for t in tensors.values()])[None]}

    def scatter(self, blocks: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cut the row into the shapes of `like`."""
        pieces = torch.split(blocks["global"][0], [t.numel() for t in like.values()])
        return {
            name: piece.view(t.shape).to(t.device)
            for (name, t), piece in zip(like.items(), pieces, strict=True)
        }


class LayerScope(Scope):
    """Each weight tensor is a group: every layer (every factor of a one-way layer) is pruned by itself."""

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return one block of one row per tensor."""
        return {name: t.reshape(1, -1) for name, t in tensors.items()}

    def scatter(self, blocks: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give each block its tensor's shape."""
        return {name: blocks[name].view(t.shape) for name, t in like.items()}


class NeuronScope(LayerScope):
    """The weights of one neuron, a slice along a tensor's first axis, are a group."""

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return one block per tensor with one row per slice of its first axis."""
        return {name: t.reshape(t.shape[0], -1) for name, t in tensors.items()}


SCOPES: dict[str, type[Scope]] = {"global": GlobalScope, "layer": LayerScope, "neuron": NeuronScope}


def scope_named(name: str) -> Scope:
    """Return the scope of that name; ValueError if there is none."""
    if name not in SCOPES:
        raise ValueError(f"scope: expected one of {', '.join(SCOPES)}, got {name!r}")
    return SCOPES[name]()
