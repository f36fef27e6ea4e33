"""From output time to output time: the plan of a run, and where it stands."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimwave.fem.checkpointing import Keeper
from slimwave.fem.driven import DrivenStepper
from slimwave.fem.gll import Array, lagrange, lagrange_slopes
from slimwave.fem.operators import State
from slimwave.fem.recording import Recorder
from slimwave.fem.stepping import Stepper

BUNDLE = 2**19
"""Bytes of a field at the output times that a free march visits without a pause."""


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


class March(ABC):
    """A run under way.

    Attributes
    ----------
    reached
        Number of output times reached.
    total
        Number of all output times.
    u
        The field at those of them that the last call of `advance` has reached, shape (outputs, size).
    time_step, n_steps
        Largest step, and number of steps to the last output time.
    """

    reached: int
    total: int
    time_step: float
    n_steps: int
    u: State

    @property
    @abstractmethod
    def v(self) -> State:
        """u_t at the same times; it may be computed when first read, which must be before going on."""

    @abstractmethod
    def advance(self, most: int | None = None) -> tuple[int, int]:
        """Go to the next output times, or towards the next one, by at most so many steps.

        Returns how many were taken, and how many output times are reached: u and v are the fields there.
        """

    @abstractmethod
    def save(self) -> dict[str, NDArray[Any]]:
        """Everything that a continuation needs, as arrays."""

    @abstractmethod
    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Go on from where `save` was called, bit by bit the same."""


class FreeMarch(March):
    """March of a free wave, by `Stepper`: steps land on the output times, restarting where the step changes.

    Parameters
    ----------
    begin
        Makes a stepper from u, v and the time step.
    u, v
        Initial fields.
    legs
        The plan.
    velocities
        Whether v will be read.
    """

    def __init__(
        self,
        begin: Callable[[State, State, float], Stepper],
        u: State,
        v: State,
        legs: Sequence[Leg],
        *,
        velocities: bool,
    ):
        self.reached, self.total, self.u, self._v = 0, len(legs), u[None], v[None]
        self.time_step, self.n_steps = max(leg.step for leg in legs), sum(leg.steps for leg in legs)
        self._begin, self._legs, self._velocities = begin, legs, velocities
        self._start, self._taken = (u, v), 0
        self._most_outputs = max(1, BUNDLE // u.nbytes)
        self._stepper: Stepper | None = None

    @property
    def v(self) -> State:
        """See `March.v`."""
        return self._v

    def advance(self, most: int | None = None) -> tuple[int, int]:
        """See `March.advance`."""
        leg = self._legs[self.reached]
        if not leg.steps:
            self.reached += 1
            return 0, 1
        stepper, counts = self._stepper_for(leg), self._counts(most)
        if not counts:
            assert most is not None
            stepper.advance(most)
            self._taken += most
            return most, 0
        self.u, self._v = stepper.visit(counts, velocities=self._velocities)
        self.reached, self._taken = self.reached + len(counts), 0
        return sum(counts), len(counts)

    def _counts(self, most: int | None) -> list[int]:
        """Steps to each of the next output times that at most so many steps of one size reach."""
        legs = self._legs[self.reached : self.reached + self._most_outputs]
        counts = [leg.steps for leg in takewhile(lambda leg: leg.step == legs[0].step, legs)]
        counts[0] -= self._taken
        if most is None:
            return counts
        return [count for count, total in zip(counts, accumulate(counts), strict=True) if total <= most]

    def _stepper_for(self, leg: Leg) -> Stepper:
        """Return the stepper of a leg: a new one where the step changes."""
        if self._stepper is None:
            self._stepper = self._begin(*self._start, leg.step)
        elif self._stepper.time_step != leg.step:
            self._stepper = self._begin(self._stepper.u, self._stepper.velocity(), leg.step)
        return self._stepper

    def save(self) -> dict[str, NDArray[Any]]:
        """See `March.save`."""
        saved = {"reached": np.array(self.reached), "taken": np.array(self._taken)}
        if self._stepper is None:
            return saved
        return saved | self._stepper.save() | {"step": np.array(self._stepper.time_step)}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """See `March.restore`."""
        self.reached, self._taken = int(saved["reached"]), int(saved["taken"])
        if "step" in saved:
            self._stepper = self._begin(*self._start, float(saved["step"]))
            self._stepper.restore(saved)


class DrivenMarch(March):
    """March of a driven wave, by `DrivenStepper`, with one step and no restart.

    The field at an output time is read off the polynomial of degree 6 in time through the seven levels
    around it, and v is its slope: errors of order Δt⁷ and Δt⁶, below those of the scheme. A restart from
    u and v would be unstable where an absorbing boundary makes the equation stiff.

    Parameters
    ----------
    stepper
        At t = 0.
    u, v
        Initial fields.
    times
        Output times.
    """

    LEVELS = 7

    def __init__(self, stepper: DrivenStepper, u: State, v: State, times: Array):
        self.reached, self.total, self.u = 0, len(times), u[None]
        self.time_step, self.n_steps = stepper.time_step, round(times[-1] / stepper.time_step)
        self._stepper, self._times = stepper, times
        self._v: State | None = v[None]
        self._place = 0.0
        self._levels = deque([stepper.before, stepper.u], maxlen=self.LEVELS)

    def advance(self, most: int | None = None) -> tuple[int, int]:
        """See `March.advance`."""
        time, stepper = self._times[self.reached], self._stepper
        last = max(round(time / stepper.time_step) + self.LEVELS // 2, self.LEVELS - 2)
        steps = max(last - stepper.count, 0) if time > 0.0 else 0
        if most is not None and steps > most:
            self._step(most)
            return most, 0
        self._step(steps)
        if time > 0.0:
            self._read(time)
        self.reached += 1
        return steps, 1

    def _step(self, count: int) -> None:
        for _ in range(count):
            self._stepper.step()
            self._levels.append(self._stepper.u)

    def _read(self, time: float) -> None:
        """Interpolate u at a time between the levels; v, its slope there, when it is read."""
        place = time / self._stepper.time_step - (self._stepper.count - self.LEVELS + 1)
        self._place = float(round(place)) if abs(place - round(place)) < 1e-6 else place
        self.u, self._v = self._combine(lagrange(self._numbers, np.array(self._place))), None

    @property
    def v(self) -> State:
        """See `March.v`."""
        if self._v is None:
            slopes = lagrange_slopes(self._numbers, np.array(self._place)) / self._stepper.time_step
            self._v = self._combine(slopes)
        return self._v

    @property
    def _numbers(self) -> Array:
        return np.arange(self.LEVELS, dtype=float)

    def _combine(self, weights: Array) -> State:
        """Σ weights · levels."""
        dtype = self._stepper.u.dtype.type
        return sum_of(dtype(weight) * level for weight, level in zip(weights, self._levels, strict=True))[
            None
        ]

    def save(self) -> dict[str, NDArray[Any]]:
        """See `March.save`."""
        levels = {f"level_{k}": level for k, level in enumerate(self._levels)}
        return self._stepper.save() | levels | {"reached": np.array(self.reached)}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """See `March.restore`."""
        self._stepper.restore(saved)
        self.reached = int(saved["reached"])
        count = sum(name.startswith("level_") for name in saved)
        self._levels = deque((saved[f"level_{k}"] for k in range(count)), maxlen=self.LEVELS)


def sum_of(states: Iterator[State]) -> State:
    """Sum of states; the first is overwritten."""
    total = next(states)
    for state in states:
        total += state
    return total


def walk(
    march: March,
    recorder: Recorder,
    keeper: Keeper | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Go to the last output time and record; with a keeper, from its checkpoint, writing new ones."""
    saved = None if keeper is None else keeper.read()
    if saved is not None:
        march.restore(saved)
        recorder.restore(saved)
    unsaved = 0
    while march.reached < march.total:
        most = keeper.checkpoint.steps - unsaved if keeper is not None else None
        steps, arrived = march.advance(most)
        unsaved += steps
        if arrived:
            recorder.record(march.reached - arrived, march)
        if progress is not None:
            for done in range(march.reached - arrived, march.reached):
                progress(done + 1, march.total)
        if keeper is not None and unsaved >= keeper.checkpoint.steps:
            keeper.write(march.save() | recorder.save(march.reached))
            unsaved = 0
