"""The training that anyone would write first: a residual CNN as a plain module, in a plain loop.

The same network, loss and optimiser as slimwave's, without anything done for speed: contiguous tensors, the
medium encoded in every macro step, windows read one by one through a `DataLoader`, AdamW as it comes, and the
loss fetched in every step.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from slimwave.data.windows import WaveWindows, Window
from slimwave.surrogates.losses import relative_loss
from slimwave.surrogates.task import WaveTask


class PlainResidual(nn.Module):
    """The residual CNN of `slimwave.surrogates.residual_cnn`, with parameters in the same order.

    Parameters
    ----------
    task
        Scales of the fields.
    width, depth, kernel, rank
        Shape; a rank makes every convolution 1×1 → k×1 → 1×k → 1×1.
    """

    def __init__(self, task: WaveTask, width: int, depth: int, kernel: int, rank: int | None) -> None:
        super().__init__()
        self.task, self.depth, self.half = task, depth, kernel // 2
        self.lift = convolution(2, width, kernel, rank, bias=False)
        self.blocks = nn.ModuleList(
            convolution(width, width, kernel, rank, bias=False) for _ in range(depth - 1)
        )
        self.head = nn.Conv2d(width, 2, 1, bias=False)
        self.encoder = convolution(1, width, kernel, rank, bias=True)
        self.gates = nn.Conv2d(width, depth * width, 1)
        self.scale = torch.tensor(task.scale).reshape(1, 2, 1, 1)
        self.increment = torch.tensor(task.increment).reshape(1, 2, 1, 1)
        taps = torch.tensor([-1.0, 8.0, -28.0, 56.0, 186.0, 56.0, -28.0, 8.0, -1.0]) / 256
        self.along_x, self.along_y = taps.reshape(1, 1, 9, 1), taps.reshape(1, 1, 1, 9)

    def forward(self, state: Tensor, wave_speed: Tensor, walls: Tensor) -> Tensor:
        """Advance the state (batch, 2, nx, ny) by one macro step."""
        reach, half = self.depth * self.half, self.half
        medium = (wave_speed - self.task.speed_mean) / self.task.speed_std
        gates = 1 + 0.3 * self.gates(F.gelu(self.encoder(mirrored(medium, torch.ones_like(walls), reach))))
        extended = mirrored(state / self.scale, walls, reach + 4)
        filtered = F.conv2d(extended, self.along_x.expand(2, -1, -1, -1), groups=2)
        filtered = F.conv2d(filtered, self.along_y.expand(2, -1, -1, -1), groups=2)
        gate = gates.chunk(self.depth, dim=1)
        hidden = gate[0] * self.lift(filtered)
        for layer, block in enumerate(self.blocks, start=1):
            hidden = cut(hidden, half) + cut(gate[layer], layer * half) * block(hidden)
        change = 0.1 * self.increment * self.head(hidden)
        return (self.scale * cut(filtered, reach) + change) * at_rest(walls, *state.shape[-2:])


def convolution(inputs: int, outputs: int, kernel: int, rank: int | None, *, bias: bool) -> nn.Module:
    """Return a full kernel, or its one-way form as four convolutions."""
    if rank is None:
        return nn.Conv2d(inputs, outputs, kernel, bias=bias)
    rank = min(rank, inputs * kernel**2)
    return nn.Sequential(
        nn.Conv2d(inputs, rank, 1, bias=False),
        nn.Conv2d(rank, rank, (kernel, 1), groups=rank, bias=False),
        nn.Conv2d(rank, rank, (1, kernel), groups=rank, bias=False),
        nn.Conv2d(rank, outputs, 1, bias=bias),
    )


def mirrored(field: Tensor, walls: Tensor, pad: int) -> Tensor:
    """Extend a field by its images in the four walls."""
    for axis, sides in ((2, walls[:, :2]), (3, walls[:, 2:])):
        low, high = sides.reshape(-1, 2, 1, 1, 1).unbind(1)
        nodes = field.shape[axis]
        before = field.narrow(axis, 1, pad).flip(axis)
        after = field.narrow(axis, nodes - 1 - pad, pad).flip(axis)
        field = torch.cat([low * before, field, high * after], dim=axis)
    return field


def at_rest(walls: Tensor, nx: int, ny: int) -> Tensor:
    """Return 0 at the nodes of Dirichlet walls and 1 elsewhere, (batch, 1, nx, ny)."""
    mask = torch.ones(len(walls), 1, nx, ny)
    for sample, (left, right, bottom, top) in enumerate(walls.tolist()):
        mask[sample, :, 0] *= left > 0
        mask[sample, :, -1] *= right > 0
        mask[sample, :, :, 0] *= bottom > 0
        mask[sample, :, :, -1] *= top > 0
    return mask


def cut(field: Tensor, cells: int) -> Tensor:
    """Cut cells off every side."""
    return field[..., cells : field.shape[-2] - cells, cells : field.shape[-1] - cells]


def endless(windows: WaveWindows, batch_size: int) -> Iterator[Window]:
    """Yield shuffled batches for ever."""
    while True:
        yield from DataLoader(windows, batch_size=batch_size, shuffle=True, drop_last=True)


def plain_loop(
    model: nn.Module, scale: Tensor, windows: WaveWindows, batch_size: int, unroll: int
) -> Callable[[], float]:
    """Return a function that takes one optimiser step.

    Parameters
    ----------
    model
        Called as `model(state, wave_speed, walls)` in every macro step.
    scale: (1, 2, 1, 1)
        Scale of u and of v.
    windows
        Read from their files, one by one.
    batch_size, unroll
        Windows per step, and macro steps before the loss.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batches = endless(windows, batch_size)

    def step() -> float:
        batch = next(batches)
        state, forecast = batch["state"], []
        for _ in range(unroll):
            state = model(state, batch["wave_speed"], batch["walls"])
            forecast.append(state)
        loss = relative_loss(torch.stack(forecast, dim=1), batch["targets"][:, :unroll], scale)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step
