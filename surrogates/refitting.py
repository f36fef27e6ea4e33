"""Fitting a model anew from the weights that it has: every pruning round, and fine-tuning on its own.

A fit ends with the weights that were best on validation data, and leaves nothing behind. Interrupted, it goes
on at its last validation. One whose every validation blows up, as after pruning too much, is infinitely wrong
and leaves the weights as they were.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from slimwave.compression.sap import SAPPruner
from slimwave.data.windows import WaveWindows
from slimwave.surrogates.checkpoints import load_weights, save_tensors
from slimwave.surrogates.fitting import BlownUpError, Fitter, Validate
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.training_settings import FitConfig


def round_seed(seed: int, number: int) -> int:
    """Seed of the ``number``-th refit of a run: other batches in every round, the same in every rival's."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def refit(
    model: Surrogate,
    windows: WaveWindows,
    fit: FitConfig,
    validate: Validate,
    *,
    every: int,
    seed: int,
    position: Path,
    pruner: SAPPruner | None = None,
    progress: bool = False,
    label: str = "refit",
) -> float:
    """Fit a model in place; leave its best validated weights in it and return their validation error.

    The error is infinite, and the weights are those at the beginning, if no validation is finite.

    Parameters
    ----------
    model
        The model, on its device.
    windows
        Training windows with a horizon of at least ``max(fit.unroll)``.
    fit, every
        Settings of the fit, and the steps between validations.
    validate
        Rollout error of a model on validation data.
    seed
        Seed of the windows, symmetries and noise.
    position
        File that keeps where the fit stands, and its best weights in another beside it. Both go by
        :func:`forget_refit`, once the caller has kept the result.
    pruner
        Masks to hold through the fit; None trains every weight.
    progress, label
        Show a bar with this name.

    Raises
    ------
    TrainingDivergedError
        At the first loss or gradient that is not finite, or a loss that has exploded.
    """

    def keep_best(_: Mapping[str, float], best: bool) -> None:
        if best:
            save_tensors(_best(position), model.state_dict())

    if not position.is_file():
        save_tensors(_best(position), model.state_dict())
    error: float | None = math.inf
    with Fitter(model, windows, fit, seed=seed, pruner=pruner) as fitter, suppress(BlownUpError):
        error = fitter.run(
            validate,
            every=every,
            on_validation=keep_best,
            state_file=position,
            progress=progress,
            label=label,
        ).best_error
    load_weights(model, _best(position))
    assert error is not None
    return error


def forget_refit(position: Path) -> None:
    """Remove the files of a refit whose result is kept elsewhere."""
    for leftover in (position, _best(position)):
        leftover.unlink(missing_ok=True)


def _best(position: Path) -> Path:
    return position.with_name(f"best_{position.name}")
