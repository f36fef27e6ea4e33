"""The one interface of every surrogate: encode a medium once, then step a state again and again.

A subclass fills two hooks, ``encode`` and ``step``, and names its ``reach`` and how to lengthen it; where
something else limits the speed of its waves, ``max_wave_speed`` and ``speed_remedy`` too:

- ``encode(wave_speed, walls) -> context`` is called once per medium and holds all work that does not
  depend on the state;
- ``step(state, context) -> state`` advances the state (u, v = ∂u/∂t) by one macro step.

A state is one snapshot, or a block of several that is advanced as a whole (``frames``). States enter and
leave in physical units: normalisation is part of the model.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.task import WaveTask

Context = tuple[Tensor, ...]


class Surrogate(nn.Module):
    """A map from the state of a wave field to its state one macro step later, or ``frames`` of them.

    Parameters
    ----------
    config
        Shape of the network, every default written out.
    task
        Grid spacing, macro step and scales that the model is made for.
    """

    scale: Tensor
    increment: Tensor

    def __init__(self, config: NetworkConfig, task: WaveTask) -> None:
        super().__init__()
        self.config = config
        self.task = task
        self.register_buffer("scale", _channels(task.scale), persistent=False)
        self.register_buffer("increment", _channels(task.increment), persistent=False)

    @property
    def frames(self) -> int:
        """Snapshots that a state holds, and macro steps that one call of ``step`` advances."""
        return self.config.shape().block

    @property
    def reach(self) -> int:
        """Cells to each side that the learned part of one step reads."""
        raise NotImplementedError

    def reach_remedy(self, needed: int) -> str:
        """Say with which flags the network would reach ``needed`` cells, as in "use --network.depth 5"."""
        raise NotImplementedError

    @property
    def max_wave_speed(self) -> float:
        """Largest wave speed of a medium that the model can follow, in units of length per unit of time.

        Reach over time, reach · min(dx, dy) / (frames · macro step): beyond it waves come from where the step
        does not look. At least the largest speed of the task.
        """
        way = self.reach * min(self.task.spacing)
        return max(self.task.max_speed, way / (self.frames * self.task.macro_step))

    def speed_remedy(self, max_speed: float) -> str:
        """Say with which flags the network would follow waves of a speed, as :meth:`reach_remedy` does."""
        cells = max_speed * self.task.macro_step / min(self.task.spacing)
        return self.reach_remedy(math.ceil(self.frames * cells))

    def encode(self, wave_speed: Tensor, walls: Tensor) -> Context:
        """Prepare all that depends on the medium and the walls only.

        Parameters
        ----------
        wave_speed: (batch, 1, nx, ny)
            c > 0 at the nodes, in units of length per unit of time.
        walls: (batch, 4)
            Codes of the sides, see :mod:`slimwave.surrogates.walls`.

        Returns
        -------
        tuple of Tensor
            What :meth:`step` reads, a plain or a named tuple; each tensor has a row per sample or is empty.

        Raises
        ------
        ValueError
            If the network cannot take such a grid or such walls.
        """
        raise NotImplementedError

    def step(self, state: Tensor, context: Any) -> Tensor:
        """Advance the state by ``frames`` macro steps.

        Parameters
        ----------
        state: (batch, 2 · frames, nx, ny)
            u and v = ∂u/∂t in physical units, of each frame in turn, see :meth:`join`.
        context
            What :meth:`encode` returned.

        Returns
        -------
        Tensor: (batch, 2 · frames, nx, ny)
        """
        raise NotImplementedError

    def join(self, snapshots: Tensor) -> Tensor:
        """Return the state that the snapshots (batch, frames, 2, nx, ny), oldest first, make."""
        return snapshots.flatten(1, 2)

    def split(self, state: Tensor) -> Tensor:
        """Return the snapshots (batch, frames, 2, nx, ny) of a state."""
        return state.reshape(len(state), self.frames, 2, *state.shape[-2:])

    def forward(self, state: Tensor, wave_speed: Tensor, walls: Tensor) -> Tensor:
        """Encode the medium and advance the state by ``frames`` macro steps; shapes as in the two hooks."""
        return self.step(state, self.encode(wave_speed, walls))


def rebuild(context: Context, parts: Sequence[Tensor]) -> Context:
    """Return ``parts`` as a context of the same kind, a plain or a named tuple."""
    make = getattr(type(context), "_make", tuple)
    rebuilt: Context = make(parts)
    return rebuilt


def remedy_of_stack(kernels: int, kernel_size: int, needed: int) -> str:
    """Flags with which ``kernels`` convolutions of length ``kernel_size`` in a row reach ``needed`` cells."""
    half = kernel_size // 2
    depth = f"--network.depth {-(-needed // half)} or " if half else ""
    return f"use {depth}--network.kernel_size {2 * -(-needed // kernels) + 1}"


def relative_scale(state: Tensor, scale: Tensor) -> Tensor:
    """Size of a state as one number per sample: the root mean square of u/σ_u and v/σ_v together.

    Parameters
    ----------
    state: (batch, 2 · frames, nx, ny)
        u and v, of each frame in turn.
    scale: (1, 2 · frames, 1, 1)
        σ_u and σ_v, repeated for each frame.

    Returns
    -------
    Tensor: (batch, 1, 1, 1)
        Strictly positive, so that a state at rest can be divided by it.
    """
    mean_square = (state / scale).square().mean(dim=(1, 2, 3), keepdim=True)
    return (mean_square + torch.finfo(state.dtype).tiny).sqrt()


def _channels(values: tuple[float, float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, 2, 1, 1)
