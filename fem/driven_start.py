"""The first two fields of a driven march: at t = 0, and one step before it by a Taylor polynomial in time.

The equation gives the time derivatives of u from u and v; those of loads and prescribed values are
differences.
"""

from collections.abc import Callable
from math import factorial

import numpy as np

from slimwave.fem.drives import Terms
from slimwave.fem.gll import Array
from slimwave.fem.operators import State

# Derivatives 1 to 4 from values at t − 2h … t + 2h; divide row k by h^(k + 1).
_DIFFERENCES = np.array(
    [
        [1 / 12, -2 / 3, 0.0, 2 / 3, -1 / 12],
        [-1 / 12, 4 / 3, -5 / 2, 4 / 3, -1 / 12],
        [-1 / 2, 1.0, 0.0, -1.0, 1 / 2],
        [1.0, -4.0, 6.0, -4.0, 1.0],
    ]
)


def first_levels(
    terms: Terms, order: int, apply: Callable[[State], State], u: State, v: State
) -> tuple[State, State]:
    """Fields at t = 0 and at −Δt, to the order of the scheme.

    Parameters
    ----------
    terms
        What drives the waves.
    apply
        L of states.
    u, v
        Field and its time derivative at t = 0, shape ([batch,] size).
    """
    start = u.copy()
    _hold(terms, start, 0)
    derivatives = _derivatives(terms, order, apply, start, v)[: order + 1]
    past = sum((-terms.time_step) ** k / factorial(k) * value for k, value in enumerate(derivatives))
    past = np.asarray(past, dtype=u.dtype)
    _hold(terms, past, -1)
    return start, past


def _hold(terms: Terms, state: State, number: int) -> None:
    """Set the prescribed values of the time of that number."""
    if len(terms.held):
        state.reshape(-1)[terms.held] = terms.prescribed(np.array([number * terms.time_step]))[0]


def _derivatives(
    terms: Terms, order: int, apply: Callable[[State], State], u: State, v: State
) -> list[State]:
    """U and its first four time derivatives by the equation, given the first."""
    times = terms.time_step * np.arange(-2.0, 3.0)
    held = _rates(terms.prescribed(times), terms.time_step)
    strengths = terms.strengths(times)
    loads = np.concatenate([strengths[2:3], _rates(strengths, terms.time_step)])
    drag = terms.damping + terms.backing if order == 2 else terms.damping
    drag = drag.astype(u.dtype).reshape(u.shape)
    found = [u, v.copy()]
    found[1].reshape(-1)[terms.held] = held[0]
    for k in range(3):
        following = -apply(found[k]) - drag * found[k + 1]
        np.add.at(following.reshape(-1), terms.places, terms.values * loads[k, terms.columns])
        following.reshape(-1)[terms.held] = held[k + 1]
        found.append(following)
    return found


def _rates(samples: Array, step: float) -> Array:
    """Present time derivatives 1 to 4 from samples two steps before to two steps after, (4, count)."""
    return np.asarray(_DIFFERENCES @ samples / step ** np.arange(1, 5)[:, None])
