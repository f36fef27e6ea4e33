"""Walls as mirrors: extend a field beyond each side by its odd or even image.

The method of images. A Dirichlet wall (u = 0) is the mirror of an odd field, a Neumann wall (∂u/∂n = 0)
that of an even one, so a convolution that reads the extended field sees exactly the wave that the wall
would reflect. Zero padding has no such meaning, and rollouts of networks that use it blow up. The mirror
stands at the wall NODE, which is the first or last of an axis and is not repeated.

``signs: (batch, 4)`` holds −1 (Dirichlet) or +1 (Neumann) for each side in the order of :data:`SIDES`.

>>> field = torch.arange(3.0).reshape(1, 1, 3, 1).expand(1, 1, 3, 3)
>>> extend(field, 1, torch.tensor([[-1.0, 1.0, 1.0, 1.0]]))[0, 0, :, 1].tolist()
[-1.0, 0.0, 1.0, 2.0, 1.0]
"""

from collections.abc import Mapping

import torch
from torch import Tensor

SIDES = ("left", "right", "bottom", "top")
SIGN_OF = {"dirichlet": -1.0, "neumann": 1.0}


def extend(field: Tensor, pad: int, signs: Tensor) -> Tensor:
    """Extend a field by its images in the four walls.

    Beyond the left wall, for instance, f(−x, y) = s f(x, y) with s the left wall's sign; corners carry the
    product of both signs.

    Parameters
    ----------
    field: (batch, channels, nx, ny)
    pad
        Cells to add beyond every wall.
    signs: (batch, 4)
        −1 odd, +1 even, per sample and side.

    Returns
    -------
    Tensor: (batch, channels, nx + 2 pad, ny + 2 pad)

    Raises
    ------
    ValueError
        If the grid has fewer than ``pad + 1`` nodes along an axis, so that one image is not enough.
    """
    shortest = min(field.shape[-2:])
    if shortest <= pad:
        raise ValueError(
            f"the grid has {shortest} nodes along its shorter axis, but a reach of {pad} cells "
            f"needs at least {pad + 1}; use a finer grid or a network with fewer or shorter kernels"
        )
    if pad == 0:
        return field
    left, right, bottom, top = signs.to(field.dtype).reshape(-1, 4, 1, 1, 1).unbind(1)
    return _mirror(_mirror(field, pad, 2, left, right), pad, 3, bottom, top)


def _mirror(field: Tensor, pad: int, axis: int, low: Tensor, high: Tensor) -> Tensor:
    """Extend along one axis; ``low`` and ``high`` are signs of shape (batch, 1, 1, 1)."""
    nodes = field.shape[axis]
    before = field.narrow(axis, 1, pad).flip(axis)
    after = field.narrow(axis, nodes - 1 - pad, pad).flip(axis)
    return torch.cat([low * before, field, high * after], dim=axis)


def wall_mask(signs: Tensor, nx: int, ny: int) -> Tensor:
    """Mask that is 0 at the nodes of Dirichlet walls and 1 elsewhere.

    Parameters
    ----------
    signs: (batch, 4)
    nx, ny
        Nodes of the grid, walls included.

    Returns
    -------
    Tensor: (batch, 1, nx, ny)
    """
    left, right, bottom, top = ((1 + signs) / 2).reshape(-1, 4, 1, 1, 1).unbind(1)
    ones = torch.ones_like(left)
    along_x = torch.cat([left, ones.expand(-1, 1, nx - 2, 1), right], dim=2)
    along_y = torch.cat([bottom, ones.expand(-1, 1, 1, ny - 2), top], dim=3)
    return along_x * along_y


def wall_signs(walls: Mapping[str, str]) -> Tensor:
    """Signs of shape (4,) of walls given by name, e.g. ``{"left": "neumann", ...}``."""
    return torch.tensor([SIGN_OF[walls[side]] for side in SIDES])
