"""Absorbing sides by themselves: a finite-difference step that reads the extension stands for a network."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from slimwave.data.generation import generate
from slimwave.data.scenarios import GenerateConfig, WallConfig
from slimwave.surrogates.filters import REACH as FILTER_REACH
from slimwave.surrogates.filters import remove_grid_waves, shapiro_taps
from slimwave.surrogates.forecasting import rollout
from slimwave.surrogates.framed_cnn import crop
from slimwave.surrogates.metrics import energy
from slimwave.surrogates.outgoing import absorbing_rate, extend_state, outgoing_celerity
from slimwave.surrogates.rollout_settings import RolloutConfig
from slimwave.surrogates.training import train
from slimwave.surrogates.training_settings import TrainConfig
from slimwave.surrogates.walls import extend, mirror, wall_mask

N = 33
H = 1 / (N - 1)
STEP = 0.04
SUBSTEPS = 3
PAD = 2 * SUBSTEPS + FILTER_REACH
UNIT = torch.ones(1, 2, 1, 1, dtype=torch.float64)
X, Y = torch.meshgrid(*2 * [torch.arange(N, dtype=torch.float64) * H], indexing="ij")


def pulse(x: float, y: float, width: float = 0.1) -> Tensor:
    """A Gaussian at rest, (1, 2, N, N)."""
    u = torch.exp(-((X - x) ** 2 + (Y - y) ** 2) / (2 * width**2))
    return torch.stack([u, torch.zeros_like(u)])[None]


def force(u: Tensor, modulus: Tensor) -> Tensor:
    """∇·(c² ∇u) by second differences, one cell smaller on every side."""
    along_x = (modulus[..., 1:, 1:-1] + modulus[..., :-1, 1:-1]) / 2 * u[..., 1:-1].diff(dim=-2)
    along_y = (modulus[..., 1:-1, 1:] + modulus[..., 1:-1, :-1]) / 2 * u[..., 1:-1, :].diff(dim=-1)
    return (along_x.diff(dim=-2) + along_y.diff(dim=-1)) / H**2


def step(state: Tensor, wave_speed: Tensor, walls: Tensor) -> Tensor:
    """One macro step that extends ONCE, filters, and takes substeps by Taylor's series to fourth order."""
    celerity = outgoing_celerity(wave_speed, walls, PAD, (H, H), UNIT)
    extended = remove_grid_waves(extend_state(state, PAD, walls, celerity), shapiro_taps())
    modulus = crop(extend(wave_speed**2, PAD, torch.ones_like(walls)), FILTER_REACH)
    u, v = extended[:, :1], extended[:, 1:]
    dt = STEP / SUBSTEPS
    for _ in range(SUBSTEPS):
        f, g = force(u, modulus), force(v, modulus)
        inner = crop(modulus, 1)
        ff, gg = force(f, inner), force(g, inner)
        u, v, f, g, modulus = crop(u, 2), crop(v, 2), crop(f, 1), crop(g, 1), crop(modulus, 2)
        u, v = (
            u + dt * v + dt**2 / 2 * f + dt**3 / 6 * g + dt**4 / 24 * ff,
            v + dt * f + dt**2 / 2 * g + dt**3 / 6 * ff + dt**4 / 24 * gg,
        )
    return torch.cat([u, v], dim=1) * wall_mask(walls, N, N)


def energies(state: Tensor, wave_speed: Tensor, walls: Tensor, steps: int) -> list[float]:
    found = []
    for _ in range(steps + 1):
        found.append(float(energy(state[0], wave_speed[0, 0], (H, H))))
        state = step(state, wave_speed, walls)
    return found


def test_a_plane_wave_leaves_without_reflection() -> None:
    """Normal incidence, walls above and below even: the first-order condition is exact in one dimension."""
    c = 1.5
    front = torch.exp(-((X - 0.5) ** 2) / (2 * 0.08**2))
    outgoing = torch.stack([front, c * (X - 0.5) / 0.08**2 * front])[None]
    walls = torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64)
    left = energies(outgoing, torch.full((1, 1, N, N), c, dtype=torch.float64), walls, 30)
    assert math.sqrt(left[-1] / left[0]) < 0.02


@pytest.mark.parametrize("walls", [(0, 0, 0, 0), (0, -1, 1, 1), (1, 0, 0, -1), (0, 0, -1, -1)])
def test_energy_leaves_and_never_grows_in_a_varying_medium(walls: tuple[int, ...]) -> None:
    wave_speed = (1.5 + 0.5 * torch.sin(7 * X + 1) * torch.cos(5 * Y + 2))[None, None]
    codes = torch.tensor([walls], dtype=torch.float64)
    left = energies(pulse(0.45, 0.55), wave_speed, codes, 150)
    assert all(after <= 1.002 * before for before, after in itertools.pairwise(left))
    assert left[-1] < 0.12 * left[0]


def test_images_stay_exact_beside_absorbing_sides_and_per_sample() -> None:
    torch.manual_seed(0)
    state = torch.randn(2, 2, 9, 8, dtype=torch.float64)
    wave_speed = 1 + torch.rand(2, 1, 9, 8, dtype=torch.float64)
    walls = torch.tensor([[-1.0, 1.0, 1.0, -1.0], [-1.0, 0.0, 1.0, 1.0]], dtype=torch.float64)
    celerity = outgoing_celerity(wave_speed, walls, 4, (H, H), UNIT)
    extended = extend_state(state, 4, walls, celerity)
    images = extend(state, 4, walls)
    assert torch.allclose(extended[0], images[0], atol=1e-13)
    assert torch.allclose(extended[1, :, :-4], images[1, :, :-4], atol=1e-13)
    assert not torch.allclose(extended[1, :, -4:], images[1, :, -4:])


def test_the_extension_is_linear_and_obeys_the_condition_of_a_leaving_wave() -> None:
    """V = −c ∂u/∂s at every cell beyond the wall, but for the last, next to the end of the taper."""
    torch.manual_seed(0)
    walls = torch.zeros(1, 4, dtype=torch.float64)
    wave_speed = 1 + torch.rand(1, 1, 12, 11, dtype=torch.float64)
    celerity = outgoing_celerity(wave_speed, walls, 5, (0.1, 0.2), UNIT)
    a, b = torch.randn(2, 1, 2, 12, 11, dtype=torch.float64)

    def extended(state: Tensor) -> Tensor:
        return extend_state(state, 5, walls, celerity)

    assert torch.allclose(extended(2 * a - b), 2 * extended(a) - extended(b), atol=1e-12)
    u, v = extended(a)[0]
    even = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    c = mirror(wave_speed, 5, 2, even, even)[0, 0]
    slope = (u[2:, 5:-5] - u[:-2, 5:-5]) / 0.2
    beyond = slice(12 + 5, 12 + 5 + 4)
    assert torch.allclose(v[beyond, 5:-5], -(c[beyond] * slope[16:20]), atol=1e-10)


def test_nothing_is_computed_where_no_side_absorbs() -> None:
    assert outgoing_celerity(torch.ones(1, 1, 5, 5), torch.ones(1, 4), 3, (H, H), UNIT).numel() == 0


def test_training_and_rollouts_take_absorbing_sides(
    dataset_settings: Callable[..., GenerateConfig], training: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    generate(dataset_settings(data, walls=WallConfig("absorbing", "random", "random", "absorbing")))
    result = train(training(tmp_path / "model", data=data))
    assert math.isfinite(result.rollout_error)
    forecast = rollout(RolloutConfig(model=result.folder, data=data, output=tmp_path / "run", device="cpu"))
    assert forecast.walls[0] == forecast.walls[3] == 0
    assert np.isfinite(forecast.relative_l2).all()


def test_even_mirror_and_damped_nodes_let_a_plane_wave_leave() -> None:
    """Drift–kick–drift with the damping applied exactly: the energy of the scheme falls, little returns."""
    c, dt = 1.5, 0.25 * H
    wave_speed = torch.full((1, 1, N, 3), c, dtype=torch.float64)
    walls = torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64)
    decay = torch.exp(-dt * absorbing_rate(wave_speed, walls, (H, H)))
    assert torch.equal((decay < 1).sum(), torch.tensor(6))
    x = X[:, :3]
    u = torch.exp(-((x - 0.5) ** 2) / (2 * 0.08**2))[None, None]
    v = c * (x - 0.5) / 0.08**2 * u
    modulus = extend(wave_speed**2, 1, torch.ones_like(walls))
    size = float(u.abs().max())
    for _ in range(round(1.0 / (c * dt))):
        u = u + dt / 2 * v
        v = decay.sqrt() * (decay.sqrt() * v + dt * force(extend(u, 1, walls), modulus))
        u = u + dt / 2 * v
    assert float(u.abs().max()) < 0.02 * size
