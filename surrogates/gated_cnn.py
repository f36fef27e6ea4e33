"""A stack of convolutions that the medium gates: what the residual and the gated-linear CNN have in common.

    g    = 1 + α E₂ gelu(E₁ * extend(c))       gates: once per medium
    h₀   = g₀ ⊙ (L * s')
    hᵢ   = advance(hᵢ₋₁, gᵢ)                    valid convolutions; the networks differ here
    N    = H hₙ                                 1 × 1 head

The medium multiplies, as it does in u_tt = ∇·(c² ∇u). A network that only adds c to its input has to imitate
the product by nonlinearities, and its rollouts are two to three times worse. The constant α makes fresh gates
scatter around 1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slimwave.surrogates.framed_cnn import FramedCNN, crop
from slimwave.surrogates.layers import network_conv
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.network_shapes import StackShape
from slimwave.surrogates.surrogate import remedy_of_stack
from slimwave.surrogates.task import WaveTask
from slimwave.surrogates.walls import extend

GATE_SCALE = 0.3


class GatedCNN(FramedCNN):
    """A gated stack; subclasses say how a layer follows from the one before."""

    def __init__(self, config: NetworkConfig, task: WaveTask, *, nonlinear: bool) -> None:
        super().__init__(config, task)
        shape = self.shape = config.shape_as(StackShape)
        width, kernel = shape.width, shape.kernel_size
        self.nonlinear = nonlinear
        self.lift = network_conv(shape, 2, width, kernel, bias=nonlinear)
        self.blocks = nn.ModuleList(
            network_conv(shape, width, width, kernel, bias=nonlinear) for _ in range(shape.depth - 1)
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

    def prepare(self, medium: Tensor, walls: Tensor) -> Sequence[Tensor]:
        """Compute g for every layer; the medium's extension is even, since its mirror image is itself."""
        extended = extend(medium, self.reach, torch.ones_like(walls))
        gates = 1 + GATE_SCALE * self.gates(F.gelu(self.encoder(extended)))
        return gates_by_layer(gates, self.shape)

    def change(self, extended: Tensor, gates: Sequence[Tensor]) -> Tensor:
        """Run the stack."""
        first, *others = gates
        hidden = first * self.lift(extended)
        for block, gate in zip(self.blocks, others, strict=True):
            hidden = self.advance(hidden, block, gate)
        return self.head(hidden)

    def advance(self, hidden: Tensor, block: nn.Module, gate: Tensor) -> Tensor:
        """Return the next layer, smaller by the block's reach on every side, as its gate is."""
        raise NotImplementedError


def gates_by_layer(gates: Tensor, shape: StackShape) -> list[Tensor]:
    """Split gates (batch, depth · width, nx, ny) by layer, each cut to the nodes that its layer leaves.

    Once per medium, not in every step, so that training sums small gradients.
    """
    half = shape.kernel_size // 2
    each = enumerate(gates.chunk(shape.depth, dim=1))
    return [crop(gate, layer * half).contiguous() for layer, gate in each]
