"""Time stepping by shears: reversible, superposing, and bounded for any self-adjoint positive force.

With z = dt² F and w = dt v, a substep is

    order 2   drift ½, kick z, drift ½
    order 4   kick z/6, drift ½, kick (2z/3 − z²/36), drift ½, kick z/6        (Chin, Phys. Lett. A 226, 1997)

where a drift adds w to u and a kick takes z u from w. Every shear has the determinant 1 and its own inverse,
and the sequence reads the same backwards. So reversing v retraces the steps to rounding, and nothing is
damped. On an eigenvector of F a substep is a rotation with

    order 2   cos φ = 1 − z/2                      ∈ [−1, 1]  for 0 ≤ z ≤ 4
    order 4   cos φ = 1 − z/2 + z²/24 − z³/864     ∈ [−1, 1]  for 0 ≤ z ≤ 12

and no eigenvector grows while the largest z stays below the limit.
"""

from collections.abc import Callable

from torch import Tensor

Operator = Callable[[Tensor], Tensor]

LIMITS = {2: 4.0, 4: 12.0}
"""Largest stable z = dt² λ_max(F) of a substep, by the order."""
SLACK = 1e-3
"""Share of the limit that is kept free for rounding."""


def stable_limit(order: int) -> float:
    """Largest z that a force may have."""
    return LIMITS[order] * (1 - SLACK)


def forces_per_step(order: int, substeps: int) -> int:
    """Forces computed one after another in ``substeps`` substeps."""
    return substeps if order == 2 else 3 * substeps + 1


def advance(
    order: int, substeps: int, u: Tensor, w: Tensor, force: Operator, damp: Operator | None = None
) -> tuple[Tensor, Tensor]:
    """Take substeps from the state u and w = dt v.

    Parameters
    ----------
    order
        2 or 4.
    substeps
        Number of substeps.
    u, w: (batch, 1, …)
    force
        dt² F.
    damp
        What half a substep leaves of w, where something is absorbed.
    """
    march = _second_order if order == 2 else _fourth_order
    return march(substeps, u, w, force, damp or (lambda w: w))


def _second_order(
    substeps: int, u: Tensor, w: Tensor, force: Operator, damp: Operator
) -> tuple[Tensor, Tensor]:
    for _ in range(substeps):
        w = damp(w)
        u = u + w / 2
        w = w - force(u)
        u = u + w / 2
        w = damp(w)
    return u, w


def _fourth_order(
    substeps: int, u: Tensor, w: Tensor, force: Operator, damp: Operator
) -> tuple[Tensor, Tensor]:
    outer = force(u)
    for _ in range(substeps):
        w = damp(w) - outer / 6
        u = u + w / 2
        middle = force(u)
        w = w - (2 / 3) * middle + force(middle) / 36
        u = u + w / 2
        outer = force(u)
        w = damp(w - outer / 6)
    return u, w
