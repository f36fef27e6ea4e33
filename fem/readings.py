"""Reading a driven march at the output times, by polynomials in time through seven successive fields.

A driven march keeps one step from its start to its end. The field at an output time is read off the
polynomial of degree 6 through the seven levels around it, and v is its slope: errors of order Δt⁷ and Δt⁶,
below those of the scheme. A restart from u and v would be unstable where an absorbing boundary makes the
equation stiff.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from slimwave.fem.gll import Array, lagrange, lagrange_slopes

LEVELS = 7
"""Number of successive fields that are kept."""


@dataclass(frozen=True, eq=False)
class Readings:
    """When to read a march that takes `steps` steps, and how.

    Attributes
    ----------
    steps
        Number of steps.
    ends
        Number of steps after which each reading is taken, shape (readings,).
    values, slopes
        Weights of the last `LEVELS` fields then, the oldest first, in u and in v, shape (readings, LEVELS).
    """

    steps: int
    ends: NDArray[np.int64]
    values: NDArray[Any]
    slopes: NDArray[Any]

    @classmethod
    def none(cls, steps: int) -> "Readings":
        """Take so many steps and read nothing."""
        weights = np.empty((0, LEVELS))
        return cls(steps, np.empty(0, np.int64), weights, weights)

    @classmethod
    def of_times(cls, times: Array, time_step: float) -> "Readings":
        """Readings at the given times, all positive, of a march that starts at t = 0.

        Raises
        ------
        ValueError
            For times that are not positive.
        """
        if len(times) and not times[0] > 0.0:
            raise ValueError(f"times: expected positive times, got {times[0]:g}")
        last = np.maximum(np.rint(times / time_step).astype(np.int64) + LEVELS // 2, LEVELS - 2)
        places = times / time_step - (last - LEVELS + 1)
        whole = np.abs(places - np.rint(places)) < 1e-6
        places = np.where(whole, np.rint(places), places)
        numbers = np.arange(float(LEVELS))
        values, slopes = lagrange(numbers, places).T, lagrange_slopes(numbers, places).T / time_step
        steps = int(last[-1]) if len(last) else 0
        return cls(steps, last, np.ascontiguousarray(values), np.ascontiguousarray(slopes))

    def part(self, first: int, end: int, taken: int) -> "Readings":
        """Some of the readings, for a march that has taken so many steps already."""
        ends = self.ends[first:end] - taken
        return Readings(int(ends[-1]), ends, self.values[first:end], self.slopes[first:end])

    def astype(self, dtype: DTypeLike) -> "Readings":
        """The same with weights of that type."""
        return replace(self, values=self.values.astype(dtype), slopes=self.slopes.astype(dtype))

    def chunks(self, most: int) -> Iterator[tuple[int, slice, "Readings"]]:
        """Parts of at most so many steps: steps taken before, which readings these are, and the part."""
        first = 0
        for taken in range(0, max(self.steps, 1), most):
            steps = min(most, self.steps - taken)
            end = int(np.searchsorted(self.ends, taken + steps, side="right"))
            inside = slice(first, end)
            yield (
                taken,
                inside,
                Readings(steps, self.ends[inside] - taken, self.values[inside], self.slopes[inside]),
            )
            first = end
