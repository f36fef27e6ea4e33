"""The pictures of the study of SAP, drawn from the records of its runs."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from shared.sap_findings import Run, select, shares

from slimwave.figures import COLOURS

DOTS_PER_INCH = 75
MOST_PERCENT = 200
Draw = Callable[[Axes, Run, str, str | None], Any]


def draw_errors(runs: Sequence[Run], limits: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw validation error over weights kept, one line per seed; `limits` are lines by network."""

    def line(axes: Axes, run: Run, colour: str, label: str | None) -> None:
        kept = [100 * share for share in shares(run)]
        errors = [100 * one["error"] for one in run["rounds"]]
        axes.loglog(kept, errors, "o-", color=colour, ms=3, lw=1, alpha=0.8, label=label)

    figure, panels = _panels(runs, line)
    for axes, network in zip(panels, dict.fromkeys(run["network"] for run in runs), strict=True):
        for style, (name, limit) in zip((":", "--"), limits[network].items(), strict=True):
            axes.axhline(100 * limit, color="0.4", lw=1, ls=style, label=name)
        axes.set(xlabel="weights kept, % of the network's own")
        for side in (axes.xaxis, axes.yaxis):
            side.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            side.set_minor_formatter(NullFormatter())
        axes.invert_xaxis()
        axes.set_ylim(top=MOST_PERCENT)
    panels[0].set_ylabel("validation rollout error, %")
    _save(figure, panels, path)


def draw_indices(runs: Sequence[Run], path: Path) -> None:
    """Draw the PQ Index of the retrained survivors over rounds, one line per seed."""

    def line(axes: Axes, run: Run, colour: str, label: str | None) -> None:
        indices = [one["pq_index_after"] for one in run["rounds"]]
        axes.plot(indices, "o-", color=colour, ms=3, lw=1, alpha=0.8, label=label)

    figure, panels = _panels(runs, line)
    for axes in panels:
        axes.set(xlabel="round")
    panels[0].set_ylabel("PQ Index of the survivors")
    _save(figure, panels, path)


def _panels(runs: Sequence[Run], line: Draw) -> tuple[Figure, list[Axes]]:
    """Draw one panel per network that was pruned, one colour per contender."""
    networks = list(dict.fromkeys(run["network"] for run in runs))
    names = list(dict.fromkeys(run["name"] for run in runs))
    colours = dict(zip(names, [*COLOURS, "black", "gold"], strict=False))
    figure = Figure(figsize=(2.8 + 3.4 * len(networks), 3.8), layout="constrained")
    panels = list(figure.subplots(1, len(networks), squeeze=False)[0])
    for axes, network in zip(panels, networks, strict=True):
        for name in names:
            for place, run in enumerate(select(runs, network, name)):
                line(axes, run, colours[name], None if place else name)
        axes.set_title(f"{network} CNN", fontsize=10)
        axes.grid(alpha=0.3)
    return figure, panels


def _save(figure: Figure, panels: Sequence[Axes], path: Path) -> None:
    named = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    figure.legend(named.values(), named.keys(), fontsize=8, frameon=False, loc="outside right upper")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_INCH)
