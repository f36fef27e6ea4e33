"""The residual CNN: the full CNN of the comparisons and, with ``conv="cp"``, its one-way form.

One step from the state s = (u, v) in the medium c, with σ the scales of u and v, δ their typical increments:

    g    = 1 + α E₂ gelu(E₁ * extend(c))              gates: once per medium
    s'   = S * extend(s / σ)                          filter of the grid-scale waves
    h₀   = g₀ ⊙ (L * s')
    hᵢ   = crop(hᵢ₋₁) + gᵢ ⊙ (Wᵢ * φ(hᵢ₋₁))           valid convolutions
    s⁺   = mask · (σ crop(s') + β δ H hₙ)             1 × 1 head H

- The field is extended ONCE, by the total reach and by the walls' mirror images; every convolution after that
  is valid, so no layer ever sees an invented boundary.
- Waves that the grid cannot carry are filtered from the state in every step, so that no unstable one can grow
  from rounding; see :mod:`slimwave.surrogates.filters`.
- The medium multiplies, as it does in u_tt = ∇·(c² ∇u). A network that only adds c to its input has to
  imitate the product by nonlinearities, and its rollouts are two to three times worse.
- With φ = identity (``activation="none"``) the step is exactly linear in the state, as the wave equation is:
  superposition holds, amplitudes need not be learned, and the only nonlinearity is in the medium.
- With φ = GELU the state is divided by its size r and multiplied by it again, so that at least
  step(λ s) = λ step(s) for λ > 0.
- The constants α and β, not small weights, make fresh gates scatter around 1 and fresh increments small. So
  all layers start with weights of comparable magnitude, and pruning by magnitude does not empty the head.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slimwave.surrogates.filters import REACH as FILTER_REACH
from slimwave.surrogates.filters import remove_grid_waves, shapiro_taps
from slimwave.surrogates.layers import network_conv
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.network_shapes import ResidualShape
from slimwave.surrogates.surrogate import Surrogate, relative_scale, remedy_of_stack
from slimwave.surrogates.task import WaveTask
from slimwave.surrogates.walls import extend, wall_mask

GATE_SCALE = 0.3
HEAD_SCALE = 0.1


class ResidualContext(NamedTuple):
    """The medium's share of a step.

    Attributes
    ----------
    gates: (batch, depth · width, nx + 2 r, ny + 2 r)
        g for every layer, r being the reach that is left after the first.
    signs: (batch, 4)
        Signs of the walls.
    mask: (batch, 1, nx, ny)
        0 at the nodes of Dirichlet walls.
    """

    gates: Tensor
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

    taps: Tensor

    def __init__(self, config: NetworkConfig, task: WaveTask) -> None:
        super().__init__(config, task)
        shape = self.shape = config.shape_as(ResidualShape)
        width, kernel = shape.width, shape.kernel_size
        self.register_buffer("taps", shapiro_taps(), persistent=False)
        self.nonlinear = shape.activation == "gelu"
        self.lift = network_conv(shape, 2, width, kernel, bias=self.nonlinear)
        self.blocks = nn.ModuleList(
            network_conv(shape, width, width, kernel, bias=self.nonlinear) for _ in range(shape.depth - 1)
        )
        self.head = nn.Conv2d(width, 2, 1, bias=False)
        self.encoder = network_conv(shape, 1, width, kernel, bias=True)
        self.gates = nn.Conv2d(width, shape.depth * width, 1)
        for layer in (self.head, self.gates):
            nn.init.normal_(layer.weight, std=width**-0.5)

    @property
    def reach(self) -> int:
        """Cells to each side that the learned convolutions of one step read."""
        return self.shape.depth * (self.shape.kernel_size // 2)

    def reach_remedy(self, needed: int) -> str:
        """Name the depth or the kernel that would do."""
        return remedy_of_stack(self.shape.depth, self.shape.kernel_size, needed)

    def encode(self, wave_speed: Tensor, walls: Tensor) -> ResidualContext:
        """Compute the gates of a medium; its extension is even, since its mirror image is itself."""
        normalised = (wave_speed - self.task.speed_mean) / self.task.speed_std
        extended = extend(normalised, self.reach, torch.ones_like(walls))
        gates = 1 + GATE_SCALE * self.gates(F.gelu(self.encoder(_channels_last(extended))))
        return ResidualContext(gates, walls, wall_mask(walls, *wave_speed.shape[-2:]))

    def step(self, state: Tensor, context: ResidualContext) -> Tensor:
        """Advance the state (batch, 2, nx, ny) by one macro step."""
        size = relative_scale(state, self.scale) if self.nonlinear else state.new_ones(1)
        extended = extend(state / (self.scale * size), self.reach + FILTER_REACH, context.signs)
        filtered = remove_grid_waves(_channels_last(extended), self.taps)
        gates = context.gates.chunk(self.shape.depth, dim=1)
        hidden = gates[0] * self.lift(filtered)
        half = self.shape.kernel_size // 2
        for layer, block in enumerate(self.blocks, start=1):
            update = block(F.gelu(hidden) if self.nonlinear else hidden)
            hidden = _crop(hidden, half) + _crop(gates[layer], layer * half) * update
        following = self.scale * _crop(filtered, self.reach)
        following = following + HEAD_SCALE * self.increment * self.head(hidden)
        return size * following * context.mask


def _crop(field: Tensor, cells: int) -> Tensor:
    nx, ny = field.shape[-2:]
    return field[..., cells : nx - cells, cells : ny - cells]


def _channels_last(field: Tensor) -> Tensor:
    """The memory layout in which CPU convolutions run fastest."""
    return field.contiguous(memory_format=torch.channels_last)
