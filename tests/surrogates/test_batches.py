"""Batches: passes over all windows, the same for any number of processes, noise that respects the walls."""

from pathlib import Path

import pytest
import torch

from slimwave.data.windows import WaveWindows
from slimwave.surrogates.augmentation import Windows
from slimwave.surrogates.batches import Batches, training_windows
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.training_settings import FitConfig
from slimwave.surrogates.walls import wall_mask

SCALE = torch.tensor([0.2, 1.5]).reshape(1, 2, 1, 1)


@pytest.fixture(scope="module")
def windows(dataset: Path) -> WaveWindows:
    return WaveWindows(dataset, "train", horizon=2, in_memory=True)


def batches(
    windows: WaveWindows, fit: FitConfig, *, rank: int = 0, processes: int = 1, seed: int = 0
) -> Batches:
    return Batches(windows, fit, SCALE, seed=seed, rank=rank, processes=processes)


def test_a_pass_takes_every_window_once_and_the_next_takes_them_in_another_order(
    windows: WaveWindows,
) -> None:
    """24 windows in batches of 5: the fifth batch reaches into the second pass."""
    source = batches(windows, FitConfig(batch_size=5, noise=0.0, augment=False))
    states = torch.cat([source.draw(step, 1).state for step in range(10)])
    every = torch.stack([windows[i]["state"] for i in range(24)])

    def numbers(drawn: torch.Tensor) -> list[int]:
        return [int((every == state).all(dim=(1, 2, 3)).nonzero()[0]) for state in drawn]

    first, second = numbers(states[:24]), numbers(states[24:48])
    assert sorted(first) == sorted(second) == list(range(24))
    assert first != second
    assert source.passes(10) == 50 / 24


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_the_batch_that_one_would_take(windows: WaveWindows, processes: int) -> None:
    alone = batches(windows, FitConfig(batch_size=2 * processes, noise=0.1))
    shares = [
        batches(windows, FitConfig(batch_size=2, noise=0.1), rank=rank, processes=processes)
        for rank in range(processes)
    ]
    for step in (0, 7):
        whole = alone.draw(step, 2)
        for field, parts in zip(whole, zip(*(s.draw(step, 2) for s in shares), strict=True), strict=True):
            assert torch.equal(field, torch.cat(parts))


def test_a_batch_depends_on_seed_and_step_alone(windows: WaveWindows) -> None:
    fit = FitConfig(batch_size=4, noise=0.1)
    source = batches(windows, fit)
    later, earlier = source.draw(9, 1), source.draw(2, 1)
    again = batches(windows, fit).draw(9, 1)
    assert all(torch.equal(a, b) for a, b in zip(later, again, strict=True))
    assert not torch.equal(later.state, earlier.state)
    assert not torch.equal(later.state, batches(windows, fit, seed=1).draw(9, 1).state)


@pytest.mark.parametrize(("processes", "most"), [(1, 24), (5, 4)])
def test_a_batch_larger_than_the_training_split_is_refused(dataset: Path, processes: int, most: int) -> None:
    """24 windows; a batch of thousands of millions would be allocated before its first step."""

    def of(size: int) -> WaveWindows:
        fit = FitConfig(batch_size=size, unroll=(2,))
        return training_windows(dataset, NetworkConfig(), fit, processes=processes)

    assert len(of(most)) == 24
    for size in (most + 1, 10**9):
        with pytest.raises(ValueError, match=rf"--fit\.batch_size: expected at most {most}, .* got {size}"):
            of(size)


def test_noise_has_its_size_and_leaves_targets_and_dirichlet_walls_alone(windows: WaveWindows) -> None:
    clean, noisy = (
        Windows(*(torch.cat(parts) for parts in zip(*(b.draw(n, 1) for n in range(40)), strict=True)))
        for b in (batches(windows, FitConfig(batch_size=4, noise=size, augment=False)) for size in (0.0, 0.1))
    )
    assert torch.equal(clean.targets, noisy.targets)
    noise = (noisy.state - clean.state) / SCALE
    mask = wall_mask(clean.walls, 17, 13)
    assert not bool((noise * (1 - mask)).any())
    size = (clean.state / SCALE).square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    drawn = (noise / size)[mask.expand_as(noise) > 0]
    assert drawn.std().item() == pytest.approx(0.1, rel=0.02)
