"""The leapfrog CNN: a reversible, superposing and bounded step, whatever its weights are.

The wave equation u_tt = ∇·(c² ∇u) is a Hamiltonian system with the energy ½ |v|² + ½ ⟨u, F u⟩. This network
learns the force, not the step: F = Eᵀ Aᵀ k(c) A E with

- E, the extension of the field by its images in the walls,
- A, a convolution (or several in a row) without bias or activation that measures the strain along x and along
  y, in any format, see :mod:`slimwave.surrogates.strain`,
- k(c) > 0, the stiffness of the medium, computed once per medium.

So F is self-adjoint and positive in the inner product with trapezoidal weights, for any weights. A field with
its images is unchanged by the mirrors, and so is A k A of it; restricting that to the domain is Eᵀ.

A macro step is n substeps of shears, see :mod:`slimwave.surrogates.shears`: reversible, and bounded as long
as dt² λ_max(F) is within a limit. This is enforced in ``encode``: with K_j the largest stiffness of channel j
and Â_j its symbol, λ_max(F) ≤ max_θ Σ_j K_j |Â_j(θ)|², and where that is too large all stiffnesses are scaled
down, and so all waves slowed, everywhere. A fresh stencil is not, in uniform media up to ``max_wave_speed``;
jobs refuse media beyond it, see :mod:`slimwave.surrogates.speed_limit`. Compressing or pruning A cannot break
the bound. Constants (and what else A does not see) drift, as they do between Neumann walls.

Dirichlet walls stay at rest: u and v are masked there. At absorbing sides the images are even and v is damped
at the nodes of the wall, which only takes energy away, see
:func:`~slimwave.surrogates.outgoing.absorbing_rate`.

With ``init="stencil"`` the network starts as a finite-difference solver: one channel of A is the staggered
derivative of order 2k and k(c) = c². It is an accurate model before any training, and training can only
refine its dispersion, its treatment of the walls, and the sub-grid medium. ``init="random"`` starts from
nothing and shows by how much.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from slimwave.surrogates.mirrored import Factor, convolve, transpose
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.network_shapes import LeapfrogShape
from slimwave.surrogates.outgoing import absorbing_rate, has_absorbing
from slimwave.surrogates.precision import in_full_precision
from slimwave.surrogates.shears import advance, forces_per_step, stable_limit
from slimwave.surrogates.stencils import staggered_derivative
from slimwave.surrogates.stepped import SteppedSurrogate
from slimwave.surrogates.strain import AVERAGE_PAIRS, Strain
from slimwave.surrogates.task import WaveTask
from slimwave.surrogates.walls import extend, mirror, wall_mask

SQUARE = 1e-6
"""Relative difference of the spacings up to which cells are square and both axes share their weights."""


class LeapfrogContext(NamedTuple):
    """The medium's share of a step.

    Attributes
    ----------
    along_x: (batch, width, nx − 1 + 2 r, ny + 2 s)
    along_y: (batch, width, nx + 2 s, ny − 1 + 2 r)
        Stiffness dt² k / h² of the strains, with its images; r and s are the reach of A along and across.
    walls: (batch, 4)
    mask: (batch, 1, nx, ny)
        0 at the nodes of Dirichlet walls.
    kept: (batch, 1, nx, ny)
        Share of the velocity that half a substep keeps: less than 1 at absorbing sides; empty where no side
        absorbs, which costs nothing in a step.
    """

    along_x: Tensor
    along_y: Tensor
    walls: Tensor
    mask: Tensor
    kept: Tensor


class LeapfrogCNN(SteppedSurrogate[LeapfrogShape]):
    """Leapfrog network whose strain is dense or one-way by configuration.

    Raises
    ------
    ValueError
        If the macro step has too few substeps for the fastest wave on this grid.

    Examples
    --------
    >>> task = WaveTask(0.02, (1 / 63, 1 / 63), 2.0, (0.1, 1.0), (0.02, 0.3), 1.5, 0.3)
    >>> model = LeapfrogCNN(NetworkConfig("leapfrog", kernel_size=3).resolved(), task)
    >>> model.reach  # ten forces, one after another, of five cells each
    50
    """

    def __init__(self, config: NetworkConfig, task: WaveTask) -> None:
        super().__init__(config, task)
        self.shape = config.shape_as(LeapfrogShape)
        dx, dy = task.spacing
        axes = 1 if math.isclose(dx, dy, rel_tol=SQUARE) else 2
        self.strains = nn.ModuleList(Strain(self.shape) for _ in range(axes))
        self.require_substeps()

    @property
    def reach(self) -> int:
        """Cells to each side that one step reads: those of a force, for all forces one after another."""
        return forces_per_step(self.shape.time_order, self.shape.substeps) * self._pad

    def reach_remedy(self, needed: int) -> str:
        """Say with how many substeps the network would reach ``needed`` cells."""
        return f"use --network.substeps {-(-needed // self._pad)}"

    @property
    def _pad(self) -> int:
        """Cells to each side that one force reads."""
        strain = self._strain(0)
        return max(2 * strain.reach_along - 1, 2 * strain.reach_across)

    def _strain(self, axis: int) -> Strain:
        strain = self.strains[min(axis, len(self.strains) - 1)]
        assert isinstance(strain, Strain)
        return strain

    @property
    def substeps_per_speed(self) -> float:
        """Substeps for a wave of speed 1: √λ_max(F), as ``encode`` bounds it, over that of the limit."""
        response = 2 * abs(staggered_derivative(self.shape.kernel_size)).sum()
        rate = response * math.hypot(*(1 / h for h in self.task.spacing))
        limit = stable_limit(self.shape.time_order) * self._strain(0).margin
        return float(rate * self.task.macro_step / math.sqrt(limit))

    @in_full_precision
    def encode(self, wave_speed: Tensor, walls: Tensor) -> LeapfrogContext:
        """Compute the stiffness of a medium, and keep it within the limit of the time stepping.

        Raises
        ------
        ValueError
            If the grid is too small to interpolate the wave speed on.
        """
        if min(wave_speed.shape[-2:]) < AVERAGE_PAIRS:
            raise ValueError(
                f"expected a grid of at least {AVERAGE_PAIRS} nodes along each axis, got "
                f"{tuple(wave_speed.shape[-2:])}; use a finer grid"
            )
        stiffness = self._stiffness(wave_speed)
        limit = stable_limit(self.shape.time_order)
        share = (limit / self._largest_eigenvalue(stiffness)).clamp(max=1.0).reshape(-1, 1, 1, 1)
        along_x, along_y = (self._with_images(share * k, axis) for axis, k in enumerate(stiffness))
        mask = wall_mask(walls, *wave_speed.shape[-2:])
        return LeapfrogContext(along_x, along_y, walls, mask, self._kept(wave_speed, walls))

    def _stiffness(self, wave_speed: Tensor) -> list[Tensor]:
        """Return dt² k / h² at the half points, for the strain along x and along y."""
        normalised = (wave_speed - self.task.speed_mean) / self.task.speed_std
        stiffness = []
        for axis, spacing in enumerate(self.task.spacing):
            courant = self.task.macro_step / (self.shape.substeps * spacing)
            strain = self._strain(axis)
            stiffness.append(courant**2 * strain.stiffness(wave_speed, normalised, turned=axis == 1))
        return stiffness

    def _kept(self, wave_speed: Tensor, walls: Tensor) -> Tensor:
        """Share exp(−γ dt / 2) of the velocity that absorbing sides leave in half a substep."""
        if not has_absorbing(walls):
            return wave_speed.new_empty(0)
        half = self.task.macro_step / (2 * self.shape.substeps)
        return torch.exp(-half * absorbing_rate(wave_speed, walls, self.task.spacing))

    def _largest_eigenvalue(self, stiffness: list[Tensor]) -> Tensor:
        """Bound λ_max(F) ≤ max_θ Σ_j K_j |Â_j(θ)|² for every sample, shape (batch,)."""
        largest = [k.amax(dim=(2, 3)) for k in stiffness]
        along_x, along_y = (
            torch.einsum("bj,jmn->bmn", k, self._strain(axis).symbol()) for axis, k in enumerate(largest)
        )
        return (along_x + along_y.transpose(1, 2)).amax(dim=(1, 2))

    def _with_images(self, stiffness: Tensor, axis: int) -> Tensor:
        """Extend by even images: about the walls across the axis, and beyond the outermost half points."""
        strain = self._strain(axis)
        along, across = axis + 2, 3 - axis
        stiffness = mirror(stiffness, strain.reach_along, along, 1.0, 1.0, at_node=False)
        return mirror(stiffness, strain.reach_across, across, 1.0, 1.0)

    @in_full_precision
    def step(self, state: Tensor, context: LeapfrogContext) -> Tensor:
        """Advance the state (batch, 2, nx, ny) by one macro step; what it has on Dirichlet walls is dropped.

        The force there is masked, so that a velocity left on a wall would move it away for good.
        """
        dt = self.task.macro_step / self.shape.substeps
        state = context.mask * state
        u, w = state[:, :1], dt * state[:, 1:]
        force = self.force(context)
        u, w = advance(self.shape.time_order, self.shape.substeps, u, w, force, force.damp)
        return torch.cat([u, w / dt], dim=1)

    def force(self, context: LeapfrogContext) -> "WaveForce":
        """Return dt² F in a medium."""
        chains = [self._strain(axis).factors(turned=axis == 1) for axis in (0, 1)]
        strain = self._strain(0)
        return WaveForce(chains, context, 2 * strain.reach_along - 1, 2 * strain.reach_across)


class WaveForce:
    """The force dt² F of the waves in one medium, as a function of fields (batch, 1, nx, ny).

    Parameters
    ----------
    chains
        A along x and along y.
    context
        Stiffness and walls.
    along, across
        Cells that the force of a strain reads to each side along and across its axis.
    """

    def __init__(self, chains: list[list[Factor]], context: LeapfrogContext, along: int, across: int) -> None:
        self.strains = chains
        self.adjoints = [transpose(chain) for chain in chains]
        self.context = context
        self.pad = max(along, across)
        self.spare = (self.pad - along, self.pad - across)

    def __call__(self, field: Tensor) -> Tensor:
        """Apply Eᵀ Aᵀ k A E along both axes."""
        extended = extend(field, self.pad, self.context.walls)
        along, across = self.spare
        along_x = self._along(_crop(extended, along, across), 0, self.context.along_x)
        along_y = self._along(_crop(extended, across, along), 1, self.context.along_y)
        return self.context.mask * (along_x + along_y)

    def damp(self, w: Tensor) -> Tensor:
        """Let half a substep pass at absorbing sides."""
        return self.context.kept * w if self.context.kept.numel() else w

    def _along(self, extended: Tensor, axis: int, stiffness: Tensor) -> Tensor:
        return convolve(stiffness * convolve(extended, self.strains[axis]), self.adjoints[axis])


def _crop(field: Tensor, along_x: int, along_y: int) -> Tensor:
    nx, ny = field.shape[-2:]
    return field[..., along_x : nx - along_x, along_y : ny - along_y]
