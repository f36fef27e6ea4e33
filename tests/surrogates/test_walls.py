"""Walls as mirrors: exact images of standing waves, for every mixture of conditions."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slimwave.surrogates.walls import SIDES, extend, wall_codes, wall_mask

CONDITIONS = ("dirichlet", "neumann")
MIXTURES = list(itertools.product(CONDITIONS, repeat=4))


def mode(low: str, high: str, x: torch.Tensor) -> torch.Tensor:
    """Eigenfunction of −d²/dx² on [0, 1] under the conditions at 0 and at 1."""
    wavenumber = math.pi * (2.0 if low == high else 1.5)
    return torch.sin(wavenumber * x) if low == "dirichlet" else torch.cos(wavenumber * x)


@pytest.mark.parametrize("walls", MIXTURES, ids="-".join)
def test_extension_continues_a_standing_wave(walls: tuple[str, ...]) -> None:
    """A standing wave is a global sine, so its extension by images is the sine itself beyond the walls."""
    left, right, bottom, top = walls
    nx, ny, pad = 21, 17, 6
    x = torch.arange(-pad, nx + pad, dtype=torch.float64) / (nx - 1)
    y = torch.arange(-pad, ny + pad, dtype=torch.float64) / (ny - 1)
    everywhere = mode(left, right, x)[:, None] * mode(bottom, top, y)[None, :]
    inside = everywhere[None, None, pad:-pad, pad:-pad]
    signs = wall_codes(dict(zip(SIDES, walls, strict=True)))[None]
    assert torch.allclose(extend(inside, pad, signs)[0, 0], everywhere, atol=1e-12)


def test_each_sample_has_walls_of_its_own() -> None:
    field = torch.randn(2, 3, 8, 9)
    signs = torch.tensor([[-1.0, 1.0, 1.0, -1.0], [1.0, -1.0, -1.0, 1.0]])
    together = extend(field, 3, signs)
    for sample in range(2):
        alone = extend(field[sample : sample + 1], 3, signs[sample : sample + 1])
        assert torch.equal(together[sample], alone[0])


@given(pad=st.integers(0, 7), nx=st.integers(8, 12), ny=st.integers(8, 12), sign=st.sampled_from([-1.0, 1.0]))
def test_extension_contains_the_field_and_is_linear(pad: int, nx: int, ny: int, sign: float) -> None:
    generator = torch.Generator().manual_seed(nx * 100 + ny)
    a, b = torch.randn(2, 1, 1, nx, ny, generator=generator, dtype=torch.float64)
    signs = torch.full((1, 4), sign)
    extended = extend(a, pad, signs)
    assert extended.shape == (1, 1, nx + 2 * pad, ny + 2 * pad)
    assert torch.equal(extended[..., pad : pad + nx, pad : pad + ny], a)
    assert torch.allclose(extend(2 * a + b, pad, signs), 2 * extended + extend(b, pad, signs))


@pytest.mark.parametrize("walls", MIXTURES, ids="-".join)
def test_a_pad_longer_than_the_domain_holds_images_of_images(walls: tuple[str, ...]) -> None:
    left, right, bottom, top = walls
    nx, ny, pad = 5, 7, 23
    x = torch.arange(-pad, nx + pad, dtype=torch.float64) / (nx - 1)
    y = torch.arange(-pad, ny + pad, dtype=torch.float64) / (ny - 1)
    everywhere = mode(left, right, x)[:, None] * mode(bottom, top, y)[None, :]
    codes = wall_codes(dict(zip(SIDES, walls, strict=True)))[None]
    extended = extend(everywhere[None, None, pad:-pad, pad:-pad], pad, codes)[0, 0]
    assert torch.allclose(extended, everywhere, atol=1e-12)


def test_a_single_node_has_no_mirror_image() -> None:
    with pytest.raises(ValueError, match=r"at least 2 nodes along each axis, got \(1, 20\)"):
        extend(torch.zeros(1, 1, 1, 20), 8, torch.ones(1, 4))


def test_an_absorbing_side_is_an_even_mirror_for_media_and_holds_no_node_at_rest() -> None:
    codes = wall_codes(dict.fromkeys(SIDES, "absorbing"))[None]
    field = torch.randn(1, 1, 6, 5)
    assert torch.equal(extend(field, 3, codes), extend(field, 3, torch.ones(1, 4)))
    assert torch.equal(wall_mask(codes, 6, 5), torch.ones(1, 1, 6, 5))


def test_mask_vanishes_exactly_on_dirichlet_walls() -> None:
    mask = wall_mask(torch.tensor([[-1.0, 1.0, -1.0, 1.0]]), 5, 4)[0, 0]
    expected = torch.ones(5, 4)
    expected[0, :] = 0
    expected[:, 0] = 0
    assert torch.equal(mask, expected)
