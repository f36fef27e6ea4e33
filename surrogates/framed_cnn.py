"""What the CNNs share: the frame of a step around the layers that differ.

With s = (u, v) the state, σ the scales of u and v and δ their typical increments, a step is

    s'  = S * extend(s / σ)                 images beyond the walls; filter of the grid-scale waves
    s⁺  = mask · (σ crop(s') + β δ N(s'))   N: the network

- The field is extended ONCE, by the total reach and by the walls' images; every convolution after that is
  valid, so no layer ever sees an invented boundary.
- Waves that the grid cannot carry are filtered from the state in every step, so that no unstable one can grow
  from rounding; see :mod:`slimwave.surrogates.filters`.
- A network that is not linear sees the state divided by its size r, and its answer is multiplied by it again,
  so that at least step(λ s) = λ step(s) for λ > 0.
- The constant β, not small weights, makes fresh increments small. So all layers start with weights of
  comparable magnitude, and pruning by magnitude does not empty the head.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from slimwave.surrogates.filters import REACH as FILTER_REACH
from slimwave.surrogates.filters import remove_grid_waves, shapiro_taps
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.outgoing import extend_state, outgoing_celerity
from slimwave.surrogates.surrogate import Context, Surrogate, relative_scale
from slimwave.surrogates.task import WaveTask
from slimwave.surrogates.walls import wall_mask

HEAD_SCALE = 0.1


class FramedCNN(Surrogate):
    """A surrogate that fills three hooks: ``margin``, ``prepare`` and ``change``.

    Attributes
    ----------
    nonlinear
        Whether the network is not linear in the state.
    """

    taps: Tensor
    nonlinear: bool

    def __init__(self, config: NetworkConfig, task: WaveTask) -> None:
        super().__init__(config, task)
        self.register_buffer("taps", shapiro_taps(), persistent=False)

    @property
    def margin(self) -> int:
        """Cells beyond every wall that the network asks for."""
        return self.reach

    def prepare(self, medium: Tensor, walls: Tensor) -> Sequence[Tensor]:
        """Compute all that depends on the medium (batch, 1, nx, ny), which is normalised."""
        raise NotImplementedError

    def change(self, extended: Tensor, gates: Sequence[Tensor]) -> Tensor:
        """Compute the increments (batch, 2, nx, ny) from the extended state, ``margin`` cells larger."""
        raise NotImplementedError

    def encode(self, wave_speed: Tensor, walls: Tensor) -> Context:
        """Return walls, mask, celerity (see :mod:`slimwave.surrogates.outgoing`) and the gates."""
        pad = self.margin + FILTER_REACH
        celerity = outgoing_celerity(wave_speed, walls, pad, self.task.spacing, self.scale)
        mask = wall_mask(walls, *wave_speed.shape[-2:])
        medium = (wave_speed - self.task.speed_mean) / self.task.speed_std
        return (walls, mask, celerity, *self.prepare(medium, walls))

    def step(self, state: Tensor, context: Any) -> Tensor:
        """Advance the state (batch, 2, nx, ny) by one macro step."""
        walls, mask, celerity, *gates = context
        size = relative_scale(state, self.scale) if self.nonlinear else state.new_ones(1)
        extended = extend_state(state / (self.scale * size), self.margin + FILTER_REACH, walls, celerity)
        filtered = remove_grid_waves(extended, self.taps)
        following = self.scale * crop(filtered, self.margin)
        following = following + HEAD_SCALE * self.increment * self.change(filtered, gates)
        return size * following * mask


def crop(field: Tensor, cells: int) -> Tensor:
    """Cut cells off every side of (…, nx, ny)."""
    nx, ny = field.shape[-2:]
    return field[..., cells : nx - cells, cells : ny - cells]
