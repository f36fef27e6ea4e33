"""Time stepping of the driven, damped wave: u_tt + D u_t = −L u + g(t), with prescribed values and layers.

D is diagonal: the damping γ of the medium and the drag of absorbing boundaries. With the differences
δu = (u⁺ − u⁻)/2Δt and δ²u = (u⁺ − 2u + u⁻)/Δt², leapfrog is

    δ²u + D δu = −L u + g,                                                                          (order 2)

solved for u⁺ by a division, because D is diagonal; damping does not touch its stability limit. Lax–Wendroff
adds the differences' own error, Δt²/12 (u_tttt + 2 D u_ttt), in which the equation replaces time derivatives:

    u_tttt + 2 D u_ttt = −L a + D (g_t − L w) + g_tt − D² u_tt,    a = −L u − D w + g ≈ u_tt,  w ≈ u_t,

    (1 + Δt²D²/12) δ²u + D δu = −L (u + Δt²/12 a) − Δt²/12 D L w
                                + (g⁺ + 10 g + g⁻)/12 + Δt/24 D (g⁺ − g⁻).                          (order 4)

w comes from a leapfrog step. Where D is one number, the terms with w cancel and cost nothing; else they
cost a third product with L, and the step is kept at `VARIABLE_DAMPING` of the undamped limit, where this was
found stable (spectral radius ≤ 1 for absorbing boundaries and damping that jumps, up to γΔt = 100). At an
absorbing boundary D grows like 1/h, so that refining mesh and step together gains order 2 there. Where u is
prescribed, (u_D⁺ + 10 u_D + u_D⁻)/12 stands for u + Δt²/12 a.

The velocity is not part of the scheme; `marching` reads it, and u between two steps, off the polynomial in
time through seven levels.

Matched layers (see `pml`) and the absorbing boundary behind them are treated to order 2 inside the layer. Its
force belongs to a as well: left out of it, it would drive the highest modes unstable.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimwave.fem.forcing import Forcing, PrescribedValues
from slimwave.fem.gll import Array
from slimwave.fem.operators import State, WaveOperator
from slimwave.fem.pml import LayerFields, MatchedLayer
from slimwave.fem.stepping import Scheme

VARIABLE_DAMPING = 0.9
"""Share of the undamped limit that Lax–Wendroff may use where D varies, and with matched layers."""

STEEPEST_LAYER = 1.3
"""Largest ζΔt in a matched layer; Lax–Wendroff was found unstable from 1.7 on."""

# Derivatives 1 to 4 from values at t − 2h … t + 2h; divide row k by h^(k + 1).
_DIFFERENCES = np.array(
    [
        [1 / 12, -2 / 3, 0.0, 2 / 3, -1 / 12],
        [-1 / 12, 4 / 3, -5 / 2, 4 / 3, -1 / 12],
        [-1 / 2, 1.0, 0.0, -1.0, 1 / 2],
        [1.0, -4.0, 6.0, -4.0, 1.0],
    ]
)


@dataclass(frozen=True, eq=False)
class Drive:
    """What is added to u_tt = −L u.

    Attributes
    ----------
    damping
        D at the nodes, shape (n_nodes,).
    forcing
        g.
    prescribed
        Values at the Dirichlet nodes.
    moving
        Whether these are not zero for good.
    layer
        Matched layer, or None.
    backing
        Drag of the boundary behind the layer at the nodes, shape (n_nodes,).
    """

    damping: Array
    forcing: Forcing
    prescribed: PrescribedValues
    moving: bool
    layer: MatchedLayer | None
    backing: Array

    @property
    def acts(self) -> bool:
        """Whether anything is added at all."""
        return bool(self.damping.any() or self.forcing.nodes.size or self.moving or self.layer is not None)

    @property
    def varies(self) -> bool:
        """Whether the terms with w are needed: D is not one number, or prescribed values meet damping."""
        free = np.delete(self.damping, self.prescribed.nodes)
        uneven = bool(free.size) and bool(np.ptp(free) > 1e-14 * np.max(free))
        return uneven or (self.moving and bool(self.damping.any()))


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

    Attributes
    ----------
    u, before
        The field at the present time and one step before it.
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
    ):
        self.operator, self.scheme, self.time_step = operator, scheme, time_step
        self._drive, self.count = drive, 0
        self._layer = None if drive.layer is None else LayerFields(drive.layer, operator)
        self._loaded = operator.places[drive.forcing.nodes]
        self._held = operator.places[drive.prescribed.nodes] if drive.moving else operator.places[:0]
        self._correct = scheme.order == 4 and drive.varies
        self._damping = operator.state(drive.damping)
        self._final, self._predictor = self._weights(scheme.order), self._weights(2)
        self._scratch, self._force, self._product = (np.zeros_like(u) for _ in range(3))
        self.u = u.copy()
        self._hold(self.u, 0)
        self.before = self._past(v)

    def step(self) -> None:
        """Take one time step; `u` becomes another array, the old one stays as it is."""
        new = self._combine(self._final, self._total_force())
        self._hold(new, 1)
        if self._layer is not None:
            places = self._layer.places
            self._layer.advance(0.5 * (self.u.ravel()[places] + new.ravel()[places]), self.time_step)
        self.before, self.u = self.u, new
        self.count += 1

    def save(self) -> dict[str, NDArray[Any]]:
        """Everything that a continuation needs, as arrays."""
        saved = {"present": self.u, "before": self.before, "count": np.array(self.count)}
        return saved if self._layer is None else saved | {"layer": self._layer.values}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Go on from where `save` was called, bit by bit the same."""
        self.u, self.before, self.count = saved["present"], saved["before"], int(saved["count"])
        if self._layer is not None:
            self._layer.values[...] = saved["layer"]

    def _weights(self, order: int) -> tuple[State, State, State]:
        """Weights of u, u⁻ and the force in P u⁺ = 2 m u − Q u⁻ − Δt² (force + ζ1ζ2 u), divided by P.

        m = 1 + Δt²D²/12 (order 4) or 1 (order 2), P and Q are m ± Δt/2 times all drag.
        """
        drive, step = self._drive, self.time_step
        mass = 1.0 + step**2 * drive.damping**2 / 12 if order == 4 else 1.0
        drag, stiffening = drive.damping + drive.backing, np.zeros_like(drive.backing)
        if drive.layer is not None:
            drag, stiffening = drag + drive.layer.drag, drive.layer.stiffening
        after = 1.0 / (mass + 0.5 * step * drag)
        centre = (2.0 * mass - step**2 * stiffening) * after
        behind, push = (mass - 0.5 * step * drag) * after, step**2 * after
        return self.operator.state(centre), self.operator.state(behind), self.operator.state(push)

    def _total_force(self) -> State:
        """Return L(…) − g and what goes with it at the present time."""
        return self._second_order_force() if self.scheme.order == 2 else self._fourth_order_force()

    def _second_order_force(self) -> State:
        self.operator.update(self.u, self.u, self._force, 0.0, 0.0, -1.0)
        self._force.ravel()[self._loaded] -= self._load(0)
        if self._layer is not None:
            self._force.ravel()[self._layer.places] += self._layer.force()
        return self._force

    def _fourth_order_force(self) -> State:
        operator, step, past, present, future = self.operator, self.time_step, *map(self._load, (-1, 0, 1))
        force = self._second_order_force()
        velocity = self._predicted_velocity(force) if self._correct else None
        inner = self._scratch
        np.multiply(force, -(step**2) / 12, out=inner)
        inner += self.u
        if velocity is not None:
            inner -= step**2 / 12 * self._damping * velocity
        inner.ravel()[self._held] = self._prescribed_mean()
        operator.update(inner, inner, force, 0.0, 0.0, -1.0)
        if velocity is not None:
            operator.update(velocity, velocity, self._product, 0.0, 0.0, -1.0)
            self._product *= self._damping
            self._product *= step**2 / 12
            force += self._product
        damping = self._damping.ravel()[self._loaded]
        force.ravel()[self._loaded] -= (past + 10 * present + future) / 12
        force.ravel()[self._loaded] -= step / 24 * damping * (future - past)
        if self._layer is not None:
            force.ravel()[self._layer.places] += self._layer.force()
        return force

    def _predicted_velocity(self, force: State) -> State:
        """W: the centred difference with a leapfrog step ahead."""
        ahead = self._combine(self._predictor, force)
        self._hold(ahead, 1)
        ahead -= self.before
        ahead *= 0.5 / self.time_step
        return ahead

    def _combine(self, weights: tuple[State, State, State], force: State) -> State:
        centre, behind, push = weights
        new = centre * self.u
        new -= behind * self.before
        new -= push * force
        return new

    def _load(self, offset: int) -> State:
        """G at the time `offset` steps from now, at the loaded places."""
        return self._drive.forcing(self._at(offset)).astype(self.u.dtype)

    def _prescribed_mean(self) -> Array:
        """(u_D⁺ + 10 u_D + u_D⁻)/12 = u_D + Δt²/12 u_D'' + O(Δt⁴)."""
        if not len(self._held):
            return np.empty(0)
        past, present, future = (self._drive.prescribed(self._at(offset)) for offset in (-1, 0, 1))
        return (past + 10.0 * present + future) / 12.0

    def _hold(self, state: State, offset: int) -> None:
        """Set the prescribed values of the time `offset` steps from now."""
        if len(self._held):
            state.ravel()[self._held] = self._drive.prescribed(self._at(offset))

    def _at(self, offset: int) -> float:
        return (self.count + offset) * self.time_step

    def _past(self, v: State) -> State:
        """Return the field one step before u by its Taylor polynomial, of the order of the scheme."""
        velocity = v.copy()
        velocity.ravel()[self._held] = self._rates(self._drive.prescribed, len(self._held))[0]
        derivatives = self._derivatives(velocity)[: self.scheme.order + 1]
        past = sum((-self.time_step) ** k / factorial(k) * value for k, value in enumerate(derivatives))
        past = np.asarray(past, dtype=self.u.dtype)
        self._hold(past, -1)
        return past

    def _derivatives(self, velocity: State) -> list[State]:
        """U and its first four time derivatives by the equation, given the first."""
        found = [self.u, velocity]
        held = self._rates(self._drive.prescribed, len(self._held))
        loads = [self._drive.forcing(self._at(0)), *self._rates(self._drive.forcing, len(self._loaded))]
        drag = (
            self._damping + self.operator.state(self._drive.backing)
            if self.scheme.order == 2
            else self._damping
        )
        for k in range(3):
            following = -self.operator.apply(found[k]) - drag * found[k + 1]
            following.ravel()[self._loaded] += loads[k]
            following.ravel()[self._held] = held[k + 1]
            found.append(following)
        return found

    def _rates(self, values: Forcing | PrescribedValues, count: int) -> Array:
        """Present time derivatives 1 to 4 of a load or of prescribed values, by differences, (4, count)."""
        if not count:
            return np.zeros((4, 0))
        samples = np.stack([values(self._at(offset)) for offset in range(-2, 3)])
        return _DIFFERENCES @ samples / self.time_step ** np.arange(1, 5)[:, None]
