"""Blocks of frames: what reads which frame, and how far a block has to reach."""

import dataclasses

import pytest
import torch

from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.networks import build_network
from slimwave.surrogates.task import WaveTask

TASK = WaveTask(0.05, (0.0625, 0.0625), 2.0, (0.2, 1.5), (0.08, 0.7), 1.5, 0.3)
SMALL = NetworkConfig(name="space_time", width=3, depth=3, kernel_size=5, frames=3)


def test_states_are_blocks_of_frames_in_turn() -> None:
    model = build_network(SMALL, TASK)
    snapshots = torch.randn(2, 3, 2, 7, 8)
    state = model.join(snapshots)
    assert state.shape == (2, 6, 7, 8)
    assert torch.equal(state[:, 4], snapshots[:, 2, 0])
    assert torch.equal(model.split(state), snapshots)


def test_every_known_frame_moves_every_forecast_frame() -> None:
    torch.manual_seed(0)
    model = build_network(SMALL, TASK)
    state = torch.zeros(1, 6, 9, 9, requires_grad=True)
    following = model(state, torch.full((1, 1, 9, 9), 1.5), torch.ones(1, 4))
    for frame in range(3):
        (slope,) = torch.autograd.grad(following[:, 2 * frame].sum(), state, retain_graph=True)
        assert bool((model.split(slope).abs().amax(dim=(0, 2, 3, 4)) > 0).all())


def test_fresh_increments_grow_with_the_time_that_they_span() -> None:
    model = build_network(SMALL, TASK)
    expected = torch.tensor([[0.08, 0.7], [0.16, 1.4], [0.24, 2.1]])
    assert torch.allclose(model.get_buffer("lead").reshape(3, 2), expected)


def test_the_reach_must_span_the_whole_block() -> None:
    """1.6 cells a macro step: 3 at once are 4.8, 4 at once 6.4."""
    build_network(SMALL, TASK)
    expected = r"reaches 6 cells, .* 1\.6 cells .*, and 4 steps are taken at once; .* at least 7: use "
    with pytest.raises(
        ValueError, match=expected + r".*depth 4 or .*kernel_size 7 or fewer --network\.frames"
    ):
        build_network(dataclasses.replace(SMALL, frames=4), TASK)
