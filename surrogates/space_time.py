"""The space–time CNN: convolutions over two axes of space and one of time, from a block of K frames to the
next K.

With H (batch, width, K, nx, ny) the hidden layers over a whole block,

    H₀ = g₀ ⊙ (W₀ * s'),        Hᵢ = crop(Hᵢ₋₁) + gᵢ ⊙ (Wᵢ * φ(Hᵢ₋₁)),

where the W are k × k × k kernels, or one-way filters along each of the three axes, and the gates g of the
medium hold for all frames. A 1 × 1 head reads all K frames of the last layer and writes the next K:

    s⁺_{K+j} = mask · (σ crop(s'_K) + β j δ N_j),        j = 1 … K.

- A frame is (u, v), extended by the walls' images and filtered by itself, as in
  :mod:`slimwave.surrogates.framed_cnn`; in space every convolution is valid. In time a block has ends, beyond
  which the kernels see nothing.
- One call advances K macro steps, so that the waves cross K times as many cells: the reach must be as long.
- ``activation="none"`` makes the map from block to block linear.

Hidden layers are residual as those of He et al. (CVPR 2016, arXiv 1512.03385); the one-way filters are those
of arXiv 2304.04964, along a third axis too. The step from block to block is slimwave's own.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slimwave.surrogates.filters import REACH as FILTER_REACH
from slimwave.surrogates.filters import remove_grid_waves
from slimwave.surrogates.framed_cnn import HEAD_SCALE, FramedCNN, crop
from slimwave.surrogates.gated_cnn import GATE_SCALE, gates_by_layer
from slimwave.surrogates.layers import network_conv
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.network_shapes import SpaceTimeShape
from slimwave.surrogates.outgoing import extend_state
from slimwave.surrogates.surrogate import relative_scale, remedy_of_stack
from slimwave.surrogates.task import WaveTask
from slimwave.surrogates.walls import extend


class SpaceTimeCNN(FramedCNN):
    """Space–time CNN whose convolutions are dense or one-way by configuration.

    Examples
    --------
    >>> task = WaveTask(0.02, (1 / 63, 1 / 63), 2.0, (0.1, 1.0), (0.02, 0.3), 1.5, 0.3)
    >>> model = SpaceTimeCNN(NetworkConfig(name="space_time", width=4, frames=3).resolved(), task)
    >>> model.frames, model.reach
    (3, 12)
    """

    block_scale: Tensor
    lead: Tensor

    def __init__(self, config: NetworkConfig, task: WaveTask) -> None:
        super().__init__(config, task)
        shape = self.shape = config.shape_as(SpaceTimeShape)
        width, kernel, frames = shape.width, shape.kernel_size, shape.frames
        self.nonlinear = shape.activation == "gelu"
        self.register_buffer("block_scale", self.scale.repeat(1, frames, 1, 1), persistent=False)
        lead = torch.arange(1.0, frames + 1).repeat_interleave(2).reshape(1, -1, 1, 1)
        self.register_buffer("lead", lead * self.increment.repeat(1, frames, 1, 1), persistent=False)
        self.layers = nn.ModuleList(
            network_conv(shape, channels, width, kernel, bias=self.nonlinear, axes=3)
            for channels in (2, *(shape.depth - 1) * (width,))
        )
        self.head = nn.Conv2d(width * frames, 2 * frames, 1, bias=False)
        self.encoder = network_conv(shape, 1, width, kernel, bias=True)
        self.gates = nn.Conv2d(width, shape.depth * width, 1)
        for layer in (self.head, self.gates):
            nn.init.normal_(layer.weight, std=layer.in_channels**-0.5)

    @property
    def reach(self) -> int:
        """Cells to each side that the learned convolutions of one call read."""
        return self.shape.depth * (self.shape.kernel_size // 2)

    def reach_remedy(self, needed: int) -> str:
        """Name the depth or the kernel that would do."""
        return (
            remedy_of_stack(self.shape.depth, self.shape.kernel_size, needed) + " or fewer --network.frames"
        )

    def prepare(self, medium: Tensor, walls: Tensor) -> Sequence[Tensor]:
        """Compute g for every layer, cut to it and shared by all frames; the medium's extension is even."""
        extended = extend(medium, self.margin, torch.ones_like(walls))
        gates = 1 + GATE_SCALE * self.gates(F.gelu(self.encoder(extended)))
        return gates_by_layer(gates, self.shape)

    def step(self, state: Tensor, context: Any) -> Tensor:
        """Advance a block (batch, 2 · frames, nx, ny) by as many macro steps as it has frames."""
        walls, mask, celerity, *gates = context
        size = relative_scale(state, self.block_scale) if self.nonlinear else state.new_ones(1)
        filtered = self._filtered(state / (self.block_scale * size), walls, celerity)
        latest = self.scale * crop(filtered[:, -1], self.margin)
        following = latest.repeat(1, self.frames, 1, 1) + HEAD_SCALE * self.lead * self.change(
            filtered, gates
        )
        return size * following * mask

    def change(self, extended: Tensor, gates: Sequence[Tensor]) -> Tensor:
        """Compute N (batch, 2 · frames, nx, ny) from a block (batch, frames, 2, nx + 2 r, ny + 2 r)."""
        half = self.shape.kernel_size // 2
        hidden = extended.transpose(1, 2)
        for number, (layer, gate) in enumerate(zip(self.layers, gates, strict=True)):
            activated = F.gelu(hidden) if self.nonlinear and number else hidden
            update = gate[:, :, None] * layer(F.pad(activated, (0, 0, 0, 0, half, half)))
            hidden = crop(hidden, half) + update if number else update
        return self.head(hidden.flatten(1, 2))

    def _filtered(self, block: Tensor, walls: Tensor, celerity: Tensor) -> Tensor:
        """Extend and filter each frame of a block by itself."""
        frames = self.split(block).flatten(0, 1)
        walls, celerity = (part.repeat_interleave(self.frames, dim=0) for part in (walls, celerity))
        extended = extend_state(frames, self.margin + FILTER_REACH, walls, celerity)
        filtered = remove_grid_waves(extended, self.taps)
        return filtered.reshape(-1, self.frames, *filtered.shape[1:])
