"""Absorbing sides: what lies beyond them is a wave that leaves.

A wave that moves out through the right wall has u_t = −c u_x, and one that moves in has u_t = +c u_x. A state
beyond the wall that obeys the first, whatever its u may be, therefore sends nothing back. With s the distance
from the wall, u_w the value at it and τ a taper from 1 to 0,

    u(w + s) = τ(s) (2 u_w − u(w − s)),        v(w + s) = −c(w + s) ∂u/∂s (w + s),

which continues an outgoing wave smoothly: its slope and its velocity have no jump at the wall. In one
dimension nothing is reflected; in two, a wave at the angle θ to the normal returns with the amplitude (1 −
cos θ) / (1 + cos θ), as from the first-order condition of Engquist and Majda (Math. Comp. 31, 629, 1977). The
extension is linear in the state, and a network reads it like any other part of the field.

For schemes that hold u at the wall and advance it by a force, the same condition is an even mirror and a
damping of the nodes at the wall, see :func:`absorbing_rate`.
"""

import math

import torch
from torch import Tensor

from slimwave.surrogates.walls import extend, mirror, wall_signs


def has_absorbing(walls: Tensor) -> bool:
    """Whether any side of any sample is absorbing."""
    return bool((walls == 0).any())


def outgoing_celerity(
    wave_speed: Tensor, walls: Tensor, pad: int, spacing: tuple[float, float], scale: Tensor
) -> Tensor:
    """The factor c between ∂u/∂s and v, per cell and for normalised fields, on the extended grid.

    Parameters
    ----------
    wave_speed: (batch, 1, nx, ny)
    walls: (batch, 4)
    pad
        Cells beyond every wall.
    spacing
        (dx, dy).
    scale: (1, 2, 1, 1)
        σ_u and σ_v, by which the state is divided.

    Returns
    -------
    Tensor: (batch, 2, nx + 2 pad, ny + 2 pad)
        c σ_u / (σ_v dx) and c σ_u / (σ_v dy); empty where no side absorbs, which costs nothing in a step.
    """
    if not has_absorbing(walls):
        return wave_speed.new_empty(0)
    per_cell = wave_speed.new_tensor(spacing).reciprocal().reshape(1, 2, 1, 1)
    even = torch.ones_like(walls)
    return extend(wave_speed, pad, even) * per_cell * (scale[:, :1] / scale[:, 1:])


def extend_state(state: Tensor, pad: int, walls: Tensor, celerity: Tensor) -> Tensor:
    """Extend u and v by their images in the walls, and by an outgoing wave beyond absorbing sides.

    Parameters
    ----------
    state: (batch, 2, nx, ny)
    pad
        Cells to add beyond every wall.
    walls: (batch, 4)
    celerity
        What :func:`outgoing_celerity` returned for the same pad.

    Returns
    -------
    Tensor: (batch, 2, nx + 2 pad, ny + 2 pad)
    """
    if celerity.numel() == 0 or pad == 0:
        return extend(state, pad, walls)
    ny = state.shape[-1]
    along_x, along_y = celerity[:, :1, :, pad : pad + ny], celerity[:, 1:]
    signs = wall_signs(walls.to(state.dtype))
    absorbs = (walls == 0).to(state.dtype).reshape(-1, 4, 1, 1, 1).unbind(1)
    for axis, speed, sides in ((2, along_x, (0, 1)), (3, along_y, (2, 3))):
        low, high = sides
        images = mirror(state, pad, axis, signs[low], signs[high])
        state = _with_outgoing(images, pad, axis, speed, absorbs[low], absorbs[high])
    return state


def _with_outgoing(
    images: Tensor, pad: int, axis: int, celerity: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    """Put the outgoing wave beyond the sides where ``low`` or ``high`` (batch, 1, 1, 1) is 1."""
    nodes = images.shape[axis] - 2 * pad
    u, v = images[:, :1], images[:, 1:]
    before, inside, after = torch.split(u, [pad, nodes, pad], dim=axis)
    taper = _taper(pad, axis, u)
    wall_low, wall_high = inside.narrow(axis, 0, 1), inside.narrow(axis, nodes - 1, 1)
    u = torch.cat(
        [
            torch.lerp(before, taper.flip(axis) * (2 * wall_low - before), low),
            inside,
            torch.lerp(after, taper * (2 * wall_high - after), high),
        ],
        dim=axis,
    )
    leaving = celerity * _slope(u, axis)
    before, inside, after = torch.split(v, [pad, nodes, pad], dim=axis)
    v = torch.cat(
        [
            torch.lerp(before, leaving.narrow(axis, 0, pad), low),
            inside,
            torch.lerp(after, -leaving.narrow(axis, pad + nodes, pad), high),
        ],
        dim=axis,
    )
    return torch.cat([u, v], dim=1)


def _taper(pad: int, axis: int, like: Tensor) -> Tensor:
    """cos² from 1 at the wall to 0 just beyond the last cell, along one axis."""
    cells = torch.arange(1, pad + 1, dtype=like.dtype, device=like.device)
    shape = [pad if place == axis else 1 for place in range(4)]
    return (cells * (math.pi / (2 * (pad + 1)))).cos().square().reshape(shape)


def _slope(u: Tensor, axis: int) -> Tensor:
    """Central difference per cell; 0 lies beyond the tapered ends."""
    end = torch.zeros_like(u.narrow(axis, 0, 1))
    padded = torch.cat([end, u, end], dim=axis)
    nodes = u.shape[axis]
    return (padded.narrow(axis, 2, nodes) - padded.narrow(axis, 0, nodes)) / 2


def absorbing_rate(wave_speed: Tensor, walls: Tensor, spacing: tuple[float, float]) -> Tensor:
    """Damping rate γ at the nodes of absorbing sides, for schemes that extend u evenly there.

    With the ghost node that ∂u/∂n = −u_t / c asks for, u₋₁ = u₁ − (2h / c) u_t, the second difference at the
    wall is that of the even mirror less (2 / (h c)) u_t, and so c² u_nn is the even mirror's force less (2c /
    h) v: v_t = F − γ v with γ = 2c/h, summed where two absorbing sides meet.

    Parameters
    ----------
    wave_speed: (batch, 1, nx, ny)
    walls: (batch, 4)
    spacing
        (dx, dy).

    Returns
    -------
    Tensor: (batch, 1, nx, ny)
        Per unit of time; 0 at all other nodes.
    """
    nx, ny = wave_speed.shape[-2:]
    left, right, bottom, top = (walls == 0).to(wave_speed.dtype).reshape(-1, 4, 1, 1, 1).unbind(1)
    along_x = torch.cat([left, torch.zeros_like(left).expand(-1, 1, nx - 2, 1), right], dim=2) / spacing[0]
    along_y = torch.cat([bottom, torch.zeros_like(left).expand(-1, 1, 1, ny - 2), top], dim=3) / spacing[1]
    return 2 * wave_speed * (along_x + along_y)
