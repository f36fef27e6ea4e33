"""Symmetries: a rotated or mirrored wave obeys the same equation once medium and walls are moved with it."""

import itertools

import pytest
import torch
from torch import Tensor

from slimwave.surrogates.augmentation import Windows, random_symmetry, transform
from slimwave.surrogates.walls import extend

SYMMETRIES = [
    dict(zip(("flip_x", "flip_y", "transpose", "negate"), choice, strict=True))
    for choice in itertools.product([False, True], repeat=4)
]


def finite_difference_step(u: Tensor, v: Tensor, wave_speed: Tensor, walls: Tensor, dt: float) -> Tensor:
    """One explicit step of u_tt = ∇·(c² ∇u) with unit spacing and mirror walls, as (u, v)."""
    modulus = extend(wave_speed.square(), 1, torch.ones_like(walls))
    field = extend(u, 1, walls)
    force = torch.zeros_like(u)
    for axis, length in ((2, u.shape[2]), (3, u.shape[3])):
        other = 5 - axis
        inner_field = field.narrow(other, 1, u.shape[other])
        inner_modulus = modulus.narrow(other, 1, u.shape[other])
        edge = (inner_modulus.narrow(axis, 0, length + 1) + inner_modulus.narrow(axis, 1, length + 1)) / 2
        force = force + (edge * inner_field.diff(dim=axis)).diff(dim=axis)
    velocity = v + dt * force
    return torch.cat([u + dt * velocity, velocity], dim=1)


def window() -> Windows:
    """One exact window of that scheme on a non-square grid with four different walls."""
    generator = torch.Generator().manual_seed(0)
    state = torch.randn(3, 2, 7, 9, generator=generator, dtype=torch.float64)
    wave_speed = 1 + torch.rand(3, 1, 7, 9, generator=generator, dtype=torch.float64)
    walls = torch.tensor([[-1.0, 1.0, 1.0, -1.0], [1.0, -1.0, -1.0, -1.0], [1.0, 1.0, 1.0, -1.0]]).double()
    following = finite_difference_step(state[:, :1], state[:, 1:], wave_speed, walls, 0.1)
    return Windows(state, following[:, None], wave_speed, walls)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_a_transformed_window_is_a_window_of_the_same_equation(symmetry: dict[str, bool]) -> None:
    moved = transform(window(), **symmetry)
    stepped = finite_difference_step(
        moved.state[:, :1], moved.state[:, 1:], moved.wave_speed, moved.walls, 0.1
    )
    assert torch.allclose(stepped, moved.targets[:, 0], atol=1e-12)


def test_random_symmetries_reach_all_sixteen_and_repeat_with_the_seed() -> None:
    start = window()

    def first(seed: int) -> Windows:
        return random_symmetry(start, torch.Generator().manual_seed(seed), square_cells=True)

    images = {tuple(first(seed).state[0].flatten().tolist()) for seed in range(200)}
    assert len(images) == 16
    assert torch.equal(first(5).targets, first(5).targets)


def test_axes_are_not_exchanged_where_the_cells_are_not_square() -> None:
    for seed in range(50):
        moved = random_symmetry(window(), torch.Generator().manual_seed(seed), square_cells=False)
        assert moved.state.shape == (3, 2, 7, 9)
