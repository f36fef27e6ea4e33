"""Time stepping of the driven, damped wave: u_tt + D u_t = −L u + g(t), with prescribed values and layers.

D is diagonal: the damping γ of the medium and the drag of absorbing boundaries. With the differences
δu = (u⁺ − u⁻)/2Δt and δ²u = (u⁺ − 2u + u⁻)/Δt², leapfrog is

    δ²u + D δu = −L u + g,                                                                          (order 2)

solved for u⁺ by a division, because D is diagonal; damping does not touch its stability limit. Lax–Wendroff
adds the differences' own error, Δt²/12 (u_tttt + 2 D u_ttt), in which the equation replaces time derivatives:

    u_tttt + 2 D u_ttt = −L a + D (g_t − L w) + g_tt − D² u_tt,    a = −L u − D w + g ≈ u_tt,  w ≈ u_t,

    (1 + Δt²D²/12) δ²u + D δu = −L (u + Δt²/12 a) − Δt²/12 D L w
                                + (g⁺ + 10 g + g⁻)/12 + Δt/24 D (g⁺ − g⁻).                          (order 4)

w comes from a leapfrog step. Where D is one number, the terms with w cancel and cost nothing; else the step
is kept at nine tenths of the undamped limit, where this was found
stable (spectral radius ≤ 1 for absorbing boundaries and damping that jumps, up to γΔt = 100). At an absorbing
boundary D grows like 1/h, so that refining mesh and step together gains order 2 there. Where u is prescribed,
(u_D⁺ + 10 u_D + u_D⁻)/12 stands for u + Δt²/12 a.

On tensor grids a compiled march takes the steps (`lane_steps`), elsewhere whole-array operations do
(`nodal_steps`); they agree to rounding. The velocity is not part of the scheme: see `readings`.

Matched layers (see `pml`) and the absorbing boundary behind them are treated to order 2 inside the layer. Its
force belongs to a as well: left out of it, it would drive the highest modes unstable.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimwave.fem.driven_start import first_levels
from slimwave.fem.drives import Drive, Terms
from slimwave.fem.lane_steps import LaneSteps
from slimwave.fem.lanes import aligned_zeros
from slimwave.fem.nodal_steps import NodalSteps
from slimwave.fem.operators import State, TensorOperator, WaveOperator
from slimwave.fem.readings import LEVELS, Readings
from slimwave.fem.stepping import Scheme

STEEPEST_LAYER = 1.3
"""Largest ζΔt in a matched layer; Lax–Wendroff was found unstable from 1.7 on."""


class DrivenStepper:
    """A driven, damped wave under way.

    Parameters
    ----------
    operator
        L.
    scheme
        See `stepping.SCHEMES`.
    drive
        What is added to u_tt = −L u.
    u, v
        Field and its time derivative at t = 0, states of the operator.
    time_step
        Δt.
    horizon
        Number of the last time step that will be taken: until then loads are evaluated many steps at once.

    Attributes
    ----------
    count
        Number of steps taken.
    """

    def __init__(
        self,
        operator: WaveOperator,
        scheme: Scheme,
        drive: Drive,
        u: State,
        v: State,
        time_step: float,
        horizon: int,
    ):
        terms = Terms(operator.places, u.size, [drive], time_step, horizon)
        start, last = first_levels(terms, scheme.order, operator.apply, u, v)
        self.count = 0
        self._steps: LaneSteps | NodalSteps
        if isinstance(operator, TensorOperator) and drive.layer is None:
            self._steps = LaneSteps(operator, scheme, drive, terms, last)
        else:
            self._steps = NodalSteps(operator, scheme, drive, terms)
        # The field at time number n lies at n modulo `LEVELS`.
        self._levels = aligned_zeros((LEVELS, u.size), u.dtype)
        self._levels[0], self._levels[-1] = start, last

    @property
    def u(self) -> State:
        """The field at the present time."""
        return self._levels[self.count % LEVELS]

    def advance(self, steps: int) -> None:
        """Take `steps` time steps."""
        self.visit(Readings.none(steps), velocities=False)

    def visit(self, readings: Readings, *, velocities: bool) -> tuple[State, State]:
        """Take steps and read the wave on the way.

        Returns
        -------
        u, v at the readings, shape (readings, size); v is empty unless velocities are wanted.
        """
        kind = self._levels.dtype
        fields = np.empty((len(readings.ends), self._levels.shape[1]), kind)
        changes = np.empty_like(fields[: len(fields) * velocities])
        self._steps.visit(self._levels, self.count, readings.astype(kind), fields, changes)
        self.count += readings.steps
        return fields, changes

    def save(self) -> dict[str, NDArray[Any]]:
        """Everything that a continuation needs, as arrays."""
        return {"levels": self._levels, "count": np.array(self.count)} | self._steps.save()

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Go on from where `save` was called, bit by bit the same."""
        self._levels[...], self.count = saved["levels"], int(saved["count"])
        self._steps.restore(saved)
