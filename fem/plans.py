"""How time steps lead to the output times of a run."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from slimwave.fem.gll import Array


@dataclass(frozen=True)
class Leg:
    """The way from one output time to the next: `steps` steps of size `step`."""

    steps: int
    step: float


@dataclass(frozen=True, eq=False)
class Plan:
    """How steps that do not exceed a limit lead to the output times.

    Attributes
    ----------
    times
        Output times, increasing from 0 or later.
    limit
        Largest time step.
    """

    times: Array
    limit: float

    @cached_property
    def legs(self) -> list[Leg]:
        """Every interval of [0, *times] divided into the fewest equal steps.

        Steps that differ by rounding only are made equal, so that evenly spaced times need no restart.
        A leg of no steps stands for an output at t = 0.
        """
        legs: list[Leg] = []
        for interval in np.diff(self.times, prepend=0.0):
            steps = int(np.ceil(interval / self.limit - 1e-9))
            step = float(interval / steps) if steps else 0.0
            if legs and abs(step - legs[-1].step) < 1e-9 * step:
                step = legs[-1].step
            legs.append(Leg(steps, step))
        return legs

    @property
    def one_step(self) -> float:
        """The step of a march without restarts: that of the legs if they share one, else the last time
        divided evenly.
        """
        steps = {leg.step for leg in self.legs if leg.steps}
        if len(steps) == 1:
            return steps.pop()
        last = float(self.times[-1])
        return float(last / np.ceil(last / self.limit - 1e-9)) if last > 0.0 else self.limit
