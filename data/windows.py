"""Windows of trajectories for training.

>>> windows = WaveWindows("runs/data", "train", horizon=4)  # doctest: +SKIP
>>> loader = torch.utils.data.DataLoader(windows, batch_size=8, shuffle=True)  # doctest: +SKIP
>>> next(iter(loader))["targets"].shape  # doctest: +SKIP
torch.Size([8, 4, 2, 64, 64])

For an order that can be resumed in mid-epoch see :class:`slimwave.data.sampler.ResumableSampler`.
"""

from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from slimwave.data.normalisation import Normalisation, Normaliser
from slimwave.data.open_shards import OpenShards
from slimwave.data.reading import DatasetInfo, dataset_info
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
        (4,): −1 Dirichlet, +1 Neumann, for left, right, bottom, top

    Window i begins at snapshot ``every · (i % windows_per_trajectory)`` of trajectory
    ``i // windows_per_trajectory``.

    Parameters
    ----------
    root
        Dataset folder.
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
        Applied to every window, such as :class:`slimwave.data.symmetries.RandomSymmetry`.
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
        If the trajectories are shorter than a window.
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
        self.info = dataset_info(root)
        self.split, self.horizon, self.history = split, horizon, history
        self.stride, self.every = stride, every
        self.shards = self.info.shards(split)
        self.span = (history + horizon - 1) * stride + 1
        asked = f"{history} known and {horizon} target states with stride {stride}"
        require_snapshots(self.info, split, self.span, asked)
        self.windows_per_trajectory = (self.shards[0].snapshots - self.span) // every + 1
        self.normaliser = None if normalise is None else Normaliser.of(self.info.stats, normalise)
        self.transform = transform
        self._firsts = [entry.first for entry in self.shards]
        self._files = OpenShards(self.info)
        self._memory = _states(load_trajectories(root, split)) if in_memory else None

    def __len__(self) -> int:
        return self.windows_per_trajectory * sum(entry.trajectories for entry in self.shards)

    def __getitem__(self, index: int) -> Window:
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index}: expected an index below {len(self)}")
        index %= len(self)
        trajectory, place = divmod(index, self.windows_per_trajectory)
        snapshots = range(place * self.every, place * self.every + self.span, self.stride)
        states, wave_speed, walls = self._read(trajectory, snapshots)
        present = self.history - 1
        window = {
            "state": states[present],
            "targets": states[present + 1 :],
            "wave_speed": wave_speed[None],
            "walls": walls,
        }
        if present:
            window["past"] = states[:present]
        if self.normaliser is not None:
            window = self.normaliser.normalise(window)
        return window if self.transform is None else self.transform(window, index)

    def _read(self, trajectory: int, snapshots: range) -> tuple[Tensor, Tensor, Tensor]:
        """Return the states (n, 2, nx, ny), the wave speed (nx, ny) and the walls (4,)."""
        if self._memory is not None:
            states, wave_speed, walls = self._memory
            window = slice(snapshots.start, snapshots.stop, snapshots.step)
            return states[trajectory, window], wave_speed[trajectory], walls[trajectory]
        entry = self.shards[bisect_right(self._firsts, trajectory) - 1]
        shard, row = self._files.get(entry), trajectory - entry.first
        arrays = shard.read_states(row, snapshots), shard.read_wave_speed(row), shard.walls[row].copy()
        return tuple(torch.from_numpy(array) for array in arrays)  # type: ignore[return-value]


def _states(data: Trajectories) -> tuple[Tensor, Tensor, Tensor]:
    """Return the states (n, T, 2, nx, ny), the wave speeds and the walls."""
    return torch.stack([data.u, data.v], dim=2), data.c, data.walls
