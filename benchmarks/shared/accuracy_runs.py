"""Trained models under one judge: what the benchmarks of accuracy share.

A model is a configuration in a folder of `configs/` and a seed. It is trained on `train` of one dataset
(configs/accuracy/data.yaml), its checkpoint is picked on `valid`, and it is judged by rollouts from the first
snapshots of `test` and of two splits outside the distribution. Trainings that are finished are not repeated;
one that was stopped goes on.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from shared.targets import verdict

from slimwave.cli import COMMANDS
from slimwave.compression.counting import count_macs
from slimwave.config import parse
from slimwave.data.generation import generate
from slimwave.data.settings import GenerateConfig
from slimwave.data.windows import dataset_info, load_trajectories
from slimwave.surrogates.checkpoints import load_model
from slimwave.surrogates.counting import count_parameters_by_use
from slimwave.surrogates.rollout import rollout
from slimwave.surrogates.runtimes import StepModule
from slimwave.surrogates.scores import step_errors, summarise
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.training import train
from slimwave.surrogates.training_settings import TrainConfig

CONFIGS = Path(__file__).parents[2] / "configs"
DATA = CONFIGS / "accuracy" / "data.yaml"
SPLITS = ("test", "ood_pulses", "ood_media")
SNAPSHOTS = 98
"""Snapshots after the first that all models are judged on; one that reads a block knows up to three more."""


BLOWN_UP = 1000
"""Error in percent."""


@dataclass(frozen=True)
class Judged:
    """One trained model: what it costs, and its errors, split → metric → step or window → median."""

    model: str
    seed: int
    stride: int
    per_step: int
    per_medium: int
    macs_per_node: float
    cpu_seconds: float
    errors: dict[str, dict[str, dict[str, float]]]

    def error(self, split: str, snapshot: int) -> float:
        """Relative L2 error of u at a snapshot."""
        return self.errors[split]["relative_l2"][str(snapshot // self.stride)]


@dataclass(frozen=True)
class Bench:
    """A folder of configurations, a folder for the runs, and whether this is the quick form."""

    configs: Path
    output: Path
    quick: bool

    def names(self) -> list[str]:
        """Return the configurations, in the order of their file names."""
        return sorted(path.stem for path in self.configs.glob("*.yaml") if path != DATA)

    def data(self) -> GenerateConfig:
        """Return the settings of the dataset."""
        config = parse("generate", COMMANDS["generate"], ["--config", str(DATA)])
        config = replace(config, output=self.output / "data")
        if not self.quick:
            return config
        tiny = {
            name: replace(getattr(config.splits, name), trajectories=2, snapshots=SNAPSHOTS + 3)
            for name in ("train", "valid", "ood", *SPLITS)
        }
        return replace(
            config, splits=replace(config.splits, **tiny), domain=replace(config.domain, nx=32, ny=32)
        )

    def training(self, name: str, seed: int) -> TrainConfig:
        """Return the settings of one training."""
        arguments = ["--config", str(self.configs / f"{name}.yaml"), "--seed", str(seed)]
        config = parse("train", COMMANDS["train"], arguments)
        config = replace(config, data=self.output / "data", output=self.output / name / f"seed{seed}")
        if not self.quick:
            return config
        fit = replace(config.fit, steps=4, warmup=1, unroll=(1,))
        return replace(config, fit=fit, validation=replace(config.validation, every=4, steps=4))

    def run(self, names: Sequence[str], seeds: Sequence[int]) -> dict[str, list[Judged]]:
        """Generate the data, then train and judge every model from every seed."""
        generate(self.data())
        return {name: [self.train_and_judge(name, seed) for seed in seeds] for name in names}

    def train_and_judge(self, name: str, seed: int) -> Judged:
        """Train one model, or take up a finished training, and judge it."""
        config = self.training(name, seed)
        record = config.output / "run.json"
        run = json.loads(record.read_text()) if record.is_file() else {"status": "missing"}
        if run["status"] == "done":
            cpu_seconds = run["summary"]["cpu_seconds"]
        else:
            cpu_seconds = train(config, progress=sys.stderr.isatty()).cpu_seconds
        return judge(config, name, cpu_seconds)


def judge(config: TrainConfig, name: str, cpu_seconds: float) -> Judged:
    """Roll a trained model out on every judging split; a result for these weights is kept beside them."""
    weights = hashlib.sha256((config.output / "model.safetensors").read_bytes()).hexdigest()
    kept = config.output / f"errors_{weights[:12]}.json"
    if kept.is_file():
        return Judged(**json.loads(kept.read_text()))
    model = load_model(config.output)
    use = count_parameters_by_use(model)
    errors = {split: errors_on(model, config, split) for split in SPLITS}
    macs = macs_per_node(model, config.data)
    judged = Judged(name, config.seed, config.stride, use.per_step, use.per_medium, macs, cpu_seconds, errors)
    kept.write_text(json.dumps(asdict(judged)))
    return judged


def errors_on(model: Surrogate, config: TrainConfig, split: str) -> dict[str, dict[str, float]]:
    """Return the errors of u by macro step, up to 98 snapshots; a model of several frames gets its first."""
    found = load_trajectories(config.data, split)
    snapshots = torch.stack([found.u, found.v], dim=2)[:, :: config.stride]
    steps, frames, wave_speed = SNAPSHOTS // config.stride, model.frames, found.c[:, None]
    forecast = rollout(model, model.join(snapshots[:, :frames]), wave_speed, found.walls, steps)
    reference = snapshots[:, frames : frames + steps, 0]
    spacing = dataset_info(config.data).spacing
    told = step_errors(forecast[:, : reference.shape[1], 0], reference, found.walls, spacing)
    relative = np.median(told["relative_l2"].numpy(), axis=0)
    every = {str(step): float(error) for step, error in enumerate(relative, start=1)}
    return summarise(told) | {"relative_l2": every}


def macs_per_node(model: Surrogate, data: Path) -> float:
    """Multiply-accumulates of one macro step per node of the grid."""
    found = load_trajectories(data, "test", limit=1)
    context = model.encode(found.c[:, None], found.walls)
    state = model.join(torch.stack([found.u, found.v], dim=2)[:, : model.frames])
    return count_macs(StepModule(model, context), state, *context) / model.frames / found.c[0].numel()


def table(results: dict[str, list[Judged]], snapshots: Sequence[int], windows: Sequence[str]) -> list[str]:
    """Return a Markdown table: medians over seeds, with their range.

    Parameters
    ----------
    snapshots
        At which the errors on `test` are told; outside the distribution at the last but one of them.
    windows
        Windows of steps whose VRMSE is told.
    """
    far = snapshots[-2]
    columns = (
        *map(str, snapshots),
        f"sharper, {far}",
        f"other media, {far}",
        *(f"VRMSE {w}" for w in windows),
    )
    head = ("model", "seeds", "per step", "per medium", "MACs/node", "CPU min", *columns)
    lines = [" | ".join(("", *head, "")).strip(), "|" + " --- |" * len(head)]
    for name, judged in results.items():
        first = judged[0]
        cost = (len(judged), first.per_step, first.per_medium, round(first.macs_per_node))
        minutes = median(one.cpu_seconds for one in judged) / 60
        errors = [percent(judged, lambda one, k=k: one.error("test", k)) for k in snapshots]
        errors += [percent(judged, lambda one, s=s: one.error(s, far)) for s in SPLITS[1:]]
        for window in windows:
            errors.append(f"{median(one.errors['test']['vrmse'][window] for one in judged):.3g}")
        cells = (f"`{name}`", *map(str, cost), f"{minutes:.1f}", *errors)
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def percent(judged: Sequence[Judged], error: Callable[[Judged], float]) -> str:
    """Median over seeds and, where there are several, the range, in percent."""
    values = sorted(100 * error(one) for one in judged)
    middle, least, most = (_told(value) for value in (median(values), values[0], values[-1]))
    return middle if least == most else f"{middle} ({least}–{most})"


def _told(percent: float) -> str:
    """Two digits; beyond ten times the wave itself there is no forecast to measure."""
    if percent > BLOWN_UP:
        return f"> {BLOWN_UP}"
    return f"{percent:.0f}" if percent >= 100 else f"{percent:.2g}"


def middle_error(judged: Sequence[Judged], split: str, snapshot: int) -> float:
    """Median over seeds of the median over trajectories."""
    return median(one.error(split, snapshot) for one in judged)


def held_to(name: str, judged: Sequence[Judged], limits: dict[tuple[str, int], float]) -> list[str]:
    """Say for each limit, (split, snapshot) → error, whether the medians keep to it."""
    lines = []
    for (split, snapshot), limit in limits.items():
        found = middle_error(judged, split, snapshot)
        told = f"{found:.2%}, at most {limit:.1%}: {verdict(found <= limit)}"
        lines.append(f"{name}, {split} at {snapshot}: {told}")
    return lines
