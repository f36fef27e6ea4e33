"""The residual CNN: the full CNN of the comparisons and, with ``conv="cp"``, its one-way form.

One step from the state s = (u, v) in the medium c:

    r    = rms(u/σ_u, v/σ_v)                       one number per sample
    h₀   = L * extend(s / (σ r)) + M * extend(c)     c part: once per medium
    hᵢ₊₁ = crop(hᵢ) + Wᵢ * gelu(hᵢ)                 valid convolutions
    s⁺   = s + mask · δ r (H hₙ)                    1 × 1 head, δ the typical increment of u and v

The field is extended ONCE, by the total reach and by the walls' mirror images; every convolution after that
is valid, so no layer ever sees an invented boundary. Dividing by r and multiplying by it again makes the
step homogeneous, step(λ s) = λ step(s) for λ > 0, as the wave equation is: the network need not learn
amplitudes. The residual stream reaches the head without a nonlinearity, so the network contains the linear
finite-difference step as a special case.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slimwave.compression.arguments import full_rank
from slimwave.compression.formats import make_conv
from slimwave.surrogates.settings import NetworkConfig
from slimwave.surrogates.surrogate import Surrogate, relative_scale
from slimwave.surrogates.task import WaveTask
from slimwave.surrogates.walls import extend, wall_mask

HEAD_SCALE = 0.1


class ResidualContext(NamedTuple):
    """The medium's share of a step.

    Attributes
    ----------
    lifted: (batch, width, nx + 2 r, ny + 2 r)
        Contribution of c to the first hidden layer, r the reach left after it.
    signs: (batch, 4)
        Signs of the walls.
    mask: (batch, 1, nx, ny)
        0 at the nodes of Dirichlet walls.
    """

    lifted: Tensor
    signs: Tensor
    mask: Tensor


class ResidualCNN(Surrogate):
    """Residual CNN whose convolutions are dense or one-way by configuration.

    Examples
    --------
    >>> task = WaveTask(0.02, (1 / 63, 1 / 63), 2.0, (0.1, 1.0), (0.02, 0.3), 1.5, 0.3)
    >>> model = ResidualCNN(NetworkConfig(width=8, depth=3, conv="cp", rank=4), task)
    >>> model.reach
    6
    """

    def __init__(self, config: NetworkConfig, task: WaveTask) -> None:
        super().__init__(config, task)
        self.lift_state = self._conv(2, bias=True)
        self.lift_medium = self._conv(1, bias=False)
        self.blocks = nn.ModuleList(self._conv(config.width) for _ in range(config.depth - 1))
        self.head = nn.Conv2d(config.width, 2, 1, bias=False)
        nn.init.normal_(self.head.weight, std=HEAD_SCALE / config.width**0.5)

    def _conv(self, in_channels: int, bias: bool = True) -> nn.Module:
        width, kernel = self.config.width, self.config.kernel_size
        rank = None
        if self.config.conv == "cp":
            rank = min(self.config.rank or width, full_rank(in_channels, width, (kernel, kernel)))
        return make_conv(self.config.conv, in_channels, width, kernel, rank=rank, bias=bias)

    @property
    def reach(self) -> int:
        """Cells to each side that one step reads."""
        return self.config.depth * (self.config.kernel_size // 2)

    def encode(self, wave_speed: Tensor, walls: Tensor) -> ResidualContext:
        """Extend the medium evenly (its mirror image is itself) and lift it to the first hidden layer."""
        normalised = (wave_speed - self.task.speed_mean) / self.task.speed_std
        even = torch.ones_like(walls)
        lifted = self.lift_medium(_channels_last(extend(normalised, self.reach, even)))
        return ResidualContext(lifted, walls, wall_mask(walls, *wave_speed.shape[-2:]))

    def step(self, state: Tensor, context: ResidualContext) -> Tensor:
        """Advance the state (batch, 2, nx, ny) by one macro step."""
        size = relative_scale(state, self.scale)
        extended = extend(state / (self.scale * size), self.reach, context.signs)
        hidden = self.lift_state(_channels_last(extended)) + context.lifted
        half = self.config.kernel_size // 2
        for block in self.blocks:
            hidden = _crop(hidden, half) + block(F.gelu(hidden))
        return (state + self.increment * size * self.head(hidden)) * context.mask


def _crop(field: Tensor, cells: int) -> Tensor:
    nx, ny = field.shape[-2:]
    return field[..., cells : nx - cells, cells : ny - cells]


def _channels_last(field: Tensor) -> Tensor:
    """The memory layout in which CPU convolutions run fastest."""
    return field.contiguous(memory_format=torch.channels_last)
