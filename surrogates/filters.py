"""A filter for the waves that a grid cannot carry.

Training data hold almost nothing near the Nyquist wavenumber, so nothing teaches a network what to do
there, and a gain of 1.05 per step, invisible in a hundred steps, destroys a forecast of three hundred.
Shapiro's filter (Rev. Geophys. 8, 359, 1970), as weather models use it, removes these waves and leaves the
resolved ones alone: along one axis its response to the wavenumber k on the spacing h is

    S(k) = 1 − sin⁸(kh / 2),

that is 0 for two nodes per wave, 0.94 for four, 0.9995 for eight.
"""

from math import comb

import torch
from torch import Tensor

from slimwave.compression.axis_filters import filter_along

REACH = 4
"""Cells to each side that the filter reads."""


def shapiro_taps() -> Tensor:
    """Weights of the filter along one axis, of shape (2 REACH + 1,); symmetric, with sum 1."""
    order = 2 * REACH
    removed = torch.tensor([(-1.0) ** (REACH - j) * comb(order, j) / 2**order for j in range(order + 1)])
    identity = torch.zeros(order + 1)
    identity[REACH] = 1.0
    return identity - removed


def remove_grid_waves(field: Tensor, taps: Tensor) -> Tensor:
    """Filter along x, then along y, by valid convolutions; in full precision, as the state is.

    Parameters
    ----------
    field: (batch, channels, nx + 2 REACH, ny + 2 REACH)
        Extended by the walls' images, which a symmetric filter keeps.
    taps: (2 REACH + 1,)
        What :func:`shapiro_taps` returned, on the device of the field.

    Returns
    -------
    Tensor: (batch, channels, nx, ny)
    """
    if torch.is_autocast_enabled(field.device.type):
        with torch.autocast(field.device.type, enabled=False):
            return remove_grid_waves(field.float(), taps)
    each = taps.to(field.dtype).expand(field.shape[1], -1)
    return filter_along(filter_along(field, each, axis=0), each, axis=1)
