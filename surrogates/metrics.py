"""How good a forecast is: errors per step, valid time and energy, for any number of leading axes.

Fields have the shape (..., nx, ny): batch, step and channel axes pass through, so one call serves a whole set
of rollouts. Errors of a forecast that has blown up are infinite, never NaN, so that medians and comparisons
keep their meaning. Errors by wavelength stand in :mod:`slimwave.surrogates.spectral_bands`; all of them
together in :mod:`slimwave.surrogates.scores`.
"""

import torch
from torch import Tensor

GRID = (-2, -1)
WALL_NODES = 4
"""Nodes from a wall inwards that count as being at the wall."""


def relative_l2(prediction: Tensor, reference: Tensor) -> Tensor:
    """Relative error ‖prediction − reference‖₂ / ‖reference‖₂ over the grid.

    Parameters
    ----------
    prediction, reference: (..., nx, ny)

    Returns
    -------
    Tensor: (...)
        Infinite where the prediction is not finite, or where the reference vanishes and the prediction
        does not; 0 where both vanish.
    """
    error = torch.linalg.vector_norm(prediction - reference, dim=GRID)
    return _relative(error, torch.linalg.vector_norm(reference, dim=GRID))


def vrmse(prediction: Tensor, reference: Tensor, eps: float = 1e-7) -> Tensor:
    """Variance-scaled root mean square error √(⟨(p − r)²⟩ / (Var r + ε)) over the grid.

    The definition of The Well (Ohana et al., NeurIPS 2024), with its unbiased variance and its ε: predicting
    the mean of the field everywhere scores 1.

    Parameters
    ----------
    prediction, reference: (..., nx, ny)

    Returns
    -------
    Tensor: (...)
    """
    mean_square = (prediction - reference).square().mean(dim=GRID)
    nodes = reference.shape[-2] * reference.shape[-1]
    deviation = reference - reference.mean(dim=GRID, keepdim=True)
    variance = deviation.square().sum(dim=GRID) / (nodes - 1)
    return _infinite_for_nan((mean_square / (variance + eps)).sqrt())


def maximum_error(prediction: Tensor, reference: Tensor) -> Tensor:
    """Largest error at any node, relative to the largest value: max |p − r| / max |r|.

    Parameters
    ----------
    prediction, reference: (..., nx, ny)

    Returns
    -------
    Tensor: (...)
        Infinite and 0 in the cases of :func:`relative_l2`.
    """
    return _relative((prediction - reference).abs().amax(GRID), reference.abs().amax(GRID))


def correlation(prediction: Tensor, reference: Tensor) -> Tensor:
    """Pearson's correlation of the two fields over the grid; an error of amplitude alone leaves it at 1.

    Parameters
    ----------
    prediction, reference: (..., nx, ny)

    Returns
    -------
    Tensor: (...)
        In [−1, 1]; 0 where a field is constant or not finite, so that nothing can be said.
    """
    p, r = (_centred(field) for field in (prediction, reference))
    norms = torch.linalg.vector_norm(p, dim=GRID) * torch.linalg.vector_norm(r, dim=GRID)
    return torch.nan_to_num((p * r).sum(GRID) / norms, nan=0.0, posinf=0.0, neginf=0.0).clamp(-1, 1)


def _centred(field: Tensor) -> Tensor:
    """Subtract the mean and divide by the largest value, so that no square overflows."""
    centred = field - field.mean(dim=GRID, keepdim=True)
    return centred / centred.abs().amax(GRID, keepdim=True)


def errors_by_place(prediction: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Errors at the walls and inside: root mean squares over either set of nodes.

    Both are divided by the root mean square of the reference over the WHOLE grid, so that they compare with
    each other and neither explodes while no wave is near: with m of n nodes at a wall, the squared relative
    L2 error is (m e_wall² + (n − m) e_inside²) / n.

    Parameters
    ----------
    prediction, reference: (..., nx, ny)
        At least 3 nodes along each axis.

    Returns
    -------
    at_walls, inside: (...)
        Over the nodes within ``WALL_NODES`` of a wall (fewer where nothing would be left inside), and the
        others.
    """
    at_wall = _wall_nodes(prediction)
    squares = (prediction - reference).square()
    size = reference.square().mean(GRID)
    at_walls, inside = (
        _relative((squares * part).sum(GRID) / part.sum(), size).sqrt() for part in (at_wall, 1 - at_wall)
    )
    return at_walls, inside


def _wall_nodes(field: Tensor) -> Tensor:
    """1 at the nodes near a wall, 0 inside, of shape (nx, ny)."""
    nx, ny = field.shape[-2:]
    deep = min(WALL_NODES, (min(nx, ny) - 1) // 2)
    mask = field.new_ones(nx, ny)
    mask[deep : nx - deep, deep : ny - deep] = 0
    return mask


def window_mean(values: Tensor, first: int, last: int) -> Tensor:
    """Mean over macro steps ``first`` to ``last``, both included and counted from 1.

    The Well reports rollouts as means over steps 6–12 and 13–30.

    Parameters
    ----------
    values: (..., steps)
        At least ``last`` steps.

    Returns
    -------
    Tensor: (...)
    """
    return values[..., first - 1 : last].mean(dim=-1)


def _relative(error: Tensor, scale: Tensor) -> Tensor:
    """Quotient that is 0 where both vanish, infinite where the scale alone does or a value is not finite."""
    ratio = torch.where((error == 0) & (scale == 0), torch.zeros_like(error), error / scale)
    return _infinite_for_nan(ratio)


def _infinite_for_nan(values: Tensor) -> Tensor:
    return torch.nan_to_num(values, nan=torch.inf, posinf=torch.inf)


def valid_time(errors: Tensor, macro_step: float, threshold: float = 0.2) -> Tensor:
    """Time until which the error has stayed at or below a threshold.

    Parameters
    ----------
    errors: (..., steps)
        Error after macro steps 1, 2, …
    macro_step
        Time of one macro step.
    threshold
        Largest error that still counts as valid.

    Returns
    -------
    Tensor: (...)
        In the unit of ``macro_step``; at most ``steps * macro_step``.
    """
    still_valid = (errors <= threshold).to(torch.int64).cumprod(dim=-1)
    return still_valid.sum(dim=-1).to(torch.float64) * macro_step


def energy(state: Tensor, wave_speed: Tensor, spacing: tuple[float, float]) -> Tensor:
    """Discrete energy E = ½ ∫ v² + c² |∇u|² of a state on the grid.

    Differences along the edges of the grid with c² averaged onto the edge, trapezoidal weights; second
    order in the spacing. Compare it with the energy of the reference on the same grid, not with the finite
    elements' own.

    Parameters
    ----------
    state: (..., 2, nx, ny)
        Channels u and v = ∂u/∂t.
    wave_speed: (..., nx, ny)
        Broadcast against the leading axes of ``state``.
    spacing
        (dx, dy).

    Returns
    -------
    Tensor: (...)
    """
    u, v = state[..., 0, :, :], state[..., 1, :, :]
    dx, dy = spacing
    weight_x, weight_y = _trapezoid(u, -2, dx), _trapezoid(u, -1, dy)
    kinetic = (weight_x * weight_y * v.square()).sum(GRID)
    modulus = wave_speed.square()
    strain_x = (_edge_mean(modulus, -2) * (u.diff(dim=-2) / dx).square() * weight_y * dx).sum(GRID)
    strain_y = (_edge_mean(modulus, -1) * (u.diff(dim=-1) / dy).square() * weight_x * dy).sum(GRID)
    return (kinetic + strain_x + strain_y) / 2


def energy_drift(energies: Tensor) -> Tensor:
    """Relative change of the energy since the start, E(t) / E(0) − 1.

    Parameters
    ----------
    energies: (..., steps + 1)
        From the start on, by :func:`energy`.

    Returns
    -------
    Tensor: (..., steps)
        0 for a state that stays at rest, infinite once the energy is not finite.
    """
    start = energies[..., :1]
    return _relative(energies[..., 1:] - start, start)


def energy_error(energies: Tensor, reference: Tensor) -> Tensor:
    """Difference from the reference's energy, relative to the energy at the start.

    Both on the same grid, so that what the differences of :func:`energy` miss cancels; where nothing is
    absorbed or damped it is the drift of the forecast.

    Parameters
    ----------
    energies, reference: (..., steps + 1)
        From the start on, by :func:`energy`.

    Returns
    -------
    Tensor: (..., steps)
        Not signed; infinite once the energy is not finite.
    """
    return _relative((energies - reference)[..., 1:].abs(), reference[..., :1])


def _trapezoid(field: Tensor, axis: int, step: float) -> Tensor:
    """Weights of the trapezoidal rule along one axis, shaped to broadcast over the other."""
    nodes = field.shape[axis]
    weights = torch.full((nodes,), step, dtype=field.dtype, device=field.device)
    weights[0] = weights[-1] = step / 2
    return weights.unsqueeze(-1) if axis == -2 else weights


def _edge_mean(field: Tensor, axis: int) -> Tensor:
    nodes = field.shape[axis]
    return (field.narrow(axis, 0, nodes - 1) + field.narrow(axis, 1, nodes - 1)) / 2
