"""Several layers as one: convolutions that skip their zeros, and the ReLUs between them, in one call.

A very sparse layer has so little to multiply that the work around it decides: setting the borders to zero,
copying the input between them, a pass for the ReLU, memory for every output, and a dozen calls from Python.
`SparseRun` does all that once. Each layer writes its output straight into the padded input of the next one,
whose zero borders are made once and never touched again; and a negative value becomes zero in the register,
before it is stored.

>>> layers = [nn.Conv2d(8, 8, 3, padding="same"), nn.ReLU(), nn.Conv2d(8, 8, 3, padding="same")]
>>> run, x = SparseRun(*layers), torch.randn(1, 8, 32, 32)
>>> with torch.no_grad():
...     torch.allclose(run(x), nn.Sequential(*layers)(x), atol=1e-5)
True
"""

import copy
import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, fx, nn

from slimwave.compression.dense import DenseConv2d
from slimwave.compression.factored import Conv, FactoredConv
from slimwave.compression.sparse_conv import Skipping, fits, has_hooks, nonzero_places, padding_of
from slimwave.compression.sparse_kernels import SMALLEST, STEP, Floats, Kernel, sparse_run


class SparseRun(Skipping):
    """Convolutions over 2 axes and ReLUs, one after the other, as one compiled call.

    The memory of two padded fields stays with it for each shape of input (of the last few) and each thread
    that calls it.

    Parameters
    ----------
    modules
        `Conv2d` with stride 1 and zeros as padding, `ReLU` and `Identity`, the first one a convolution. They
        stay the owners of their weights, and changes to these are seen; see `SparseConv`.

    Shapes
    ------
    input `(batch, C_in, nx, ny)`, output `(batch, C_out, nx', ny')`, as for the modules themselves.

    Raises
    ------
    ValueError
        For all other modules, and for hooks.
    """

    layer: nn.Sequential

    def __init__(self, *modules: nn.Module) -> None:
        for module in modules:
            if not (suits(module) or type(module) in (nn.ReLU, nn.Identity)):
                raise ValueError(
                    "modules: expected Conv2d with stride 1 and padding by zeros, ReLU and Identity, "
                    f"got {module}; end the run before it"
                )
        if not modules or not suits(modules[0]):
            got = f"got {modules[0]}" if modules else "got none"
            raise ValueError(f"modules: expected a convolution first, {got}; begin the run with one")
        super().__init__(nn.Sequential(*modules), [layer for layer, _ in _layers(modules)])

    def plan_for(self, shape: torch.Size) -> Callable[[Tensor], Tensor] | None:
        """Return what computes inputs of this shape with the present weights; None if the loops cannot."""
        plan = plan_run(_layers(self.layer), shape)
        return None if plan is None else plan.run


def suits(module: nn.Module) -> bool:
    """Whether a module is a convolution that can be part of a run."""
    if type(module) not in (nn.Conv2d, DenseConv2d):
        return False
    layer = cast("nn.Conv2d", module)
    return set(layer.stride) == {1} and layer.padding_mode == "zeros"


def _layers(modules: Iterable[nn.Module]) -> list[tuple[nn.Conv2d, bool]]:
    """Return each convolution, and whether a ReLU follows it."""
    layers: list[tuple[nn.Conv2d, bool]] = []
    for module in modules:
        if isinstance(module, nn.Conv2d):
            layers.append((module, False))
        elif isinstance(module, nn.ReLU):
            layers[-1] = layers[-1][0], True
    return layers


class Padded(NamedTuple):
    """A field (channels, rows, columns) in memory, with borders of zeros included in rows and columns."""

    channels: int
    rows: int
    columns: int
    borders: tuple[tuple[int, int], ...]

    @property
    def plane(self) -> int:
        """Step from channel to channel."""
        return self.rows * self.columns

    @property
    def inside(self) -> int:
        """Place of the first pixel that is not border."""
        return self.borders[0][0] * self.columns + self.borders[1][0]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns without the borders."""
        return self.rows - sum(self.borders[0]), self.columns - sum(self.borders[1])


@dataclass(frozen=True, eq=False)
class RunPlan:
    """All that `sparse_run` needs besides the input, for inputs of one shape.

    Attributes
    ----------
    output
        Shape of the output.
    inside, steps, kernels
        See `sparse_run`.
    size
        Numbers in the memory.
    idle
        Memories that no call uses at the moment, so that several threads may call at once.
    """

    output: tuple[int, ...]
    inside: tuple[int, int, int]
    steps: np.ndarray[Any, Any]
    kernels: Kernel
    size: int
    idle: list[Floats] = field(default_factory=list)

    def run(self, x: Tensor) -> Tensor:
        """Send `x` through the layers."""
        try:
            memory = self.idle.pop()
        except IndexError:
            memory = np.zeros(self.size, np.float32)
        y = torch.empty(self.output)
        source = x.detach().contiguous().numpy()
        sparse_run(source, self.inside, memory, y.numpy(), self.steps, *self.kernels)
        self.idle.append(memory)
        return y


def plan_run(layers: Sequence[tuple[nn.Conv2d, bool]], shape: Sequence[int]) -> RunPlan | None:
    """Return the plan for inputs of this shape; None if they do not fit, or for planes below `SMALLEST`.

    Parameters
    ----------
    layers
        Each convolution, and whether a ReLU follows it.
    """
    convolutions = [layer for layer, _ in layers]
    if not fits(convolutions, shape):
        return None
    fields = [_padded(convolutions[0], shape[2:])]
    for layer, following in zip(convolutions, [*convolutions[1:], None], strict=True):
        grid = _grid_after(layer, fields[-1])
        fields.append(
            _padded(following, grid) if following else Padded(layer.out_channels, *grid, ((0, 0),) * 2)
        )
    if any(min(pair) < 0 for x in fields for pair in x.borders):
        return None
    if any(x.grid[0] < SMALLEST[0] or x.grid[1] < SMALLEST[1] for x in fields[1:]):
        return None
    if shape[-1] < SMALLEST[1]:
        return None
    places, size = _places(fields[:-1])
    kernels = [nonzero_places(layer, x[1:3]) for layer, x in zip(convolutions, fields, strict=False)]
    inside = places[0] + fields[0].inside, fields[0].columns, fields[0].plane
    steps = _steps(fields, places, [relu for _, relu in layers])
    return RunPlan((shape[0], *fields[-1][:3]), inside, steps, _joined(kernels), size)


def _padded(layer: Conv, grid: Sequence[int]) -> Padded:
    """Return the padded input of a layer."""
    spans = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    borders = tuple(padding_of(layer, axis, span) for axis, span in enumerate(spans))
    rows, columns = (n + sum(pair) for n, pair in zip(grid, borders, strict=True))
    return Padded(layer.in_channels, rows, columns, borders)


def _grid_after(layer: Conv, x: Padded) -> tuple[int, int]:
    """Return the rows and columns of a layer's output."""
    rows, columns = (
        n - d * (k - 1) for n, d, k in zip(x[1:3], layer.dilation, layer.kernel_size, strict=True)
    )
    return rows, columns


def _places(fields: Sequence[Padded]) -> tuple[list[int], int]:
    """Return a place in memory for each field, and the size of the memory.

    Two fields share a place if their borders are the same and they are not neighbours in the run: layers of
    one shape need two places in all, and read from one while they write into the other.
    """
    made: dict[Padded, list[int]] = {}
    places: list[int] = []
    size = 0
    for x in fields:
        free = [place for place in made.get(x, []) if place != places[-1]]
        if not free:
            made.setdefault(x, []).append(size)
            free, size = [size], size + x.channels * x.plane
        places.append(free[0])
    return places, size


def _steps(fields: Sequence[Padded], places: Sequence[int], relus: Sequence[bool]) -> np.ndarray[Any, Any]:
    """Return one `STEP` per layer; the layers lie between the fields."""
    steps = np.zeros(len(relus), STEP)
    first = 0
    for k, (x, y) in enumerate(pairwise(fields)):
        target = places[k + 1] + y.inside if k + 1 < len(places) else 0
        own = (places[k], x.columns, target, y.columns, y.plane)
        steps[k] = (*own, *y.grid, first, first + y.channels, relus[k])
        first += y.channels
    return steps


def _joined(kernels: Sequence[Kernel]) -> Kernel:
    """Put the kernels of all layers one after the other."""
    offsets = np.cumsum([0, *(values.size for _, _, values, _ in kernels)], dtype=np.int64)
    starts = [k[0][:-1] + offset for k, offset in zip(kernels, offsets, strict=False)]
    places, values, bias = (np.concatenate([k[n] for k in kernels]) for n in (1, 2, 3))
    return np.concatenate([*starts, offsets[-1:]]), places, values, bias


class _Tracer(fx.Tracer):
    """Takes convolutions in every format as they are, like torch's own layers."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        whole = isinstance(module, nn.Conv2d | nn.Conv3d | FactoredConv)
        return whole or super().is_leaf_module(module, name)


def find_runs(model: nn.Module, wanted: Collection[nn.Module]) -> list[list[str]]:
    """Return the runs of a model as names of modules: two or more convolutions, ReLUs and identities.

    Nothing else reads what goes from one module of a run to the next, and no module of a run is used anywhere
    else. The graph comes from `torch.fx`; where it is not the whole truth (hooks, arguments that may be left
    out) or cannot be traced there are no runs. ReLUs must be modules: a function cannot be taken out.

    Parameters
    ----------
    model
        In evaluation mode.
    wanted
        The convolutions that may be in a run.
    """
    graph = _graph(model)
    if graph is None:
        return []
    joining, used = _joining(graph, model, wanted)
    runs: list[list[fx.Node]] = []
    taken: set[fx.Node] = set()
    for node, module in joining.items():
        if node not in taken and module in wanted:
            runs.append(_run_from(node, joining))
            taken.update(runs[-1])
    whole = [run for run in runs if _is_run([joining[node] for node in run], used)]
    return [[str(node.target) for node in run] for run in whole]


def _joining(
    graph: fx.Graph, model: nn.Module, wanted: Collection[nn.Module]
) -> tuple[dict[fx.Node, nn.Module], Counter[nn.Module]]:
    """Return the calls of modules that can be in a run, and how often each module is called."""
    calls = {n: model.get_submodule(str(n.target)) for n in graph.nodes if n.op == "call_module"}
    used = Counter(calls.values())
    read = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}

    def joins(name: str, module: nn.Module) -> bool:
        if type(module) in (nn.ReLU, nn.Identity):
            return True
        return module in wanted and suits(module) and used[module] == 1 and name not in read

    return {node: module for node, module in calls.items() if joins(str(node.target), module)}, used


def _graph(model: nn.Module) -> fx.Graph | None:
    """Trace a model; None if that fails, or shows one way of several."""
    arguments = inspect.signature(model.forward).parameters.values()
    if any(a.default is not a.empty for a in arguments) or any(map(has_hooks, model.modules())):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _Tracer().trace(copy.deepcopy(model))  # which may keep what it sees, and sees symbols
    except Exception:  # whatever a forward pass may raise on symbols
        return None


def _run_from(node: fx.Node, joining: Collection[fx.Node]) -> list[fx.Node]:
    """Follow a convolution's output as far as the modules can join."""
    run = [node]
    while len(run[-1].users) == 1:
        (following,) = run[-1].users
        if following not in joining or following.args != (run[-1],) or following.kwargs:
            break
        run.append(following)
    return run


def _is_run(modules: Sequence[nn.Module], used: Counter[nn.Module]) -> bool:
    """Whether these are two convolutions or more, and stand nowhere else."""
    inside = Counter(modules)
    alone = all(used[module] == count for module, count in inside.items())
    return alone and sum(isinstance(module, nn.Conv2d) for module in modules) >= 2
