"""Symmetries of the wave equation as free training data.

In an isotropic medium the equation does not change under the eight symmetries of the square, as long as the
medium and the walls are moved with the field, nor under a change of sign.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

FLIP_X = [1, 0, 2, 3]
FLIP_Y = [0, 1, 3, 2]
TRANSPOSE = [2, 3, 0, 1]


class Windows(NamedTuple):
    """A batch of training windows.

    Attributes
    ----------
    state: (batch, 2, nx, ny)
    targets: (batch, horizon, 2, nx, ny)
    wave_speed: (batch, 1, nx, ny)
    walls: (batch, 4)
    """

    state: Tensor
    targets: Tensor
    wave_speed: Tensor
    walls: Tensor


def transform(windows: Windows, *, flip_x: bool, flip_y: bool, transpose: bool, negate: bool) -> Windows:
    """Apply one symmetry to a batch: first the flips, then the exchange of x and y, then the sign."""
    if flip_x:
        windows = _move(windows, lambda field: field.flip(-2), FLIP_X)
    if flip_y:
        windows = _move(windows, lambda field: field.flip(-1), FLIP_Y)
    if transpose:
        windows = _move(windows, lambda field: field.transpose(-2, -1), TRANSPOSE)
    if negate:
        windows = windows._replace(state=-windows.state, targets=-windows.targets)
    return windows


def random_symmetry(windows: Windows, generator: torch.Generator, *, square_cells: bool) -> Windows:
    """Apply a random symmetry; x and y are exchanged only where the cells are square."""
    flip_x, flip_y, transpose, negate = torch.randint(0, 2, (4,), generator=generator).tolist()
    return transform(
        windows,
        flip_x=bool(flip_x),
        flip_y=bool(flip_y),
        transpose=bool(transpose) and square_cells,
        negate=bool(negate),
    )


def _move(windows: Windows, move: Callable[[Tensor], Tensor], sides: list[int]) -> Windows:
    return Windows(
        move(windows.state), move(windows.targets), move(windows.wave_speed), windows.walls[:, sides]
    )
