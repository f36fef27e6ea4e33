"""What the runs of the study of SAP say: error at equal weights, weights at equal error, the index."""

import math
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

Run = dict[str, Any]

SMALL_MOVE = 0.1
"""Moves of the PQ Index below this share of its whole range are no turn."""
LEVELS = 12
NO_FORECAST = 1.0
"""An error of 100 %; beyond it there is nothing to compare."""


def select(runs: Sequence[Run], network: str, name: str) -> list[Run]:
    """Return the runs of a contender, in the order of the seeds."""
    found = [run for run in runs if (run["network"], run["name"]) == (network, name)]
    return sorted(found, key=lambda run: int(run["seed"]))


def shares(run: Run) -> list[float]:
    """Share of the network's own weights that each round kept."""
    return [one["weights_kept"] / one["weights_total"] for one in run["rounds"]]


def sparsest(run: Run, limit: float) -> dict[str, Any] | None:
    """Return the round with the fewest weights whose validation error is within a limit."""
    good = [one for one in run["rounds"] if one["error"] <= limit]
    return min(good, key=lambda one: int(one["weights_kept"]), default=None)


def log_errors(run: Run, levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the validation error, at most 100 %, at shares of weights, interpolated between rounds."""
    kept = np.log(shares(run))[::-1]
    errors = np.log([min(one["error"], NO_FORECAST) for one in run["rounds"]])[::-1]
    return np.interp(np.log(levels), kept, errors)


def behind(leaders: Sequence[Run], rivals: Sequence[Run]) -> tuple[float, float, float]:
    """Factors by which the leaders' error is larger than the rivals', at equal weights: medians over seeds.

    Returns
    -------
    (float, float, float)
        The largest factor over the range that both have pruned to, the largest after dividing by the seeds'
        spread there (largest over smallest error of whichever contender scatters more), and the factor at
        the end, where rounds and training are equal, too.
    """
    end = max(shares(run)[-1] for run in (*leaders, *rivals))
    levels = np.geomspace(0.9, end, LEVELS)
    ours, theirs = (np.array([log_errors(run, levels) for run in side]) for side in (leaders, rivals))
    gap = np.median(ours, axis=0) - np.median(theirs, axis=0)
    spread = np.maximum(np.ptp(ours, axis=0), np.ptp(theirs, axis=0))
    return math.exp(gap.max()), math.exp((gap - spread).max()), math.exp(gap[-1])


def course(indices: Sequence[float]) -> str:
    """Say where a series goes, as in "falls, rises, falls"; small moves against the course do not count."""
    least = SMALL_MOVE * (max(indices) - min(indices))
    turns: list[str] = []
    extreme = indices[0]
    for value in indices[1:]:
        way = "rises" if value > extreme else "falls"
        if turns and way == turns[-1]:
            extreme = value
        elif abs(value - extreme) > least:
            turns.append(way)
            extreme = value
    return ", ".join(turns) or "stays"


def last_errors(runs: Sequence[Run]) -> list[float]:
    """Validation error of each seed's last round."""
    return [run["rounds"][-1]["error"] for run in runs]


def a_priori_ratio(a_priori: Sequence[Run], a_posteriori: Sequence[Run]) -> float:
    """Median error of layers compressed before training over that of layers compressed after it."""
    return median(last_errors(a_priori)) / median(last_errors(a_posteriori))
