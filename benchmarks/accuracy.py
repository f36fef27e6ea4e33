"""How accurate the surrogates are: the configurations in configs/accuracy, several seeds, one judge.

Each model is trained on `train`, its checkpoint is picked on `valid`, and it is judged by rollouts on `test`
and on two splits outside the distribution, from the first snapshot of each trajectory. A figure is the
median over seeds of the median over trajectories, with the range over seeds. Trainings that are finished are
not repeated; one that was stopped goes on.

    python benchmarks/accuracy.py                              # all configurations, seeds 0, 1, 2: hours
    python benchmarks/accuracy.py --models leapfrog --seeds 0  # a part of it
    python benchmarks/accuracy.py --quick                      # a tiny set and two models: does it run?
"""

import argparse
import hashlib
import json
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import torch
from shared.targets import verdict

from slimwave.cli import COMMANDS
from slimwave.compression.counting import count_macs
from slimwave.config import parse
from slimwave.data.generation import generate
from slimwave.data.scenarios import draw_scenario
from slimwave.data.settings import GenerateConfig
from slimwave.data.solving import solve_scenario
from slimwave.data.windows import dataset_info, load_trajectories
from slimwave.surrogates.checkpoints import load_model
from slimwave.surrogates.counting import count_parameters_by_use
from slimwave.surrogates.metrics import relative_l2
from slimwave.surrogates.rollout import rollout
from slimwave.surrogates.runtimes import StepModule
from slimwave.surrogates.scores import step_errors, summarise
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.training import train
from slimwave.surrogates.training_settings import TrainConfig

CONFIGS = Path(__file__).parents[1] / "configs" / "accuracy"
SPLITS = ("test", "ood_pulses", "ood_media")
STEPS = 98
PAIRS = (
    ("gated_linear", "gated_linear_one_way"),
    ("leapfrog_narrow_dense", "leapfrog_light"),
)
"""A full network and its one-way form; a narrow dense network and a one-way one of as many parameters."""
TARGETS = {
    "leapfrog": {
        ("test", 10): 0.005,
        ("test", 50): 0.02,
        ("test", STEPS): 0.05,
        ("ood_pulses", 50): 0.15,
        ("ood_media", 50): 0.08,
    },
    "residual": {("test", 10): 0.04, ("test", 50): 0.12, ("test", STEPS): 0.25},
}
QUICK = ("leapfrog", "gated_linear_one_way")


@dataclass(frozen=True)
class Judged:
    """One trained model: what it costs, and its errors, split → metric → step or window → median."""

    model: str
    seed: int
    per_step: int
    per_medium: int
    macs_per_node: float
    cpu_seconds: float
    errors: dict[str, dict[str, dict[str, float]]]

    def error(self, split: str, step: int) -> float:
        """Relative L2 error of u."""
        return self.errors[split]["relative_l2"][str(step)]


def names_of_models() -> list[str]:
    """Return the configurations, in the order of their file names."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "data")


def data_config(output: Path, quick: bool) -> GenerateConfig:
    """Return the settings of the dataset."""
    config = parse("generate", COMMANDS["generate"], ["--config", str(CONFIGS / "data.yaml")])
    config = replace(config, output=output / "data")
    if not quick:
        return config
    tiny = {
        name: replace(getattr(config.splits, name), trajectories=2, snapshots=STEPS + 1)
        for name in ("train", "valid", "ood", *SPLITS)
    }
    return replace(config, splits=replace(config.splits, **tiny), domain=replace(config.domain, nx=32, ny=32))


def train_config(name: str, seed: int, output: Path, quick: bool) -> TrainConfig:
    """Return the settings of one training."""
    arguments = ["--config", str(CONFIGS / f"{name}.yaml"), "--seed", str(seed)]
    config = parse("train", COMMANDS["train"], arguments)
    config = replace(config, data=output / "data", output=output / name / f"seed{seed}")
    if not quick:
        return config
    fit = replace(config.fit, steps=4, warmup=1, unroll=(1,))
    return replace(config, fit=fit, validation=replace(config.validation, every=4, steps=4))


def judge(config: TrainConfig, name: str, cpu_seconds: float) -> Judged:
    """Roll a trained model out on every judging split; a result for these weights is kept beside them."""
    weights = hashlib.sha256((config.output / "model.safetensors").read_bytes()).hexdigest()
    kept = config.output / f"judged_{weights[:12]}.json"
    if kept.is_file():
        return Judged(**json.loads(kept.read_text()))
    model = load_model(config.output)
    use = count_parameters_by_use(model)
    errors = {split: errors_on(model, config.data, split) for split in SPLITS}
    macs = macs_per_node(model, config.data)
    judged = Judged(name, config.seed, use.per_step, use.per_medium, macs, cpu_seconds, errors)
    kept.write_text(json.dumps(asdict(judged)))
    return judged


def errors_on(model: Surrogate, data: Path, split: str) -> dict[str, dict[str, float]]:
    """Return the errors of u after 1 to 98 macro steps; a model of several frames gets its first ones."""
    found = load_trajectories(data, split)
    snapshots = torch.stack([found.u, found.v], dim=2)
    frames, wave_speed = model.frames, found.c[:, None]
    blocks = -(-STEPS // frames)
    states = rollout(model, model.join(snapshots[:, :frames]), wave_speed, found.walls, blocks)
    forecast = torch.cat([model.split(states[:, n]) for n in range(blocks)], dim=1)[:, :STEPS]
    reference = snapshots[:, frames : frames + STEPS, 0]
    spacing = dataset_info(data).spacing
    told = step_errors(forecast[:, : reference.shape[1], 0], reference, found.walls, spacing)
    return summarise(told)


def macs_per_node(model: Surrogate, data: Path) -> float:
    """Multiply-accumulates of one macro step per node of the grid."""
    found = load_trajectories(data, "test", limit=1)
    context = model.encode(found.c[:, None], found.walls)
    state = model.join(torch.stack([found.u, found.v], dim=2)[:, : model.frames])
    return count_macs(StepModule(model, context), state, *context) / model.frames / found.c[0].numel()


def train_and_judge(name: str, seed: int, output: Path, quick: bool) -> Judged:
    """Train one model, or take up a finished training, and judge it."""
    config = train_config(name, seed, output, quick)
    record = config.output / "run.json"
    run = json.loads(record.read_text()) if record.is_file() else {"status": "missing"}
    if run["status"] == "done":
        cpu_seconds = run["summary"]["cpu_seconds"]
    else:
        cpu_seconds = train(config, progress=sys.stderr.isatty()).cpu_seconds
    return judge(config, name, cpu_seconds)


def reference_error(data: GenerateConfig, trajectories: int) -> float:
    """Largest relative L2 difference at the last step between the reference and a finer solution."""
    worst = 0.0
    for index in range(trajectories):
        scenario = draw_scenario(data, "test", index)
        n, order = data.solver.elements, data.solver.order
        finer = (n[0] * 3 // 2, n[1] * 3 // 2)
        coarse = solve_scenario(scenario, data, snapshots=STEPS + 1)
        fine = solve_scenario(scenario, data, snapshots=STEPS + 1, elements=finer, order=order + 1)
        pair = (torch.from_numpy(found.u[-1]) for found in (coarse, fine))
        worst = max(worst, float(relative_l2(*pair)))
    return worst


def table(results: dict[str, list[Judged]]) -> list[str]:
    """Return a Markdown table: medians over seeds, with the range at step 50."""
    columns = ("1", "10", "50", "98", "sharper, 50", "other media, 50", "VRMSE 6-12", "VRMSE 13-30")
    head = ("model", "seeds", "per step", "per medium", "MACs/node", "CPU min", *columns)
    lines = [" | ".join(("", *head, "")).strip(), "|" + " --- |" * len(head)]
    for name, judged in results.items():
        first = judged[0]
        cost = (len(judged), first.per_step, first.per_medium, round(first.macs_per_node))
        minutes = median(one.cpu_seconds for one in judged) / 60
        errors = [percent(judged, lambda one, k=k: one.error("test", k)) for k in (1, 10, 50, STEPS)]
        errors += [percent(judged, lambda one, s=s: one.error(s, 50)) for s in SPLITS[1:]]
        for window in ("6-12", "13-30"):
            errors.append(f"{median(one.errors['test']['vrmse'][window] for one in judged):.3g}")
        cells = (f"`{name}`", *map(str, cost), f"{minutes:.1f}", *errors)
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def percent(judged: Sequence[Judged], error: Callable[[Judged], float]) -> str:
    """Median over seeds and, where there are several, the range, in percent."""
    values = sorted(100 * error(one) for one in judged)
    middle = f"{median(values):.2g}"
    return middle if len(values) == 1 else f"{middle} ({values[0]:.2g}–{values[-1]:.2g})"


def verdicts(results: dict[str, list[Judged]]) -> list[str]:
    """Say for each target of accuracy whether it is met, by medians over seeds."""
    lines = []
    for name, limits in TARGETS.items():
        if name not in results:
            continue
        for (split, step), limit in limits.items():
            found = median(one.error(split, step) for one in results[name])
            lines.append(
                f"{name}, {split} at {step}: {found:.2%}, at most {limit:.1%}: {verdict(found <= limit)}"
            )
    for full, one_way in PAIRS:
        if full in results and one_way in results:
            lines.append(compare_pair(results[full], results[one_way]))
    return lines


def compare_pair(full: Sequence[Judged], one_way: Sequence[Judged]) -> str:
    """Return what a one-way network keeps of its full form."""
    fewer = full[0].per_step / one_way[0].per_step
    fewer_in_all = (full[0].per_step + full[0].per_medium) / (one_way[0].per_step + one_way[0].per_medium)
    ratios = {
        step: median(one.error("test", step) for one in one_way)
        / median(one.error("test", step) for one in full)
        for step in (1, 50)
    }
    fewer_macs = full[0].macs_per_node / one_way[0].macs_per_node
    return (
        f"{one_way[0].model} beside {full[0].model}: {fewer:.1f}x fewer parameters per step, "
        f"{fewer_in_all:.1f}x in all, {fewer_macs:.1f}x fewer MACs; "
        f"{ratios[1]:.2f}x the one-step error, {ratios[50]:.2f}x at step 50"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=names_of_models(), default=None, metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--quick", action="store_true", help="a tiny set, two models, four training steps")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) if arguments.quick else arguments.output
        names = arguments.models or (QUICK if arguments.quick else names_of_models())
        seeds = [0] if arguments.quick else arguments.seeds
        data = data_config(output, arguments.quick)
        generate(data)
        results = {name: [train_and_judge(name, s, output, arguments.quick) for s in seeds] for name in names}
        print(f"{platform.machine()}, one thread, torch {torch.__version__}; relative L2 of u in %\n")
        print("\n".join(table(results)))
        error = reference_error(data, 1 if arguments.quick else 4)
        lines = [f"reference at step {STEPS}: within {error:.3%}, at most 0.2 %: {verdict(error <= 0.002)}"]
        print("\n" + "\n".join(lines + verdicts(results)))


if __name__ == "__main__":
    main()
