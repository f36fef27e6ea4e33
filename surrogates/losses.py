"""What a fit minimises: relative errors of the unrolled forecast, and optional terms for energy and slope.

For a forecast s_1 … s_n of the states t_1 … t_n, with u and v each in units of its own scale σ, ‖·‖ the root
mean square over grid and fields, ⟨·⟩ the mean over samples and steps, and r = ‖t_1‖ the size of a sample:

    L = ⟨‖s − t‖⟩ / r  +  w_E ⟨|E(s) − E(t)| / E(t_1)⟩  +  w_G ⟨‖∇s − ∇t‖ / ‖∇t_1‖⟩

- Dividing u and v by their own scales weighs displacement and velocity alike, as the energy does.
- Dividing by the size of the sample makes weak and strong waves count alike, even at a moment when u alone
  passes through zero. The error itself, not its square, is averaged: hard samples do not drown the others.
- E is the energy on the grid, :func:`slimwave.surrogates.metrics.energy`: its term asks for the right amount
  of energy, wherever it is. The slope's term weighs an error of wavenumber k by k: it asks for short waves.
"""

from typing import NamedTuple

from torch import Tensor

from slimwave.surrogates.metrics import energy
from slimwave.surrogates.surrogate import relative_scale

LEAST_ERROR = 1e-6
"""Relative error below which a term is flat; keeps the root's slope finite."""
REST = 1e-10
"""Size of a state, in units of the training fields, below which it counts as being at rest."""


class LossTerms(NamedTuple):
    """The terms of the loss before their weights; None where a term is not asked for."""

    state: Tensor
    energy: Tensor | None = None
    gradient: Tensor | None = None


def relative_loss(forecast: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
    """Mean over samples and steps of the relative error of the state.

    Parameters
    ----------
    forecast, targets: (batch, steps, 2, nx, ny)
    scale: (1, 2, 1, 1)
        σ of u and of v.
    """
    error = ((forecast - targets) / scale).square().mean(dim=(2, 3, 4))
    size = relative_scale(targets[:, 0], scale).flatten(1).clamp(min=REST).square()
    return _mean_root(error / size)


def energy_loss(
    forecast: Tensor, targets: Tensor, wave_speed: Tensor, spacing: tuple[float, float]
) -> Tensor:
    """Mean over samples and steps of the error of the energy, relative to that of the first target.

    Parameters
    ----------
    forecast, targets: (batch, steps, 2, nx, ny)
    wave_speed: (batch, 1, nx, ny)
    spacing
        (dx, dy).
    """
    found, true = (energy(states, wave_speed, spacing) for states in (forecast, targets))
    return ((found - true).abs() / true[:, :1].clamp(min=REST**2)).mean()


def gradient_loss(forecast: Tensor, targets: Tensor, scale: Tensor, spacing: tuple[float, float]) -> Tensor:
    """Mean over samples and steps of the relative error of the state's slopes, by differences along edges.

    Parameters
    ----------
    forecast, targets: (batch, steps, 2, nx, ny)
    scale: (1, 2, 1, 1)
    spacing
        (dx, dy).
    """
    error = _steepness((forecast - targets) / scale, spacing)
    size = _steepness(targets[:, :1] / scale, spacing).clamp(min=REST**2)
    return _mean_root(error / size)


def _steepness(states: Tensor, spacing: tuple[float, float]) -> Tensor:
    """Mean square of the slopes along x plus that along y, (batch, steps)."""
    along_x, along_y = (states.diff(dim=axis) / step for axis, step in zip((-2, -1), spacing, strict=True))
    return along_x.square().mean(dim=(2, 3, 4)) + along_y.square().mean(dim=(2, 3, 4))


def _mean_root(squares: Tensor) -> Tensor:
    return (squares + LEAST_ERROR**2).sqrt().mean()


def weighted_sum(terms: LossTerms, energy_weight: float, gradient_weight: float) -> Tensor:
    """Add the terms with their weights."""
    total = terms.state
    for weight, term in ((energy_weight, terms.energy), (gradient_weight, terms.gradient)):
        total = total if term is None else total + weight * term
    return total


def loss_terms(
    forecast: Tensor,
    targets: Tensor,
    wave_speed: Tensor,
    scale: Tensor,
    spacing: tuple[float, float],
    *,
    with_energy: bool,
    with_gradient: bool,
) -> LossTerms:
    """Compute the terms that are asked for; shapes as in the single functions."""
    return LossTerms(
        relative_loss(forecast, targets, scale),
        energy_loss(forecast, targets, wave_speed, spacing) if with_energy else None,
        gradient_loss(forecast, targets, scale, spacing) if with_gradient else None,
    )
