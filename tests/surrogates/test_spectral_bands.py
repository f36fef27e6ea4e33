"""Bands of wavelengths: complete for any walls, exact for single waves, The Well's where they meet."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from slimwave.surrogates.metrics import relative_l2
from slimwave.surrogates.spectral_bands import BANDS, CELLS, band_energies, band_errors, standing_waves

WALLS = list(itertools.product((-1.0, 1.0), repeat=2))


def axis_wave(low: float, high: float, number: int, nodes: int) -> Tensor:
    """The standing wave with ``number`` half (or, between unlike walls, quarter and half) waves."""
    x = torch.linspace(0, 1, nodes, dtype=torch.float64)
    turns = number + (0.5 if low != high else 0.0)
    return (torch.sin if low < 0 else torch.cos)(math.pi * turns * x)


@given(
    st.sampled_from(WALLS), st.sampled_from(WALLS), st.integers(3, 24), st.integers(3, 24), st.integers(0, 9)
)
def test_no_energy_is_lost_or_invented(
    along_x: tuple[float, float], along_y: tuple[float, float], nx: int, ny: int, seed: int
) -> None:
    """Parseval: the bands add up to the trapezoidal sum of the square of any field that fits its walls."""
    field = torch.randn(nx, ny, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    weights = torch.ones_like(field)
    for axis, sides in ((0, along_x), (1, along_y)):
        for end, sign in zip((0, -1), sides, strict=True):
            weights.select(axis, end).mul_(0.5)
            if sign < 0:
                field.select(axis, end).zero_()
    found = band_energies(field[None], torch.tensor([*along_x, *along_y]), (0.1, 0.07))
    assert found.shape == (1, 3)
    assert found.sum().item() == pytest.approx((weights * field**2).sum().item(), rel=1e-9)


@pytest.mark.parametrize(("along_x", "along_y"), list(itertools.product(WALLS, WALLS)))
def test_a_single_wave_lies_in_its_band_alone(
    along_x: tuple[float, float], along_y: tuple[float, float]
) -> None:
    """On cells of 1/40 × 1/50, waves of 30, 11 and 5 cells, whatever the walls."""
    nx, ny = 41, 51
    for numbers, band in (((2, 2), "long"), ((6, 5), "middle"), ((12, 12), "short")):
        turns = [n + (0.5 if a != b else 0) for n, (a, b) in zip(numbers, (along_x, along_y), strict=True)]
        cells = 2 / math.hypot(*turns) * math.sqrt(40 * 50)
        expected = BANDS[sum(cells < edge for edge in CELLS)]
        assert expected == band
        field = axis_wave(*along_x, numbers[0], nx)[:, None] * axis_wave(*along_y, numbers[1], ny)
        found = band_energies(field[None], torch.tensor([*along_x, *along_y]), (1 / 40, 1 / 50))[0]
        shares = dict(zip(BANDS, (found / found.sum()).tolist(), strict=True))
        assert shares.pop(band) == pytest.approx(1, abs=1e-12)
        assert max(shares.values()) < 1e-20


def test_rows_are_orthonormal_and_as_many_as_the_walls_allow() -> None:
    weights = torch.ones(9, dtype=torch.float64)
    weights[[0, -1]] = 0.5
    for low, high in WALLS:
        waves, kappa = standing_waves(torch.tensor(low), torch.tensor(high), 9)
        allowed = waves.abs().sum(-1) > 0
        assert int(allowed.sum()) == {2: 9, 0: 8, -2: 7}[int(low + high)]
        gram = (waves / weights.sqrt()) @ (waves / weights.sqrt()).T
        assert torch.allclose(gram, torch.diag(allowed.double()), atol=1e-12)
        assert bool((kappa[allowed] <= math.pi).all())


@pytest.mark.filterwarnings("ignore")
def test_between_even_walls_the_bands_are_the_well_s_of_the_mirrored_field() -> None:
    """The Well transforms periodic fields; a field with its mirror images is one. Its mean square in each
    band, over 4 (nx − 1) (ny − 1) nodes, is ours over a quarter of them.
    """
    spectral = pytest.importorskip("the_well.benchmark.metrics.spectral")

    class Meta:
        n_spatial_dims = 2

    prediction, reference = torch.randn(2, 1, 18, 14, dtype=torch.float64)  # no wave on an edge

    def mirrored(field: Tensor) -> Tensor:
        field = torch.cat([field, field[:, 1:-1].flip(1)], dim=1)
        return torch.cat([field, field[:, :, 1:-1].flip(2)], dim=2)[..., None]

    edges = torch.tensor([0.0, *(2 * math.pi / cells for cells in CELLS), 10.0], dtype=torch.float64)
    theirs = spectral.binned_spectral_mse.eval(mirrored(prediction), mirrored(reference), Meta(), bins=edges)
    ours = band_energies(prediction - reference, torch.ones(4), (0.1, 0.1))[0] / (17 * 13)
    for i in range(3):
        assert ours[i].item() == pytest.approx(theirs[f"spectral_error_mse_per_bin_{i}"].item(), rel=1e-4)


def test_errors_in_bands_make_up_the_relative_error_and_samples_keep_their_walls() -> None:
    walls = torch.tensor([[-1.0, -1.0, -1.0, -1.0], [-1.0, 1.0, 1.0, -1.0]])
    mask = torch.ones(2, 1, 20, 16, dtype=torch.float64)
    mask[:, :, 0] = mask[0, :, -1] = mask[0, :, :, 0] = mask[:, :, :, -1] = 0
    prediction, reference = torch.randn(2, 2, 3, 20, 16, dtype=torch.float64) * mask
    of_field, of_band = band_errors(prediction, reference, walls, (0.1, 0.1))
    assert of_field.shape == of_band.shape == (2, 3, 3)
    assert torch.allclose(of_field[0].square().sum(-1).sqrt(), relative_l2(prediction, reference)[0])
    for sample in range(2):
        alone = band_errors(prediction[sample], reference[sample], walls[sample], (0.1, 0.1))
        assert torch.allclose(of_field[sample], alone[0])
    assert torch.allclose(
        band_errors(1.25 * reference, reference, walls, (0.1, 0.1))[1], torch.tensor(0.25).double()
    )


def test_a_forecast_that_has_blown_up_is_infinitely_wrong_in_every_band() -> None:
    reference = torch.randn(1, 8, 8)
    for value in (math.nan, math.inf):
        errors = band_errors(torch.full((1, 8, 8), value), reference, torch.ones(4), (0.1, 0.1))
        assert all(bool((error == math.inf).all()) for error in errors)
