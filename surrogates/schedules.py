"""What changes from optimiser step to optimiser step: the rate, the unrolling, the random numbers.

Each is a function of the settings, the seed and the number of the step alone, so that a fit that is stopped
anywhere goes on from a single number.
"""

import math

import numpy as np
import torch

from slimwave.surrogates.training_settings import FitConfig

FINAL_RATE = 0.01


def learning_rate(fit: FitConfig, step: int) -> float:
    """Linear warm-up, then half a cosine down to a hundredth of the peak."""
    warm = min(1.0, (step + 1) / (fit.warmup + 1))
    cosine = (1 + math.cos(math.pi * step / fit.steps)) / 2
    return fit.learning_rate * warm * (FINAL_RATE + (1 - FINAL_RATE) * cosine)


def unrolled_steps(fit: FitConfig, step: int) -> int:
    """Macro steps to unroll at an optimiser step: the curriculum divides the budget evenly."""
    return fit.unroll[min(step * len(fit.unroll) // fit.steps, len(fit.unroll) - 1)]


def last_stage(fit: FitConfig) -> int:
    """First optimiser step of the last entry of the curriculum."""
    return -(-(len(fit.unroll) - 1) * fit.steps // len(fit.unroll))


def average_decay(fit: FitConfig, step: int) -> float:
    """Decay of the moving average at an optimiser step.

    It rises as (1 + n) / (10 + n) to ``fit.ema``, so that the average forgets the fresh weights at first.
    """
    return min(fit.ema, (1 + step) / (10 + step))


def generator_of(seed: int, *numbers: int) -> torch.Generator:
    """Random numbers of one optimiser step, or of one sample in it, independent of all others."""
    state = np.random.SeedSequence([seed, *numbers]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
