"""The macro-step network: long steps, on a coarse inner grid, by one-way operators as long as the domain.

A wave that has little beyond a band of wavenumbers needs no fine grid. The state is moved to a coarse grid of
midpoints in the standing waves of its walls, see :mod:`slimwave.surrogates.standing_modes`, stepped there,
and moved back, by one matrix per axis. In between acts the force

    F = Σ_r D_xrᵀ k_xr(c) D_xr + D_yrᵀ k_yr(c) D_yr,

where D_xr and D_yr are one-way operators: one full-length matrix per axis and rank term, walls built in, with
a learned response κ f_r(κ) to each standing wave, and k(c) > 0 are gates that an encoder computes once per
medium. F is self-adjoint and positive for any weights, and a macro step is n substeps of shears with it, see
:mod:`slimwave.surrogates.shears`. In a uniform medium and with f = 1 that is the propagators cos(cκt) and
sin(cκt)/(cκ), to the order of the stepping.

Derivatives by wavenumber are those of the Fourier method (Kosloff and Baysal, Geophysics 47, 1402, 1982) and
the propagators those of k-space methods (Tabei, Mast and Waag, J. Acoust. Soc. Am. 111, 53, 2002), here with
sines and cosines for the walls. Operators along one axis at a time are one-way filters (arXiv 2304.04964) as
long as the domain; that their response and the gates are learned is slimwave's own.

What holds for any weights: superposition; reversal and boundedness for states within the band. A step drops
what a state has beyond the band, at wavenumbers above π / (inner spacing). Grids of any size are taken: the
inner grid keeps its spacing, and f is a function of κ relative to the band's edge. Media that jump within an
inner cell are blurred to it. Absorbing sides have no standing waves and are refused.

With ``init="stencil"`` the network starts as a pseudo-spectral solver: f = 1 and k(c) = c². Training refines
the edge of the band, the walls and the sub-grid medium. ``init="random"`` starts from random responses.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slimwave.surrogates.layers import network_conv
from slimwave.surrogates.mirrored import MirroredConv
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.network_shapes import MacroStepShape
from slimwave.surrogates.outgoing import has_absorbing
from slimwave.surrogates.planting import silence
from slimwave.surrogates.precision import in_full_precision
from slimwave.surrogates.shears import advance, stable_limit
from slimwave.surrogates.standing_modes import Axis, standing_modes
from slimwave.surrogates.stencils import midpoint_interpolation
from slimwave.surrogates.stepped import SteppedSurrogate
from slimwave.surrogates.strain import ENCODER_TAPS, FAINT, GATE_SCALE
from slimwave.surrogates.task import WaveTask
from slimwave.surrogates.walls import mirror

KNOTS = 16
"""Points over the band at which the response f is learned; linear in between."""


class MacroStepContext(NamedTuple):
    """The medium's share of a step; for each axis, M midpoints and n nodes.

    Attributes
    ----------
    to_inner_x, to_inner_y: (batch, 1, M, n)
    to_grid_x, to_grid_y: (batch, 1, n, M)
        Matrices between the nodes and the midpoints.
    modes_x, modes_y, partners_x, partners_y: (batch, 1, M, M)
        Standing waves on the midpoints, and their derivatives divided by κ.
    hats_x, hats_y: (batch, M, KNOTS)
        Response of every standing wave to the learned values: κ times hat functions.
    gates_x, gates_y: (batch, width, M_x, M_y)
        dt² k(c) on the midpoints.
    """

    to_inner_x: Tensor
    to_inner_y: Tensor
    to_grid_x: Tensor
    to_grid_y: Tensor
    modes_x: Tensor
    modes_y: Tensor
    partners_x: Tensor
    partners_y: Tensor
    hats_x: Tensor
    hats_y: Tensor
    gates_x: Tensor
    gates_y: Tensor


class MacroStepNetwork(SteppedSurrogate[MacroStepShape]):
    """Network of full-length one-way operators on a coarse inner grid.

    Examples
    --------
    >>> task = WaveTask(0.12, (1 / 63, 1 / 63), 2.0, (0.1, 1.0), (0.1, 1.0), 1.5, 0.3)
    >>> MacroStepNetwork(NetworkConfig("macro_step").resolved(), task).reach
    16
    """

    def __init__(self, config: NetworkConfig, task: WaveTask) -> None:
        super().__init__(config, task)
        self.shape = config.shape_as(MacroStepShape)
        width, hidden = self.shape.width, self.shape.encoder_width
        taps = (ENCODER_TAPS, ENCODER_TAPS)
        self.response = nn.Linear(KNOTS, width, bias=False)
        self.encoder = MirroredConv(network_conv(self.shape, 1, hidden, taps, bias=True), "node")
        self.gates = MirroredConv(network_conv(self.shape, hidden, width, taps, bias=True), "node")
        self.require_substeps()
        silence(self.gates.quadrant)
        if self.shape.init == "stencil":
            with torch.no_grad():
                self.response.weight.mul_(FAINT)
                self.response.weight[0] = 1.0

    @property
    def reach(self) -> int:
        """Cells that the time stepping lets a wave cross in a step, rounded up; the operators see all."""
        return math.ceil(self.shape.substeps / self._substeps_per_cell)

    def reach_remedy(self, needed: int) -> str:
        """Say with how many substeps a wave could cross ``needed`` cells."""
        return f"use --network.substeps {math.ceil(needed * self._substeps_per_cell)}"

    @property
    def substeps_per_speed(self) -> float:
        """Substeps for a wave of speed 1."""
        return self._substeps_per_cell * self.task.macro_step / min(self.task.spacing)

    @property
    def _substeps_per_cell(self) -> float:
        """Substeps that a wave needs to cross one cell; z = dt² c² |κ|² is largest at the band's edge."""
        dx, dy = self.task.spacing
        edge = math.pi / self.shape.coarsening * math.hypot(1.0, min(dx, dy) / max(dx, dy))
        return edge / math.sqrt(stable_limit(self.shape.time_order))

    @in_full_precision
    def encode(self, wave_speed: Tensor, walls: Tensor) -> MacroStepContext:
        """Compute the standing waves of the walls and the gates of the medium.

        Raises
        ------
        ValueError
            If a side absorbs, or the grid is too small.
        """
        if has_absorbing(walls):
            raise ValueError(
                "a macro_step network has no standing waves between absorbing sides; "
                "use leapfrog, gated_linear or residual_cnn for them"
            )
        grid = wave_speed.shape[-2:]
        inner = [math.floor((nodes - 1) / self.shape.coarsening) for nodes in grid]
        if min(grid) < 4 or min(inner) < 2:
            raise ValueError(
                f"expected at least 4 nodes and 2 inner midpoints along each axis, got {tuple(grid)} and "
                f"{tuple(inner)}; use a finer grid, or train with a smaller --network.coarsening"
            )
        sides = walls.to(wave_speed.dtype).unbind(1)
        x = standing_modes(sides[0], sides[1], grid[0], inner[0])
        y = standing_modes(sides[2], sides[3], grid[1], inner[1])
        dx, dy = self.task.spacing
        hats_x, hats_y = _hats(x, dx * (grid[0] - 1)), _hats(y, dy * (grid[1] - 1))
        gates_x, gates_y = self._bounded(self._gates(wave_speed, inner), hats_x, hats_y)
        return MacroStepContext(
            to_inner_x=x.to_inner[:, None],
            to_inner_y=y.to_inner[:, None],
            to_grid_x=x.to_grid[:, None],
            to_grid_y=y.to_grid[:, None],
            modes_x=x.modes[:, None],
            modes_y=y.modes[:, None],
            partners_x=x.partners[:, None],
            partners_y=y.partners[:, None],
            hats_x=hats_x,
            hats_y=hats_y,
            gates_x=gates_x,
            gates_y=gates_y,
        )

    def _gates(self, wave_speed: Tensor, inner: list[int]) -> tuple[Tensor, Tensor]:
        """Return dt² c² exp(tanh ε(c)) on the midpoints, for the strain along x and along y."""
        along_x, along_y = (
            wave_speed.new_tensor(midpoint_interpolation(nodes, count))
            for nodes, count in zip(wave_speed.shape[-2:], inner, strict=True)
        )
        speed = torch.exp(along_x @ wave_speed.log() @ along_y.T)
        dt = self.task.macro_step / self.shape.substeps
        extended = (speed - self.task.speed_mean) / self.task.speed_std
        for axis in (2, 3):
            extended = mirror(extended, 2 * (ENCODER_TAPS - 1), axis, 1.0, 1.0, at_node=False)
        learned = (
            self.gates(F.gelu(self.encoder(extended, turned=turned)), turned=turned)
            for turned in (False, True)
        )
        gates_x, gates_y = ((dt * speed).square() * torch.exp(torch.tanh(GATE_SCALE * e)) for e in learned)
        return gates_x, gates_y

    def _bounded(self, gates: tuple[Tensor, Tensor], hats_x: Tensor, hats_y: Tensor) -> tuple[Tensor, Tensor]:
        """Scale the gates down where the bound on λ_max(F) is too large."""
        limit = stable_limit(self.shape.time_order)
        share = (limit / self._largest_eigenvalue(gates, hats_x, hats_y)).clamp(max=1.0).reshape(-1, 1, 1, 1)
        return share * gates[0], share * gates[1]

    def _largest_eigenvalue(self, gates: tuple[Tensor, Tensor], hats_x: Tensor, hats_y: Tensor) -> Tensor:
        """Bound λ_max(F) ≤ Σ_r max k_xr max |κf_r|² + the same along y for every sample, shape (batch,)."""
        along_x, along_y = (
            (gate.amax(dim=(2, 3)) * self.response(hats).square().amax(dim=1)).sum(dim=1)
            for gate, hats in zip(gates, (hats_x, hats_y), strict=True)
        )
        return along_x + along_y

    @in_full_precision
    def step(self, state: Tensor, context: MacroStepContext) -> Tensor:
        """Advance the state (batch, 2, nx, ny) by one macro step."""
        shape = self.shape
        dt = self.task.macro_step / shape.substeps
        inner = context.to_inner_x @ state @ context.to_inner_y.mT
        u, w = advance(shape.time_order, shape.substeps, inner[:, :1], dt * inner[:, 1:], self.force(context))
        return context.to_grid_x @ torch.cat([u, w / dt], dim=1) @ context.to_grid_y.mT

    def force(self, context: MacroStepContext) -> "SpectralForce":
        """Return dt² F in a medium."""
        along_x = _operators(self.response(context.hats_x), context.modes_x, context.partners_x)
        along_y = _operators(self.response(context.hats_y), context.modes_y, context.partners_y)
        return SpectralForce(along_x, along_y, context.gates_x, context.gates_y)


@dataclass(frozen=True)
class SpectralForce:
    """The force dt² F on the inner grid, as a function of fields (batch, 1, M_x, M_y).

    Attributes
    ----------
    along_x, along_y: (batch, width, M, M)
        The one-way operators D.
    gates_x, gates_y: (batch, width, M_x, M_y)
    """

    along_x: Tensor
    along_y: Tensor
    gates_x: Tensor
    gates_y: Tensor

    def __call__(self, field: Tensor) -> Tensor:
        """Apply Σ_r Dᵀ k D along both axes."""
        stress_x = self.gates_x * (self.along_x @ field)
        stress_y = self.gates_y * (field @ self.along_y.mT)
        return (self.along_x.mT @ stress_x + stress_y @ self.along_y).sum(dim=1, keepdim=True)


def _operators(rates: Tensor, modes: Tensor, partners: Tensor) -> Tensor:
    """D_r = Ψ diag(κ f_r) Φᵀ of shape (batch, width, M, M), from the rates κ f_r (batch, M, width)."""
    return (partners * rates.transpose(1, 2)[:, :, None, :]) @ modes.mT


def _hats(axis: Axis, length: float) -> Tensor:
    """Weights (batch, M, KNOTS) of the learned values in κ f(κ), linear between knots over the band."""
    midpoints = axis.numbers.shape[1]
    place = axis.numbers / midpoints * (KNOTS - 1)
    knots = torch.arange(KNOTS, dtype=place.dtype, device=place.device)
    hats = (1 - (place[..., None] - knots).abs()).clamp(min=0.0)
    return math.pi / length * axis.numbers[..., None] * hats
