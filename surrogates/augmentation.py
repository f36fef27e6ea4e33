"""Symmetries of the wave equation as free training data.

In an isotropic medium the equation does not change under the eight symmetries of the square, as long as the
medium and the walls are moved with the field, nor under a change of sign.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from slimwave.data.symmetries import Symmetry


class Windows(NamedTuple):
    """A batch of training windows.

    Attributes
    ----------
    state: (batch, 2 · frames, nx, ny)
        u and v of every known snapshot in turn.
    targets: (batch, horizon, 2, nx, ny)
    wave_speed: (batch, 1, nx, ny)
    walls: (batch, 4)
    """

    state: Tensor
    targets: Tensor
    wave_speed: Tensor
    walls: Tensor

    @classmethod
    def collated(cls, items: Mapping[str, Tensor], horizon: int) -> "Windows":
        """Batch of the windows that ``WaveWindows`` hands out, with the first ``horizon`` targets."""
        known = items["state"][:, None]
        if "past" in items:
            known = torch.cat([items["past"], known], dim=1)
        targets = items["targets"][:, :horizon]
        return cls(known.flatten(1, 2), targets, items["wave_speed"], items["walls"])


def transform(windows: Windows, *, flip_x: bool, flip_y: bool, transpose: bool, negate: bool) -> Windows:
    """Apply one symmetry to a batch: first the flips, then the exchange of x and y, then the sign."""
    symmetry = Symmetry(flip_x=flip_x, flip_y=flip_y, transpose=transpose, negate=negate)
    return Windows(**symmetry.apply(windows._asdict()))


def random_symmetry(windows: Windows, generator: torch.Generator, *, square_cells: bool) -> Windows:
    """Apply a random symmetry; x and y are exchanged only where the cells are square."""
    symmetry = Symmetry.draw(generator, square_cells=square_cells)
    return Windows(**symmetry.apply(windows._asdict()))
