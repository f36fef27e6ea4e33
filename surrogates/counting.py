"""Costs of one macro step that zeros could save."""

from typing import Any

import torch
from torch import Tensor, nn

from slimwave.compression.counting import count_macs


def count_nonzero_macs(module: nn.Module, *inputs: Tensor) -> int:
    """Count the multiply–accumulates of one call ``module(*inputs)`` less those by a weight that is zero.

    What a runtime could at best save by skipping zeros; PyTorch and ONNX Runtime skip none.
    """
    idle: list[int] = []

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        pixels = output.shape[0] * output.shape[-2] * output.shape[-1]
        idle.append(int((layer.weight == 0).sum()) * pixels)

    hooks = [layer.register_forward_hook(count) for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    try:
        with torch.no_grad():
            module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return count_macs(module, *inputs) - sum(idle)
