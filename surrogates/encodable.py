"""What a network refuses of a medium or of its sides shows when it encodes one: tried before any work.

A job calls these before it takes its run folder, so that a refusal costs no earlier run its files.
"""

import torch
from torch import Tensor

from slimwave.data.windows import WaveWindows
from slimwave.surrogates.surrogate import Surrogate


@torch.no_grad()
def require_encodable(model: Surrogate, wave_speed: Tensor, walls: Tensor) -> None:
    """Encode the first medium between every combination of sides that occurs.

    Parameters
    ----------
    model
        The model, on any device.
    wave_speed: (batch, 1, nx, ny)
    walls: (batch, 4)

    Raises
    ------
    ValueError
        If the network cannot take such a grid or such sides.
    """
    device = model.scale.device
    sides: Tensor = torch.unique(walls, dim=0).to(device)
    model.encode(wave_speed[:1].expand(len(sides), -1, -1, -1).to(device), sides)


def require_trainable(model: Surrogate, windows: WaveWindows) -> None:
    """Encode a medium between every combination of sides in a split; see :func:`require_encodable`."""
    require_encodable(model, windows[0]["wave_speed"][None], _walls(windows))


def _walls(windows: WaveWindows) -> Tensor:
    """Walls of every trajectory, (trajectories, 4), read from its first snapshot."""
    source = windows.source
    return torch.stack(
        [torch.from_numpy(source.read(number, range(1)).walls) for number in range(source.trajectories)]
    )
