"""The order of the windows: shuffled reproducibly, shared between processes, resumable in mid-epoch.

>>> sampler = ResumableSampler(len(windows), seed=0)  # doctest: +SKIP
>>> loader = DataLoader(windows, batch_size=8, sampler=sampler, num_workers=2)  # doctest: +SKIP
>>> symmetry.set_epoch(sampler.epoch)  # doctest: +SKIP
>>> for batch in loader:  # doctest: +SKIP
...     train(batch)
...     sampler.consume(len(batch["state"]))
...     save(sampler.state_dict())

Workers read ahead of the training, so that the sampler cannot know by itself how far the training has come:
``consume`` tells it. The state names a position in the order of all processes together: a run of four
processes can be taken up by two. Random symmetries follow the epoch of the sampler, and are then resumed with
it; where a loader drops its last, incomplete batch, ``set_epoch`` begins the next epoch.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler


class ResumableSampler(Sampler[int]):
    """Order of an epoch, a function of (seed, epoch) alone; process ``rank`` takes every ``world_size``-th.

    As with torch's ``DistributedSampler``, the order is continued from its beginning until every process has
    equally many. Pass it to a ``DataLoader`` as ``sampler``; a frame that shards samplers itself must be told
    not to.

    Parameters
    ----------
    length
        Number of windows.
    seed
        Seed of the order.
    shuffle
        Whether to shuffle at all.
    rank, world_size
        This process, and the number of processes.
    """

    def __init__(
        self, length: int, *, seed: int = 0, shuffle: bool = True, rank: int = 0, world_size: int = 1
    ) -> None:
        if length < 1 or seed < 0:
            raise ValueError(f"length and seed: expected at least 1 and 0, got {length} and {seed}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank: expected 0 <= rank < world_size = {world_size}, got {rank}")
        self.length, self.seed, self.shuffle = length, seed, shuffle
        self.rank, self.world_size = rank, world_size
        self.epoch, self.position = 0, 0

    def __len__(self) -> int:
        """Return how many windows this process still has in the epoch."""
        return -(-(self.length - self.position) // self.world_size)

    def __iter__(self) -> Iterator[int]:
        order = self.order()
        first, last = self.position, self.position + len(self) * self.world_size
        return (int(order[i % self.length]) for i in range(first + self.rank, last, self.world_size))

    def order(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the order of all windows in this epoch, over all processes."""
        if not self.shuffle:
            return np.arange(self.length)
        return np.random.default_rng((self.seed, self.epoch)).permutation(self.length)

    def consume(self, windows: int) -> None:
        """Count windows that this process has trained on; after the last one the next epoch begins.

        Raises
        ------
        ValueError
            For more windows than the epoch has left.
        """
        if not 0 <= windows <= len(self):
            raise ValueError(
                f"windows: expected 0 to {len(self)}, all that is left of the epoch, got {windows}"
            )
        self.position += windows * self.world_size
        if self.position >= self.length:
            self.set_epoch(self.epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch."""
        self.epoch, self.position = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the order, the same for every process, as plain values."""
        names = ("length", "seed", "shuffle", "epoch", "position")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a saved place; the iteration that begins next starts there.

        Raises
        ------
        ValueError
            If the state belongs to another order, or is none.
        """
        for name in ("length", "seed", "shuffle"):
            if state.get(name) != getattr(self, name):
                raise ValueError(
                    f"{name}: the saved order has {state.get(name)}, this one {getattr(self, name)}; "
                    "use the dataset and the seed of the saved run"
                )
        epoch, position = state.get("epoch"), state.get("position")
        if not (isinstance(epoch, int) and isinstance(position, int) and 0 <= position < self.length):
            raise ValueError(f"epoch and position: expected a place in the order, got {epoch} and {position}")
        self.epoch, self.position = epoch, position
