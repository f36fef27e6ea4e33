"""The comparison job: every model, persistence and coarser finite elements, judged in one run.

>>> comparison = compare(CompareConfig(data="runs/data", models={"full CNN": "runs/full"}))  # doctest: +SKIP
>>> comparison.rows[0].errors["test"]["50"]  # doctest: +SKIP
0.087

Errors are relative L2 errors of u against the dataset's finite-element solution, rolled out from the first
snapshot of every trajectory. A speed only means something beside the solver that reaches the same error, so
the coarser finite-element solutions stand in the same table.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from slimwave.compression.counting import count_macs, count_nonzeros, count_parameters
from slimwave.data.durable import write_text
from slimwave.data.generation import solve_scenario
from slimwave.data.plain import to_plain
from slimwave.data.run_folders import LOG, RunFolder
from slimwave.data.scenarios import Split, draw_scenario
from slimwave.data.windows import DatasetInfo, Trajectories, dataset_info, load_trajectories
from slimwave.surrogates.checkpoints import WEIGHTS, load_model
from slimwave.surrogates.devices import resolve_device
from slimwave.surrogates.metrics import relative_l2, valid_time
from slimwave.surrogates.pruning import SPARSE
from slimwave.surrogates.rollout import states
from slimwave.surrogates.runtimes import (
    EagerRuntime,
    Latency,
    OnnxRuntime,
    StepModule,
    measure_latency,
    onnx_available,
    summarise_latency,
)
from slimwave.surrogates.settings import CompareConfig
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.training import MAY_DIFFER

JUDGED: tuple[Split, ...] = ("test", "ood")
REPORTED_STEPS = (1, 10, 50)
RESULT_FILE = "comparison.json"
PERSISTENCE = "persistence"

Array = NDArray[Any]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    name
        Name of the competitor.
    kind
        ``"model"``, ``"persistence"`` or ``"finite elements"``.
    parameters, nonzeros
        Parameters of a model and those that are not zero.
    bytes
        Size of the model's file; of the sparse file if there is one.
    macs, nonzero_macs
        Multiply–accumulates of one macro step, and those whose weight is not zero.
    latency
        Runtime → time of one macro step on one thread. ``"solver"`` for finite elements, where all times are
        process times of a whole trajectory divided by its steps, output included.
    setup_ms
        Process time spent once per medium: encoding it, or assembling the operators.
    errors
        Split → step → median relative L2 error of u over the trajectories.
    valid_time
        Split → median time until which the error stays at or below the threshold.
    """

    name: str
    kind: str
    parameters: int | None = None
    nonzeros: int | None = None
    bytes: int | None = None
    macs: int | None = None
    nonzero_macs: int | None = None
    latency: dict[str, Latency] | None = None
    setup_ms: float | None = None
    errors: dict[str, dict[str, float]] | None = None
    valid_time: dict[str, float] | None = None


@dataclass(frozen=True)
class Sample:
    """One test trajectory in full, for pictures.

    Attributes
    ----------
    times: (n + 1,), x: (nx,), y: (ny,)
    wave_speed: (nx, ny)
    reference: (n + 1, nx, ny)
        u by finite elements.
    forecasts
        Name of the row → u of shape (n + 1, nx, ny).
    """

    times: Array
    x: Array
    y: Array
    wave_speed: Array
    reference: Array
    forecasts: dict[str, Array]


@dataclass(frozen=True)
class Comparison:
    """Everything the report shows.

    Attributes
    ----------
    folder
        Run folder.
    rows
        The table.
    steps
        Macro steps whose errors the table gives; the last is the end of the rollouts.
    macro_step
        Time of one macro step.
    threshold
        Error up to which a forecast counts as valid.
    trajectories
        Split → trajectories judged.
    errors
        Split → name of the row → relative L2 errors of u, of shape (trajectories, steps).
    pruning
        Name of the row → records of its pruning rounds.
    sample
        A test trajectory in full.
    """

    folder: Path
    rows: list[Row]
    steps: list[int]
    macro_step: float
    threshold: float
    trajectories: dict[str, int]
    errors: dict[str, dict[str, Array]]
    pruning: dict[str, list[dict[str, Any]]]
    sample: Sample

    def to_json(self) -> dict[str, Any]:
        """Plain values: the table, the median error curves and the pruning rounds, without the fields."""
        curves = {
            split: {name: np.median(values, axis=0).tolist() for name, values in named.items()}
            for split, named in self.errors.items()
        }
        return {
            "rows": [to_plain(row) for row in self.rows],
            "steps": self.steps,
            "macro_step": self.macro_step,
            "threshold": self.threshold,
            "trajectories": self.trajectories,
            "median_errors": curves,
            "pruning": self.pruning,
        }


def compare(config: CompareConfig, *, progress: bool = False) -> Comparison:
    """Judge models, persistence and coarser finite elements on the test and ood splits.

    Raises
    ------
    FileNotFoundError
        If a model or the dataset does not exist.
    ValueError
        If a model was not made for the dataset, or more steps are asked for than the reference has.
    OSError
        If the output folder cannot be written.
    """
    device = resolve_device(config.device)
    info = dataset_info(config.data)
    models = {name: load_model(folder) for name, folder in config.models.items()}
    for name, model in models.items():
        source = f"the dataset {config.data}, for --models {name!r},"
        model.task.require_same(info.spacing, info.macro_step, source)
    folder = RunFolder.prepare(
        config.output,
        command="compare",
        config=config,
        existing="overwrite" if config.overwrite else "resume",
        may_differ=(*MAY_DIFFER, "models"),
    )
    (folder.path / LOG).unlink(missing_ok=True)
    judge = _Judge(config, info, models, device, progress=progress)
    comparison = judge.run(folder.path)
    write_text(folder.path / RESULT_FILE, json.dumps(to_plain(comparison.to_json()), indent=1) + "\n")
    for row in comparison.rows:
        folder.log(**to_plain(row))
    folder.finish(rows=[row.name for row in comparison.rows], trajectories=comparison.trajectories)
    return comparison


@dataclass(frozen=True)
class _Forecasts:
    """What the competitors say about one split: u of shape (trajectories, steps + 1, nx, ny) by name."""

    data: Trajectories
    fields: dict[str, Tensor]


class _Judge:
    """One comparison."""

    def __init__(
        self,
        config: CompareConfig,
        info: DatasetInfo,
        models: dict[str, Surrogate],
        device: torch.device,
        *,
        progress: bool,
    ) -> None:
        self.config, self.info, self.models, self.device = config, info, models, device
        self.solver_times: dict[str, list[tuple[float, float]]] = {}
        shortest = min(info.splits[split].snapshots for split in JUDGED) - 1
        self.length = config.steps or shortest
        self.steps = [step for step in REPORTED_STEPS if step < self.length] + [self.length]
        turns = len(JUDGED) * (len(models) + len(config.coarse_elements)) + 1
        self.bar = tqdm(total=turns, desc="compare", unit="part", disable=not progress, dynamic_ncols=True)

    def run(self, folder: Path) -> Comparison:
        with self.bar:
            forecasts: dict[str, _Forecasts] = {split: self._forecasts(split) for split in JUDGED}
            errors = {split: _errors(result) for split, result in forecasts.items()}
            timed = self._time(forecasts["test"].data)
            self.bar.update()
        rows = [self._judged(row, errors) for row in [*self._model_rows(timed), *self._baseline_rows()]]
        return Comparison(
            folder=folder,
            rows=rows,
            steps=self.steps,
            macro_step=self.info.macro_step,
            threshold=self.config.threshold,
            trajectories={split: len(result.data.u) for split, result in forecasts.items()},
            errors=errors,
            pruning=self._pruning_rounds(),
            sample=_sample(forecasts["test"]),
        )

    def _forecasts(self, split: Split) -> _Forecasts:
        data = load_trajectories(
            self.info.root, split, limit=self.config.trajectories, snapshots=self.length + 1
        )
        fields = {}
        for name, model in self.models.items():
            fields[name] = self._roll_out(model, data)
            self.bar.update()
        fields[PERSISTENCE] = data.u[:, :1].expand_as(data.u)
        for count in self.config.coarse_elements:
            name = _solver_name(count)
            fields[name] = self._solve(name, count, split, len(data.u))
            self.bar.update()
        return _Forecasts(data, fields)

    def _roll_out(self, model: Surrogate, data: Trajectories) -> Tensor:
        """Forecast u of every trajectory of a split, as one batch."""
        model = model.to(self.device)
        state = torch.stack([data.u[:, 0], data.v[:, 0]], dim=1).to(self.device)
        forecast = states(model, state, data.c[:, None].to(self.device), data.walls.to(self.device))
        u = [data.u[:, 0], *(next(forecast)[:, 0].cpu() for _ in range(self.length))]
        model.to("cpu")
        return torch.stack(u, dim=1)

    def _solve(self, name: str, count: int, split: Split, trajectories: int) -> Tensor:
        """Solve the same scenarios on a coarser mesh, and keep the solver's own process times."""
        domain = self.info.config.domain
        elements = (count, max(1, round(count * domain.height / domain.width)))
        solved = []
        for index in range(trajectories):
            scenario = draw_scenario(self.info.config, split, index)
            one = solve_scenario(scenario, self.info.config, snapshots=self.length + 1, elements=elements)
            times = self.solver_times.setdefault(name, [])
            times.append((one.setup_cpu_seconds, one.solve_cpu_seconds / self.length))
            solved.append(torch.from_numpy(one.u))
        return torch.stack(solved)

    def _time(self, data: Trajectories) -> dict[str, dict[str, Latency]]:
        """Time one macro step of every model in every runtime, and its encoder, turn by turn."""
        wave_speed, walls = data.c[:1, None], data.walls[:1]
        state = torch.stack([data.u[:1, 0], data.v[:1, 0]], dim=1)
        competitors: dict[tuple[str, str], Callable[[], object]] = {}
        for name, model in self.models.items():
            competitors[name, "encode"] = partial(EagerRuntime, model, wave_speed, walls)
            competitors[name, "eager"] = partial(EagerRuntime(model, wave_speed, walls), state)
            if onnx_available():
                competitors[name, "onnx"] = partial(OnnxRuntime(model, wave_speed, walls), state)
        keyed = {f"{runtime}\t{name}": step for (name, runtime), step in competitors.items()}
        measured = measure_latency(keyed, self.config.latency_steps)
        timed: dict[str, dict[str, Latency]] = {}
        for key, latency in measured.items():
            runtime, name = key.split("\t")
            timed.setdefault(name, {})[runtime] = latency
        return timed

    def _model_rows(self, timed: dict[str, dict[str, Latency]]) -> list[Row]:
        return [self._model_row(name, model, timed[name]) for name, model in self.models.items()]

    def _model_row(self, name: str, model: Surrogate, timed: dict[str, Latency]) -> Row:
        nx, ny = self.info.grid
        with torch.no_grad():
            context = model.encode(torch.ones(1, 1, nx, ny), torch.ones(1, 4))
        step, inputs = StepModule(model, context), (torch.zeros(1, 2, nx, ny), *context)
        encode = timed.pop("encode")
        return Row(
            name=name,
            kind="model",
            parameters=count_parameters(model),
            nonzeros=count_nonzeros(model),
            bytes=_size_on_disk(self.config.models[name]),
            macs=count_macs(step, *inputs),
            nonzero_macs=count_nonzero_macs(step, *inputs),
            latency=timed,
            setup_ms=encode.cpu_median,
        )

    def _baseline_rows(self) -> list[Row]:
        rows = [Row(name=PERSISTENCE, kind=PERSISTENCE)]
        for name, times in self.solver_times.items():
            setup, step = zip(*times, strict=True)
            rows.append(
                Row(
                    name=name,
                    kind="finite elements",
                    latency={"solver": summarise_latency(list(step), list(step))},
                    setup_ms=1e3 * float(np.median(setup)),
                )
            )
        return rows

    def _judged(self, row: Row, errors: dict[str, dict[str, Array]]) -> Row:
        """Add the errors to a row."""
        medians = {split: np.median(named[row.name], axis=0) for split, named in errors.items()}
        return replace(
            row,
            errors={s: {str(k): float(m[k - 1]) for k in self.steps} for s, m in medians.items()},
            valid_time={s: self._valid_time(named[row.name]) for s, named in errors.items()},
        )

    def _valid_time(self, errors: Array) -> float:
        times = valid_time(torch.from_numpy(errors), self.info.macro_step, self.config.threshold)
        return float(times.median())

    def _pruning_rounds(self) -> dict[str, list[dict[str, Any]]]:
        """Collect the pruning records of those models that pruning has written."""
        rounds = {}
        for name, path in self.config.models.items():
            if (path / SPARSE).is_file() and (path / LOG).is_file():
                rounds[name] = list(RunFolder.open(path).records())
        return rounds


def count_nonzero_macs(module: nn.Module, *inputs: Tensor) -> int:
    """Count the multiply–accumulates of one call whose convolution weight is not zero."""
    counted: list[int] = []

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        pixels = output.shape[0] * output.shape[-2] * output.shape[-1]
        counted.append(int(layer.weight.count_nonzero()) * pixels)

    hooks = [layer.register_forward_hook(count) for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    try:
        with torch.no_grad():
            module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counted)


def _solver_name(count: int) -> str:
    return f"FE {count} × {count}"


def _size_on_disk(folder: Path) -> int:
    sparse = folder / SPARSE
    return (sparse if sparse.is_file() else folder / WEIGHTS).stat().st_size


def _errors(result: _Forecasts) -> dict[str, Array]:
    """Relative L2 errors of u, (trajectories, steps), by name."""
    reference = result.data.u[:, 1:]
    return {name: relative_l2(u[:, 1:], reference).numpy() for name, u in result.fields.items()}


def _sample(result: _Forecasts, index: int = 0) -> Sample:
    data = result.data
    return Sample(
        times=data.times.numpy(),
        x=data.x.numpy(),
        y=data.y.numpy(),
        wave_speed=data.c[index].numpy(),
        reference=data.u[index].numpy(),
        forecasts={name: u[index].numpy() for name, u in result.fields.items()},
    )
