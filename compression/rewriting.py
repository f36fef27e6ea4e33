"""Rewriting any network's convolutions into a compressed format, before it is trained.

>>> from torch import nn
>>> network = nn.Sequential(nn.Conv2d(3, 32, 5, padding=2), nn.ReLU(), nn.Conv2d(32, 3, 5, padding=2))
>>> compress(network, rank=16)[2].kernel().shape
torch.Size([3, 32, 5, 5])
>>> compress(network, "separable", rank="8x")[0].rank
1
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from slimwave.compression.choices import FORMATS
from slimwave.compression.dense import DenseConv2d, DenseConv3d
from slimwave.compression.factored import Conv, FactoredConv
from slimwave.compression.formats import FACTORED, layer_rank
from slimwave.compression.ranks import Rank
from slimwave.compression.roles import select
from slimwave.compression.shapes import ConvShape

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
PLAIN = (nn.Conv2d, nn.Conv3d, DenseConv2d, DenseConv3d)


def compress(
    model: nn.Module,
    format: str = "cp",
    *,
    rank: Rank | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
) -> nn.Module:
    """Return a copy of `model` in which each `Conv2d` and `Conv3d` is held in another format.

    The factors are drawn anew with the spread of the kernel that they replace (a kernel of zeros stays zero);
    biases are taken over.  A trained network must therefore be trained again; to start from what it has
    learnt, see :func:`slimwave.compression.decomposition.decompose`.  1×1 kernels have nothing to separate
    and stay, and so do the factors of layers that are compressed already.  A layer that stands at two places
    is shared by both afterwards.

    Parameters
    ----------
    format
        "cp", "separable", "outer", "depthwise" or "tucker", see :mod:`slimwave.compression.formats`.
    rank
        For "cp", "separable" and "tucker": a number of terms in every layer, a share of the channels such as
        0.5, or a ratio such as "8x"; see :mod:`slimwave.compression.ranks`.
    include, exclude
        One shell-style pattern of layer names, or a list of them; by default every convolution over 2 or 3
        axes.

    Raises
    ------
    ValueError
        Unknown format, no convolution to rewrite, a pattern that matches nothing, a rank that is missing,
        needless or malformed; and, naming the layer: a transposed or grouped convolution, a subclass
        (parametrized or lazy layers, say), an even kernel, a rank that the layer cannot have, a weight or
        bias that is NaN or infinite (the new layer takes the spread of the kernel, and the bias).
    """
    check_factored(format)
    model = copy.deepcopy(model)
    layers = chosen_layers(model, include, exclude)
    return replace_modules(
        model, {layer: _drawn(name, layer, format, rank) for name, layer in layers.items()}
    )


def check_factored(format: str) -> None:
    """Refuse what is no format, or is the dense one."""
    if format not in FACTORED:
        raise ValueError(f"format: expected one of {', '.join(FORMATS[1:])}, got {format!r}")


def chosen_layers(
    model: nn.Module, include: Sequence[str] | None, exclude: Sequence[str] | None
) -> dict[str, Conv]:
    """Return the convolutions that a format can take the place of, by name.

    Raises
    ------
    ValueError
        There are none, a pattern matches nothing, or a layer that was chosen cannot be rewritten.
    """
    factors = {id(f) for layer in model.modules() if isinstance(layer, FactoredConv) for f in layer.modules()}
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, CONVOLUTIONS) and id(module) not in factors and set(module.kernel_size) != {1}
    }
    chosen = select(list(found), include, exclude)
    if not chosen:
        raise ValueError(
            "model: found no convolution over 2 or 3 axes to compress; check include and exclude"
        )
    return {name: _plain(name, found[name]) for name in chosen}


def replace_modules(model: nn.Module, replacements: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """Put `replacements[m]` wherever a module m stands in `model`, in place; return the (new) root."""
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if name and module in replacements:
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, replacements[module])
    return replacements.get(model, model)


def shape_of(name: str, layer: Conv) -> ConvShape:
    """Return the shape of a torch convolution called `name`.

    Raises
    ------
    ValueError
        It is one that no format can have, an even kernel say.
    """
    try:
        return ConvShape.of(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            axes=len(layer.kernel_size),
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            bias=layer.bias is not None,
            padding_mode=layer.padding_mode,
        )
    except ValueError as error:
        raise ValueError(f"{called(name)}: {error}; or add the layer to exclude") from None


def make_in_place_of(name: str, layer: Conv, format: str, rank: Rank | None) -> FactoredConv:
    """Return a fresh layer of that format with the shape, dtype, device and mode of `layer`."""
    shape = shape_of(name, layer)
    try:
        new = FACTORED[format](shape, layer_rank(format, shape, rank))
    except ValueError as error:
        raise ValueError(f"{called(name)}: {error}; or add the layer to exclude") from None
    return new.to(layer.weight).train(layer.training)


@torch.no_grad()
def copy_bias(layer: Conv, new: FactoredConv) -> None:
    """Take over the bias, if there is one."""
    if layer.bias is not None and new.bias_vector is not None:
        new.bias_vector.copy_(layer.bias)


def called(name: str) -> str:
    """Return what a message calls the layer of that name."""
    return name or "the model itself"


def _plain(name: str, layer: nn.Module) -> Conv:
    """Return `layer` if a format can take its place."""
    name = called(name)
    if isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d):
        raise ValueError(f"{name}: a transposed convolution cannot be rewritten; add it to exclude")
    if not isinstance(layer, nn.Conv2d | nn.Conv3d) or type(layer) not in PLAIN:
        raise ValueError(f"{name}: a {type(layer).__name__} does more than a convolution; add it to exclude")
    if layer.groups != 1:
        raise ValueError(
            f"{name}: a convolution in {layer.groups} groups cannot be rewritten; add it to exclude"
        )
    return layer


@torch.no_grad()
def _drawn(name: str, layer: Conv, format: str, rank: Rank | None) -> FactoredConv:
    """Return a fresh layer whose kernel has the spread of the one that it replaces."""
    new = make_in_place_of(name, layer, format, rank)
    if not all(bool(torch.isfinite(parameter).all()) for parameter in layer.parameters()):
        raise ValueError(
            f"{called(name)} holds NaN or infinity; compress a network with finite weights, or add the layer "
            "to exclude"
        )
    spread = layer.weight.float().square().mean().sqrt()  # squares overflow in half precision
    new.reset_parameters(kernel_std=float(spread))
    copy_bias(layer, new)
    return new
