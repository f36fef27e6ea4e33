"""The U-Net: convolutions on a pyramid of grids (Ronneberger, Fischer, Brox, MICCAI 2015, arXiv 1505.04597).

A block on each level on the way down, means of 2 × 2 cells between them, bilinear interpolation and a block
on each level on the way up, which also reads what the block of its level left on the way down. Level l has 2ˡ
times the width. Within a block

    h₀ = g₀ ⊙ (W₀ * φ(h)),        hᵢ = crop(hᵢ₋₁) + gᵢ ⊙ (Wᵢ * φ(hᵢ₋₁)),

with gates g of the medium, encoded once on every level as in :mod:`slimwave.surrogates.gated_cnn`.

- Few layers reach far, because a cell of level l is 2ˡ nodes wide.
- Every convolution is valid, on every level: the field is extended once, by all that the pyramid reads, see
  :mod:`slimwave.surrogates.spans`. So walls are exact images on every level, and any number of nodes will do.
- ``activation="none"`` makes the network linear in the state.
"""

from collections.abc import Sequence
from itertools import count, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slimwave.surrogates import spans
from slimwave.surrogates.framed_cnn import FramedCNN, crop
from slimwave.surrogates.gated_cnn import GATE_SCALE
from slimwave.surrogates.layers import network_conv
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.network_shapes import UNetShape
from slimwave.surrogates.spans import Span, Spans
from slimwave.surrogates.task import WaveTask
from slimwave.surrogates.walls import extend


class Block(nn.Module):
    """Valid convolutions on one level, each gated, all but the first with a path around them.

    Parameters
    ----------
    shape
        Shape of the whole network.
    in_channels, out_channels
        Channels.
    """

    def __init__(self, shape: UNetShape, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.nonlinear = shape.activation == "gelu"
        self._half = shape.kernel_size // 2
        self.layers = nn.ModuleList(
            network_conv(shape, channels, out_channels, shape.kernel_size, bias=self.nonlinear)
            for channels in (in_channels, *(shape.depth - 1) * (out_channels,))
        )

    def forward(self, field: Tensor, gates: Tensor, *, first: bool = False) -> Tensor:
        """Apply the block to a field; its input is a state, not a hidden layer, if ``first``."""
        hidden = field
        for number, (layer, gate) in enumerate(
            zip(self.layers, gates.chunk(len(self.layers), dim=1), strict=True)
        ):
            update = layer(F.gelu(hidden) if self.nonlinear and not (first and number == 0) else hidden)
            update = crop(gate, number * self._half) * update
            hidden = crop(hidden, self._half) + update if number else update
        return hidden


class MediumEncoder(nn.Module):
    """Gates of one level from the medium's means on it.

    Parameters
    ----------
    shape
        Shape of the whole network.
    channels
        Channels of the level.
    blocks
        Blocks of the level: 2, or 1 at the bottom.
    """

    def __init__(self, shape: UNetShape, channels: int, blocks: int) -> None:
        super().__init__()
        self.read = network_conv(shape, 1, channels, shape.kernel_size, bias=True)
        self.gates = nn.Conv2d(channels, blocks * shape.depth * channels, 1)
        nn.init.normal_(self.gates.weight, std=channels**-0.5)

    def forward(self, medium: Tensor) -> Tensor:
        """Return gates around 1, one kernel's reach smaller than the medium."""
        gates: Tensor = 1 + GATE_SCALE * self.gates(F.gelu(self.read(medium)))
        return gates


class UNet(FramedCNN):
    """U-Net whose convolutions are dense or one-way by configuration.

    Examples
    --------
    >>> task = WaveTask(0.02, (1 / 63, 1 / 63), 2.0, (0.1, 1.0), (0.02, 0.3), 1.5, 0.3)
    >>> UNet(NetworkConfig(name="unet", width=4).resolved(), task).reach
    23
    """

    def __init__(self, config: NetworkConfig, task: WaveTask) -> None:
        super().__init__(config, task)
        shape = self.shape = config.shape_as(UNetShape)
        self.nonlinear = shape.activation == "gelu"
        self._lost = shape.depth * (shape.kernel_size // 2)  # cells, by a block on each side
        self._margin = spans.margin(shape.levels, self._lost)
        widths = [shape.width * 2**level for level in range(shape.levels)]
        self.down = nn.ModuleList(Block(shape, before, after) for before, after in pairwise([2, *widths]))
        self.up = nn.ModuleList(Block(shape, below + beside, beside) for beside, below in pairwise(widths))
        self.head = nn.Conv2d(shape.width, 2, 1, bias=False)
        nn.init.normal_(self.head.weight, std=shape.width**-0.5)
        self.encoders = nn.ModuleList(
            MediumEncoder(shape, channels, 2 if channels < widths[-1] else 1) for channels in widths
        )

    @property
    def margin(self) -> int:
        """Cells beyond every wall that the pyramid reads."""
        return self._margin

    @property
    def reach(self) -> int:
        """Cells to each side that every node reads."""
        return spans.reach(self.shape.levels, self._lost)

    def reach_remedy(self, needed: int) -> str:
        """Name the levels or the kernel that would do."""
        shape = self.shape
        kernel = next(k for k in count(3, 2) if spans.reach(shape.levels, shape.depth * (k // 2)) >= needed)
        levels = next(n for n in count(1) if spans.reach(n, self._lost) >= needed) if self._lost else 0
        return f"use {f'--network.levels {levels} or ' if levels else ''}--network.kernel_size {kernel}"

    def prepare(self, medium: Tensor, walls: Tensor) -> Sequence[Tensor]:
        """Compute the gates of every level, finest first; the medium's extension is even."""
        extended = extend(medium, self._margin, torch.ones_like(walls))
        field = self._input(extended, self._plans(extended))
        gates = [self.encoders[0](field)]
        for encoder in self.encoders[1:]:
            field = F.avg_pool2d(crop(field, self._lost), 2)
            gates.append(encoder(field))
        return gates

    def change(self, extended: Tensor, gates: Sequence[Tensor]) -> Tensor:
        """Run down the pyramid and up again."""
        plans = self._plans(extended)
        kept: list[Tensor] = []
        hidden = self._input(extended, plans)
        for level, block in enumerate(self.down):
            hidden = block(
                F.avg_pool2d(hidden, 2) if level else hidden, self._down_gates(gates, level), first=not level
            )
            kept.append(hidden)
        for level, block in reversed(list(enumerate(self.up))):
            hidden = block(
                torch.cat(
                    [self._finer(hidden, plans, level), self._beside(kept[level], plans, level)], dim=1
                ),
                self._up_gates(gates, plans, level),
            )
        return self.head(hidden)

    def _plans(self, extended: Tensor) -> tuple[Spans, Spans]:
        """Spans along x and y of a field with its margins."""
        along_x, along_y = (
            spans.plan(Span(0, cells - 2 * self._margin), self.shape.levels, self._lost)
            for cells in extended.shape[-2:]
        )
        return along_x, along_y

    def _input(self, extended: Tensor, plans: tuple[Spans, Spans]) -> Tensor:
        """Cut what the first block reads out of a field with its margins."""
        first = [plan.down[0].widened(self._lost) for plan in plans]
        whole = [Span(-self._margin, cells - self._margin) for cells in extended.shape[-2:]]
        return _cut(extended, first, whole)

    def _down_gates(self, gates: Sequence[Tensor], level: int) -> Tensor:
        return gates[level].chunk(2, dim=1)[0] if level < len(self.up) else gates[level]

    def _up_gates(self, gates: Sequence[Tensor], plans: tuple[Spans, Spans], level: int) -> Tensor:
        """Cut the gates of a block on the way up out of those of its level."""
        more = self._lost - self.shape.kernel_size // 2
        wanted = [plan.up[level].widened(more) for plan in plans]
        return _cut(
            gates[level].chunk(2, dim=1)[1], wanted, [plan.down[level].widened(more) for plan in plans]
        )

    def _finer(self, hidden: Tensor, plans: tuple[Spans, Spans], level: int) -> Tensor:
        """Interpolate the level below onto what the block of this level reads."""
        finer = F.interpolate(hidden, scale_factor=2.0, mode="bilinear", align_corners=False)
        wanted = [plan.up[level].widened(self._lost) for plan in plans]
        return _cut(finer, wanted, [Span(*(2 * end for end in plan.up[level + 1])) for plan in plans])

    def _beside(self, kept: Tensor, plans: tuple[Spans, Spans], level: int) -> Tensor:
        """Cut what the block of this level reads out of what was left on the way down."""
        wanted = [plan.up[level].widened(self._lost) for plan in plans]
        return _cut(kept, wanted, [plan.down[level] for plan in plans])


def _cut(field: Tensor, wanted: Sequence[Span], held: Sequence[Span]) -> Tensor:
    """Cut the spans ``wanted`` along x and y out of a field that holds the spans ``held``."""
    x, y = (want.within(hold) for want, hold in zip(wanted, held, strict=True))
    return field[..., x, y]
