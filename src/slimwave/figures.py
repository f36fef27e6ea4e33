"""The pictures of a report: wave fields, errors over time, errors against cost, pruning rounds.

Every function takes plain arrays and returns a matplotlib figure; `to_png` turns one into bytes.
Fields are drawn with x to the right and y upwards, u on a scale symmetric about zero.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

# Okabe and Ito's colours, told apart with colour-blind eyes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555", "#882255", "#999933")
FIELD_COLOURS = "RdBu_r"
SPEED_COLOURS = "cividis"


def to_png(figure: Figure, dpi: int = 110) -> bytes:
    """Return the figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight")
    return buffer.getvalue()


def wave_fields(
    fields: Mapping[str, Array],
    times: Sequence[float],
    wave_speed: Array,
    extent: tuple[float, float],
) -> Figure:
    """Draw u of the reference and of each forecast at a few times, and each forecast's error beside it.

    Errors are magnified by a round factor that the titles name, the largest at which none leaves the scale.

    Parameters
    ----------
    fields : mapping of name to array (len(times), nx, ny)
        The first entry is the reference.
    times : sequence of float
        The times of the fields.
    wave_speed : array (nx, ny)
        The medium, shown where the reference's error would stand.
    extent : (float, float)
        Width and height of the domain.
    """
    reference = next(iter(fields.values()))
    n_rows, n_times = len(fields), len(times)
    width, height = extent
    panel = 1.55
    figure = Figure(
        figsize=(panel * (2 * n_times) + 1.2, panel * n_rows * height / width + 0.5), layout="constrained"
    )
    axes = figure.subplots(n_rows, 2 * n_times, squeeze=False)
    scale = float(np.abs(reference).max())
    factor = _magnification(scale, [field - reference for field in fields.values()])
    error_title = "error" if factor == 1 else f"{factor} × error"
    shown = {"origin": "lower", "extent": (0, width, 0, height), "interpolation": "bilinear"}
    signed = {**shown, "cmap": FIELD_COLOURS, "vmin": -scale, "vmax": scale}
    for row, (name, field) in enumerate(fields.items()):
        for column, time in enumerate(times):
            axes[row, column].imshow(field[column].T, **signed)
            if row == 0:
                axes[row, column].set_title(f"u, t = {time:.2f}", fontsize=9)
                axes[1 if n_rows > 1 else 0, n_times + column].set_title(
                    f"{error_title}, t = {time:.2f}", fontsize=9
                )
            if row > 0:
                axes[row, n_times + column].imshow(factor * (field[column] - reference[column]).T, **signed)
        axes[row, 0].set_ylabel(name, fontsize=9)
    speed = axes[0, n_times].imshow(wave_speed.T, **shown, cmap=SPEED_COLOURS)
    axes[0, n_times].set_title("wave speed c", fontsize=9)
    bar = axes[0, n_times].inset_axes((1.06, 0.05, 0.07, 0.9))
    bar.set_in_layout(False)
    figure.colorbar(speed, cax=bar).ax.tick_params(labelsize=7)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    for axis in axes[0, n_times + 1 :]:
        axis.axis("off")
    return figure


def error_over_time(
    curves: Mapping[str, tuple[Array, Array]],
    threshold: float,
    colours: Mapping[str, str] | None = None,
    dashed: Sequence[str] = (),
    label: str = "relative L2 error of u, %",
) -> Figure:
    """Draw relative L2 errors over time, logarithmically, with the threshold of the valid time.

    Parameters
    ----------
    curves : mapping of name to (times, errors)
        One curve per competitor, errors relative (1 = 100 %).
    threshold : float
        The error up to which a forecast counts as valid.
    colours : mapping of name to colour, optional
        As from `colours_of`, so that a name has one colour in all pictures.
    dashed : sequence of str
        Names drawn dashed, such as classical solvers.
    label : str
        What the errors are.
    """
    figure = Figure(figsize=(6.8, 3.8), layout="constrained")
    axis = figure.subplots()
    colours = colours or colours_of(curves)
    for name, (times, errors) in curves.items():
        clipped = np.clip(np.nan_to_num(errors, nan=10.0, posinf=10.0), 1e-6, 10.0)
        axis.plot(
            times, 100 * clipped, "--" if name in dashed else "-", color=colours[name], label=name, lw=1.6
        )
    axis.axhline(100 * threshold, color="0.6", lw=0.8, ls=":", label=f"{100 * threshold:.0f} %: valid below")
    axis.set(yscale="log", xlabel="time t", ylabel=label)
    _finish(axis)
    _plain_ticks(axis.yaxis, (1.0,))
    axis.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def error_against(
    points: Mapping[str, tuple[float, float]],
    label: str,
    error_label: str,
    colours: Mapping[str, str] | None = None,
) -> Figure:
    """Draw one point per competitor, cost to the right and error upwards, both logarithmic.

    Parameters
    ----------
    points : mapping of name to (cost, error)
        Cost in the unit of `label`; error relative.
    label, error_label : str
        What the axes show.
    colours : mapping of name to colour, optional
        As for `error_over_time`.
    """
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axis = figure.subplots()
    colours = colours or colours_of(points)
    for place, (name, (cost, error)) in enumerate(sorted(points.items(), key=lambda point: point[1][1])):
        position = (cost, 100 * min(error, 10.0))
        above = 4 if place % 2 else -11  # in turn, so that neighbours do not cover each other
        axis.plot(*position, "o", color=colours[name], ms=8)
        axis.annotate(name, position, xytext=(7, above), textcoords="offset points", fontsize=8)
    axis.set(xscale="log", yscale="log", xlabel=label, ylabel=error_label)
    axis.margins(x=0.25, y=0.2)
    _finish(axis)
    _plain_ticks(axis.xaxis, (1.0, 2.0, 5.0))
    _plain_ticks(axis.yaxis, (1.0, 2.0, 5.0))
    return figure


def pruning_rounds(
    pq_index: Sequence[float | None],
    kept: Sequence[float],
    error: Sequence[float | None],
    error_pruned: Sequence[float | None],
    chosen: int,
    limit: float | None,
) -> Figure:
    """Draw PQ Index, share of weights kept and validation error over pruning rounds.

    Parameters
    ----------
    pq_index, kept, error, error_pruned : sequences of equal length
        One entry per round, round 0 standing for the model before pruning: the PQ Index of the retrained
        survivors, the share of weights that they are (0 to 1), and the relative validation error after
        retraining and right after pruning. What is None is not drawn; errors above 1000 % are drawn there.
    chosen : int
        The round that was kept, marked by a vertical line.
    limit : float or None
        The largest error that was accepted.
    """
    figure = Figure(figsize=(8.6, 2.7), layout="constrained")
    rounds = np.arange(len(kept))
    panels = (
        (pq_index, "PQ Index of the survivors", 1.0),
        (kept, "weights kept, %", 100.0),
        (error, "validation rollout error, %", 100.0),
    )
    for axis, (values, title, unit), colour in zip(figure.subplots(1, 3), panels, COLOURS, strict=False):
        axis.axvline(chosen, color="0.75", lw=4, zorder=0)
        axis.plot(rounds, unit * _numbers(values), "o-", color=colour, ms=4)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("round (grey: kept)", fontsize=8)
        axis.set_xticks(rounds[:: 1 + len(rounds) // 12])
        _finish(axis)
    axis.plot(rounds[1:], 100 * _numbers(error_pruned)[1:], "x", color="0.5", ms=4, label="before retraining")
    axis.set_yscale("log")
    _plain_ticks(axis.yaxis, (1.0, 2.0, 5.0))
    if limit is not None:
        axis.axhline(100 * limit, color="0.5", lw=0.8, ls=":", label="limit")
    axis.legend(fontsize=7, frameon=False)
    return figure


def _numbers(values: Sequence[float | None]) -> Array:
    """Return the values as floats, at most 10 (1000 %), with NaN for None."""
    return np.minimum(np.asarray(values, dtype=float), 10.0)


def energy_over_time(curves: Mapping[str, tuple[Array, Array]]) -> Figure:
    """Draw the energy of forecasts relative to its initial value; the exact one stays at 1."""
    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    axis = figure.subplots()
    colours = colours_of(curves)
    for name, (times, energy) in curves.items():
        axis.plot(times, energy / energy[0], color=colours[name], label=name, lw=1.6)
    axis.set(xlabel="time t", ylabel="energy / initial energy")
    _finish(axis)
    axis.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _magnification(scale: float, errors: Sequence[Array]) -> int:
    """Return the largest of 1, 2, 5, 10, 20, 50, 100 by which the errors stay within the scale."""
    largest = max(float(np.abs(error).max()) for error in errors)
    return max((f for f in (1, 2, 5, 10, 20, 50, 100) if f * largest <= scale), default=1)


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Return one colour per name, in order."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def _plain_ticks(side: Axis, steps: tuple[float, ...]) -> None:
    """Write the ticks of a logarithmic axis as plain numbers: 0.1, 1, 10."""
    side.set_major_locator(LogLocator(subs=steps))
    side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    side.set_minor_formatter(NullFormatter())


def _finish(axis: Axes) -> None:
    axis.grid(True, which="major", color="0.92", lw=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
