"""The residual CNN: the full CNN of the comparisons and, with a one-way format, its compressed form.

    hᵢ = crop(hᵢ₋₁) + gᵢ ⊙ (Wᵢ * φ(hᵢ₋₁))

in the frame of :mod:`slimwave.surrogates.framed_cnn`, with the gates of :mod:`slimwave.surrogates.gated_cnn`.

- With φ = GELU (``activation="gelu"``) this is the classical residual CNN (He, Zhang, Ren, Sun, CVPR 2016,
  arXiv 1512.03385), with the activation before the convolution and gates of the medium.
- With φ = identity (``activation="none"``) the step is exactly linear in the state, as the wave equation is:
  superposition holds, amplitudes need not be learned, and the only nonlinearity is in the medium.
- With a one-way format each W is a chain of filters along one axis (arXiv 2304.04964), see
  :mod:`slimwave.compression.one_way`.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from slimwave.surrogates.framed_cnn import crop
from slimwave.surrogates.gated_cnn import GatedCNN
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.network_shapes import ResidualShape
from slimwave.surrogates.task import WaveTask


class ResidualCNN(GatedCNN):
    """Residual CNN whose convolutions are dense or one-way by configuration.

    Examples
    --------
    >>> task = WaveTask(0.02, (1 / 63, 1 / 63), 2.0, (0.1, 1.0), (0.02, 0.3), 1.5, 0.3)
    >>> model = ResidualCNN(NetworkConfig(width=8, depth=3, conv="cp", rank=4), task)
    >>> model.reach
    6
    """

    def __init__(self, config: NetworkConfig, task: WaveTask) -> None:
        super().__init__(config, task, nonlinear=config.shape_as(ResidualShape).activation == "gelu")

    def advance(self, hidden: Tensor, block: nn.Module, gate: Tensor) -> Tensor:
        """Add the gated convolution of a layer to it."""
        update = block(F.gelu(hidden) if self.nonlinear else hidden)
        return crop(hidden, self.shape.kernel_size // 2) + gate * update
