"""Symmetries: a moved solution solves the equation in the moved medium, between the moved walls."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from slimwave.data.scenarios import (
    DomainConfig,
    GenerateConfig,
    PulseConfig,
    Scenario,
    SolverConfig,
    WallConfig,
    draw_scenario,
)
from slimwave.data.schema import Trajectory
from slimwave.data.solving import solve_scenario
from slimwave.data.symmetries import RandomSymmetry, Symmetry
from slimwave.data.windows import WaveWindows, Window
from slimwave.fem.boundaries import SIDES

SPATIAL = [Symmetry(*choice) for choice in itertools.product([False, True], repeat=3)]
CONFIG = GenerateConfig(
    domain=DomainConfig(nx=25, ny=25),
    pulses=PulseConfig(width=(0.12, 0.15)),
    walls=WallConfig("dirichlet", "neumann", "neumann", "dirichlet"),
    solver=SolverConfig(order=4, elements=(6, 6), dtype="float64"),
)


def solve(scenario: Scenario) -> Trajectory:
    return solve_scenario(scenario, CONFIG, snapshots=9)


def window_of(solved: Trajectory) -> Window:
    states = torch.from_numpy(np.stack([solved.u, solved.v], axis=1))
    return {
        "past": states[:3],
        "state": states[3],
        "targets": states[4:],
        "wave_speed": torch.from_numpy(solved.c)[None],
        "walls": torch.from_numpy(solved.walls),
    }


def moved_scenario(scenario: Scenario, symmetry: Symmetry) -> Scenario:
    """Move medium, initial field and walls, each by its own definition on the unit square."""

    def back(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = (y, x) if symmetry.transpose else (x, y)
        return (1 - x if symmetry.flip_x else x), (1 - y if symmetry.flip_y else y)

    conditions = [scenario.walls[side] for side in SIDES]
    left, right, bottom, top = conditions
    if symmetry.flip_x:
        left, right = right, left
    if symmetry.flip_y:
        bottom, top = top, bottom
    if symmetry.transpose:
        left, right, bottom, top = bottom, top, left, right
    return replace(
        scenario,
        wave_speed=lambda x, y: scenario.wave_speed(*back(x, y)),
        u0=lambda x, y: scenario.u0(*back(x, y)),  # type: ignore[arg-type]
        walls=dict(zip(SIDES, (left, right, bottom, top), strict=True)),
    )


@pytest.mark.parametrize("symmetry", SPATIAL)
def test_moved_solution_solves_the_moved_scenario(
    symmetry: Symmetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Solved anew in the moved medium, the finite elements give the moved fields."""
    monkeypatch.setattr(Scenario, "parameters", {})
    drawn = draw_scenario(CONFIG, "train", 2)
    moved = symmetry.apply(window_of(solve(drawn)))
    anew = window_of(solve(moved_scenario(drawn, symmetry)))
    for name, values in anew.items():
        torch.testing.assert_close(
            moved[name], values, atol=2e-5, rtol=0, msg=lambda text, n=name: f"{n}: {text}"
        )


def test_sign() -> None:
    window = window_of(solve(draw_scenario(CONFIG, "train", 0)))
    moved = Symmetry(negate=True).apply(window)
    for name in ("past", "state", "targets"):
        assert torch.equal(moved[name], -window[name])
    assert torch.equal(moved["wave_speed"], window["wave_speed"])


def states_of(window: Window) -> Tensor:
    return torch.cat([window["past"], window["state"][None], window["targets"]])


def test_reversed_time_solves_the_equation() -> None:
    """Standing wave cos(ωt) sin(πx) sin(πy) on [t₀, t₁], reversed: cos(ω(t₀ + t₁ − t)), v = +ω sin(…)."""
    x = torch.linspace(0, 1, 9, dtype=torch.float64)
    shape = torch.outer(torch.sin(math.pi * x), torch.sin(math.pi * x))
    omega, times = math.sqrt(2) * math.pi, 0.1 * torch.arange(6, dtype=torch.float64) + 0.3
    u, v = torch.cos(omega * times), -omega * torch.sin(omega * times)
    states = torch.stack([u, v], 1)[:, :, None, None] * shape
    speed, walls = torch.ones(1, 9, 9), -torch.ones(4)
    window = {
        "past": states[:2],
        "state": states[2],
        "targets": states[3:],
        "wave_speed": speed,
        "walls": walls,
    }
    moved = Symmetry(reverse_time=True).apply(window)
    backwards = times[0] + times[-1] - times
    expected = torch.stack([torch.cos(omega * backwards), omega * torch.sin(omega * backwards)], 1)
    torch.testing.assert_close(states_of(moved), expected[:, :, None, None] * shape)
    assert [len(moved[name]) for name in ("past", "state", "targets")] == [2, 2, 3]
    again = Symmetry(reverse_time=True).apply(moved)
    assert all(torch.equal(again[name], window[name]) for name in window)


def test_reversed_window_without_a_past(pristine: Path) -> None:
    window = WaveWindows(pristine, "train", horizon=3)[4]
    moved = Symmetry(reverse_time=True).apply(window)
    flip = torch.tensor([1.0, -1.0])[:, None, None]
    assert torch.equal(moved["state"], window["targets"][2] * flip)
    assert torch.equal(moved["targets"][2], window["state"] * flip)
    assert "past" not in moved


def test_batches_move_as_their_windows(pristine: Path) -> None:
    windows = WaveWindows(pristine, "train", horizon=2, history=3)
    batch = next(iter(DataLoader(windows, batch_size=4)))
    symmetry = Symmetry(True, False, True, True, True)
    moved = symmetry.apply(batch)
    for row in range(4):
        single = symmetry.apply(windows[row])
        assert all(torch.equal(moved[name][row], single[name]) for name in single)


@pytest.mark.parametrize(
    "symmetry", [Symmetry(*choice) for choice in itertools.product([False, True], repeat=5)]
)
def test_each_symmetry_can_be_undone(symmetry: Symmetry) -> None:
    """Undone by itself, flips exchanged where x and y were."""
    generator = torch.Generator().manual_seed(0)
    window = {
        "state": torch.randn(2, 5, 5, generator=generator),
        "targets": torch.randn(3, 2, 5, 5, generator=generator),
        "wave_speed": torch.randn(1, 5, 5, generator=generator),
        "walls": torch.tensor([1.0, 2.0, 3.0, 4.0]),
    }
    inverse = symmetry
    if symmetry.transpose:
        inverse = replace(symmetry, flip_x=symmetry.flip_y, flip_y=symmetry.flip_x)
    again = inverse.apply(symmetry.apply(window))
    assert all(torch.equal(again[name], window[name]) for name in window)


def test_random_symmetry_depends_on_seed_epoch_and_index_alone(pristine: Path) -> None:
    random = RandomSymmetry(3, square_cells=False)
    moved = WaveWindows(pristine, "train", transform=random)
    first = [moved[i]["state"] for i in range(len(moved))]
    again = [moved[i]["state"] for i in reversed(range(len(moved)))][::-1]
    assert all(map(torch.equal, first, again))
    random.set_epoch(1)
    other = [moved[i]["state"] for i in range(len(moved))]
    assert not all(map(torch.equal, first, other))


@pytest.mark.parametrize(
    ("square", "reverse", "images"), [(True, True, 32), (True, False, 16), (False, True, 16)]
)
def test_random_symmetries_reach_all_that_are_allowed(square: bool, reverse: bool, images: int) -> None:
    generator = torch.Generator().manual_seed(0)
    window = {
        "state": torch.randn(2, 4, 4, generator=generator),
        "targets": torch.randn(1, 2, 4, 4, generator=generator),
        "wave_speed": torch.ones(1, 4, 4),
        "walls": torch.ones(4),
    }
    random = RandomSymmetry(0, square_cells=square, reverse_time=reverse)
    found = [tuple(random(window, index)["state"].flatten().tolist()) for index in range(640)]
    counts = [found.count(image) for image in set(found)]
    assert len(counts) == images
    assert max(counts) < 2.5 * 640 / images


def test_windows_of_an_oblong_grid_make_batches(pristine: Path) -> None:
    """Square cells, but nx differs from ny: exchanging x and y would give windows of two shapes."""
    windows = WaveWindows(pristine, "train", transform=RandomSymmetry(0, square_cells=True))
    batch = next(iter(DataLoader(windows, batch_size=len(windows))))
    assert batch["state"].shape == (40, 2, 24, 18)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_epoch_reaches_workers_that_stay(pristine: Path) -> None:
    random = RandomSymmetry(0, square_cells=False)
    windows = WaveWindows(pristine, "train", transform=random)
    loader = DataLoader(
        windows, batch_size=8, num_workers=1, persistent_workers=True, multiprocessing_context="fork"
    )
    for epoch in range(2):
        random.set_epoch(epoch)
        there = torch.cat([batch["state"] for batch in loader])
        here = torch.stack([windows[i]["state"] for i in range(len(windows))])
        assert torch.equal(there, here)
