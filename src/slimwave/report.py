"""The report: one self-contained HTML page with the comparison's table and pictures."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml
from matplotlib.figure import Figure

from slimwave import animation, figures, html, tables
from slimwave.data.durable import write_text
from slimwave.data.run_folders import RunFolder
from slimwave.surrogates.comparison import PERSISTENCE, Comparison, Row

REPORT_FILE = "report.html"
SPLIT_TITLES = {
    "test": "Test: the distribution of the training",
    "ood": "Out of distribution: sharper pulses, media that vary faster",
}


def write_report(comparison: Comparison) -> Path:
    """Write `report.html` into the comparison's folder and return its path."""
    path = comparison.folder / REPORT_FILE
    write_text(path, html.page("slimwave: comparison", _body(comparison)))
    return path


def _body(comparison: Comparison) -> Iterator[str]:
    run = RunFolder.open(comparison.folder)
    yield html.heading("Surrogates of the 2D wave equation, compared", 1)
    yield html.paragraph(
        f"slimwave {run.run['versions']['slimwave']}, torch {run.run['versions']['torch']}, "
        f"Python {run.run['python']}, {run.run['platform']}",
        quiet=True,
    )
    yield html.paragraph(
        "Every forecast starts from the first snapshot of a trajectory and runs on its own output. Errors "
        "are relative L2 errors of u against the finite-element solution of the dataset, medians over "
        "trajectories. Times are process times on one thread, measured turn by turn in one run. Finite "
        "elements on coarser meshes stand beside the surrogates: a surrogate is fast only where it beats the "
        "solver that reaches the same error."
    )
    colours = figures.colours_of(row.name for row in comparison.rows)
    for split, title in SPLIT_TITLES.items():
        yield html.heading(title)
        headers, rows = tables.comparison_table(comparison, split)
        yield html.paragraph(f"{comparison.trajectories[split]} trajectories.", quiet=True)
        yield html.table(headers, rows)
        yield _picture(figures.error_over_time(_curves(comparison, split), comparison.threshold, colours,
                       dashed=_solvers(comparison)), "Error over time",
                       "Median error over time. Dashed: finite elements on coarser meshes.")  # fmt: skip
    yield from _pictures(comparison)
    yield html.heading("Latency in detail")
    yield html.table(*_latency_table(comparison))
    yield html.folded("Settings of this comparison", yaml.safe_dump(run.config, sort_keys=False))


def _pictures(comparison: Comparison) -> Iterator[str]:
    yield html.heading("Wave fields of one test trajectory")
    sample, models = comparison.sample, _models(comparison)
    chosen = [
        min(step, comparison.steps[-1]) for step in (10, comparison.steps[-1] // 2, comparison.steps[-1])
    ]
    fields = {"finite elements": sample.reference} | {name: sample.forecasts[name] for name in models}
    extent = (float(sample.x[-1]), float(sample.y[-1]))
    yield _picture(
        figures.wave_fields(
            {name: field[chosen] for name, field in fields.items()},
            [float(sample.times[step]) for step in chosen],
            sample.wave_speed,
            extent,
        ),
        "Wave fields of the reference and of each model, with their errors",
        "u at three times, and the error of each forecast on the same colour scale.",
    )
    best = models[-1]
    moving = {
        "finite elements": sample.reference,
        best: sample.forecasts[best],
        "error": sample.forecasts[best] - sample.reference,
    }
    yield html.picture(
        animation.animate(moving, sample.times),
        "gif",
        f"Animation of the finite-element solution, the forecast of {best} and its error",
        f"Finite elements, {best}, and the error, on one colour scale.",
    )
    yield html.heading("Error against cost")
    step = comparison.steps[-2] if len(comparison.steps) > 1 else comparison.steps[-1]
    colours = figures.colours_of(row.name for row in comparison.rows)
    label = f"test error at step {step}, %"
    yield _picture(
        figures.error_against(_against(comparison, step, "nonzeros"), "nonzero parameters", label, colours),
        "Error against nonzero parameters",
        f"Median test error at step {step} against the parameters that are not zero.",
    )
    yield _picture(
        figures.error_against(
            _against(comparison, step, "latency"), "ms per macro step, one thread", label, colours
        ),
        "Error against latency",
        "The same error against the time of a macro step, in the fastest runtime of each competitor. "
        "Lower left is better.",
    )
    for name, rounds in comparison.pruning.items():
        yield html.heading(f"Pruning rounds of {name}")
        yield _picture(
            _pruning_figure(comparison, name, rounds),
            "PQ Index, weights kept and validation error over pruning rounds",
            "Sparsity-informed adaptive pruning: each round prunes as many weights as the PQ Index allows "
            "and retrains the rest. The dotted line is the largest validation error accepted.",
        )


def _pruning_figure(comparison: Comparison, name: str, rounds: list[dict[str, float]]) -> Figure:
    folder = RunFolder.open(RunFolder.open(comparison.folder).config["models"][name])
    tolerance = folder.config["tolerance"]
    errors = [record["rollout_error"] for record in rounds]
    return figures.pruning_rounds(
        [record["pq_index"] for record in rounds],
        [record["kept"] / record["total"] for record in rounds],
        errors,
        chosen=folder.run["summary"]["chosen_round"],
        limit=tolerance * errors[0] if tolerance else None,
    )


def _picture(figure: Figure, alt: str, caption: str) -> str:
    return html.picture(figures.to_png(figure), "png", alt, caption)


def _models(comparison: Comparison) -> list[str]:
    return [row.name for row in comparison.rows if row.kind == "model"]


def _solvers(comparison: Comparison) -> list[str]:
    return [row.name for row in comparison.rows if row.kind == "finite elements"]


def _curves(comparison: Comparison, split: str) -> dict[str, tuple[figures.Array, figures.Array]]:
    times = comparison.macro_step * np.arange(1, comparison.steps[-1] + 1)
    return {name: (times, np.median(errors, axis=0)) for name, errors in comparison.errors[split].items()}


def _against(comparison: Comparison, step: int, cost: str) -> dict[str, tuple[float, float]]:
    points = {}
    for row in comparison.rows:
        value = _fastest(row) if cost == "latency" else getattr(row, cost)
        if value and row.name != PERSISTENCE and row.errors:
            points[row.name] = (float(value), row.errors["test"][str(step)])
    return points


def _fastest(row: Row) -> float | None:
    times = [latency.cpu_median for latency in (row.latency or {}).values()]
    return min(times) if times else None


def _latency_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    headers = [
        "",
        "runtime",
        "median, ms",
        "95th percentile, ms",
        "median process time, ms",
        "calls",
        "once per medium, ms",
    ]
    rows = [
        [
            row.name,
            runtime,
            tables.milliseconds(latency.median),
            tables.milliseconds(latency.p95),
            tables.milliseconds(latency.cpu_median),
            str(latency.calls),
            tables.milliseconds(row.setup_ms),
        ]
        for row in comparison.rows
        for runtime, latency in (row.latency or {}).items()
    ]
    return headers, rows
