"""Walls as mirrors: extend a field beyond each side by its odd or even image.

The method of images. A Dirichlet wall (u = 0) is the mirror of an odd field, a Neumann wall (∂u/∂n = 0)
that of an even one, so a convolution that reads the extended field sees exactly the wave that the wall
would reflect. Zero padding has no such meaning, and rollouts of networks that use it blow up. The mirror
stands at the wall NODE, which is the first or last of an axis and is not repeated.

``walls: (batch, 4)`` holds a code for each side in the order of :data:`SIDES`: −1 Dirichlet, +1 Neumann, 0
absorbing. Here an absorbing side is an even mirror, which is right for a medium; the state beyond it is the
business of :mod:`slimwave.surrogates.outgoing`.

>>> field = torch.arange(3.0).reshape(1, 1, 3, 1).expand(1, 1, 3, 3)
>>> extend(field, 1, torch.tensor([[-1.0, 1.0, 1.0, 1.0]]))[0, 0, :, 1].tolist()
[-1.0, 0.0, 1.0, 2.0, 1.0]
"""

from collections.abc import Mapping

import torch
from torch import Tensor

SIDES = ("left", "right", "bottom", "top")
CODE_OF = {"dirichlet": -1.0, "neumann": 1.0, "absorbing": 0.0}


def extend(field: Tensor, pad: int, walls: Tensor) -> Tensor:
    """Extend a field by its images in the four walls.

    Beyond the left wall, for instance, f(−x, y) = s f(x, y) with s the left wall's sign; corners carry the
    product of both signs. Where the pad is longer than the domain, the images of images follow.

    Parameters
    ----------
    field: (batch, channels, nx, ny)
    pad
        Cells to add beyond every wall.
    walls: (batch, 4)
        −1 odd, otherwise even, per sample and side.

    Returns
    -------
    Tensor: (batch, channels, nx + 2 pad, ny + 2 pad)

    Raises
    ------
    ValueError
        If an axis has a single node, so that there is nothing to mirror.
    """
    left, right, bottom, top = wall_signs(walls.to(field.dtype))
    return mirror(mirror(field, pad, 2, left, right), pad, 3, bottom, top)


def mirror(
    field: Tensor, pad: int, axis: int, low: Tensor | float, high: Tensor | float, *, at_node: bool = True
) -> Tensor:
    """Extend along one axis of (batch, channels, nx, ny).

    Parameters
    ----------
    low, high: (batch, 1, 1, 1)
        Signs of the images.
    at_node
        The mirrors stand at the outermost nodes; else half a cell beyond them, as for midpoints.
    """
    own = int(at_node)
    nodes = field.shape[axis]
    if pad and nodes <= own:
        raise ValueError(
            f"expected a grid of at least 2 nodes along each axis, got {tuple(field.shape[-2:])}"
        )
    done = 0
    while done < pad:
        more = min(pad - done, nodes - own)
        before = field.narrow(axis, 2 * done + own, more).flip(axis)
        after = field.narrow(axis, nodes - own - more, more).flip(axis)
        field = torch.cat([low * before, field, high * after], dim=axis)
        done += more
    return field


def wall_signs(walls: Tensor) -> tuple[Tensor, ...]:
    """Sign of each side's image, −1 or +1, of shape (batch, 1, 1, 1) for each of the four sides."""
    signs = torch.where(walls < 0, -1.0, 1.0).to(walls.dtype)
    return signs.reshape(-1, 4, 1, 1, 1).unbind(1)


def wall_mask(walls: Tensor, nx: int, ny: int) -> Tensor:
    """Mask that is 0 at the nodes of Dirichlet walls and 1 elsewhere.

    Parameters
    ----------
    walls: (batch, 4)
    nx, ny
        Nodes of the grid, walls included.

    Returns
    -------
    Tensor: (batch, 1, nx, ny)
    """
    left, right, bottom, top = ((1 + sign) / 2 for sign in wall_signs(walls))
    ones = torch.ones_like(left)
    along_x = torch.cat([left, ones.expand(-1, 1, nx - 2, 1), right], dim=2)
    along_y = torch.cat([bottom, ones.expand(-1, 1, 1, ny - 2), top], dim=3)
    return along_x * along_y


def wall_codes(walls: Mapping[str, str]) -> Tensor:
    """Codes of shape (4,) of walls given by name, e.g. ``{"left": "neumann", ...}``."""
    return torch.tensor([CODE_OF[walls[side]] for side in SIDES])
