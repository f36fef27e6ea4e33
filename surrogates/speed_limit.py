"""The fastest medium that a model can be asked about.

An explicit step has a limit: a wave must not leave what the step reads, nor what its time stepping resolves.
Beyond it a CNN cannot know the answer, and a network that is bounded by construction stays bounded by slowing
the waves down, everywhere, without a word. So every job asks first.
"""

import math

from slimwave.surrogates.surrogate import Surrogate

ROUNDING = 1e-6
"""Relative difference of two speeds that single precision leaves."""
FAR = 100
"""A speed so many times the limit is a slip of units: no larger network is the remedy."""


def require_speed(model: Surrogate, max_speed: float, source: str) -> None:
    """Refuse a medium in which waves are too fast for the model.

    Parameters
    ----------
    model
        The model; its limit is :attr:`~slimwave.surrogates.surrogate.Surrogate.max_wave_speed`.
    max_speed
        Largest wave speed of the medium, in units of length per unit of time.
    source
        What the message begins with, such as a flag or the name of a dataset.

    Raises
    ------
    ValueError
        Naming the model's limit, the speed, and what to train instead.
    """
    limit = model.max_wave_speed
    if max_speed <= limit * (1 + ROUNDING):
        return
    how = f" and {model.speed_remedy(max_speed)}" if max_speed < FAR * limit else ""
    raise ValueError(
        f"{source}: expected a wave speed of at most {_floored(limit):g}, which is all that the model can "
        f"follow, got {max_speed:g}; train a model on such media{how}"
    )


def _floored(limit: float) -> float:
    """Round down to three digits, so that the speed that is named is allowed."""
    unit = 10.0 ** (math.floor(math.log10(limit)) - 2)
    return math.floor(limit / unit) * unit
