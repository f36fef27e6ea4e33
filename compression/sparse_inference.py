"""Real latency from masks: put the sparse loop where it is faster, leave the dense layer where it is not.

Whether skipping zeros pays depends on how many there are, on the layer and on the machine. So each
convolution of a model is timed both ways on the input that it really gets, and the faster one stays. Where
layers chosen sparse follow one another, with at most ReLUs between them, they are timed once more, as one
`SparseRun`. From then on the choice is fixed: the model does not change its mind, nor its rounding, from call
to call.

>>> model = nn.Sequential(nn.Conv2d(4, 16, 5), nn.ReLU(), nn.Conv2d(16, 4, 5))
>>> with torch.no_grad():
...     for layer in (model[0], model[2]):
...         _ = layer.weight.masked_fill_(torch.rand_like(layer.weight) < 0.95, 0.0)
>>> faster, report = sparse_inference(model, torch.randn(1, 4, 64, 64))
>>> [layer.name for layer in report.layers]
['0', '2']
"""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from slimwave.compression.factored import Conv
from slimwave.compression.one_way import OneWayConv
from slimwave.compression.rewriting import replace_modules
from slimwave.compression.sparse_conv import SparseConv
from slimwave.compression.sparse_kernels import UNAVAILABLE
from slimwave.compression.sparse_run import SparseRun, find_runs

Layer = Conv | OneWayConv
ROUNDS = 15
WARM_UP = 3
CLEARLY = 0.9
"""The sparse loop stays where it takes less than this share of the dense layer's time."""


class NoConvolutionError(ValueError):
    """A model, or a call of it, without a convolution that could be made sparse."""


@dataclass(frozen=True)
class LayerChoice:
    """One convolution: how full its kernel is, both times in milliseconds, and which one stays.

    `reason` says why a layer was not even timed; its times are then None.
    """

    name: str
    density: float
    dense_ms: float | None
    sparse_ms: float | None
    sparse: bool
    reason: str = ""

    def __str__(self) -> str:
        """One line."""
        if self.dense_ms is None or self.sparse_ms is None:
            return f"{self.name}: dense, {self.reason}"
        kind = "sparse" if self.sparse else "dense"
        times = f"{self.dense_ms:.3f} ms dense, {self.sparse_ms:.3f} ms sparse"
        return f"{self.name}: {kind}; {self.density:.0%} of the weights, {times}"


@dataclass(frozen=True)
class RunChoice:
    """A run of sparse layers: its first and last one, both times in milliseconds, and which way stays."""

    first: str
    last: str
    separate_ms: float
    together_ms: float
    together: bool

    def __str__(self) -> str:
        """One line."""
        kind = "in one call" if self.together else "one by one"
        times = f"{self.separate_ms:.3f} ms one by one, {self.together_ms:.3f} ms in one call"
        return f"{self.first} to {self.last}: {kind}; {times}"


@dataclass(frozen=True)
class SparseReport:
    """What `sparse_inference` chose for each convolution, and for each run of those chosen sparse."""

    layers: tuple[LayerChoice, ...]
    runs: tuple[RunChoice, ...] = ()

    def __str__(self) -> str:
        """One line per layer, and one per run."""
        return "\n".join(map(str, (*self.layers, *self.runs)))


def sparse_inference(model: nn.Module, *inputs: Any) -> tuple[nn.Module, SparseReport]:
    """Return a copy of a pruned model, with sparse loops where they are faster, and a report.

    The copy is in evaluation mode and its weights want no gradients (the loops have none), so that it is fast
    outside `torch.no_grad` too. Call it as a whole: a run of layers stands in the place of its first one, and
    `Identity` in the places of the others.

    Outputs agree to rounding (1e-5 relative in float32). The copy is for inference on the CPU with inputs
    like these; on others it still gives the right output. Times are those of the present number of threads;
    the sparse loop uses one.

    Parameters
    ----------
    model
        Any module, on the CPU.
    inputs
        One representative call `model(*inputs)`.

    Raises
    ------
    NoConvolutionError
        If the model has no convolution over 2 or 3 axes, or the call reaches none.
    """
    with torch.inference_mode(False):  # changes to weights made in that mode could not be seen
        model = copy.deepcopy(model).eval().requires_grad_(False)
    layers = _layers(model)
    if not layers:
        raise NoConvolutionError("model: found no convolution over 2 or 3 axes")
    seen = _inputs_of(layers, model, inputs)
    if not seen:
        raise NoConvolutionError("inputs: this call reaches no convolution over 2 or 3 axes")
    choices: list[LayerChoice] = []
    loops: dict[nn.Module, nn.Module] = {}
    for name, layer in layers.items():
        choice, loop = _choose(name, layer, seen.get(name))
        choices.append(choice)
        if loop is not None:
            loops[layer] = loop
    runs: list[RunChoice] = []
    replacements = dict(loops)
    for names in find_runs(model, loops):
        run, together = _choose_run(names, model, loops, seen[names[0]])
        runs.append(run)
        replacements |= together
    return replace_modules(model, replacements), SparseReport(tuple(choices), tuple(runs))


def _layers(model: nn.Module) -> dict[str, Layer]:
    """Return the one-way layers that can be served whole, and the other convolutions."""
    whole = {n: m for n, m in model.named_modules() if isinstance(m, OneWayConv) and m.shape.axes == 2}
    inside = {stage for layer in whole.values() for stage in layer.modules()}
    plain = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Conv3d)}
    return whole | {n: m for n, m in plain.items() if m not in inside}


def _inputs_of(layers: dict[str, Layer], model: nn.Module, inputs: tuple[Any, ...]) -> dict[str, Tensor]:
    """Call the model once and note what each layer gets."""
    seen: dict[str, Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, arguments: seen.update({name: arguments[0]})

    hooks = [layer.register_forward_pre_hook(note(name)) for name, layer in layers.items()]
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


@torch.no_grad()
def _choose(name: str, layer: Layer, x: Tensor | None) -> tuple[LayerChoice, SparseConv | None]:
    weights = torch.cat([w.flatten() for w in layer.parameters() if w.dim() > 1])
    density = float((weights != 0).float().mean())
    if UNAVAILABLE or x is None:
        return LayerChoice(
            name, density, None, None, False, UNAVAILABLE or "the call does not reach it"
        ), None
    try:
        loop = SparseConv(layer)
    except ValueError as error:
        return LayerChoice(name, density, None, None, False, str(error)), None
    if not loop.serves(x):
        reason = "it is not float32 on the CPU, or its output is too small"
        return LayerChoice(name, density, None, None, False, reason), None
    dense_ms, sparse_ms = _times(lambda: layer(x), lambda: loop(x))
    faster = sparse_ms < CLEARLY * dense_ms
    return LayerChoice(name, density, dense_ms, sparse_ms, faster), loop if faster else None


@torch.no_grad()
def _choose_run(
    names: list[str], model: nn.Module, loops: Mapping[nn.Module, nn.Module], x: Tensor
) -> tuple[RunChoice, dict[nn.Module, nn.Module]]:
    """Time a run both ways; return also what takes the places of its modules if it stays one."""
    modules = [model.get_submodule(name) for name in names]
    separate, run = nn.Sequential(*(loops.get(m, m) for m in modules)), SparseRun(*modules)
    separate_ms, together_ms = _times(lambda: separate(x), lambda: run(x))
    faster = run.serves(x) and together_ms < separate_ms
    layers = [name for name, module in zip(names, modules, strict=True) if module in loops]
    places: dict[nn.Module, nn.Module] = {module: nn.Identity() for module in modules} | {modules[0]: run}
    return RunChoice(layers[0], layers[-1], separate_ms, together_ms, faster), places if faster else {}


def _times(*functions: Callable[[], object]) -> list[float]:
    """Median wall-clock milliseconds of each, taken in turns."""
    taken: list[list[float]] = [[] for _ in functions]
    for turn in range(-WARM_UP, ROUNDS):
        for function, times in zip(functions, taken, strict=True):
            start = time.perf_counter()
            function()
            if turn >= 0:
                times.append(1e3 * (time.perf_counter() - start))
    return [median(times) for times in taken]
