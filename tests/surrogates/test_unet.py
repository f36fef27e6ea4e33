"""The spans of a valid U-Net, against sets of cells that are followed one by one."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.networks import build_network
from slimwave.surrogates.spans import Span, margin, plan, reach
from slimwave.surrogates.task import WaveTask

TASK = WaveTask(0.05, (0.0625, 0.0625), 2.0, (0.2, 1.5), (0.08, 0.7), 1.5, 0.3)
SMALL = NetworkConfig(name="unet", width=3, levels=3, depth=1)


def read_by(nodes: set[int], levels: int, lost: int) -> set[int]:
    """Nodes of the finest level that a U-Net reads to compute others, by following every single cell."""
    around = {cell + shift for cell in nodes for shift in range(-lost, lost + 1)}
    if levels == 1:
        return around
    coarse = {i for cell in around for i in (cell // 2, cell // 2 + (1 if cell % 2 else -1))}
    below = read_by(coarse, levels - 1, lost)
    needed = around | {fine for cell in below for fine in (2 * cell, 2 * cell + 1)}
    return {cell + shift for cell in needed for shift in range(-lost, lost + 1)}


@given(nodes=st.integers(1, 40), levels=st.integers(1, 4), lost=st.integers(0, 3))
def test_the_plan_covers_exactly_what_is_read(nodes: int, levels: int, lost: int) -> None:
    first = plan(Span(0, nodes), levels, lost).down[0].widened(lost)
    read = read_by(set(range(nodes)), levels, lost)
    assert (first.start, first.stop - 1) == (min(read), max(read))
    assert margin(levels, lost) >= max(-min(read), max(read) + 1 - nodes)


def test_the_margin_is_no_larger_than_some_grid_needs() -> None:
    worst = max(
        max(-read.start, read.stop - n)
        for n in range(1, 30)
        for read in [plan(Span(0, n), 3, 2).down[0].widened(2)]
    )
    assert margin(3, 2) == worst == 26


@pytest.mark.parametrize("node", [20, 21, 22, 23])
def test_a_node_feels_a_disturbance_within_its_reach_and_none_beyond_the_margin(node: int) -> None:
    model = build_network(dataclasses.replace(SMALL, activation="none"), TASK).double()
    walls, wave_speed = torch.ones(1, 4).double(), torch.full((1, 1, 48, 8), 1.5).double()
    start = torch.zeros(1, 2, 48, 8).double().requires_grad_()
    context = model.encode(wave_speed, walls)
    gates = context[3:]
    extended = torch.zeros(1, 2, 48 + 2 * model.margin, 8 + 2 * model.margin).double().requires_grad_()
    model.change(extended, gates)[0, :, node, 3].sum().backward()
    assert extended.grad is not None and start.grad is None
    felt = extended.grad[0].abs().sum((0, 2)).nonzero().flatten() - model.margin - node
    assert int(felt.min()) <= -model.reach and int(felt.max()) >= model.reach
    assert felt.abs().max() <= model.margin


def test_a_short_reach_is_refused_with_levels_and_kernel_that_would_do() -> None:
    fast = dataclasses.replace(TASK, max_speed=12.5)
    with pytest.raises(ValueError, match=r"at least 10: use --network\.levels 3 or --network\.kernel_size 7"):
        build_network(dataclasses.replace(SMALL, levels=2), fast)
    for remedy in ({"levels": 3}, {"levels": 2, "kernel_size": 7}):
        assert build_network(dataclasses.replace(SMALL, **remedy), fast).reach >= 10
    assert reach(2, 2) < 10


def test_width_doubles_from_level_to_level() -> None:
    model = build_network(NetworkConfig(name="unet", width=4, levels=3), TASK)
    assert [block.layers[0].out_channels for block in model.down] == [4, 8, 16]
    assert [block.layers[0].in_channels for block in model.up] == [12, 24]
