"""The gated-linear CNN: exactly linear in the state, nonlinear only in the medium.

    hᵢ = gᵢ ⊙ (Wᵢ * hᵢ₋₁)

in the frame of :mod:`slimwave.surrogates.framed_cnn`, with the gates of :mod:`slimwave.surrogates.gated_cnn`.
The wave equation is linear in the state and so is this step: waves superpose, amplitudes need not be learned.
One step is a linear filter whose kernel varies from place to place with the medium: a product of convolutions
and pointwise gains, like the differential operator ∇·(c² ∇) itself. There is no path around the layers, so
that the network's depth is the number of factors of that product. The network is slimwave's own.
"""

from torch import Tensor, nn

from slimwave.surrogates.gated_cnn import GatedCNN
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.task import WaveTask


class GatedLinearCNN(GatedCNN):
    """Gated-linear CNN whose convolutions are dense or one-way by configuration.

    Examples
    --------
    >>> task = WaveTask(0.02, (1 / 63, 1 / 63), 2.0, (0.1, 1.0), (0.02, 0.3), 1.5, 0.3)
    >>> model = GatedLinearCNN(NetworkConfig(name="gated_linear", width=8, depth=3), task)
    >>> model.reach
    6
    """

    def __init__(self, config: NetworkConfig, task: WaveTask) -> None:
        super().__init__(config, task, nonlinear=False)

    def advance(self, hidden: Tensor, block: nn.Module, gate: Tensor) -> Tensor:
        """Filter and gate."""
        return gate * block(hidden)
