"""Conditions on the boundary: what they mean, their names, and the checking of what a user gives.

* `Dirichlet` prescribes u (zero unless given: a clamped edge);
* `Neumann` prescribes the flux c² ∂u/∂n (zero unless given: a free edge);
* `Absorbing` lets waves out to first order: c² ∂u/∂n = −c u_t, exact for waves that arrive head-on;
* `PML` lets waves out through a perfectly matched layer, see `slimwave.fem.pml`.

Each also has a name: ``dirichlet``, ``neumann``, ``absorbing``, ``pml``. A field mirrored in a Dirichlet
wall changes its sign (odd, −1); in a Neumann wall it keeps it (even, +1). An absorbing side has no image (0).

>>> resolve_boundaries({"left": "neumann", "right": "neumann", "bottom": "dirichlet", "top": "dirichlet"})
{'left': 'neumann', 'right': 'neumann', 'bottom': 'dirichlet', 'top': 'dirichlet'}
>>> wall_signs({"left": "dirichlet", "right": "absorbing", "bottom": "neumann", "top": "neumann"})
(-1.0, 0.0, 1.0, 1.0)
>>> resolve_conditions({"rim": Dirichlet(lambda x, y, t: 0.1 * t), "hole_1": "absorbing"}, ["rim", "hole_1"])[
...     "hole_1"
... ]
Absorbing()
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from numpy.typing import ArrayLike

TimeField = float | Callable[..., ArrayLike]
"""A number, or a function f(x, y, t) of coordinates (arrays of one shape) and the time (a number)."""


@dataclass(frozen=True)
class Dirichlet:
    """U = value, a number or a function of (x, y, t); the function is also evaluated shortly before t = 0."""

    value: TimeField = 0.0


@dataclass(frozen=True)
class Neumann:
    """c² ∂u/∂n = flux, n pointing outwards; a number or a function of (x, y, t), see `Dirichlet`."""

    flux: TimeField = 0.0


@dataclass(frozen=True)
class Absorbing:
    """c² ∂u/∂n = −c u_t (Engquist and Majda, Absorbing boundary conditions, Math. Comp. 31, 1977)."""


@dataclass(frozen=True)
class PML:
    """Perfectly matched layer in the outermost elements along a straight side of a rectangle.

    Parameters
    ----------
    elements
        Thickness, in layers of elements.
    reflection
        Share of a wave arriving head-on that the undiscretised layer would send back.
    """

    elements: int = 3
    reflection: float = 1e-4

    def __post_init__(self) -> None:
        if int(self.elements) != self.elements or self.elements < 1:
            raise ValueError(
                f"elements: expected a positive number of layers of elements, got {self.elements}"
            )
        if not 0.0 < self.reflection < 1.0:
            raise ValueError(f"reflection: expected a share between 0 and 1, got {self.reflection:g}")


BoundaryCondition = Dirichlet | Neumann | Absorbing | PML
Boundaries = str | BoundaryCondition | Mapping[str, Any]
"""One condition for the whole boundary, or a mapping from every named part to its condition."""

NAMES: dict[str, type[BoundaryCondition]] = {
    "dirichlet": Dirichlet,
    "neumann": Neumann,
    "absorbing": Absorbing,
    "pml": PML,
}

Condition = Literal["dirichlet", "neumann"]

SIDES: tuple[str, ...] = ("left", "right", "bottom", "top")
"""Sides of a rectangle in their fixed order: x = 0, x = width, y = 0, y = height."""

CONDITIONS: tuple[Condition, ...] = get_args(Condition)
"""Names of the conditions in which a field can be mirrored."""

_SIGNS: dict[str, float] = {"dirichlet": -1.0, "neumann": 1.0, "absorbing": 0.0}


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
    _check_cover(boundaries, sides)
    return {side: _condition(boundaries[side], f"boundaries[{side!r}]") for side in sides}


def resolve_conditions(boundaries: Boundaries, parts: Sequence[str]) -> dict[str, BoundaryCondition]:
    """Give every part of the boundary its condition; see `resolve_boundaries`."""
    if not isinstance(boundaries, Mapping):
        return {part: _as_condition(boundaries, "boundaries") for part in parts}
    _check_cover(boundaries, parts)
    return {part: _as_condition(boundaries[part], f"boundaries[{part!r}]") for part in parts}


def _check_cover(boundaries: Mapping[str, Any], sides: Sequence[str]) -> None:
    unknown = [side for side in boundaries if side not in sides]
    missing = [side for side in sides if side not in boundaries]
    if unknown or missing:
        problem = f"unknown side {unknown[0]!r}" if unknown else f"no condition for side {missing[0]!r}"
        raise ValueError(f"boundaries: {problem}; give one condition for each of {', '.join(sides)}")


def wall_signs(boundaries: str | Mapping[str, str]) -> tuple[float, ...]:
    """Mirror signs of the four sides, in the order of `SIDES`: −1 Dirichlet, +1 Neumann, 0 absorbing.

    Raises
    ------
    ValueError
        As `resolve_boundaries`.
    """
    if isinstance(boundaries, str):
        boundaries = dict.fromkeys(SIDES, boundaries)
    _check_cover(boundaries, SIDES)
    return tuple(_SIGNS[_known(boundaries[side], f"boundaries[{side!r}]", tuple(_SIGNS))] for side in SIDES)


def _condition(name: str, argument: str) -> Condition:
    _known(name, argument, CONDITIONS)
    return cast("Condition", name)


def _known(name: str, argument: str, names: Sequence[str]) -> str:
    if name not in names:
        raise ValueError(f"{argument}: unknown condition {name!r}; choose one of {', '.join(names)}")
    return name


def _as_condition(given: Any, argument: str) -> BoundaryCondition:
    if isinstance(given, BoundaryCondition):
        return given
    if not isinstance(given, str) or given not in NAMES:
        raise ValueError(f"{argument}: unknown condition {given!r}; choose one of {', '.join(NAMES)}")
    return NAMES[given]()
