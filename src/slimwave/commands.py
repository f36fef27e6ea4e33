"""What each command does: one function per command, from its settings to an `Outcome`.

The work is done in `data/` and `surrogates/`; here results become words, pictures and one JSON object.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from slimwave import tables
from slimwave.config import CheckConfig, ExportConfig, ShowConfig
from slimwave.data.checking import check_dataset
from slimwave.data.generation import generate as generate_dataset
from slimwave.data.pdebench import export_pdebench
from slimwave.data.plain import to_plain
from slimwave.data.scenarios import GenerateConfig
from slimwave.demo import DemoConfig
from slimwave.pruning_pictures import write_picture
from slimwave.surrogates.comparison import compare as compare_models
from slimwave.surrogates.comparison_settings import CompareConfig
from slimwave.surrogates.forecasting import rollout as roll_out
from slimwave.surrogates.pruning import prune as prune_model
from slimwave.surrogates.pruning_settings import PruneConfig
from slimwave.surrogates.rollout_settings import RolloutConfig
from slimwave.surrogates.seeds import SeedsResult
from slimwave.surrogates.seeds import train_seeds as train_from_seeds
from slimwave.surrogates.training import train as train_model
from slimwave.surrogates.training_settings import TrainConfig

MOST_PROBLEMS = 20


@dataclass(frozen=True)
class Outcome:
    """What a command prints: `text` for a person, or `record` as one JSON object with `--json`.

    `ok` is false where the command did its work and the answer is no, such as a dataset with problems.
    """

    record: dict[str, Any]
    text: str
    ok: bool = True


def generate(config: GenerateConfig) -> Outcome:
    """Generate a dataset."""
    summary = generate_dataset(config, progress=True)
    text = (
        f"{summary.trajectories} trajectories in {summary.shards} shards, {summary.bytes / 1e6:.1f} MB, "
        f"in {summary.root} ({summary.new_trajectories} new, {summary.cpu_seconds:.1f} s of solver time)"
    )
    return Outcome(to_plain(summary), text)


def check(config: CheckConfig) -> Outcome:
    """Check a dataset and list its problems."""
    report = check_dataset(config.folder)
    problems = [str(problem) for problem in report.problems]
    if config.seed is not None and report.seed not in (None, config.seed):
        problems.append(f"{config.folder}: seed: expected {config.seed}, got {report.seed}")
    record = {**to_plain(report), "problems": problems, "ok": not problems}
    if problems:
        more = len(problems) - MOST_PROBLEMS
        shown = [*problems[:MOST_PROBLEMS], *([f"… and {more} more"] if more > 0 else [])]
        return Outcome(
            record, "\n".join([f"{len(problems)} problem(s) in {config.folder}:", *shown]), ok=False
        )
    text = f"{config.folder}: {report.trajectories} trajectories in {report.shards} shards, nothing wrong"
    return Outcome(record, text)


def show(config: ShowConfig) -> Outcome:
    """Draw a dataset."""
    from slimwave.dataset_pictures import write_dataset_pictures

    pictures = write_dataset_pictures(
        config.folder,
        config.output or config.folder,
        trajectories=config.trajectories,
        snapshots=config.snapshots,
        seed=config.seed,
    )
    files = {path.stem: str(path) for path in pictures}
    return Outcome(files, "\n".join(files.values()))


def export(config: ExportConfig) -> Outcome:
    """Copy a dataset into another layout."""
    files = export_pdebench(config.folder, config.output, seed=config.seed)
    record = {"folder": str(config.output), "files": [str(path) for path in files]}
    return Outcome(record, "\n".join(record["files"]))


def train(config: TrainConfig) -> Outcome:
    """Train a surrogate, or the same from several seeds."""
    if config.seeds:
        return _train_seeds(config)
    result = train_model(config, progress=True)
    text = (
        f"{result.folder}: {result.parameters} parameters, validation rollout error "
        f"{tables.percent(result.rollout_error)} (best at step {result.best_step} of {result.steps}), "
        f"{result.cpu_seconds:.0f} s of processor time"
    )
    return Outcome(to_plain(result), text)


def _train_seeds(config: TrainConfig) -> Outcome:
    trained = train_from_seeds(config, progress=True)
    headers = ["seed", "validation rollout error", "best step", "processor time, s"]
    told = {
        seed: [tables.percent(r.rollout_error), str(r.best_step), f"{r.cpu_seconds:.0f}"]
        for seed, r in zip(trained.seeds, trained.results, strict=True)
    }
    told |= {seed: ["diverged", tables.MISSING, tables.MISSING] for seed in trained.diverged}
    table = tables.markdown(headers, [[str(seed), *told[seed]] for seed in config.seeds])
    why = [f"seed {seed}: {reason}" for seed, reason in trained.diverged.items()]
    text = "\n".join([table, *why, f"{trained.folder}: {_of_seeds(trained, len(told))}"])
    return Outcome(to_plain(trained), text, ok=not trained.diverged)


def _of_seeds(trained: SeedsResult, asked: int) -> str:
    """Say mean and standard deviation of the seeds that came to their end."""
    if trained.mean is None:
        return f"none of {asked} seeds came to its end"
    spread = "" if trained.spread is None else f" ± {tables.percent(trained.spread)}"
    return (
        f"validation rollout error {tables.percent(trained.mean)}{spread} "
        f"(mean and standard deviation of {len(trained.seeds)} seeds)"
    )


def prune(config: PruneConfig) -> Outcome:
    """Prune a surrogate."""
    result = prune_model(config, progress=True)
    write_picture(result, config.tolerance)
    headers = ["round", "PQ Index", "weights kept", "validation rollout error"]
    rows = [
        [
            f"{record.round}" + (" (kept)" if record.round == result.chosen_round else ""),
            f"{record.pq_index:.4f}",
            f"{100 * record.weights_kept / record.weights_total:.1f} %",
            tables.percent(record.error),
        ]
        for record in result.rounds
    ]
    text = (
        f"{tables.markdown(headers, rows)}\nStopped: {result.stopped}.\n"
        f"{result.folder}: {result.nonzeros} of {result.parameters} parameters left, "
        f"{tables.size(result.sparse_bytes)} on disk"
    )
    return Outcome(to_plain(result), text)


def rollout(config: RolloutConfig) -> Outcome:
    """Forecast one trajectory, with its pictures beside the fields."""
    result = roll_out(config, progress=True)
    summary = result.summary()
    files: dict[str, str] = {}
    if config.animation:
        from slimwave.forecast_pictures import write_forecast_pictures

        pictures = write_forecast_pictures(result, config.threshold)
        files = {path.stem: str(path) for path in pictures.values()}
    lines = [
        f"{result.folder}: {summary['steps']} macro steps, "
        f"{result.latency.median:.2f} ms each (95th percentile {result.latency.p95:.2f}, {result.runtime})",
        *_forecast_errors(summary),
        *files.values(),
    ]
    return Outcome({**to_plain(summary), **files, "folder": str(result.folder)}, "\n".join(lines))


def _forecast_errors(summary: dict[str, Any]) -> Iterator[str]:
    """Say how good a forecast is, where there is a reference to compare it with."""
    at_steps = {step: e for step, e in summary["relative_l2"].items() if step.isdigit()}
    if not at_steps:
        drift = tables.percent(summary["energy_drift"]["largest"])
        yield f"no reference to compare with; largest energy drift {drift}"
        return
    errors = ", ".join(f"{tables.percent(e)} at step {step}" for step, e in at_steps.items())
    yield f"relative L2 error of u: {errors}; valid until t = {summary['valid_time']:.2f}"
    windows = [f"{e:.3g} over steps {w.replace('-', '–')}" for w, e in summary["vrmse_mean"].items()]
    energy = f"largest energy error {tables.percent(summary['energy_error']['largest'])}"
    yield "; ".join([*(["VRMSE " + ", ".join(windows)] if windows else []), energy])


def compare(config: CompareConfig) -> Outcome:
    """Compare models, persistence and coarser solvers; write the report."""
    comparison = compare_models(config, progress=True)
    from slimwave.report import write_report

    path = write_report(comparison)
    first, *others = comparison.errors
    text = tables.markdown(*tables.comparison_table(comparison, first))
    for split in others:
        errors = tables.markdown(*tables.error_table(comparison, split))
        text += f"\n\n{split}, {comparison.trajectories[split]} trajectories:\n{errors}"
    text += f"\n\nreport: {path}"
    return Outcome({**to_plain(comparison.to_json()), "report": str(path)}, text)


def demo(config: DemoConfig) -> Outcome:
    """Run every stage."""
    from slimwave.demo import demo as run_demo

    return run_demo(config)


COMMAND_OF: dict[type, Callable[[Any], Outcome]] = {
    GenerateConfig: generate,
    CheckConfig: check,
    ShowConfig: show,
    ExportConfig: export,
    TrainConfig: train,
    PruneConfig: prune,
    RolloutConfig: rollout,
    CompareConfig: compare,
    DemoConfig: demo,
}
