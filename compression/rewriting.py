"""Rewriting any network's convolutions into a compressed format, before it is trained.

>>> from torch import nn
>>> network = nn.Sequential(nn.Conv2d(3, 32, 5, padding=2), nn.ReLU(), nn.Conv2d(32, 3, 5, padding=2))
>>> compress(network, rank=16)[2].kernel().shape
torch.Size([3, 32, 5, 5])
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from slimwave.compression.arguments import check_odd_kernel, check_rank
from slimwave.compression.one_way import Conv, OneWayConv
from slimwave.compression.roles import select

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def compress(
    model: nn.Module,
    format: str = "cp",
    *,
    rank: int,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
) -> nn.Module:
    """Return a copy of `model` in which each `Conv2d` and `Conv3d` is a one-way convolution.

    The factors are drawn anew with the spread of the kernel that they replace (a kernel of zeros stays zero);
    biases are taken over.  A trained network must therefore be trained again.  1×1 kernels have nothing to
    separate and stay, and so do the factors of layers that are one-way already.  A layer that stands at two
    places is shared by both afterwards.

    Parameters
    ----------
    format
        "cp", see `OneWayConv`.
    rank
        Number of rank-one terms of every layer.
    include, exclude
        Shell-style patterns of layer names; by default every convolution over 2 or 3 axes.

    Raises
    ------
    ValueError
        Unknown format, no convolution to rewrite, a pattern that matches nothing; and, naming the layer: a
        transposed or grouped convolution, a subclass (parametrized or lazy layers, say), an even kernel, a
        rank outside 1 … full rank.
    """
    if format != "cp":
        raise ValueError(f"format: expected 'cp', got {format!r}")
    model = copy.deepcopy(model)
    layers = _separable_layers(model)
    chosen = select(list(layers), include, exclude)
    if not chosen:
        raise ValueError(
            "model: found no convolution over 2 or 3 axes to compress; check include and exclude"
        )
    return replace_modules(model, {layers[name]: _one_way(name, layers[name], rank) for name in chosen})


def replace_modules(model: nn.Module, replacements: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """Put `replacements[m]` wherever a module m stands in `model`, in place; return the (new) root."""
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if name and module in replacements:
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, replacements[module])
    return replacements.get(model, model)


def _separable_layers(model: nn.Module) -> dict[str, nn.Module]:
    factors = {id(f) for layer in model.modules() if isinstance(layer, OneWayConv) for f in layer.modules()}
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, CONVOLUTIONS) and id(module) not in factors and set(module.kernel_size) != {1}
    }


def _one_way(name: str, layer: nn.Module, rank: int) -> OneWayConv:
    """Return the one-way layer that stands in for a dense one."""
    name = name or "the model itself"
    if isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d):
        raise ValueError(f"{name}: a transposed convolution cannot be rewritten; add it to exclude")
    if not isinstance(layer, nn.Conv2d | nn.Conv3d) or type(layer) not in (nn.Conv2d, nn.Conv3d):
        raise ValueError(f"{name}: a {type(layer).__name__} does more than a convolution; add it to exclude")
    if layer.groups != 1:
        raise ValueError(
            f"{name}: a convolution in {layer.groups} groups cannot be rewritten; add it to exclude"
        )
    try:
        check_odd_kernel(layer.kernel_size)
        check_rank(rank, layer.in_channels, layer.out_channels, layer.kernel_size)
    except ValueError as error:
        raise ValueError(f"{name}: {error}; or add the layer to exclude") from None
    return _with_spread_of(layer, rank)


def _with_spread_of(layer: Conv, rank: int) -> OneWayConv:
    new = OneWayConv(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        rank,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        bias=layer.bias is not None,
        padding_mode=layer.padding_mode,
    )
    new.reset_parameters(kernel_std=float(layer.weight.detach().square().mean().sqrt()))
    if layer.bias is not None and new.mix_out.bias is not None:
        with torch.no_grad():
            new.mix_out.bias.copy_(layer.bias)
    return new.to(layer.weight).train(layer.training)
