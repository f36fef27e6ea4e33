"""Ways to run one macro step, and how long it takes.

A runtime holds a model on one medium and steps a state. PyTorch's eager mode is always there; ONNX Runtime,
from the extra ``realtime``, is where one-way filters become fast; sparse loops, where pruned weights do.

Latency is measured on one thread, with the competitors interleaved in ONE run: the clock speed and the load
of a machine change from minute to minute, and the interleaving makes them change for all competitors alike.
"""

import logging
import time
import warnings
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from slimwave.compression.materialise import materialise
from slimwave.compression.sparse_inference import sparse_inference
from slimwave.surrogates.devices import cpu_threads
from slimwave.surrogates.surrogate import Surrogate, rebuild

OPSET = 20
WARM_UP = 3
ALIGN = 16
"""Ranks of one-way layers at which ONNX Runtime is fastest are multiples of this."""


class Runtime(Protocol):
    """Steps states of one medium."""

    def __call__(self, state: Tensor) -> Tensor:
        """Advance the state (batch, 2, nx, ny) by one macro step."""
        ...


class MissingExtraError(RuntimeError):
    """An optional dependency is not installed."""


class EagerRuntime:
    """PyTorch's eager mode.

    Parameters
    ----------
    model
        Any surrogate.
    wave_speed: (batch, 1, nx, ny)
    walls: (batch, 4)
    """

    def __init__(self, model: Surrogate, wave_speed: Tensor, walls: Tensor) -> None:
        self.model = model
        with torch.no_grad():
            self.context = model.encode(wave_speed, walls)

    @torch.no_grad()
    def __call__(self, state: Tensor) -> Tensor:
        """Advance the state by one macro step."""
        return self.model.step(state, self.context)


class OnnxRuntime:
    """ONNX Runtime on the CPU, for the shapes of the medium it is given.

    Dead rank terms of one-way layers are left out, and ranks filled up to what the runtime likes; both exact.

    Parameters
    ----------
    model, wave_speed, walls
        As for :class:`EagerRuntime`; the model must be on the CPU.
    threads
        Threads of one operator.

    Raises
    ------
    MissingExtraError
        If the extra ``realtime`` is not installed.
    """

    def __init__(self, model: Surrogate, wave_speed: Tensor, walls: Tensor, threads: int = 1) -> None:
        runtime = _onnxruntime()
        model, _ = materialise(model, align=ALIGN)
        with torch.no_grad():
            context = model.encode(wave_speed, walls)
        state = torch.zeros(wave_speed.shape[0], 2 * model.frames, *wave_speed.shape[-2:])
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        content = export_step(model, state, context)
        self.session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        names = [item.name for item in self.session.get_inputs()]
        self.state_name = names[0]
        self.fixed = {
            name: value.contiguous().numpy() for name, value in zip(names[1:], context, strict=True)
        }

    def __call__(self, state: Tensor) -> Tensor:
        """Advance the state by one macro step."""
        inputs = self.fixed | {self.state_name: state.contiguous().numpy()}
        return torch.from_numpy(self.session.run(None, inputs)[0])


class SparseRuntime:
    """PyTorch's eager mode on one CPU core, with loops that skip the zeros of a pruned model.

    Which layers gain by it is measured once, when the runtime is made; ``report`` says what was chosen.

    Parameters
    ----------
    model, wave_speed, walls
        As for :class:`EagerRuntime`; the model must be on the CPU.

    Raises
    ------
    NoConvolutionError
        If a step of the model applies no convolution layer.
    """

    def __init__(self, model: Surrogate, wave_speed: Tensor, walls: Tensor) -> None:
        with torch.no_grad():
            self.context = model.encode(wave_speed, walls)
        state = torch.zeros(wave_speed.shape[0], 2 * model.frames, *wave_speed.shape[-2:])
        self.step, self.report = sparse_inference(StepModule(model, self.context), state, *self.context)

    @torch.no_grad()
    def __call__(self, state: Tensor) -> Tensor:
        """Advance the state by one macro step."""
        return self.step(state, *self.context)


class StepModule(nn.Module):
    """One macro step as a module of flat tensors, ``forward(state, *context)``, to export or to count."""

    def __init__(self, model: Surrogate, context: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.model = model
        self.context = context

    def forward(self, state: Tensor, *context: Tensor) -> Tensor:
        """Advance the state by one macro step."""
        return self.model.step(state, rebuild(self.context, context))


def export_step(model: Surrogate, state: Tensor, context: tuple[Tensor, ...]) -> bytes:
    """Export one macro step as an ONNX model with the inputs state, *context and fixed shapes.

    Raises
    ------
    MissingExtraError
        If the extra ``realtime`` is not installed.
    """
    _onnxruntime()
    names = ["state", *getattr(context, "_fields", [f"context_{n}" for n in range(len(context))])]
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                StepModule(model, context).eval(),
                (state, *context),
                input_names=names,
                output_names=["next_state"],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    finally:
        exporter.setLevel(level)
    assert program is not None
    return program.model_proto.SerializeToString()


def onnx_available() -> bool:
    """Whether the extra ``realtime`` is installed."""
    try:
        _onnxruntime()
    except MissingExtraError:
        return False
    return True


def _onnxruntime() -> Any:
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"ONNX Runtime needs the package {error.name!r}; "
            "install the extra with: pip install 'slimwave[realtime]'"
        ) from error
    return onnxruntime


@dataclass(frozen=True)
class Latency:
    """Time of one call in milliseconds.

    Attributes
    ----------
    median, p95
        Of the wall-clock time.
    cpu_median
        Of the process time, which other processes on the machine disturb less.
    calls
        Number of calls timed.
    """

    median: float
    p95: float
    cpu_median: float
    calls: int

    def times(self, factor: float) -> "Latency":
        """Time of ``factor`` calls."""
        return Latency(factor * self.median, factor * self.p95, factor * self.cpu_median, self.calls)


def summarise_latency(wall: list[float], cpu: list[float]) -> Latency:
    """Median and 95th percentile of times given in seconds."""
    return Latency(
        median=1e3 * float(np.median(wall)),
        p95=1e3 * float(np.percentile(wall, 95)),
        cpu_median=1e3 * float(np.median(cpu)),
        calls=len(wall),
    )


Key = TypeVar("Key", bound=Hashable)


def measure_latency(
    competitors: Mapping[Key, Callable[[], object]], calls: int, seed: int = 0
) -> dict[Key, Latency]:
    """Time several functions on one thread, turn by turn, each turn in a new random order.

    Parameters
    ----------
    competitors
        Name → function that does one macro step.
    calls
        Timed calls of each, after a few calls to warm up.
    seed
        Seed of the orders.
    """
    shuffle = np.random.default_rng(seed).permutation
    names = list(competitors)
    wall: dict[Key, list[float]] = {name: [] for name in competitors}
    cpu: dict[Key, list[float]] = {name: [] for name in competitors}
    with cpu_threads(1):
        for turn in range(-WARM_UP, calls):
            for name in (names[place] for place in shuffle(len(names))):
                wall_start, cpu_start = time.perf_counter(), time.process_time()
                competitors[name]()
                if turn >= 0:
                    wall[name].append(time.perf_counter() - wall_start)
                    cpu[name].append(time.process_time() - cpu_start)
    return {name: summarise_latency(wall[name], cpu[name]) for name in competitors}
