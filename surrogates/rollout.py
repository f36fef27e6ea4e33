"""Autoregressive forecasts: the model runs on its own output, macro step after macro step.

>>> forecast = rollout(model, state, wave_speed, walls, steps=100)  # doctest: +SKIP
>>> forecast.shape  # doctest: +SKIP
torch.Size([1, 100, 2, 64, 64])
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from slimwave.surrogates.surrogate import Surrogate


@torch.no_grad()
def states(model: Surrogate, state: Tensor, wave_speed: Tensor, walls: Tensor) -> Iterator[Tensor]:
    """Yield the snapshots after 1, 2, … macro steps without end; the medium is encoded once."""
    context = model.encode(wave_speed, walls)
    while True:
        state = model.step(state, context)
        yield from model.split(state).unbind(1)


def rollout(model: Surrogate, state: Tensor, wave_speed: Tensor, walls: Tensor, steps: int) -> Tensor:
    """Forecast ``steps`` macro steps.

    Parameters
    ----------
    model
        Any surrogate; the tensors must be on its device.
    state: (batch, 2 · frames, nx, ny)
        u and v = ∂u/∂t at the start, of as many snapshots as the model's states hold.
    wave_speed: (batch, 1, nx, ny)
    walls: (batch, 4)
    steps
        Length of the forecast; nothing limits it.

    Returns
    -------
    Tensor: (batch, steps, 2, nx, ny)
        u and v after macro steps 1 … ``steps``.
    """
    forecast = states(model, state, wave_speed, walls)
    return torch.stack([next(forecast) for _ in range(steps)], dim=1)
