"""Convolutions whose kernels have the symmetry of their meaning, stored by one quadrant.

A derivative is odd along its axis and even across it; an average is even along both. A kernel with such a
symmetry is known by the taps of one quadrant, k along x and a across, and its mirror images fill the rest:

    derivative   w(−x, y) = −w(x, y),  w(x, −y) = w(x, y)    2k × (2a − 1) taps, from nodes to half points
    average      w(−x, y) = +w(x, y),  w(x, −y) = w(x, y)    2k × (2a − 1) taps, from nodes to half points
    node         the same about a node                       (2k − 1) × (2a − 1) taps, from nodes to nodes

So a convolution commutes with the mirrors at the walls by construction, has about a quarter of the weights of
a free kernel of the same size, and stays symmetric when it is trained, compressed or pruned. The quadrant is
held by a layer of any format: where that is a chain of convolutions, each axis is mirrored in the one factor
that filters along it, and the chain is applied factor by factor.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slimwave.compression.axis_filters import filter_along

Parity = Literal["derivative", "average", "node"]


class Factor(NamedTuple):
    """One convolution of a chain.

    Attributes
    ----------
    weight: (out, in / groups, k_x, k_y)
    bias: (out,) or None
    groups
        Number of groups of channels: 1, or every channel its own.
    """

    weight: Tensor
    bias: Tensor | None
    groups: int


class MirroredConv(nn.Module):
    """Valid convolution by mirrored kernels.

    Parameters
    ----------
    quadrant
        Layer whose kernel (out, in, k, a) holds the taps of one quadrant, from the axis outwards, in any
        format of :mod:`slimwave.compression.formats`.
    parity
        Symmetry along x.

    Examples
    --------
    >>> layer = nn.Conv2d(1, 1, (1, 1), bias=False)
    >>> _ = nn.init.constant_(layer.weight, 2.0)
    >>> field = torch.tensor([1.0, 4.0, 9.0]).reshape(1, 1, 3, 1)
    >>> MirroredConv(layer, "derivative")(field).flatten().tolist()
    [6.0, 10.0]
    """

    def __init__(self, quadrant: nn.Module, parity: Parity) -> None:
        super().__init__()
        self.quadrant = quadrant
        self.parity: Parity = parity

    def forward(self, field: Tensor, *, turned: bool = False) -> Tensor:
        """Convolve ``field: (batch, in, nx, ny)``; ``turned`` exchanges the roles of x and y."""
        return convolve(field, self.factors(turned=turned))

    def factors(self, *, turned: bool = False) -> list[Factor]:
        """Return the layer as a chain of convolutions with mirrored kernels, first to last."""
        factors = _chain(self.quadrant)
        along = next((n for n, factor in enumerate(factors) if factor.weight.shape[2] > 1), 0)
        return [
            factor._replace(weight=_mirrored(factor.weight, self.parity if n == along else "node", turned))
            for n, factor in enumerate(factors)
        ]


def convolve(field: Tensor, factors: Sequence[Factor]) -> Tensor:
    """Apply a chain of valid convolutions to ``field: (batch, in, nx, ny)``."""
    for factor in factors:
        if _runs_as_filter(factor):
            axis = 0 if factor.weight.shape[2] > 1 else 1
            field = filter_along(field, factor.weight.flatten(1), axis)
        else:
            field = F.conv2d(field, factor.weight, factor.bias, groups=factor.groups)
    return field


def _runs_as_filter(factor: Factor) -> bool:
    """Whether a factor filters every channel by itself along one axis, and compiled loops are the faster way.

    For the forward pass of a single channel they are not.
    """
    weight, bias, groups = factor
    bare = bias is None and groups == len(weight) and weight.shape[1] == 1 and min(weight.shape[2:]) == 1
    return bare and (groups > 1 or torch.is_grad_enabled())


def transpose(factors: Sequence[Factor]) -> list[Factor]:
    """Return the chain of the transposed operator, without biases.

    Applied to a field that is known as far as both chains reach, it is the transpose exactly.
    """
    return [
        Factor((weight if groups > 1 else weight.transpose(0, 1)).flip(2, 3), None, groups)
        for weight, _, groups in reversed(factors)
    ]


def _chain(layer: Any) -> list[Factor]:
    """Return a layer as the convolutions it is made of, first to last; one with the kernel if of none."""
    convolutions = [module for module in layer.modules() if isinstance(module, nn.Conv2d)]
    if convolutions:
        return [Factor(conv.weight, conv.bias, conv.groups) for conv in convolutions]
    return [Factor(layer.kernel(), layer.bias_vector, 1)]


def _mirrored(weight: Tensor, parity: Parity, turned: bool) -> Tensor:
    full = _mirror(_mirror(weight, 2, parity), 3, "node")
    return full.transpose(2, 3) if turned else full


def _mirror(weight: Tensor, axis: int, parity: Parity) -> Tensor:
    image = weight.flip(axis)
    if parity == "node":
        return torch.cat([image.narrow(axis, 0, weight.shape[axis] - 1), weight], dim=axis)
    return torch.cat([-image if parity == "derivative" else image, weight], dim=axis)
