"""What a model costs: its parameters by use, and the work of one macro step that zeros could save."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from slimwave.compression.counting import count_macs
from slimwave.surrogates.surrogate import Surrogate, rebuild


@dataclass(frozen=True)
class ParametersByUse:
    """Parameters of a model, by when they are used.

    Attributes
    ----------
    per_step
        Used in every macro step.
    per_medium
        Used once per medium, to encode it. A parameter that serves both ends counts in both.
    """

    per_step: int
    per_medium: int


def count_parameters_by_use(model: Surrogate, nx: int = 32, ny: int = 32) -> ParametersByUse:
    """Count the parameters on which a step, given its context, and the context depend.

    Read off the graph of one call, so that no network has to keep lists of its own.

    Parameters
    ----------
    nx, ny
        Grid of the call, for networks that are made for one grid.
    """
    ones = model.scale.new_ones(1, 1, nx, ny)
    with torch.enable_grad():
        context = model.encode(model.task.speed_mean * ones, model.scale.new_ones(1, 4))
        fixed = rebuild(context, [part.detach() for part in context])
        following = model.step(ones.expand(1, 2 * model.frames, nx, ny), fixed)
    return ParametersByUse(_used(model, [following]), _used(model, context))


def _used(model: nn.Module, outputs: Iterable[Tensor]) -> int:
    """Number of parameters that the outputs depend on."""
    total = sum(output.sum() for output in outputs if output.requires_grad)
    if not isinstance(total, Tensor):
        return 0
    parameters = list(model.parameters())
    slopes = torch.autograd.grad(total, parameters, allow_unused=True)
    return sum(p.numel() for p, slope in zip(parameters, slopes, strict=True) if slope is not None)


def count_nonzero_macs(module: nn.Module, *inputs: Tensor) -> int:
    """Count the multiply–accumulates of one call ``module(*inputs)`` less those by a weight that is zero.

    What a runtime could at best save by skipping zeros; PyTorch and ONNX Runtime skip none.
    """
    idle: list[int] = []

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        assert isinstance(layer, (nn.Conv2d, nn.Conv3d))
        pixels = output.shape[0] * output[0, 0].numel()
        idle.append(int((layer.weight == 0).sum()) * pixels)

    layers = [layer for layer in module.modules() if isinstance(layer, (nn.Conv2d, nn.Conv3d))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        with torch.no_grad():
            module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return count_macs(module, *inputs) - sum(idle)
