"""How good a forecast is: errors per step, valid time and energy, for any number of leading axes.

Fields have the shape (..., nx, ny): batch, step and channel axes pass through, so one call serves a whole set
of rollouts. Errors of a forecast that has blown up are infinite, never NaN, so that medians and comparisons
keep their meaning.
"""

import torch
from torch import Tensor

GRID = (-2, -1)


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
    scale = torch.linalg.vector_norm(reference, dim=GRID)
    ratio = torch.where((error == 0) & (scale == 0), torch.zeros_like(error), error / scale)
    return _infinite_for_nan(ratio)


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


def _trapezoid(field: Tensor, axis: int, step: float) -> Tensor:
    """Weights of the trapezoidal rule along one axis, shaped to broadcast over the other."""
    nodes = field.shape[axis]
    weights = torch.full((nodes,), step, dtype=field.dtype, device=field.device)
    weights[0] = weights[-1] = step / 2
    return weights.unsqueeze(-1) if axis == -2 else weights


def _edge_mean(field: Tensor, axis: int) -> Tensor:
    nodes = field.shape[axis]
    return (field.narrow(axis, 0, nodes - 1) + field.narrow(axis, 1, nodes - 1)) / 2
