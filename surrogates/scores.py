"""All errors of forecasts in one call, and what is told of them: at single steps, over windows, in one word.

``step_errors`` gives every metric after every macro step; ``summarise`` picks the steps and windows that
people compare, as medians over trajectories. The names are the same everywhere, in JSON too:

``relative_l2``, ``vrmse``, ``maximum``
    error relative to the norm, the variance (as The Well does) and the largest value of the reference
``correlation``
    Pearson's, 1 is best
``at_walls``, ``inside``
    error near the walls and away from them, relative to the whole field
``long``, ``middle``, ``short``
    error in three bands of wavelengths, relative to the whole field
``within_long``, ``within_middle``, ``within_short``
    the same relative to what the reference holds in the band
"""

from collections.abc import Mapping

from torch import Tensor

from slimwave.surrogates.metrics import (
    correlation,
    errors_by_place,
    maximum_error,
    relative_l2,
    valid_time,
    vrmse,
    window_mean,
)
from slimwave.surrogates.spectral_bands import BANDS, band_errors

REPORTED_STEPS = (1, 10, 50)
WINDOWS = ((6, 12), (13, 30))
"""The windows over which The Well reports rollouts."""

StepErrors = dict[str, Tensor]


def step_errors(
    prediction: Tensor, reference: Tensor, walls: Tensor, spacing: tuple[float, float]
) -> StepErrors:
    """Judge forecasts of one field after every macro step.

    Parameters
    ----------
    prediction, reference: (..., steps, nx, ny)
        After macro steps 1, 2, …
    walls: (..., 4)
        −1 for an odd (Dirichlet) side, see :mod:`slimwave.surrogates.walls`.
    spacing
        (dx, dy).

    Returns
    -------
    dict of name to Tensor (..., steps)
    """
    at_walls, inside = errors_by_place(prediction, reference)
    of_field, of_band = band_errors(prediction, reference, walls, spacing)
    return {
        "relative_l2": relative_l2(prediction, reference),
        "vrmse": vrmse(prediction, reference),
        "maximum": maximum_error(prediction, reference),
        "correlation": correlation(prediction, reference),
        "at_walls": at_walls,
        "inside": inside,
        **{band: of_field[..., i] for i, band in enumerate(BANDS)},
        **{f"within_{band}": of_band[..., i] for i, band in enumerate(BANDS)},
    }


def reported_steps(last: int) -> list[int]:
    """Macro steps whose errors are told: 1, 10, 50 and the last."""
    return [step for step in REPORTED_STEPS if step < last] + ([last] if last else [])


def summarise(errors: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    """Medians over trajectories at the reported steps and over The Well's windows.

    Parameters
    ----------
    errors
        Name → (trajectories, steps).

    Returns
    -------
    dict
        Name → step ("10") or window ("13-30") → median; a window that the steps do not fill is left out.
        The Well takes means over trajectories, not medians: ``vrmse_mean`` holds them for its windows.
    """
    told = {name: _at_steps(values) | _over_windows(values) for name, values in errors.items()}
    if "vrmse" in errors:
        told["vrmse_mean"] = _over_windows(errors["vrmse"], mean=True)
    return told


def median_valid_time(errors: Mapping[str, Tensor], macro_step: float, threshold: float) -> float:
    """Median time until which the relative L2 error has stayed at or below a threshold."""
    return _median(valid_time(errors["relative_l2"], macro_step, threshold))


def _at_steps(values: Tensor) -> dict[str, float]:
    return {str(step): _median(values[:, step - 1]) for step in reported_steps(values.shape[1])}


def _over_windows(values: Tensor, *, mean: bool = False) -> dict[str, float]:
    filled = [(first, last) for first, last in WINDOWS if last <= values.shape[1]]
    means = {f"{first}-{last}": window_mean(values, first, last) for first, last in filled}
    return {name: float(value.mean()) if mean else _median(value) for name, value in means.items()}


def _median(values: Tensor) -> float:
    """Median as numpy takes it: the mean of the two in the middle of an even number."""
    ordered = values.double().sort().values
    middle = len(ordered) // 2
    return float(ordered[middle] if len(ordered) % 2 else ordered[middle - 1 : middle + 1].mean())
