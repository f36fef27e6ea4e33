"""Where the channels of a convolution go: from the layer that makes them to the layers that read them.

A channel can be removed only together with everything that reads it. `find_streams` follows the output of
each convolution through elementwise functions to the next convolutions, in the graph that `torch.fx` traces.
Where it goes anywhere else (a sum, a concatenation, the output of the model) the channels must stay, and the
stream says so.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from slimwave.compression.factored import FactoredConv

ELEMENTWISE_MODULES = (
    nn.Dropout,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.ELU,
    nn.GELU,
    nn.Hardswish,
    nn.Identity,
    nn.LeakyReLU,
    nn.ReLU,
    nn.Sigmoid,
    nn.SiLU,
    nn.Softplus,
    nn.Tanh,
)
ELEMENTWISE_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    F.elu,
    F.gelu,
    F.leaky_relu,
    F.relu,
    F.silu,
    F.softplus,
    torch.relu,
    torch.sigmoid,
    torch.tanh,
)
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, FactoredConv)


@dataclass(frozen=True)
class Stream:
    """The output channels of one convolution.

    Attributes
    ----------
    producer
        Name of the layer that makes them.
    consumers
        Name of each layer that reads them, and the elementwise function on the way there.
    obstacle
        Why they must stay; empty if they may go.
    """

    producer: str
    consumers: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = ()
    obstacle: str = ""


class _Tracer(fx.Tracer):
    """Takes the compressed formats as they are, like torch's own layers."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, CONVOLUTIONS) or super().is_leaf_module(module, name)


def find_streams(model: nn.Module) -> list[Stream]:
    """Return the streams of a model in evaluation mode, in the order in which they are made.

    Raises
    ------
    ValueError
        If the forward pass cannot be traced.
    """
    try:
        graph = _Tracer().trace(model)
    except Exception as error:  # whatever a forward pass may raise on symbols
        raise ValueError(f"the forward pass cannot be traced ({error})") from error
    calls = [node for node in graph.nodes if _is_convolution(node, model)]
    used = Counter(model.get_submodule(str(node.target)) for node in calls)
    return [_follow(node, model, used) for node in calls]


def _follow(node: fx.Node, model: nn.Module, used: Counter[nn.Module]) -> Stream:
    """Walk from a convolution to all that use its output."""
    name = str(node.target)
    if used[model.get_submodule(name)] > 1:
        return Stream(name, obstacle="the layer is used more than once")
    consumers: list[tuple[str, Callable[[Tensor], Tensor]]] = []
    waiting: list[tuple[fx.Node, Callable[[Tensor], Tensor]]] = [(node, lambda x: x)]
    while waiting:
        source, function = waiting.pop()
        for user in source.users:
            step = _elementwise(user, source, model)
            if _is_convolution(user, model):
                if used[model.get_submodule(str(user.target))] > 1:
                    return Stream(name, obstacle=f"they feed {user.target!r}, which is used more than once")
                consumers.append((str(user.target), function))
            elif step is not None:
                waiting.append((user, _chain(function, step)))
            else:
                return Stream(name, obstacle=f"they feed {_what(user)}")
    return Stream(name, tuple(consumers), "" if consumers else "nothing reads them")


def _chain(
    first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    return lambda x: second(first(x))


def _is_convolution(node: fx.Node, model: nn.Module) -> bool:
    return node.op == "call_module" and isinstance(model.get_submodule(str(node.target)), CONVOLUTIONS)


def _elementwise(node: fx.Node, source: fx.Node, model: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """Return what a node computes of each value of its one input, or None if it does anything else."""
    if node.op == "call_module":
        module = model.get_submodule(str(node.target))
        return module if isinstance(module, ELEMENTWISE_MODULES) else None
    alone = node.args == (source,) and not any(isinstance(v, fx.Node) for v in node.kwargs.values())
    if not alone or node.op != "call_function" or node.target not in ELEMENTWISE_FUNCTIONS:
        return None
    return lambda x: node.target(x, **node.kwargs)  # type: ignore[operator]


def _what(node: fx.Node) -> str:
    if node.op == "output":
        return "the output of the model"
    target = node.target
    return repr(target if isinstance(target, str) else getattr(target, "__name__", str(target)))
