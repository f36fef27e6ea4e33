"""Standing waves of an axis between two walls: a coarse, band-limited grid that no wall disturbs.

Between the walls of an axis of length L live the standing waves

    φ_m(x) = sin(κ_m x)  behind a Dirichlet wall,   cos(κ_m x)  behind a Neumann wall at x = 0,
    κ_m L / π = 1, 2, … (both Dirichlet),   0, 1, … (both Neumann),   ½, 3/2, … (mixed).

On the n nodes of the grid they are orthogonal under the trapezoidal rule, and on M midpoints (j + ½) L / M in
the plain sum, for all four pairs of walls (the discrete sine and cosine transforms of types I to IV). A field
is therefore moved to the midpoints and back by one matrix per axis, exactly as long as its wavenumbers stay
below π M / L, and its derivative there is one more matrix, from φ to its partner ψ = φ′ / κ:

    D = Ψ diag(κ f(κ)) Φ⁻¹.

The factor f is what a network learns; with f = 1 the derivative is exact.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Axis(NamedTuple):
    """The standing waves of one axis, for every sample.

    Attributes
    ----------
    to_inner: (batch, M, n)
        From the nodes to the midpoints; wavenumbers above the band are dropped.
    to_grid: (batch, n, M)
        From the midpoints to the nodes.
    modes: (batch, M, M)
        Orthonormal values φ_m(x_j) / |φ_m|, rows being midpoints; 0 for a mode outside the band.
    partners: (batch, M, M)
        Orthonormal values of ψ_m, with the sign of the derivative.
    numbers: (batch, M)
        κ_m L / π.
    """

    to_inner: Tensor
    to_grid: Tensor
    modes: Tensor
    partners: Tensor
    numbers: Tensor


def standing_modes(low: Tensor, high: Tensor, nodes: int, midpoints: int) -> Axis:
    """Standing waves between two walls.

    Parameters
    ----------
    low, high: (batch,)
        Codes of the walls at the two ends: −1 Dirichlet, +1 Neumann.
    nodes, midpoints
        n and M < n.

    Returns
    -------
    Axis
        In the precision of ``low``; computed in double precision.
    """
    dirichlet, other = (low < 0).double(), (high < 0).double()
    order = torch.arange(midpoints, device=low.device, dtype=torch.float64)
    numbers = order + (dirichlet + other)[:, None] / 2
    at_nodes = torch.linspace(0, 1, nodes, device=low.device, dtype=torch.float64)
    at_midpoints = (torch.arange(midpoints, device=low.device, dtype=torch.float64) + 0.5) / midpoints
    inside = (numbers < midpoints - 0.25).double()[:, None, :]
    at_zero = dirichlet[:, None, None]
    on_nodes = inside * _wave(at_nodes, numbers, at_zero)
    modes = inside * _wave(at_midpoints, numbers, at_zero)
    sign = 2 * at_zero - 1
    partners = inside * sign * _wave(at_midpoints, numbers, 1 - at_zero)
    modes, partners, on_nodes = _normalised(modes, partners, on_nodes, numbers)
    weights = torch.ones_like(at_nodes)
    weights[0] = weights[-1] = 0.5
    share = midpoints / (nodes - 1)
    to_inner = share * modes @ (weights[:, None] * on_nodes).transpose(1, 2)
    parts = (to_inner, on_nodes @ modes.transpose(1, 2), modes, partners, numbers)
    return Axis(*(part.to(low.dtype) for part in parts))


def _wave(x: Tensor, numbers: Tensor, sine: Tensor) -> Tensor:
    """sin(π k x) where ``sine`` is 1 and cos(π k x) where it is 0, of shape (batch, len(x), modes)."""
    angle = torch.pi * x[:, None] * numbers[:, None, :]
    return sine * angle.sin() + (1 - sine) * angle.cos()


def _normalised(
    modes: Tensor, partners: Tensor, on_nodes: Tensor, numbers: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Divide by the length on the midpoints: √(M/2), and √M for a constant, whose partner is zero."""
    midpoints = modes.shape[1]
    constant = (numbers == 0).double()
    length = (midpoints * (1 + constant) / 2).sqrt()[:, None, :]
    return modes / length, (1 - constant[:, None, :]) * partners / length, on_nodes / length
