"""Known kernels as the start of a layer, in whatever format the layer holds its kernel.

Every format here can hold one kernel of rank one exactly: the outer product of a vector along x and one along
y, from input channel 0 to output channel 0.
"""

from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def plant(layer: nn.Module, along: Tensor, across: Tensor) -> None:
    """Make output channel 0 the convolution of input channel 0 with along ⊗ across, and of nothing else.

    Parameters
    ----------
    layer
        Layer of any format of :mod:`slimwave.compression.formats`.
    along: (k,)
        Taps along x.
    across: (a,)
        Taps along y.
    """
    one = torch.ones(1)
    for weight, axes in _weights(layer):
        taps = torch.outer(along if 0 in axes else one, across if 1 in axes else one)
        weight[0] = 0.0
        weight[0, 0] = taps.reshape(weight[0, 0].shape)


@torch.no_grad()
def fade(layer: nn.Module, factor: float) -> None:
    """Multiply every output channel but channel 0 by a factor."""
    _weights(layer)[-1][0][1:] *= factor


@torch.no_grad()
def silence(layer: nn.Module) -> None:
    """Make a layer return zero, by its last factor and its bias alone, so that it can still learn."""
    _weights(layer)[-1][0].zero_()
    for name, parameter in layer.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()


def _weights(layer: Any) -> list[tuple[Tensor, set[int]]]:
    """Return the factors of a kernel, first to last, each with the axes that it filters along."""
    convolutions = [module for module in layer.modules() if isinstance(module, nn.Conv2d)]
    if convolutions:
        return [(c.weight, {axis for axis in (0, 1) if c.kernel_size[axis] > 1}) for c in convolutions]
    return [(layer.get_parameter(name), {axis}) for axis, name in enumerate(layer.weight_names)]
