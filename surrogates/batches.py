"""The batch of every optimiser step: which windows, in which order, moved by which symmetry, with what noise.

Windows are taken in passes: each pass is all windows of the training split in an order of its own. The
place in them is the number of the optimiser step, so that a fit can be taken up at any step; and the batch
of a step is shared between processes so that together they take what one process with a larger batch would.
"""

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import default_collate

from slimwave.data.sampler import ResumableSampler
from slimwave.data.windows import WaveWindows
from slimwave.surrogates.augmentation import Windows, random_symmetry
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.schedules import generator_of
from slimwave.surrogates.surrogate import relative_scale
from slimwave.surrogates.training_settings import FitConfig
from slimwave.surrogates.walls import wall_mask

NOISE = 1
"""Sets the random numbers of a sample's noise apart from those of a step's symmetry."""


def training_windows(
    data: Path, network: NetworkConfig, fit: FitConfig, *, stride: int = 1, processes: int = 1
) -> WaveWindows:
    """Windows of the training split with all that a network reads and is unrolled to.

    Parameters
    ----------
    stride
        Snapshots in one macro step.
    processes
        Processes that share a batch.

    Raises
    ------
    ValueError
        If the trajectories are shorter than a window, or there are fewer windows than a batch takes.
    """
    block = network.shape().block
    horizon = block * max(fit.unroll)
    windows = WaveWindows(
        data, "train", horizon=horizon, history=block, stride=stride, in_memory=fit.in_memory
    )
    most = len(windows) // processes
    if fit.batch_size > most:
        shared = f" for each of {processes} processes" if processes > 1 else ""
        raise ValueError(
            f"--fit.batch_size: expected at most {most}, since the training split has {len(windows)} "
            f"windows{shared}, got {fit.batch_size}; use a smaller batch or generate more trajectories"
        )
    return windows


class Batches:
    """Batches by the number of the optimiser step.

    Parameters
    ----------
    windows
        Training windows.
    fit
        Batch size (of one process), symmetries, noise.
    scale: (1, 2, 1, 1)
        Scale of u and of v.
    seed
        Seed of all draws.
    rank, processes
        This process, and the number of processes.
    """

    def __init__(
        self, windows: WaveWindows, fit: FitConfig, scale: Tensor, *, seed: int, rank: int, processes: int
    ) -> None:
        self.windows, self.fit, self.seed, self.rank = windows, fit, seed, rank
        self.scale = scale.cpu().repeat(1, windows.history, 1, 1)
        self.size = fit.batch_size * processes
        self._sampler = ResumableSampler(len(windows), seed=seed)
        self._order: tuple[int, list[int]] = (-1, [])
        dx, dy = windows.info.spacing
        self._square_cells = math.isclose(dx, dy, rel_tol=1e-6)

    def passes(self, step: int) -> float:
        """Passes over all windows that ``step`` optimiser steps make."""
        return step * self.size / len(self.windows)

    def draw(self, step: int, horizon: int) -> Windows:
        """Return this process's share of a step's batch, on the CPU, with ``horizon`` targets."""
        first = step * self.size + self.rank * self.fit.batch_size
        numbers = range(first, first + self.fit.batch_size)
        items = default_collate([self.windows[self._window(number)] for number in numbers])
        batch = Windows.collated(items, horizon)
        if self.fit.augment:
            generator = generator_of(self.seed, step)
            batch = random_symmetry(batch, generator, square_cells=self._square_cells)
        return self._disturbed(batch, numbers) if self.fit.noise else batch

    def _window(self, number: int) -> int:
        """Which window is drawn as the ``number``-th since the beginning of the fit."""
        number_of_pass, place = divmod(number, len(self.windows))
        if self._order[0] != number_of_pass:
            self._sampler.set_epoch(number_of_pass)
            self._order = number_of_pass, self._sampler.order().tolist()
        return self._order[1][place]

    def _disturbed(self, batch: Windows, numbers: range) -> Windows:
        """Add white noise relative to the scale of u and of v; a Dirichlet wall stays at rest."""
        noise = torch.stack(
            [torch.randn(batch.state.shape[1:], generator=generator_of(self.seed, n, NOISE)) for n in numbers]
        )
        size = relative_scale(batch.state, self.scale) * self.scale
        mask = wall_mask(batch.walls, *batch.state.shape[-2:])
        return batch._replace(state=batch.state + self.fit.noise * size * mask * noise)
