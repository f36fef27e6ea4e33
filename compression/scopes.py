"""Scopes of pruning: what is measured and removed together.

A scope knows the weights that it prunes, and lays them out as blocks `(groups, members)`: each row is one
group, measured and pruned by itself.  A member is one weight, or a whole unit of them:

| scope | a group is | a member is |
|---|---|---|
| `global` | the model | a weight |
| `layer` | a weight tensor (each factor of a compressed layer) | a weight |
| `neuron` | a slice of a tensor along its first axis | a weight |
| `term` | a one-way layer | a rank-one term, of size ‖A_r‖ ‖B_r‖ ∏ ‖f_r‖ |
| `channel` | a dense layer | an output channel with its bias, of size ‖K_o‖ |

Terms and channels go whole, so that `materialise` can take them out, or say why it cannot.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from slimwave.compression.choices import SCOPES
from slimwave.compression.factored import FactoredConv
from slimwave.compression.one_way import OneWayConv
from slimwave.compression.roles import WEIGHTED, prunable_parameters, select


class Scope(ABC):
    """A division of a model's weights into groups of members.

    Parameters
    ----------
    model
        The model whose weights are divided.
    include, exclude
        One shell-style pattern of the names of layers or weights, or a list of them.
    """

    unit: ClassVar[str] = "weights"
    names: tuple[str, ...]
    """The parameters that the scope may mask."""

    @abstractmethod
    def __init__(
        self, model: nn.Module, include: Sequence[str] | None = None, exclude: Sequence[str] | None = None
    ) -> None: ...

    @abstractmethod
    def measure(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the sizes of all members in named blocks `(groups, members)`, in float64."""

    @abstractmethod
    def gather(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return which members are kept, in the same blocks."""

    @abstractmethod
    def scatter(self, blocks: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return `masks` less the weights of the members that `blocks` do not keep."""


class WeightScope(Scope):
    """Members are single weights; `_lay_out` and `_take_back` say which make a group."""

    def __init__(
        self, model: nn.Module, include: Sequence[str] | None = None, exclude: Sequence[str] | None = None
    ) -> None:
        self.names = tuple(prunable_parameters(model, include, exclude))

    def measure(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the magnitudes."""
        return self.gather({name: w.abs().to(torch.float64) for name, w in weights.items()})


class GlobalScope(WeightScope):
    """All weights of the model are one group: layers compete for what is kept."""

    def gather(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return one block of one row, named "global", on the first tensor's device."""
        device = next(iter(masks.values())).device
        return {"global": torch.cat([t.flatten().to(device) for t in masks.values()])[None]}

    def scatter(self, blocks: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cut the row into the shapes of the masks."""
        pieces = torch.split(blocks["global"][0], [t.numel() for t in masks.values()])
        return {
            name: piece.view(t.shape).to(t.device)
            for (name, t), piece in zip(masks.items(), pieces, strict=True)
        }


class LayerScope(WeightScope):
    """Each weight tensor is a group: every layer (every factor of a one-way layer) is pruned by itself."""

    def gather(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return one block of one row per tensor."""
        return {name: t.reshape(1, -1) for name, t in masks.items()}

    def scatter(self, blocks: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give each block its tensor's shape."""
        return {name: blocks[name].view(t.shape) for name, t in masks.items()}


class NeuronScope(LayerScope):
    """The weights of one neuron, a slice along a tensor's first axis, are a group."""

    def gather(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return one block per tensor with one row per slice of its first axis."""
        return {name: t.reshape(t.shape[0], -1) for name, t in masks.items()}


class Slices(NamedTuple):
    """One tensor of a layer: its slices along `axis` belong to the layer's members in turn."""

    name: str
    axis: int
    measured: bool = True


class UnitScope(Scope):
    """Members are units of many weights: slices with the same number of several tensors of one layer."""

    remedy: ClassVar[str]

    def __init__(
        self, model: nn.Module, include: Sequence[str] | None = None, exclude: Sequence[str] | None = None
    ) -> None:
        found = self._layers(model)
        chosen = select(list(found), include, exclude)
        if not chosen:
            raise ValueError(f"model: found no {self.unit} to prune; {self.remedy}")
        self.layers = {name: found[name] for name in chosen}
        self.names = tuple(s.name for slices in self.layers.values() for s in slices)

    @abstractmethod
    def _layers(self, model: nn.Module) -> dict[str, tuple[Slices, ...]]:
        """Return the slices of every trainable layer with units, by the layer's name."""

    def measure(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the products of the Euclidean norms of a unit's slices."""
        blocks = {}
        for layer, slices in self.layers.items():
            norms = [_norms(weights[s.name], s.axis) for s in slices if s.measured]
            blocks[layer] = torch.stack(norms).prod(dim=0)[None]
        return blocks

    def gather(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the units of which every slice has a weight left."""
        return {
            layer: torch.stack([_rows(masks[s.name], s.axis).any(dim=1) for s in slices]).all(dim=0)[None]
            for layer, slices in self.layers.items()
        }

    def scatter(self, blocks: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take away every slice of the units that are not kept."""
        fewer = {}
        for layer, slices in self.layers.items():
            for s in slices:
                mask = masks[s.name]
                along = [-1 if axis == s.axis else 1 for axis in range(mask.dim())]
                fewer[s.name] = mask & blocks[layer][0].to(mask.device).view(along)
        return fewer


class TermScope(UnitScope):
    """Members are the rank-one terms of one-way layers (cp, separable)."""

    unit: ClassVar[str] = "terms"
    remedy: ClassVar[str] = "scope 'term' needs one-way layers (cp, separable), see compress"

    def _layers(self, model: nn.Module) -> dict[str, tuple[Slices, ...]]:
        return {
            prefix: tuple(Slices(_joined(prefix, name), axis) for name, axis in layer.term_axes())
            for prefix, layer in model.named_modules()
            if isinstance(layer, OneWayConv) and layer.mix_in.weight.requires_grad
        }


class ChannelScope(UnitScope):
    """Members are the output channels of dense layers; their biases go with them.

    Those of convolutions over 2 or 3 axes in one group can be taken out of the model afterwards.  Linear,
    transposed, grouped and one-dimensional layers keep theirs as zeros, and `materialise` reports them.
    Transposed convolutions in groups, and the factors of compressed layers, are not pruned at all.

    The layer that makes the model's output should be excluded: its channels are what is asked for.
    """

    unit: ClassVar[str] = "channels"
    remedy: ClassVar[str] = "scope 'channel' needs dense layers; check include and exclude"

    def _layers(self, model: nn.Module) -> dict[str, tuple[Slices, ...]]:
        factors = {id(f) for m in model.modules() if isinstance(m, FactoredConv) for f in m.modules()}
        layers: dict[str, tuple[Slices, ...]] = {}
        for name in prunable_parameters(model):
            prefix = name.rpartition(".")[0]
            layer = model.get_submodule(prefix)
            if id(layer) in factors or not isinstance(layer, WEIGHTED):
                continue
            transposed = isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
            if transposed and layer.groups != 1:
                continue
            bias = (Slices(_joined(prefix, "bias"), 0, measured=False),) if layer.bias is not None else ()
            layers[prefix] = (Slices(name, 1 if transposed else 0), *bias)
        return layers


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _rows(tensor: Tensor, axis: int) -> Tensor:
    return tensor.movedim(axis, 0).flatten(1) if tensor.dim() > 1 else tensor[:, None]


def _norms(weight: Tensor, axis: int) -> Tensor:
    return _rows(weight, axis).abs().to(torch.float64).norm(dim=1)


_CLASSES: dict[str, type[Scope]] = {
    "global": GlobalScope,
    "layer": LayerScope,
    "neuron": NeuronScope,
    "term": TermScope,
    "channel": ChannelScope,
}


def make_scope(
    name: str, model: nn.Module, include: Sequence[str] | None = None, exclude: Sequence[str] | None = None
) -> Scope:
    """Return the scope of that name over a model's weights.

    Raises
    ------
    ValueError
        There is no such scope, nothing in the model to prune in it, or a pattern matches nothing.
    """
    if name not in _CLASSES:
        raise ValueError(f"scope: expected one of {', '.join(SCOPES)}, got {name!r}")
    return _CLASSES[name](model, include, exclude)
