"""The grid-scale filter: its exact response, and that it respects the walls."""

import math

import pytest
import torch

from slimwave.surrogates.filters import REACH, remove_grid_waves, shapiro_taps
from slimwave.surrogates.walls import extend


@pytest.mark.parametrize("nodes_per_wave", [2, 3, 4, 8, 16])
def test_response_along_each_axis(nodes_per_wave: int) -> None:
    """A cosine of wavenumber k is multiplied by 1 − sin⁸(kh / 2)."""
    angle = 2 * math.pi / nodes_per_wave
    wave = torch.cos(angle * torch.arange(40, dtype=torch.float64))
    expected = 1 - math.sin(angle / 2) ** 8
    for field in (wave[:, None].expand(40, 40), wave[None, :].expand(40, 40)):
        filtered = remove_grid_waves(field[None, None], shapiro_taps())[0, 0]
        assert torch.allclose(filtered, expected * field[REACH:-REACH, REACH:-REACH], atol=1e-7)


def test_constants_and_smooth_fields_pass() -> None:
    taps = shapiro_taps()
    assert float(taps.sum()) == pytest.approx(1, abs=1e-7)
    assert torch.equal(taps, taps.flip(0))
    x = torch.linspace(0, 1, 48, dtype=torch.float64)
    pulse = torch.exp(-((x[:, None] - 0.5) ** 2 + (x[None, :] - 0.5) ** 2) / (2 * 0.08**2))
    filtered = remove_grid_waves(pulse[None, None], taps)[0, 0]
    assert (filtered - pulse[REACH:-REACH, REACH:-REACH]).abs().max() < 1e-3


@pytest.mark.parametrize("sign", [-1.0, 1.0], ids=["dirichlet", "neumann"])
def test_a_standing_wave_between_walls_keeps_its_shape(sign: float) -> None:
    """The filter is symmetric, so it commutes with the mirrors at the walls."""
    angle = math.pi * 5 * torch.linspace(0, 1, 21, dtype=torch.float64)
    mode = (torch.sin if sign < 0 else torch.cos)(angle)
    field = (mode[:, None] * mode[None, :])[None, None]
    walls = torch.full((1, 4), sign, dtype=torch.float64)
    filtered = remove_grid_waves(extend(field, REACH, walls), shapiro_taps())
    assert torch.allclose(filtered, (1 - math.sin(math.pi / 8) ** 8) ** 2 * field, atol=1e-6)
