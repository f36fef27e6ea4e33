"""Windows of trajectories for training.

>>> windows = WaveWindows("runs/data", "train", horizon=4)  # doctest: +SKIP
>>> loader = torch.utils.data.DataLoader(windows, batch_size=8, shuffle=True)  # doctest: +SKIP
>>> next(iter(loader))["targets"].shape  # doctest: +SKIP
torch.Size([8, 4, 2, 64, 64])

For an order that can be resumed in mid-epoch see :class:`slimwave.data.sampler.ResumableSampler`.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from slimwave.data.datasets import Source, dataset_info, open_source
from slimwave.data.info import DatasetInfo
from slimwave.data.normalisation import Normalisation, Normaliser
from slimwave.data.schema import Float32
from slimwave.data.snapshots import Snapshots
from slimwave.data.symmetries import RandomSymmetry
from slimwave.data.trajectories import Trajectories, load_trajectories, require_snapshots

__all__ = ["DatasetInfo", "Trajectories", "WaveWindows", "Window", "dataset_info", "load_trajectories"]

Window = dict[str, Tensor]
Transform = Callable[[Window, int], Window]
"""What is done to a window before it is handed out, given its index."""


class WaveWindows(Dataset[Window]):
    """Every window of ``history + horizon`` states of a split.

    Each item is a dict of float32 tensors:

    ``past``
        (history − 1, 2, nx, ny): the states before the present one, oldest first; only if ``history > 1``
    ``state``
        (2, nx, ny): u and v at present
    ``targets``
        (horizon, 2, nx, ny): the states ``stride``, 2 · ``stride``, … snapshots later
    ``wave_speed``
        (1, nx, ny)
    ``walls``
        (4,): −1 Dirichlet, +1 Neumann, 0 absorbing, for left, right, bottom, top
    ``damping``
        (1, nx, ny): γ, only in a dataset that may be damped

    Window i begins at snapshot ``every · (i % windows_per_trajectory)`` of trajectory
    ``i // windows_per_trajectory``.

    Parameters
    ----------
    root
        Dataset folder, written by slimwave, or one of The Well's acoustic datasets, whose fields become u, v
        and c as :mod:`slimwave.data.acoustics` says.
    split
        ``train``, ``valid``, ``test``, ``ood`` or another split of the dataset.
    horizon
        Number of target states.
    history
        Number of known states, the present one included.
    stride
        Snapshots between two states of a window.
    every
        Snapshots between the beginnings of two windows.
    normalise
        ``std`` or ``rms`` scales states and wave speed by the statistics of the training split, see
        :mod:`slimwave.data.normalisation`; None hands out physical units.
    transform
        Applied to every window, in physical units: a change of sign after a shift by the mean would be no
        symmetry. Such as :class:`slimwave.data.symmetries.RandomSymmetry`, which is refused where sources
        act: it does not move them.
    in_memory
        Read the whole split once. Otherwise files are opened lazily, in each process by itself, and memory
        does not grow with the dataset.

    Raises
    ------
    FileNotFoundError
        If there is no dataset.
    DatasetError
        If it is unfinished or damaged.
    ValueError
        If the trajectories are shorter than a window, or the transform does not fit.
    """

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        horizon: int = 1,
        history: int = 1,
        stride: int = 1,
        every: int = 1,
        normalise: Normalisation | None = None,
        transform: Transform | None = None,
        in_memory: bool = False,
    ) -> None:
        for name, value in (("horizon", horizon), ("history", history), ("stride", stride), ("every", every)):
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        source = open_source(root, split)
        self.info = source.info
        if self.info.driven and isinstance(transform, RandomSymmetry):
            raise ValueError(
                f"transform: {root} has sources, which RandomSymmetry does not move; give another"
            )
        self.split, self.horizon, self.history = split, horizon, history
        self.stride, self.every = stride, every
        self.span = (history + horizon - 1) * stride + 1
        asked = f"{history} known and {horizon} target states with stride {stride}"
        require_snapshots(root, split, source.snapshots, self.span, asked)
        self.trajectories = source.trajectories
        self.windows_per_trajectory = (source.snapshots - self.span) // every + 1
        self.normaliser = None if normalise is None else Normaliser.of(self.info.stats, normalise)
        self.transform = transform
        self.source: Source = _Memory(source) if in_memory else source

    def __len__(self) -> int:
        return self.windows_per_trajectory * self.trajectories

    def __getitem__(self, index: int) -> Window:
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index}: expected an index below {len(self)}")
        index %= len(self)
        trajectory, place = divmod(index, self.windows_per_trajectory)
        snapshots = range(place * self.every, place * self.every + self.span, self.stride)
        read = self.source.read(trajectory, snapshots)
        states = torch.from_numpy(read.states)
        present = self.history - 1
        window = {
            "state": states[present],
            "targets": states[present + 1 :],
            "wave_speed": torch.from_numpy(read.wave_speed)[None],
            "walls": torch.from_numpy(read.walls),
        }
        if read.damping is not None:
            window["damping"] = torch.from_numpy(read.damping)[None]
        if present:
            window["past"] = states[:present]
        if self.transform is not None:
            window = self.transform(window, index)
        return window if self.normaliser is None else self.normaliser.normalise(window)


class _Memory:
    """A source read once and kept."""

    def __init__(self, source: Source) -> None:
        self.info, self.trajectories, self.snapshots = source.info, source.trajectories, source.snapshots
        self.energy = source.energy
        whole = range(source.snapshots)
        grid = source.info.grid
        self.states = np.empty((source.trajectories, source.snapshots, 2, *grid), np.float32)
        self.wave_speeds = np.empty((source.trajectories, *grid), np.float32)
        self.walls = np.empty((source.trajectories, 4), np.float32)
        self.dampings: Float32 | None = None
        if source.info.damped:
            self.dampings = np.empty((source.trajectories, *grid), np.float32)
        for i in range(source.trajectories):
            self.states[i], self.wave_speeds[i], self.walls[i], damping = source.read(i, whole)
            if self.dampings is not None:
                self.dampings[i] = damping

    def read(self, trajectory: int, snapshots: range) -> Snapshots:
        window = slice(snapshots.start, snapshots.stop, snapshots.step)
        return Snapshots(
            self.states[trajectory, window].copy(),
            self.wave_speeds[trajectory].copy(),
            self.walls[trajectory].copy(),
            None if self.dampings is None else self.dampings[trajectory].copy(),
        )
