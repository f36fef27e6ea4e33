"""Sizes of a model: parameters, nonzeros, and multiply–accumulates on real shapes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from slimwave.compression.axis_filters import as_convolutions


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters; a shared parameter counts once."""
    return sum(p.numel() for p in model.parameters())


def count_nonzeros(model: nn.Module) -> int:
    """Return the number of parameters that are not zero; a shared parameter counts once."""
    return sum(int(torch.count_nonzero(p)) for p in model.parameters())


def count_macs(model: nn.Module, *example_inputs: Any) -> int:
    """Return the multiply–accumulates of one call `model(*example_inputs)`.

    Counts what the call really runs, convolutions (grouped and transposed too) and matrix products, on the
    shapes that really occur; biases and activations are not counted.  A batch of B costs B times as much.
    """
    counter = FlopCounterMode(display=False)
    # The counter hooks itself to inputs that require gradients, and trips over views of them.
    inputs = [x.detach() if isinstance(x, Tensor) else x for x in example_inputs]
    with torch.no_grad(), as_convolutions(), counter:
        model(*inputs)
    return int(counter.get_total_flops()) // 2
