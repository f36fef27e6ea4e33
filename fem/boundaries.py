"""Conditions on the walls: their names, their order, and the checking of what a user gives.

``dirichlet`` holds u = 0 (a clamped edge); ``neumann`` leaves c² ∂u/∂n = 0 (a free edge). A field mirrored
in a Dirichlet wall changes its sign (odd, −1); in a Neumann wall it keeps it (even, +1).

>>> resolve_boundaries({"left": "neumann", "right": "neumann", "bottom": "dirichlet", "top": "dirichlet"})
{'left': 'neumann', 'right': 'neumann', 'bottom': 'dirichlet', 'top': 'dirichlet'}
>>> wall_signs("dirichlet")
(-1.0, -1.0, -1.0, -1.0)
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

Condition = Literal["dirichlet", "neumann"]

SIDES: tuple[str, ...] = ("left", "right", "bottom", "top")
"""Sides of a rectangle in their fixed order: x = 0, x = width, y = 0, y = height."""

CONDITIONS: tuple[Condition, ...] = get_args(Condition)

_SIGNS: dict[Condition, float] = {"dirichlet": -1.0, "neumann": 1.0}


def resolve_boundaries(
    boundaries: str | Mapping[str, str], sides: Sequence[str] = SIDES
) -> dict[str, Condition]:
    """Give every side its condition, in the order of `sides`.

    Parameters
    ----------
    boundaries
        One condition for all sides, or a mapping from every side to its condition.
    sides
        Names of the sides that must be covered.

    Raises
    ------
    ValueError
        For an unknown condition, an unknown side or a side left out.
    """
    if isinstance(boundaries, str):
        return {side: _condition(boundaries, "boundaries") for side in sides}
    unknown = [side for side in boundaries if side not in sides]
    missing = [side for side in sides if side not in boundaries]
    if unknown or missing:
        problem = f"unknown side {unknown[0]!r}" if unknown else f"no condition for side {missing[0]!r}"
        raise ValueError(f"boundaries: {problem}; give one condition for each of {', '.join(sides)}")
    return {side: _condition(boundaries[side], f"boundaries[{side!r}]") for side in sides}


def wall_signs(boundaries: str | Mapping[str, str]) -> tuple[float, ...]:
    """Mirror signs of the four walls in the order of `SIDES`: −1 Dirichlet (odd), +1 Neumann (even)."""
    return tuple(_SIGNS[condition] for condition in resolve_boundaries(boundaries).values())


def _condition(name: str, argument: str) -> Condition:
    if name not in CONDITIONS:
        raise ValueError(f"{argument}: unknown condition {name!r}; choose one of {', '.join(CONDITIONS)}")
    return name
