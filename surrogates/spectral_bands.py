"""Errors by wavelength: long, middle and short waves apart.

A field between walls is a sum of standing waves that fulfil the walls' conditions. Along one axis with
intervals 0 … N they are, with f = sin at an odd (Dirichlet) lower wall and f = cos at any other,

    f(κ j),   κ = π k / N          both walls alike,
              κ = π (k + ½) / N    one odd, one even,

that is the discrete sine and cosine transforms DST-I, DCT-I and their mixed forms. Weighted by the
trapezoidal rule they are orthogonal, so that the coefficients of an error carry exactly its square. A wall
that is neither (an absorbing one) counts as even: the cosines are complete for any field, as limited-area
weather models use them (Denis, Côté and Laprise, Mon. Weather Rev. 130, 1812, 2002), though a slope at such
a wall leaks into shorter waves as 1/κ².

The bands divide |k| by the cells in a wavelength, 2π / (|k| h) with h = √(dx dy):

    long     more than 16
    middle   16 to 8
    short    fewer than 8
"""

import math

import torch
from torch import Tensor

BANDS = ("long", "middle", "short")
CELLS = (16.0, 8.0)
"""Cells per wavelength at which one band ends and the next begins."""


def band_errors(
    prediction: Tensor, reference: Tensor, walls: Tensor, spacing: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Errors in each band, relative to the whole field and to the field's own share in the band.

    Parameters
    ----------
    prediction, reference: (..., steps, nx, ny)
    walls: (..., 4)
        −1 for an odd (Dirichlet) side, for left, right, bottom, top.
    spacing
        (dx, dy).

    Returns
    -------
    of_field, of_band: (..., steps, 3)
        √(Σ_band error² / Σ_all reference²), whose squares add up to the squared relative error; and
        √(Σ_band error² / Σ_band reference²), near 1 where a band is lost altogether. Infinite where a
        forecast has blown up.
    """
    error = band_energies(prediction - reference, walls, spacing)
    size = band_energies(reference, walls, spacing)
    return _root(error, size.sum(-1, keepdim=True)), _root(error, size)


def band_energies(fields: Tensor, walls: Tensor, spacing: tuple[float, float]) -> Tensor:
    """Squares of the coefficients of all standing waves, summed within each band.

    Parameters
    ----------
    fields: (..., steps, nx, ny)
    walls: (..., 4)
    spacing
        (dx, dy).

    Returns
    -------
    Tensor: (..., steps, 3)
        They add up to the trapezoidal sum of the squared field (which is 0 on odd walls).
    """
    dx, dy = spacing
    waves_x, kx = standing_waves(walls[..., 0], walls[..., 1], fields.shape[-2])
    waves_y, ky = standing_waves(walls[..., 2], walls[..., 3], fields.shape[-1])
    spectrum = waves_x[..., None, :, :].to(fields) @ fields @ waves_y[..., None, :, :].mT.to(fields)
    wavenumber = torch.hypot((kx / dx)[..., :, None], (ky / dy)[..., None, :]) * math.sqrt(dx * dy)
    edges = wavenumber.new_tensor([2 * math.pi / cells for cells in CELLS])
    band = torch.bucketize(wavenumber, edges)[..., None, :, :]
    squares = spectrum.square()
    return torch.stack([(squares * (band == b)).sum((-2, -1)) for b in range(len(BANDS))], dim=-1)


def standing_waves(low: Tensor, high: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    """Matrices that turn the nodes of an axis into the coefficients of its standing waves.

    Parameters
    ----------
    low, high: (...)
        −1 where the lower or the upper wall is odd.
    nodes
        Nodes of the axis, at least 2.

    Returns
    -------
    waves: (..., nodes, nodes)
        W with Σ (W f)² = Σ w f², w being the trapezoidal weights; the rows of waves that these walls do not
        allow are zero.
    wavenumbers: (..., nodes)
        κ of every row, in radians per interval.
    """
    last = nodes - 1
    order = torch.arange(nodes, dtype=torch.float64, device=low.device)
    odd_low, odd_high = (low < 0)[..., None], (high < 0)[..., None]
    mixed = odd_low != odd_high
    kappa = math.pi * (order + 0.5 * mixed) / last
    phase = kappa[..., :, None] * order
    waves = torch.where(odd_low[..., None], phase.sin(), phase.cos())
    allowed = (order >= 1) | ~(odd_low & odd_high)
    allowed = allowed & ((order < last) | ~(odd_low | odd_high))
    weights = torch.ones_like(order)
    weights[0] = weights[-1] = 0.5
    squares = (waves.square() * weights).sum(-1, keepdim=True)
    scaled = waves * weights / squares.clamp(min=0.25).sqrt()
    return scaled * allowed[..., None], kappa


def _root(error: Tensor, size: Tensor) -> Tensor:
    ratio = torch.where((error == 0) & (size == 0), torch.zeros_like(error), error / size)
    return torch.nan_to_num(ratio, nan=torch.inf, posinf=torch.inf).sqrt()
