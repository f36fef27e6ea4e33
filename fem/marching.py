"""From output time to output time: where a run stands, and how it goes on."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate, takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimwave.fem.checkpointing import Keeper
from slimwave.fem.driven import DrivenStepper
from slimwave.fem.drives import Drive
from slimwave.fem.operators import State, WaveOperator
from slimwave.fem.plans import Leg, Plan
from slimwave.fem.readings import Readings
from slimwave.fem.recording import Recorder
from slimwave.fem.stepping import Scheme, Stepper

BUNDLE = 2**19
"""Bytes of a field at the output times that a march visits without a pause."""


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
    """March of a driven wave, by `DrivenStepper`, with one step and no restart; see `readings`.

    Parameters
    ----------
    begin
        Makes a stepper from u, v, the time step and the number of the last step.
    u, v
        Initial fields.
    plan
        The plan.
    velocities
        Whether v will be read.
    """

    def __init__(
        self,
        begin: Callable[[State, State, float, int], DrivenStepper],
        u: State,
        v: State,
        plan: Plan,
        *,
        velocities: bool,
    ):
        self.reached, self.total, self.u, self._v = 0, len(plan.times), u[None], v[None]
        self.time_step, self._velocities = plan.one_step, velocities
        self.n_steps = round(plan.times[-1] / self.time_step)
        self._initial = int(plan.times[0] == 0.0)  # number of output times at t = 0
        self._readings = Readings.of_times(plan.times[self._initial :], self.time_step)
        self._most_outputs = max(1, BUNDLE // u.nbytes)
        self._stepper = begin(u, v, self.time_step, self._readings.steps)

    @property
    def v(self) -> State:
        """See `March.v`."""
        return self._v

    def advance(self, most: int | None = None) -> tuple[int, int]:
        """See `March.advance`."""
        if self.reached < self._initial:
            self.reached += 1
            return 0, 1
        first, taken = self.reached - self._initial, self._stepper.count
        end = min(first + self._most_outputs, len(self._readings.ends))
        if most is not None:
            end = min(end, int(np.searchsorted(self._readings.ends, taken + most, side="right")))
        if end <= first:
            assert most is not None
            self._stepper.advance(most)
            return most, 0
        readings = self._readings.part(first, end, taken)
        self.u, self._v = self._stepper.visit(readings, velocities=self._velocities)
        self.reached += end - first
        return readings.steps, end - first

    def save(self) -> dict[str, NDArray[Any]]:
        """See `March.save`."""
        return self._stepper.save() | {"reached": np.array(self.reached)}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """See `March.restore`."""
        self._stepper.restore(saved)
        self.reached = int(saved["reached"])


def march_of(
    operator: WaveOperator,
    scheme: Scheme,
    drive: Drive,
    u: State,
    v: State,
    plan: Plan,
    *,
    velocities: bool,
) -> March:
    """The march of a wave: a free one where nothing drives it."""
    if drive.acts:
        return DrivenMarch(partial(DrivenStepper, operator, scheme, drive), u, v, plan, velocities=velocities)
    return FreeMarch(partial(Stepper, operator, scheme), u, v, plan.legs, velocities=velocities)


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
