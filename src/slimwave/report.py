"""The report: one self-contained HTML page with the comparison's table and pictures.

The pictures are also written one by one into `pictures/`, for talks and papers.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure

from slimwave import animation, figures, html, tables
from slimwave.data.durable import write_bytes, write_text
from slimwave.data.run_folders import RunFolder
from slimwave.pruning_pictures import pruning_figure
from slimwave.surrogates.comparison import Comparison
from slimwave.surrogates.competitors import PERSISTENCE, Row

REPORT_FILE = "report.html"
PICTURES = "pictures"
SPLIT_TITLES = {
    "test": "Test: the distribution of the training",
    "valid": "Validation: by which checkpoints were chosen",
    "train": "Training: seen by the models",
    "ood": "Out of distribution",
    "ood_pulses": "Out of distribution: other pulses",
    "ood_media": "Out of distribution: other media",
    "ood_long": "Out of distribution: a longer horizon",
    "ood_loud": "Out of distribution: other amplitudes",
}
INTRODUCTION = (
    "Every forecast starts from the first snapshot of a trajectory and runs on its own output. Errors are "
    "relative L2 errors of u against the finite-element solution of the dataset, medians over trajectories. "
    "Times are process times on one thread, measured turn by turn in one run. Finite elements on coarser "
    "meshes stand beside the surrogates: a surrogate is fast only where it beats the solver that reaches the "
    "same error."
)
SCORES = (
    "Further errors at step {step}, relative to the whole field: of waves of more than 16, 16 to 8 and fewer "
    "than 8 cells; at nodes within 4 of a wall, and inside; of the energy, relative to the first. VRMSE: the "
    "mean over steps and trajectories, as The Well reports it."
)


def write_report(comparison: Comparison) -> Path:
    """Write `report.html` and `pictures/` into the comparison's folder and return the report's path."""
    path = comparison.folder / REPORT_FILE
    (comparison.folder / PICTURES).mkdir(exist_ok=True)
    write_text(path, html.page("slimwave: comparison", _Report(comparison).body()))
    return path


class _Report:
    """One report; each method yields the HTML of one section."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.run = RunFolder.open(comparison.folder)
        self.colours = figures.colours_of(row.name for row in comparison.rows)
        self.models = [row.name for row in comparison.rows if row.kind == "model"]
        self.solvers = [row.name for row in comparison.rows if row.kind == "finite elements"]

    def body(self) -> Iterator[str]:
        """Yield the whole page."""
        about = self.run.run
        yield html.heading("Surrogates of the 2D wave equation, compared", 1)
        yield html.paragraph(
            f"slimwave {about['versions']['slimwave']}, torch {about['versions']['torch']}, "
            f"Python {about['python']}, {about['platform']}",
            quiet=True,
        )
        yield html.paragraph(INTRODUCTION)
        for split in self.comparison.errors:
            yield from self.split(split)
        yield from self.fields()
        yield from self.costs()
        yield from self.pruning()
        yield html.heading("Latency in detail")
        yield html.table(*tables.latency_table(self.comparison))
        yield html.folded("Settings of this comparison", yaml.safe_dump(self.run.config, sort_keys=False))

    def split(self, split: str) -> Iterator[str]:
        """Table and error curves of one split."""
        yield html.heading(SPLIT_TITLES[split])
        yield html.paragraph(f"{self.comparison.trajectories[split]} trajectories.", quiet=True)
        yield html.table(*tables.comparison_table(self.comparison, split))
        times = self.comparison.macro_step * np.arange(1, self.comparison.steps[split][-1] + 1)
        errors = self.comparison.errors[split]
        curves = {name: (times, np.median(values, axis=0)) for name, values in errors.items()}
        yield self.picture(
            f"errors_{split}",
            figures.error_over_time(curves, self.comparison.threshold, self.colours, dashed=self.solvers),
            "Error over time",
            "Median error over time. Dashed: finite elements on coarser meshes.",
        )
        step = self.comparison.steps[split][-2:][0]
        yield html.paragraph(SCORES.format(step=step), quiet=True)
        yield html.table(*tables.score_table(self.comparison, split, step))

    def fields(self) -> Iterator[str]:
        """Wave fields of one trajectory, still and moving."""
        sample = self.comparison.sample
        last = self.comparison.steps[sample.split][-1]
        yield html.heading(f"Wave fields of {sample.split} trajectory {sample.trajectory}")
        chosen = [min(step, last) for step in (10, last // 2, last)]
        shown = {"finite elements": sample.reference} | {n: sample.forecasts[n] for n in self.models}
        figure = figures.wave_fields(
            {name: field[chosen] for name, field in shown.items()},
            [float(sample.times[step]) for step in chosen],
            sample.wave_speed,
            (float(sample.x[-1]), float(sample.y[-1])),
        )
        yield self.picture(
            "fields",
            figure,
            "Wave fields of the reference and of each model, with their errors",
            "u at three times, and the error of each forecast, magnified as its titles say.",
        )
        name = self.models[-1]
        error = sample.forecasts[name] - sample.reference
        panels = {"finite elements": sample.reference, name: sample.forecasts[name], "error": error}
        moving = animation.animate(panels, sample.times)
        write_bytes(self.comparison.folder / PICTURES / "animation.gif", moving)
        yield html.picture(
            moving,
            "gif",
            f"Animation of the finite-element solution, the forecast of {name} and its error",
            f"Finite elements, {name}, and the error, on one colour scale.",
        )

    def costs(self) -> Iterator[str]:
        """Error against parameters and against latency."""
        yield html.heading("Error against cost")
        split = self.comparison.sample.split
        step = self.comparison.steps[split][-2:][0]
        label = f"{split} error at step {step}, %"
        against = figures.error_against
        parameters, latency = self._points(step, "nonzeros"), self._points(step, "latency")
        yield html.side_by_side(
            (
                self.picture(
                    "error_against_parameters",
                    against(parameters, "nonzero parameters", label, self.colours),
                    "Error against nonzero parameters",
                    f"Median {split} error at step {step} against the parameters that are not zero.",
                ),
                self.picture(
                    "error_against_latency",
                    against(latency, "ms per macro step, one thread", label, self.colours),
                    "Error against latency",
                    "The same error against the time of a macro step, in the fastest runtime of each "
                    "competitor. Lower left is better.",
                ),
            )
        )

    def pruning(self) -> Iterator[str]:
        """PQ Index, weights kept and error over the rounds of every pruned model."""
        for number, (name, rounds) in enumerate(self.comparison.pruning.items()):
            yield html.heading(f"Pruning rounds of {name}")
            yield self.picture(
                f"pruning_{number}",
                self._pruning_figure(name, rounds),
                "PQ Index, weights kept and validation error over pruning rounds",
                "Each round prunes the smallest weights, with SAP as many as the PQ Index allows, and "
                "retrains the rest. The dotted line is the largest validation error accepted.",
            )

    def picture(self, name: str, figure: Figure, alt: str, caption: str) -> str:
        """Keep the figure in `pictures/` and return it inlined."""
        data = figures.to_png(figure)
        write_bytes(self.comparison.folder / PICTURES / f"{name}.png", data)
        return html.picture(data, "png", alt, caption)

    def _points(self, step: int, cost: str) -> dict[str, tuple[float, float]]:
        points = {}
        for row in self.comparison.rows:
            value = _fastest(row) if cost == "latency" else getattr(row, cost)
            if value and row.name != PERSISTENCE and row.errors:
                points[row.name] = (float(value), row.errors[self.comparison.sample.split][str(step)])
        return points

    def _pruning_figure(self, name: str, rounds: list[dict[str, Any]]) -> Figure:
        pruned = RunFolder.open(self.run.config["models"][name])
        return pruning_figure(rounds, pruned.run["summary"]["chosen_round"], pruned.config["tolerance"])


def _fastest(row: Row) -> float | None:
    times = [latency.cpu_median for latency in (row.latency or {}).values()]
    return min(times) if times else None
