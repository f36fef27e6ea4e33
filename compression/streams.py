"""Where the channels of a convolution go: from the layer that makes them to the layers that read them.

A channel can be removed only together with everything that reads it. `find_streams` follows the output of
each convolution to the next convolutions, in the graph that `torch.fx` traces, through steps that treat each
channel by itself: elementwise functions, and norms and activations that hold a few numbers per channel.
Where it goes anywhere else (a sum, a concatenation, the output of the model) the channels must stay, and the
stream says so.

A trace shows one way through a model, and takes a layer for what its class does. So modules with hooks or
parametrizations, and subclasses, are no steps, and channels must go one way whatever optional arguments a
call gives.
"""

import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized

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
    nn.PReLU,
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
NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, FactoredConv)
MOST_OPTIONS = 4
"""With more optional arguments than this there are too many ways through a model to trace them all."""


@dataclass(frozen=True)
class Step:
    """What happens to each channel by itself.

    Attributes
    ----------
    name
        Of the module, or of the function and its settings.
    function
        Of fields `(batch, C, *grid)`.
    in_place
        Whether it overwrites its input.
    per_channel
        Whether it is a module that holds numbers for each channel, which must go with it.
    """

    name: str
    function: Callable[[Tensor], Tensor] = field(compare=False)
    in_place: bool = False
    per_channel: bool = False


@dataclass(frozen=True)
class Consumer:
    """A layer that reads the channels, by name, and the steps on the way there."""

    name: str
    steps: tuple[Step, ...] = ()

    def hears(self, x: Tensor) -> Tensor:
        """Return what the layer gets where `x` was made; `x` may be overwritten."""
        for step in self.steps:
            x = step.function(x)
        return x


@dataclass(frozen=True)
class Stream:
    """The output channels of one convolution.

    Attributes
    ----------
    producer
        Name of the layer that makes them.
    consumers
        The layers that read them.
    obstacle
        Why they must stay; empty if they may go.
    """

    producer: str
    consumers: tuple[Consumer, ...] = ()
    obstacle: str = ""

    @property
    def per_channel(self) -> set[str]:
        """Names of the modules on the way that hold numbers for each channel."""
        return {step.name for consumer in self.consumers for step in consumer.steps if step.per_channel}


def addition_to(module: nn.Module) -> str:
    """Say what a module, or one inside it, does besides what its class says; empty if nothing is known of."""
    for part in module.modules():
        if is_parametrized(part):
            return "with parametrizations"
        if part._forward_hooks or part._forward_pre_hooks:
            return "with forward hooks"
        if "forward" in vars(part):
            return "with a forward of its own"
    return ""


class _Tracer(fx.Tracer):
    """Takes the compressed formats as they are, like torch's own layers."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, CONVOLUTIONS) or super().is_leaf_module(module, name)


def find_streams(model: nn.Module) -> list[Stream]:
    """Return the streams of a model in evaluation mode, in the order in which they are made.

    Raises
    ------
    ValueError
        If the forward pass cannot be traced, with and without each of its optional arguments.
    """
    optional = {
        name: parameter.default
        for name, parameter in inspect.signature(model.forward).parameters.items()
        if parameter.default is not parameter.empty
    }
    if len(optional) > MOST_OPTIONS:
        raise ValueError(f"the forward pass has more than {MOST_OPTIONS} optional arguments")
    calls = [_streams(_trace(model, absent), model) for absent in _choices(optional)]
    producers = dict.fromkeys(name for streams in calls for name in streams)
    return [_agreed(name, [streams.get(name) for streams in calls], optional) for name in producers]


def _agreed(name: str, found: Sequence[Stream | None], optional: Iterable[str]) -> Stream:
    """Return the stream that every kind of call has; if they differ, one with an obstacle."""
    streams = [stream for stream in found if stream is not None]
    if len(streams) == len(found) and all(stream == streams[0] or stream.obstacle for stream in streams[1:]):
        return next((stream for stream in streams if stream.obstacle), streams[0])
    return Stream(name, obstacle=f"they depend on the optional arguments of forward ({', '.join(optional)})")


def _choices(optional: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every choice of the arguments that a call leaves at their defaults."""
    for count in range(len(optional) + 1):
        for names in combinations(optional, count):
            yield {name: optional[name] for name in names}


def _trace(model: nn.Module, constants: dict[str, Any]) -> fx.Graph:
    """Trace with some arguments held at a value and symbols for the others."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the trace holds for these values alone is known
            return _Tracer().trace(model, constants)
    except Exception as error:  # whatever a forward pass may raise on symbols
        raise ValueError(f"the forward pass cannot be traced ({error})") from error


def _streams(graph: fx.Graph, model: nn.Module) -> dict[str, Stream]:
    """Return the streams of one graph by the layer that makes them."""
    calls = [node for node in graph.nodes if _is_convolution(node, model)]
    used = Counter(model.get_submodule(str(node.target)) for node in graph.nodes if node.op == "call_module")
    used.update(_owners(graph, model))
    return {str(node.target): _follow(node, model, used) for node in calls}


def _owners(graph: fx.Graph, model: nn.Module) -> set[nn.Module]:
    """Return the modules whose weights the forward pass reads past them."""
    paths = [str(node.target).split(".")[:-1] for node in graph.nodes if node.op == "get_attr"]
    return {model.get_submodule(".".join(path[:n])) for path in paths for n in range(1, len(path) + 1)}


@dataclass(frozen=True)
class _Way:
    """The channels as followed so far, to `node`; `shared` if some node until then has several readers."""

    node: fx.Node
    steps: tuple[Step, ...] = ()
    shared: bool = False

    def on(self, node: fx.Node, step: Step) -> "_Way":
        return _Way(node, (*self.steps, step), self.shared or len(self.node.users) > 1)


def _follow(node: fx.Node, model: nn.Module, used: Counter[nn.Module]) -> Stream:
    """Walk from a convolution to all that use its output."""
    name = str(node.target)
    if used[model.get_submodule(name)] > 1:
        return Stream(name, obstacle="the layer is used more than once")
    consumers: list[Consumer] = []
    waiting = [_Way(node)]
    while waiting:
        way = waiting.pop()
        for user in way.node.users:
            step = _step(user, way.node, model)
            obstacle = _obstacle(user, way, step, model, used)
            if obstacle:
                return Stream(name, obstacle=obstacle)
            if step is None:
                consumers.append(Consumer(str(user.target), way.steps))
            else:
                waiting.append(way.on(user, step))
    return Stream(name, tuple(consumers), "" if consumers else "nothing reads them")


def _obstacle(user: fx.Node, way: _Way, step: Step | None, model: nn.Module, used: Counter[nn.Module]) -> str:
    """Say why channels cannot be followed to a node, if that is so."""
    held = _is_convolution(user, model) or (step is not None and step.per_channel)
    if held and used[model.get_submodule(str(user.target))] > 1:
        return f"they feed {user.target!r}, which is used more than once"
    if step is not None and step.in_place and (way.shared or len(way.node.users) > 1):
        return f"{step.name!r} overwrites them where others read them"
    return "" if held or step is not None else f"they feed {_what(user, model)}"


def _is_convolution(node: fx.Node, model: nn.Module) -> bool:
    return node.op == "call_module" and isinstance(model.get_submodule(str(node.target)), CONVOLUTIONS)


def _step(node: fx.Node, source: fx.Node, model: nn.Module) -> Step | None:
    """Return what a node computes of each channel of its one input, or None if it does anything else."""
    if node.op == "call_module":
        return _module_step(str(node.target), model.get_submodule(str(node.target)))
    alone = node.args == (source,) and not any(isinstance(v, fx.Node) for v in node.kwargs.values())
    if not alone or node.op != "call_function" or node.target not in ELEMENTWISE_FUNCTIONS:
        return None
    name = f"{getattr(node.target, '__name__', node.target)}({dict(node.kwargs) or ''})"
    return Step(name, lambda x: node.target(x, **node.kwargs), bool(node.kwargs.get("inplace")))  # type: ignore[operator]


def _module_step(name: str, module: nn.Module) -> Step | None:
    statistics = type(module) in NORMS and not module.training and module.running_mean is not None
    if addition_to(module) or not (statistics or type(module) in ELEMENTWISE_MODULES):
        return None
    per_channel = statistics or (isinstance(module, nn.PReLU) and module.num_parameters > 1)
    return Step(name, module, bool(getattr(module, "inplace", False)), per_channel)


def _what(node: fx.Node, model: nn.Module) -> str:
    """Name a node, and for a module its class."""
    if node.op == "output":
        return "the output of the model"
    target = node.target
    if node.op == "call_module":
        module = model.get_submodule(str(target))
        return f"{target!r} ({f'{type(module).__name__} {addition_to(module)}'.strip()})"
    return repr(target if isinstance(target, str) else getattr(target, "__name__", str(target)))
