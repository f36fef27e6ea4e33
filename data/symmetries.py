"""Symmetries of the wave equation: each turns a solution into another one, at no cost.

u_tt = ∇·(c² ∇u) in an isotropic medium keeps its form under the eight symmetries of the square, as long as
the medium and the walls are moved with the field; under a change of sign; and, without damping, sources and
absorbing sides, under t → −t, which turns v = u_t into −v and the order of the states around.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

FLIP_X = [1, 0, 2, 3]
FLIP_Y = [0, 1, 3, 2]
TRANSPOSE = [2, 3, 0, 1]
"""Where each side's condition comes from, for left, right, bottom, top."""


@dataclass(frozen=True)
class Symmetry:
    """First the flips, then the exchange of x and y (a rotation together with one flip), sign, and time."""

    flip_x: bool = False
    flip_y: bool = False
    transpose: bool = False
    negate: bool = False
    reverse_time: bool = False

    @classmethod
    def draw(
        cls, generator: torch.Generator, *, square_cells: bool, reverse_time: bool = False
    ) -> "Symmetry":
        """Draw each part by a coin; x and y are exchanged only where the cells are square.

        Parameters
        ----------
        generator
            Source of the coins.
        square_cells
            Whether dx = dy.
        reverse_time
            Whether time may be reversed.
        """
        coins = torch.randint(0, 2, (5 if reverse_time else 4,), generator=generator).tolist()
        flip_x, flip_y, transpose, negate, *reverse = map(bool, coins)
        return cls(flip_x, flip_y, transpose and square_cells, negate, any(reverse))

    def move(self, field: Tensor) -> Tensor:
        """Move a field (…, nx, ny) in space."""
        axes = [axis for axis, flipped in ((-2, self.flip_x), (-1, self.flip_y)) if flipped]
        field = field.flip(axes) if axes else field
        return field.transpose(-2, -1) if self.transpose else field

    def move_walls(self, walls: Tensor) -> Tensor:
        """Move the conditions (…, 4) of left, right, bottom, top."""
        for moved, sides in ((self.flip_x, FLIP_X), (self.flip_y, FLIP_Y), (self.transpose, TRANSPOSE)):
            walls = walls[..., sides] if moved else walls
        return walls

    def apply(self, window: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Apply the symmetry to a window, or to a batch of windows, of :class:`WaveWindows`.

        Parameters
        ----------
        window
            ``state`` (…, 2, nx, ny), ``targets`` (…, horizon, 2, nx, ny), ``wave_speed`` (…, 1, nx, ny),
            ``walls`` (…, 4); possibly ``damping`` (…, 1, nx, ny) and ``past`` (…, history − 1, 2, nx, ny).
        """
        sign = -1.0 if self.negate else 1.0
        moved = {name: self.move(field) for name, field in window.items() if name != "walls"}
        for name in moved.keys() - {"wave_speed", "damping"}:
            moved[name] = sign * moved[name] if self.negate else moved[name]
        if self.reverse_time:
            moved |= _reversed(moved)
        return {**window, **moved, "walls": self.move_walls(window["walls"])}


class RandomSymmetry:
    """A transform for ``WaveWindows``: a symmetry drawn from (seed, epoch, index) alone.

    The order of reading and the number of workers do not change it, and a resumed run repeats it.

    Parameters
    ----------
    seed
        Seed of the draws.
    square_cells
        Whether dx = dy: x and y are exchanged only then, and only where nx = ny, so that windows keep their
        shape and make batches.
    reverse_time
        Whether time may be reversed; a window with damping or an absorbing side never is.
    """

    def __init__(self, seed: int, *, square_cells: bool, reverse_time: bool = True) -> None:
        self.seed, self.square_cells, self.reverse_time = seed, square_cells, reverse_time
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    @property
    def epoch(self) -> int:
        """Epoch of the draws, shared with worker processes."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw other symmetries from now on; call it between two passes over the data."""
        self._epoch.fill_(epoch)

    def __call__(self, window: dict[str, Tensor], index: int) -> dict[str, Tensor]:
        """Return the window, moved."""
        drawn = _mixed(self.seed, self.epoch, index)
        flip_x, flip_y, transpose, negate, reverse = (bool(drawn >> bit & 1) for bit in range(5))
        nx, ny = window["wave_speed"].shape[-2:]
        transpose = transpose and self.square_cells and nx == ny
        lossless = "damping" not in window and bool(window["walls"].all())
        symmetry = Symmetry(flip_x, flip_y, transpose, negate, reverse and self.reverse_time and lossless)
        return symmetry.apply(window)


def _reversed(window: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the states around in time, v to −v, and cut them into past, present and targets again."""
    known = window["past"].shape[-4] if "past" in window else 0
    state = window["state"].unsqueeze(-4)
    parts = [window["past"], state] if known else [state]
    states = torch.cat([*parts, window["targets"]], dim=-4).flip(-4)
    states = states * states.new_tensor([1.0, -1.0])[:, None, None]
    later = states.shape[-4] - known - 1
    cut = {"state": states.select(-4, known), "targets": states.narrow(-4, known + 1, later)}
    return {**cut, "past": states.narrow(-4, 0, known)} if known else cut


def _mixed(*numbers: int) -> int:
    """Return 64 random bits that depend on every number (the finaliser of splitmix64, chained)."""
    mask, mixed = (1 << 64) - 1, 0
    for number in numbers:
        mixed = (mixed + number + 0x9E3779B97F4A7C15) & mask
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        mixed ^= mixed >> 31
    return mixed
