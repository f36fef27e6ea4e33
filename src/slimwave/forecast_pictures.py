"""The pictures of one forecast: its animation, its errors and its energy."""

from pathlib import Path

from matplotlib.figure import Figure

from slimwave import figures
from slimwave.animation import animate
from slimwave.data.durable import write_bytes
from slimwave.surrogates.forecasting import RolloutResult


def write_forecast_pictures(result: RolloutResult, threshold: float) -> dict[str, Path]:
    """Write `animation.gif`, `energy.png` and, where a reference exists, `errors.png`; return their paths.

    Parameters
    ----------
    result : RolloutResult
        The forecast; the pictures go into its folder.
    threshold : float
        Relative L2 error of u up to which the forecast counts as valid.
    """
    data = {"animation.gif": _animation(result), "energy.png": figures.to_png(_energy(result))}
    known = len(result.relative_l2)
    if known:
        curves = {
            f"{field}, {kind}": (result.times[1 : known + 1], values[:, channel])
            for kind, values in (("relative L2", result.relative_l2), ("VRMSE", result.vrmse))
            for channel, field in enumerate("uv")
        }
        data["errors.png"] = figures.to_png(figures.error_over_time(curves, threshold, label="error, %"))
    for name, content in data.items():
        write_bytes(result.folder / name, content)
    return {name: result.folder / name for name in data}


def _animation(result: RolloutResult) -> bytes:
    """FE | surrogate | error as far as the reference reaches; without one, the surrogate alone."""
    known = len(result.reference)
    surrogate = result.forecast[:, 0]
    if known < 2:
        return animate({"surrogate": surrogate}, result.times)
    reference = result.reference[:, 0]
    error = surrogate[:known] - reference
    panels = {"finite elements": reference, "surrogate": surrogate[:known], "error": error}
    return animate(panels, result.times[:known])


def _energy(result: RolloutResult) -> Figure:
    curves = {"surrogate": (result.times, result.energy)}
    if len(result.reference) > 1:
        known = len(result.reference_energy)
        curves["finite elements"] = (result.times[:known], result.reference_energy)
    return figures.energy_over_time(curves)
