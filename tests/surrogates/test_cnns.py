"""Invariants of the CNNs: walls, linearity, homogeneity, any grid, and compressed = its dense twin."""

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor

from slimwave.compression.one_way import OneWayConv
from slimwave.surrogates import framed_cnn, space_time
from slimwave.surrogates.filters import REACH as FILTER_REACH
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.networks import build_network
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.task import WaveTask
from slimwave.surrogates.walls import wall_mask

TASK = WaveTask(
    macro_step=0.05,
    spacing=(0.0625, 0.0625),
    max_speed=2.0,
    scale=(0.2, 1.5),
    increment=(0.08, 0.7),
    speed_mean=1.5,
    speed_std=0.3,
)
SMALL = NetworkConfig(width=4, depth=2, kernel_size=3)
SIGNS = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=4)))
ONE_WAY = dataclasses.replace(SMALL, conv="cp", rank=3)
NONLINEAR = dataclasses.replace(SMALL, activation="gelu")
GATED = dataclasses.replace(SMALL, name="gated_linear")
UNET = NetworkConfig(name="unet", width=3, depth=1, kernel_size=3, levels=3)
SPACE_TIME = NetworkConfig(name="space_time", width=3, depth=2, kernel_size=5, frames=2)
STACKS = {"dense": SMALL, "cp": ONE_WAY, "gated": GATED}
LINEAR = STACKS | {"unet-none": dataclasses.replace(UNET, activation="none"), "space-time": SPACE_TIME}
ALL = LINEAR | {"gelu": NONLINEAR, "unet": UNET}
ALL |= {"space-time-cp-gelu": dataclasses.replace(SPACE_TIME, activation="gelu", conv="cp", rank=2)}
every = pytest.mark.parametrize("config", ALL.values(), ids=ALL)
every_linear = pytest.mark.parametrize("config", LINEAR.values(), ids=LINEAR)


def network(config: NetworkConfig) -> Surrogate:
    torch.manual_seed(0)
    return build_network(config, TASK).double().eval()


def scene(batch: int, nx: int = 12, ny: int = 11, frames: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Random states that rest on Dirichlet walls, random media, and all mixtures of walls in turn."""
    generator = torch.Generator().manual_seed(1)
    walls = SIGNS[torch.arange(batch) % len(SIGNS)].double()
    state = torch.randn(batch, 2 * frames, nx, ny, generator=generator, dtype=torch.float64)
    wave_speed = 1 + torch.rand(batch, 1, nx, ny, generator=generator, dtype=torch.float64)
    return state * wall_mask(walls, nx, ny), wave_speed, walls


@every
@pytest.mark.parametrize("grid", [(12, 11), (31, 5)])
def test_any_grid_size_and_dirichlet_nodes_stay_at_rest(config: NetworkConfig, grid: tuple[int, int]) -> None:
    model = network(config)
    state, wave_speed, walls = scene(16, *grid, frames=model.frames)
    following = model(state, wave_speed, walls)
    assert following.shape == state.shape
    assert torch.equal(following * (1 - wall_mask(walls, *grid)), torch.zeros_like(following))
    assert not torch.equal(following, state)


@every_linear
def test_superposition_without_activation(config: NetworkConfig) -> None:
    model = network(config)
    state, wave_speed, walls = scene(16, frames=model.frames)
    other = state.roll(1, dims=0) * wall_mask(walls, 12, 11)
    context = model.encode(wave_speed, walls)
    combined = model.step(2 * state - 3 * other, context)
    assert torch.allclose(
        combined, 2 * model.step(state, context) - 3 * model.step(other, context), atol=1e-12
    )


def test_homogeneity_with_gelu() -> None:
    model = network(NONLINEAR)
    state, wave_speed, walls = scene(4)
    context = model.encode(wave_speed, walls)
    assert torch.allclose(model.step(1e-3 * state, context), 1e-3 * model.step(state, context), atol=1e-12)
    superposed = model.step(state, context) + model.step(-state, context)
    assert superposed.abs().max() > 1e-3


@every
def test_a_state_at_rest_stays_at_rest(config: NetworkConfig) -> None:
    model = network(config)
    state, wave_speed, walls = scene(4, frames=model.frames)
    assert model(torch.zeros_like(state), wave_speed, walls).abs().max() < 1e-100


@every
@pytest.mark.parametrize("sign", [-1.0, 1.0], ids=["dirichlet", "neumann"])
def test_a_wall_equals_the_mirrored_half_of_a_larger_domain(
    config: NetworkConfig, sign: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unfold the domain at its left wall: the step on the right half must not notice.

    The size by which a nonlinear network divides its input is held, for the wall's nodes count once here and
    the others twice.
    """
    for module in (framed_cnn, space_time):
        monkeypatch.setattr(module, "relative_scale", lambda state, _: state.new_ones(1))
    model = network(config)
    state, wave_speed, _ = scene(1, 13, 11, frames=model.frames)
    walls = torch.tensor([[sign, -1.0, 1.0, -1.0]], dtype=torch.float64)
    state = state * wall_mask(walls, 13, 11)
    unfolded = torch.cat([sign * state[:, :, 1:].flip(2), state], dim=2)
    medium = torch.cat([wave_speed[:, :, 1:].flip(2), wave_speed], dim=2)
    outer = torch.tensor([[-1.0, -1.0, 1.0, -1.0]], dtype=torch.float64)
    here = model(state, wave_speed, walls)
    there = model(unfolded, medium, outer)[:, :, 12:]
    assert torch.allclose(here[:, :, 1:], there[:, :, 1:], atol=1e-12)


@every
def test_a_mirrored_network_steps_a_mirrored_scene(config: NetworkConfig) -> None:
    """No side is treated unlike the opposite one: flip the kernels, and the step commutes with the flip."""
    model, mirrored = network(config), network(config)
    with torch.no_grad():
        for weight in mirrored.parameters():
            if weight.ndim >= 4:
                weight.copy_(weight.flip(-2))
    state, wave_speed, walls = scene(16, 12, 10, frames=model.frames)
    expected = model(state, wave_speed, walls).flip(-2)
    found = mirrored(state.flip(-2), wave_speed.flip(-2), walls[:, [1, 0, 2, 3]])
    assert torch.allclose(found, expected, atol=1e-12)


def test_one_way_network_equals_the_dense_network_of_its_composed_kernels() -> None:
    one_way = network(ONE_WAY)
    dense = network(SMALL)
    composed = dict(one_way.state_dict())
    for name, layer in one_way.named_modules():
        if isinstance(layer, OneWayConv):
            composed = {key: value for key, value in composed.items() if not key.startswith(f"{name}.")}
            composed[f"{name}.weight"] = layer.kernel().detach()
            if layer.mix_out.bias is not None:
                composed[f"{name}.bias"] = layer.mix_out.bias.detach()
    dense.load_state_dict(composed)
    assert torch.allclose(one_way(*scene(16)), dense(*scene(16)), atol=1e-12)


@every
def test_a_batch_is_its_samples_one_by_one(config: NetworkConfig) -> None:
    model = network(config)
    state, wave_speed, walls = scene(16, frames=model.frames)
    together = model(state, wave_speed, walls)
    for n in range(16):
        alone = model(state[n : n + 1], wave_speed[n : n + 1], walls[n : n + 1])
        assert torch.allclose(together[n], alone[0], atol=1e-12)


@pytest.mark.parametrize("config", STACKS.values(), ids=STACKS)
def test_information_travels_no_further_than_convolutions_and_filter_reach(config: NetworkConfig) -> None:
    model = network(config)
    state, wave_speed, walls = scene(1, 21, 21)
    disturbed = state.clone()
    disturbed[0, 0, 10, 10] += 1
    change = (model(disturbed, wave_speed, walls) - model(state, wave_speed, walls))[0].abs().amax(dim=0)
    moved = change.nonzero() - 10
    assert model.reach == 2
    assert moved.abs().max() == model.reach + FILTER_REACH


@every_linear
def test_a_wave_that_the_grid_cannot_carry_is_gone_after_one_step(config: NetworkConfig) -> None:
    """Two nodes per wave along x, in a domain of Neumann walls whose nodes are its crests."""
    _, wave_speed, _ = scene(1)
    walls = torch.ones(1, 4, dtype=torch.float64)
    crests = torch.ones(12, 11, dtype=torch.float64) * (-1.0) ** torch.arange(12)[:, None]
    model = network(config)
    state = torch.stack([crests, -2 * crests])[None].repeat(1, model.frames, 1, 1)
    assert model(state, wave_speed, walls).abs().max() < 1e-6


def test_a_reach_shorter_than_the_wave_s_way_is_refused_with_the_number_that_would_do() -> None:
    fast = dataclasses.replace(TASK, max_speed=6.0)
    expected = (
        r"reaches 2 cells, .* crosses 4\.8 cells .* at least 5: "
        r"use --network\.depth 5 or --network\.kernel_size 7"
    )
    with pytest.raises(ValueError, match=expected):
        build_network(SMALL, fast)
    for remedy in ({"depth": 5}, {"kernel_size": 7}):
        assert build_network(dataclasses.replace(SMALL, **remedy), fast).reach >= 5


def test_a_rank_above_the_full_rank_is_refused_but_thin_kernels_take_fewer_terms() -> None:
    """A 3 × 3 kernel from 4 to 4 channels has full rank 36, from 1 channel to 4 full rank 9."""
    model = network(dataclasses.replace(SMALL, conv="cp", rank=20))
    ranks = {name: layer.rank for name, layer in model.named_modules() if isinstance(layer, OneWayConv)}
    assert ranks == {"lift": 18, "blocks.0": 20, "encoder": 9}
    with pytest.raises(ValueError, match=r"rank: expected 1 to 36 .* got 37"):
        network(dataclasses.replace(SMALL, conv="cp", rank=37))
