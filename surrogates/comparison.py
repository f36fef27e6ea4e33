"""The comparison job: every model, persistence and coarser finite elements, judged in one run.

>>> comparison = compare(CompareConfig(models={"full CNN": Path("runs/full")}))  # doctest: +SKIP
>>> comparison.rows[0].errors["test"]["50"]  # doctest: +SKIP
0.059

Errors are those of u against the dataset's finite-element solution, rolled out from the first snapshot of
every trajectory, or from the first up to which every model knows as many as it reads: the relative L2 error
in the table, and beside it all that :mod:`slimwave.surrogates.scores` names. Models with macro steps of
several snapshots are judged, and their costs counted, at common multiples of them. A speed only means
something beside the solver that reaches the same error, so the coarser finite-element solutions stand in the
same table.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slimwave.data.durable import write_text
from slimwave.data.plain import to_plain
from slimwave.data.progress import progress_bar
from slimwave.data.run_folders import LOG, RunFolder
from slimwave.data.scenarios import Split
from slimwave.data.windows import DatasetInfo, Trajectories, dataset_info, load_trajectories
from slimwave.surrogates.checkpoints import load_model
from slimwave.surrogates.comparison_settings import CompareConfig
from slimwave.surrogates.competitors import (
    PERSISTENCE,
    CoarseSolver,
    Competitor,
    ModelCompetitor,
    Persistence,
    Row,
)
from slimwave.surrogates.devices import resolve_device
from slimwave.surrogates.encodable import require_encodable
from slimwave.surrogates.metrics import energy, energy_error
from slimwave.surrogates.pruning import SPARSE
from slimwave.surrogates.runtimes import Latency, measure_latency
from slimwave.surrogates.scores import StepErrors, median_valid_time, reported_steps, step_errors, summarise
from slimwave.surrogates.speed_limit import require_speed
from slimwave.surrogates.training import MAY_DIFFER

__all__ = ["PERSISTENCE", "Comparison", "Row", "Sample", "compare"]

ENERGY = "energy_error"
RESULT_FILE = "comparison.json"

Array = NDArray[Any]
Judged = dict[Split, dict[str, StepErrors]]
"""Split → name of the row → metric → (trajectories, steps)."""


@dataclass(frozen=True)
class Sample:
    """One trajectory in full, for pictures.

    Attributes
    ----------
    split, trajectory
        Its split, and its index there.
    times: (n + 1,), x: (nx,), y: (ny,)
    wave_speed: (nx, ny)
    reference: (n + 1, nx, ny)
        u by finite elements.
    forecasts
        Name of the row → u of shape (n + 1, nx, ny).
    """

    split: str
    trajectory: int
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
        Split → macro steps whose errors the table gives; the last is the end of the rollouts.
    macro_step
        Time of one macro step.
    threshold
        Error up to which a forecast counts as valid.
    trajectories
        Split → trajectories judged.
    judged
        Split → name of the row → metric → values of shape (trajectories, steps); the metrics of
        :mod:`slimwave.surrogates.scores`, and ``energy_error``, see
        :func:`slimwave.surrogates.metrics.energy_error`.
    pruning
        Name of the row → records of its pruning rounds.
    sample
        A trajectory of the first split in full.
    """

    folder: Path
    rows: list[Row]
    steps: dict[str, list[int]]
    macro_step: float
    threshold: float
    trajectories: dict[str, int]
    judged: dict[str, dict[str, dict[str, Array]]]
    pruning: dict[str, list[dict[str, Any]]]
    sample: Sample

    @property
    def errors(self) -> dict[str, dict[str, Array]]:
        """Split → name of the row → relative L2 errors of u, of shape (trajectories, steps)."""
        return {
            split: {name: metrics["relative_l2"] for name, metrics in named.items()}
            for split, named in self.judged.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values: the table, median curves of all metrics and the pruning rounds, without the fields.

        An infinite error, of a rollout that has blown up, becomes None.
        """
        curves = {
            split: {
                name: {metric: np.median(values, axis=0).tolist() for metric, values in metrics.items()}
                for name, metrics in named.items()
            }
            for split, named in self.judged.items()
        }
        return {
            "rows": [_finite(to_plain(row)) for row in self.rows],
            "steps": self.steps,
            "macro_step": self.macro_step,
            "threshold": self.threshold,
            "trajectories": self.trajectories,
            "median_curves": _finite(curves),
            "pruning": self.pruning,
        }


def compare(config: CompareConfig, *, progress: bool = False) -> Comparison:
    """Judge models, persistence and coarser finite elements on the splits that were held back.

    Raises
    ------
    FileNotFoundError
        If a model or the dataset does not exist.
    ValueError
        If a model was not made for the dataset, or more splits, steps or trajectories are asked for than it
        has.
    OSError
        If the output folder cannot be written.
    """
    info = dataset_info(config.data)
    competitors = _competitors(config, info)
    origin, stride = _origin_and_stride(competitors)
    whole = {s: _trajectories(config, s, origin, stride) for s in _judged_splits(config, info)}
    at = {split: _judged_snapshots(data, origin, stride, split) for split, data in whole.items()}
    data = {split: whole[split].at(at[split]) for split in whole}
    first = next(iter(whole))
    _require_encodable(competitors, whole)
    pruning = _pruning_rounds(config)
    folder = RunFolder.prepare(
        config.output,
        command="compare",
        config=config,
        existing="overwrite" if config.overwrite else "resume",
        may_differ=(*MAY_DIFFER, "models"),
    )
    (folder.path / LOG).unlink(missing_ok=True)
    sample = _sample(first, data[first], config.seed)
    forecast_by = {
        (split, one.name): partial(one.forecast, split, whole[split], at[split])
        for split in whole
        for one in competitors
    }
    judged = _judge(forecast_by, data, info, sample, progress=progress)
    timed = _time(competitors, whole[first], config)
    macro_step = stride * info.macro_step
    steps: dict[str, list[int]] = {s: reported_steps(data[s].u.shape[1] - 1) for s in data}
    comparison = Comparison(
        folder=folder.path,
        rows=[
            _scored(one.row(timed[one.name], stride), judged, steps, config.threshold, macro_step)
            for one in competitors
        ],
        steps=steps,
        macro_step=macro_step,
        threshold=config.threshold,
        trajectories={split: len(data[split].u) for split in data},
        judged={s: {n: _arrays(metrics) for n, metrics in named.items()} for s, named in judged.items()},
        pruning=pruning,
        sample=sample,
    )
    _keep(comparison, folder)
    return comparison


def _competitors(config: CompareConfig, info: DatasetInfo) -> list[Competitor]:
    """Load the models, refuse those not made for the dataset, and add the baselines."""
    device = resolve_device(config.device)
    models: list[Competitor] = []
    for name, path in config.models.items():
        model = load_model(path)
        source = f"the dataset {config.data}, for --models {name!r},"
        stride = model.task.snapshots_per_step(info, source)
        models.append(ModelCompetitor(name, model, Path(path), device, stride))
    return [*models, Persistence(), *(CoarseSolver(info, count) for count in config.coarse_elements)]


def _judged_splits(config: CompareConfig, info: DatasetInfo) -> tuple[Split, ...]:
    """Return the splits asked for, or test and all that are out of distribution."""
    held_back = tuple(name for name in info.splits if name == "test" or name.startswith("ood"))
    judged = held_back if config.splits is None else config.splits
    missing = [name for name in judged if name not in info.splits]
    if missing or not judged:
        raise ValueError(
            f"--splits: expected splits of {config.data}, which has {', '.join(info.splits)}, "
            f"got {missing[0] if missing else 'none'}"
        )
    most = max(info.splits[name].trajectories for name in judged)
    if config.trajectories is not None and config.trajectories > most:
        raise ValueError(
            f"--trajectories: expected at most {most}, all that {' and '.join(judged)} hold, "
            f"got {config.trajectories}"
        )
    return judged


def _require_encodable(competitors: Sequence[Competitor], data: Mapping[Split, Trajectories]) -> None:
    """Refuse a model that cannot take the grid, the sides or the speeds of a split, by its name."""
    for one in competitors:
        if not isinstance(one, ModelCompetitor):
            continue
        for split, trajectories in data.items():
            try:
                require_speed(one.model, float(trajectories.c.max()), f"split {split}")
                require_encodable(one.model, trajectories.c[:, None], trajectories.walls)
            except ValueError as error:
                raise ValueError(f"--models {one.name!r}: {error}") from error


def _origin_and_stride(competitors: Sequence[Competitor]) -> tuple[int, int]:
    """Snapshot from which all can forecast, and snapshots in a common macro step."""
    models = [one for one in competitors if isinstance(one, ModelCompetitor)]
    return max(model.known for model in models), math.lcm(*(model.stride for model in models))


def _judged_snapshots(data: Trajectories, origin: int, stride: int, split: Split) -> range:
    judged = range(origin, data.u.shape[1], stride)
    if len(judged) < 2:
        raise ValueError(
            f"--models: a macro step of {stride} snapshots after the {origin + 1} that the models read needs "
            f"{origin + stride + 1}, but trajectories of {split} have {data.u.shape[1]}; "
            f"generate more with --splits.{split}.snapshots"
        )
    return judged


def _trajectories(config: CompareConfig, split: Split, origin: int, stride: int) -> Trajectories:
    snapshots = None if config.steps is None else origin + config.steps * stride + 1
    return load_trajectories(config.data, split, limit=config.trajectories, snapshots=snapshots)


def _judge(
    forecast_by: Mapping[tuple[Split, str], Callable[[], Tensor]],
    data: dict[Split, Trajectories],
    info: DatasetInfo,
    sample: Sample,
    *,
    progress: bool,
) -> Judged:
    """Let every competitor forecast every split, one at a time; keep its errors and the sample's field."""
    judged: Judged = {split: {} for split in data}
    with progress_bar(len(forecast_by), "compare", "part", shown=progress) as bar:
        for (split, name), forecast_of in forecast_by.items():
            forecast = forecast_of()
            judged[split][name] = _metrics(forecast, data[split], info)
            if split == sample.split:
                sample.forecasts[name] = forecast[sample.trajectory, :, 0].numpy()
            bar.update()
    return judged


def _metrics(forecast: Tensor, data: Trajectories, info: DatasetInfo) -> StepErrors:
    """Every metric by name, (trajectories, steps)."""
    medium = data.c[:, None], info.spacing
    true = energy(torch.stack([data.u, data.v], dim=2), *medium)
    return {
        **step_errors(forecast[:, 1:, 0], data.u[:, 1:], data.walls, info.spacing),
        ENERGY: energy_error(energy(forecast, *medium), true),
    }


def _arrays(metrics: StepErrors) -> dict[str, Array]:
    return {name: values.numpy() for name, values in metrics.items()}


def _time(
    competitors: Sequence[Competitor], data: Trajectories, config: CompareConfig
) -> dict[str, dict[str, Latency]]:
    """Time one call of every competitor in every runtime, interleaved in one run."""
    steps = {(one.name, key): call for one in competitors for key, call in one.calls_to_time(data).items()}
    timed: dict[str, dict[str, Latency]] = {one.name: {} for one in competitors}
    for (name, runtime), latency in measure_latency(steps, config.latency_steps, config.seed).items():
        timed[name][runtime] = latency
    return timed


def _scored(
    row: Row, judged: Judged, steps: Mapping[str, list[int]], threshold: float, macro_step: float
) -> Row:
    """Add the errors to a row."""
    metrics: dict[str, StepErrors] = {split: named[row.name] for split, named in judged.items()}
    scores = {split: summarise(values) for split, values in metrics.items()}
    return replace(
        row,
        errors={s: {str(n): scores[s]["relative_l2"][str(n)] for n in steps[s]} for s in scores},
        scores=scores,
        valid_time={s: median_valid_time(values, macro_step, threshold) for s, values in metrics.items()},
    )


def _pruning_rounds(config: CompareConfig) -> dict[str, list[dict[str, Any]]]:
    """Collect the records of those models that pruning has written."""
    folders = {name: Path(path) for name, path in config.models.items()}
    return {
        name: list(RunFolder.open(path, command="prune").records())
        for name, path in folders.items()
        if (path / SPARSE).is_file()
    }


def _sample(split: str, data: Trajectories, seed: int) -> Sample:
    """Draw the trajectory to be shown; the forecasts are filled in as they are made."""
    index = int(np.random.default_rng(seed).integers(len(data.u)))
    return Sample(
        split=split,
        trajectory=index,
        times=data.times.numpy(),
        x=data.x.numpy(),
        y=data.y.numpy(),
        wave_speed=data.c[index].numpy(),
        reference=data.u[index].numpy(),
        forecasts={},
    )


def _keep(comparison: Comparison, folder: RunFolder) -> None:
    """Write the table as JSON, and one log line per row."""
    plain = comparison.to_json()
    write_text(folder.path / RESULT_FILE, json.dumps(plain, indent=1, allow_nan=False) + "\n")
    for row in plain["rows"]:
        folder.log(**row)
    folder.finish(rows=[row.name for row in comparison.rows], trajectories=comparison.trajectories)


def _finite(value: Any) -> Any:
    """Replace numbers that are not finite by None, which JSON can hold."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
