"""The strain of a field along one axis, and how stiff the medium is against it.

The force of the leapfrog network is F = Eᵀ Aᵀ k(c) A E. This module holds A and k for the strain along x; the
strain along y is the same with the roles of x and y exchanged (``turned``).

- A: node convolutions and at last a derivative to the half points between two nodes along x, all linear and
  without bias, all with the parity of their meaning, so that A of a constant is zero and A commutes with the
  mirrors at the walls.
- k(c) = c² exp(tanh ε(c)) > 0: the squared wave speed, interpolated to the half points, times a factor
  between 1/e and e, which a small convolutional encoder learns from the medium around the point.

Half points lie inside the domain: along x there is one fewer than nodes.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slimwave.surrogates.layers import network_conv
from slimwave.surrogates.mirrored import Factor, MirroredConv, Parity, convolve
from slimwave.surrogates.network_shapes import LeapfrogShape
from slimwave.surrogates.planting import fade, plant, silence
from slimwave.surrogates.stencils import staggered_average, staggered_derivative
from slimwave.surrogates.walls import extend

ENCODER_TAPS = 3
"""Taps along each half axis of the encoder's kernels."""
AVERAGE_PAIRS = 4
"""Pairs of nodes that the wave speed is interpolated from."""
GATE_SCALE = 0.1
FAINT = 0.01
"""Size of the further channels of A beside the planted stencil, relative to fresh random ones."""
FEWEST_SAMPLES, SAMPLES_PER_DEGREE = 256, 16
"""Samples per axis of the symbol of A: as many, and for each degree of it."""


class Strain(nn.Module):
    """A and k(c) along one axis.

    Parameters
    ----------
    shape
        Settings of the network.
    """

    average: Tensor

    def __init__(self, shape: LeapfrogShape) -> None:
        super().__init__()
        self.shape = shape
        width, hidden = shape.width, shape.encoder_width
        self.nodes = nn.ModuleList(self._conv(1 if n == 0 else width, "node") for n in range(shape.depth - 1))
        self.derivative = self._conv(1 if shape.depth == 1 else width, "derivative")
        taps = (ENCODER_TAPS, ENCODER_TAPS)
        self.encoder = MirroredConv(network_conv(shape, 1, hidden, taps, bias=True), "node")
        self.gates = MirroredConv(network_conv(shape, hidden, width, taps, bias=True), "average")
        half = torch.tensor(staggered_average(AVERAGE_PAIRS), dtype=torch.float32)
        self.register_buffer("average", torch.cat([half.flip(0), half]), persistent=False)
        self._initialise()

    def _conv(self, in_channels: int, parity: Parity) -> MirroredConv:
        shape = self.shape
        kernel = (shape.kernel_size, shape.across)
        return MirroredConv(network_conv(shape, in_channels, shape.width, kernel, bias=False), parity)

    def _initialise(self) -> None:
        """Fresh gates are exactly c²; with ``init="stencil"`` the first channel of A is a derivative."""
        silence(self.gates.quadrant)
        if self.shape.init == "random":
            return
        taps = torch.tensor(staggered_derivative(self.shape.kernel_size), dtype=torch.float32)
        middle = torch.eye(1, self.shape.kernel_size)[0]
        across = torch.eye(1, self.shape.across)[0]
        for layer in self._node_layers:
            plant(layer.quadrant, middle, across)
        plant(self.derivative.quadrant, taps, across)
        fade(self.derivative.quadrant, FAINT)

    @property
    def _node_layers(self) -> list[MirroredConv]:
        return [layer for layer in self.nodes if isinstance(layer, MirroredConv)]

    @property
    def reach_along(self) -> int:
        """Nodes that A reads to each side of a half point along its axis."""
        return self.shape.kernel_size + (self.shape.depth - 1) * (self.shape.kernel_size - 1)

    @property
    def reach_across(self) -> int:
        """Nodes that A reads to each side across its axis."""
        return self.shape.depth * (self.shape.across - 1)

    def factors(self, *, turned: bool) -> list[Factor]:
        """Return A, from an extended field (batch, 1, …) to its strain (batch, width, …)."""
        layers = [*self._node_layers, self.derivative]
        return [factor for layer in layers for factor in layer.factors(turned=turned)]

    def stiffness(self, wave_speed: Tensor, normalised: Tensor, *, turned: bool) -> Tensor:
        """Compute k(c) at the half points of the domain.

        Parameters
        ----------
        wave_speed: (batch, 1, nx, ny)
        normalised: (batch, 1, nx, ny)
            The wave speed as the encoder reads it.

        Returns
        -------
        Tensor: (batch, width, nx − 1, ny)
            In units of c²; (batch, width, nx, ny − 1) if turned.
        """
        even = torch.ones(1, 4, dtype=wave_speed.dtype, device=wave_speed.device)
        extended = extend(normalised, 2 * (ENCODER_TAPS - 1), even)
        hidden = F.gelu(self.encoder(extended, turned=turned))
        learned = torch.tanh(GATE_SCALE * self.gates(hidden, turned=turned))
        return torch.exp(2 * self._interpolated(wave_speed.log(), turned) + learned)

    def _interpolated(self, field: Tensor, turned: bool) -> Tensor:
        """Interpolate from nodes to half points; at the walls the field is continued by its slope."""
        smooth = _continued(field, AVERAGE_PAIRS - 1, 3 if turned else 2)
        return F.conv2d(smooth, self.average.reshape((1, 1, 1, -1) if turned else (1, 1, -1, 1)))

    @property
    def degrees(self) -> tuple[int, int]:
        """Degrees of the trigonometric polynomial |Â_j(θ)|² along the axis and across it."""
        return 2 * self.reach_along - 1, 2 * self.reach_across

    @property
    def wavenumbers(self) -> int:
        """Samples n of the symbol around the circle of each axis."""
        return max(FEWEST_SAMPLES, 1 << (SAMPLES_PER_DEGREE * max(self.degrees) - 1).bit_length())

    @property
    def margin(self) -> float:
        """Share of its maximum that the largest sample of |Â_j|² reaches at least.

        cos(π d / n) per axis, for degree d and n samples (Ehlich and Zeller, Math. Z. 86, 41, 1964): 0.96 or
        more, since n ≥ 16 d.
        """
        return math.prod(math.cos(math.pi * degree / self.wavenumbers) for degree in self.degrees)

    def symbol(self) -> Tensor:
        """Sample |Â_j(θ)|², the squared response of every channel to a plane wave, along x and y.

        The kernel w is odd along its axis and even across it, so that its response is, but for a phase,

            Â(θ) = Σ_m Σ_n w_mn 2 sin((m − ½) θ_x) (2 − δ_n0) cos(n θ_y),    m = 1, 2, …,    n = 0, 1, …

        Returns
        -------
        Tensor: (width, n/2 + 1, n/2 + 1)
            At θ = 0 … π along each axis, divided by the ``margin``, so that no θ between the samples exceeds
            the largest of them. The last side is 1 where A does not read across its axis.
        """
        along, across = self.degrees
        impulse = self.average.new_zeros(1, 1, 2 * along + 1, 2 * across + 1)
        impulse[..., along, across] = 1.0
        kernel = convolve(impulse, self.factors(turned=False))[0, :, self.reach_along :, self.reach_across :]
        half = self.wavenumbers // 2
        odd = _phases(half, 2 * torch.arange(self.reach_along) + 1).sin().to(kernel)
        even = _phases(half if across else 0, 2 * torch.arange(self.reach_across + 1)).cos().to(kernel)
        even[:, 1:] *= 2
        return (2 * odd @ kernel @ even.T).square() / self.margin


def _phases(half: int, doubled: Tensor) -> Tensor:
    """θ m for θ = 0 … π in ``half`` steps and twice the places m, in double precision."""
    return torch.linspace(0, math.pi, half + 1, dtype=torch.float64)[:, None] * doubled / 2


def _continued(field: Tensor, pad: int, axis: int) -> Tensor:
    """Extend along one axis by f(−x) = 2 f(0) − f(x), which keeps the slope, unlike an even image."""
    nodes = field.shape[axis]
    first, last = field.narrow(axis, 0, 1), field.narrow(axis, nodes - 1, 1)
    before = 2 * first - field.narrow(axis, 1, pad).flip(axis)
    after = 2 * last - field.narrow(axis, nodes - 1 - pad, pad).flip(axis)
    return torch.cat([before, field, after], dim=axis)
