"""Time stepping of u_tt = −L u: leapfrog (order 2) and Lax–Wendroff (order 4).

Both are two-step schemes for u^n ≈ u(nΔt). The exact solution satisfies u⁺ + u⁻ = 2 cos(Δt √L) u; with
A = Δt² L

    leapfrog:      u⁺ = 2u − u⁻ − A u,                stable for Δt ≤ 2 / √λ,
    Lax–Wendroff:  u⁺ = 2u − u⁻ − A u + A² u / 12,    stable for Δt ≤ 2√3 / √λ,

λ the largest eigenvalue of L (Lax and Wendroff 1960; Shubin and Bell, A modified equation approach to
constructing fourth order methods for acoustic wave propagation, SIAM J. Sci. Stat. Comput. 8, 1987).
Lax–Wendroff needs two products with L per step, but takes √3 longer steps and is far more accurate.

A scheme starts from u and v = u_t by u⁻ = C u − Δt S v, and gives v back by v = S⁻¹ (u⁺ − u⁻) / (2Δt),
with polynomials C ≈ cos √A and S ≈ sin √A / √A of the scheme's order. The product of S and its inverse
series is the identity up to A³ (Lax–Wendroff), so that a run may be stopped and started again with
another step without losing its order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimwave.fem.operators import State, WaveOperator

VARIABLE_DAMPING = 0.9
"""Share of the undamped limit that Lax–Wendroff may use where damping varies, see `driven`."""


class UnstableTimeStepError(ValueError):
    """A time step above the stability limit of the scheme."""

    def __init__(self, time_step: float, largest: float, scheme: str):
        super().__init__(
            f"time_step: {time_step:g} is above the stability limit of {scheme}; the largest legal step is "
            f"{round_down(largest)!r}"
        )
        self.largest = largest


@dataclass(frozen=True)
class Scheme:
    """A two-step scheme.

    Attributes
    ----------
    name
    order
        Order of convergence in time.
    limit
        Largest eigenvalue of A = Δt² L for which the scheme is stable.
    cosine, sine, inverse_sine
        Coefficients of 1, A, A², … in C, S and S⁻¹.
    """

    name: str
    order: int
    limit: float
    cosine: tuple[float, ...]
    sine: tuple[float, ...]
    inverse_sine: tuple[float, ...]

    def largest_step(self, spectral_radius: float, *, varies: bool = False) -> float:
        """Largest stable Δt, √(limit / λ); `varies` tells whether damping does, or a boundary absorbs."""
        share = VARIABLE_DAMPING if varies and self.order == 4 else 1.0
        return share * float(np.sqrt(self.limit / spectral_radius))


LEAPFROG = Scheme("leapfrog", 2, 4.0, cosine=(1.0, -1 / 2), sine=(1.0,), inverse_sine=(1.0,))
LAX_WENDROFF = Scheme(
    "lax-wendroff",
    4,
    12.0,
    cosine=(1.0, -1 / 2, 1 / 24),
    sine=(1.0, -1 / 6, 1 / 120),
    inverse_sine=(1.0, 1 / 6, 7 / 360),
)
SCHEMES = {scheme.name: scheme for scheme in (LAX_WENDROFF, LEAPFROG)}


def find_scheme(name: str) -> Scheme:
    """Return the scheme of that name; ValueError for any other."""
    if name not in SCHEMES:
        raise ValueError(f"scheme: unknown scheme {name!r}; choose one of {', '.join(SCHEMES)}")
    return SCHEMES[name]


class Stepper:
    """A wave under way: the fields at two successive times.

    Parameters
    ----------
    operator
        L.
    scheme
        See `SCHEMES`.
    u, v
        Initial field and its time derivative, states of the operator.
    time_step
        Δt.
    """

    def __init__(self, operator: WaveOperator, scheme: Scheme, u: State, v: State, time_step: float):
        self.operator = operator
        self.scheme = scheme
        self.time_step = time_step
        self.u = u.copy()
        past = self._polynomial(scheme.sine, v)
        past *= -time_step
        self._old = past + self._polynomial(scheme.cosine, u)
        self._ahead, self._knows_ahead = np.empty_like(u), False

    def advance(self, steps: int) -> None:
        """Take `steps` time steps."""
        self.visit([steps], velocities=False)

    def reverse(self) -> None:
        """Turn time round: the next step leads back to the previous field."""
        if not self._knows_ahead:
            self.velocity()
        self._old, self._ahead = self._ahead, self._old

    def velocity(self) -> State:
        """Return v = u_t at the present time, from the centred difference, to the order of the scheme."""
        return self.visit([0], velocities=True)[1][0]

    def visit(self, counts: Sequence[int], *, velocities: bool) -> tuple[State, State]:
        """Take counts[n] time steps to output n, for each n.

        Returns
        -------
        u, v at the outputs, shape (outputs, size); v is empty unless velocities are wanted, which take a step
        beyond each output. The next step starts from there.
        """
        steps = np.array(counts, dtype=np.int64)
        if self._knows_ahead and steps[0]:
            self.u, self._old, self._ahead = self._ahead, self.u, self._old
            steps[0] -= 1
        levels = self.u, self._old, self._ahead
        fields = np.empty((len(steps), *self.u.shape), self.u.dtype)
        changes = np.empty_like(fields[: len(steps) * velocities])
        order = self.scheme.order
        levels = self.operator.visit(levels, self.time_step, steps, order, fields, changes)
        self.u, self._old, self._ahead = levels
        self._knows_ahead = velocities
        return fields, self._velocities(changes) if velocities else changes

    def save(self) -> dict[str, NDArray[Any]]:
        """Everything that a continuation needs, as arrays."""
        return {"u": self.u, "old": self._old}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Go on from where `save` was called, bit by bit the same."""
        self.u, self._old, self._knows_ahead = saved["u"].copy(), saved["old"].copy(), False

    def invariant(self) -> float:
        """The energy that the scheme itself keeps to rounding, between the last two times.

        ½ ‖(u − u⁻)/Δt‖²_M + ½ ⟨u, L' u⁻⟩_M with L' = L (leapfrog) or L − Δt²/12 L² (Lax–Wendroff). It is
        positive below the stability limit and differs from `WaveOperator.energy` by O(Δt²).
        """
        operator = self.operator
        change = (self.u - self._old) / self.operator.dtype.type(self.time_step)
        force = operator.apply(self._old)
        if self.scheme.order == 4:
            operator.update(force.copy(), force, force, 1.0, 0.0, self.time_step**2 / 12)
        return 0.5 * (operator.inner(change, change) + operator.inner(self.u, force))

    def _velocities(self, changes: State) -> State:
        """S⁻¹ (u⁺ − u⁻) / (2Δt) for changes u⁺ − u⁻ of shape (n, size), which are overwritten."""
        first, *others = (coefficient / (2.0 * self.time_step) for coefficient in self.scheme.inverse_sine)
        if not others:
            changes *= changes.dtype.type(first)
            return changes
        inner, (second, third), step2 = np.zeros_like(changes), others, self.time_step**2
        self.operator.update(changes, changes, inner, second, 0.0, -step2 * third)
        self.operator.update(inner, changes, changes, first, 0.0, -step2)
        return changes

    def _polynomial(self, coefficients: tuple[float, ...], x: State) -> State:
        """Σ_k coefficients[k] A^k x by Horner's rule."""
        total = x * x.dtype.type(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            following = np.zeros_like(x)
            self.operator.update(total, x, following, coefficient, 0.0, -(self.time_step**2))
            total = following
        return total


def round_down(value: float, digits: int = 6) -> float:
    """Largest number of `digits` significant digits that is not above a positive value."""
    scale = 10.0 ** (digits - 1 - int(np.floor(np.log10(value))))
    return float(f"{np.floor(value * scale) / scale:.{digits}g}")
