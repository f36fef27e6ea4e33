"""A rectangle with round holes.

Around each hole lies a square of the surrounding grid, whose rim is joined to the circle by rings of quads:

>>> mesh = rectangle_with_holes(2.0, 1.0, holes=[(0.6, 0.5, 0.2)], element_size=0.1)
>>> sorted(mesh.boundaries)
['bottom', 'hole_1', 'left', 'right', 'top']
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray
from skfem import MeshQuad2

from slimwave.fem.blocks import Block, bend, glue, mapped_grid
from slimwave.fem.gll import Array
from slimwave.fem.meshes import check_lengths

ROOM = 1.6
"""Half side of the square around a hole, in radii of the hole."""

Hole = tuple[float, float, float]
"""Centre x, centre y and radius."""


def rectangle_with_holes(
    width: float, height: float, holes: Sequence[Hole], element_size: float
) -> MeshQuad2:
    """Return the rectangle [0, width] × [0, height] without the disks `holes`, of elements of about one size.

    The parts of the boundary are left, right, bottom, top and hole_1, hole_2, … in the order given.

    Raises
    ------
    ValueError
        For lengths that are not positive, or holes whose squares of half side 1.6 radii reach over the
        rectangle or into each other.
    """
    check_lengths(width=width, height=height, element_size=element_size)
    _check_room(width, height, holes)
    x = _lines(width, [(hole[0] - ROOM * hole[2], hole[0] + ROOM * hole[2]) for hole in holes], element_size)
    y = _lines(height, [(hole[1] - ROOM * hole[2], hole[1] + ROOM * hole[2]) for hole in holes], element_size)
    blocks = [_outside(mapped_grid(x, y, lambda s, t: (s, t)), holes)]
    blocks += [_rings(hole, x, y, element_size) for hole in holes]
    circles = [(np.array(hole[:2]), hole[2]) for hole in holes]
    slack = 1e-9 * max(width, height)
    parts: dict[str, Callable[[Array], NDArray[np.bool_]]] = {
        "left": lambda p: p[0] < slack,
        "right": lambda p: p[0] > width - slack,
        "bottom": lambda p: p[1] < slack,
        "top": lambda p: p[1] > height - slack,
    }
    for k, (x0, y0, radius) in enumerate(holes, start=1):
        parts[f"hole_{k}"] = partial(_within, np.array([[x0], [y0]]), 1.001 * radius)
    return bend(glue(blocks), circles).with_boundaries(parts)


def _within(centre: Array, radius: float, points: Array) -> NDArray[np.bool_]:
    """Which points (2, n) lie in a disk."""
    return np.asarray(np.hypot(*(points - centre)) < radius)


def _check_room(width: float, height: float, holes: Sequence[Hole]) -> None:
    for k, (x, y, radius) in enumerate(holes):
        check_lengths(**{f"holes[{k}] radius": radius})
        room = ROOM * radius
        if min(x, width - x) < room or min(y, height - y) < room:
            raise ValueError(
                f"holes[{k}]: needs {ROOM:g} radii of room from its centre to every side, got centre "
                f"({x:g}, {y:g}) and radius {radius:g} in {width:g} x {height:g}"
            )
    for (k, one), (m, two) in combinations(enumerate(holes), 2):
        if max(abs(one[0] - two[0]), abs(one[1] - two[1])) < ROOM * (one[2] + two[2]):
            raise ValueError(
                f"holes[{k}], holes[{m}]: the squares of half side {ROOM:g} radii around them overlap; move "
                "them apart"
            )


def _lines(length: float, spans: Sequence[tuple[float, float]], size: float) -> Array:
    """Grid lines through the ends of the spans, at most `size` apart, with at least two elements a span."""
    stops = np.unique(np.round([0.0, length, *np.ravel(spans)], 12))
    stops = stops[np.append(True, np.diff(stops) > 1e-9 * length)]
    largest = min([size, *(0.5 * (end - start) for start, end in spans)])
    pieces = [
        np.linspace(start, end, int(np.ceil((end - start) / largest - 1e-9)) + 1)[:-1]
        for start, end in pairwise(stops)
    ]
    return np.append(np.concatenate(pieces), length)


def _outside(grid: Block, holes: Sequence[Hole]) -> Block:
    """Return the grid without the cells in the squares around the holes."""
    x, y = grid.points[:, grid.quads].mean(axis=1)
    kept = np.ones(len(x), dtype=bool)
    for x0, y0, radius in holes:
        kept &= np.maximum(np.abs(x - x0), np.abs(y - y0)) > ROOM * radius
    numbers, quads = np.unique(grid.quads[:, kept], return_inverse=True)
    return Block(grid.points[:, numbers], quads.reshape(4, -1))


def _rings(hole: Hole, x: Array, y: Array, size: float) -> Block:
    """Rings of quads between the circle and the nodes of the grid on the square around it."""
    x0, y0, radius = hole
    room, slack = ROOM * radius, 1e-9
    across = x[np.abs(x - x0) <= room * (1 + slack)] - x0
    along = y[np.abs(y - y0) <= room * (1 + slack)] - y0
    sides = [
        [across[:-1], 0 * across[:-1] - room],
        [0 * along[:-1] + room, along[:-1]],
        [across[:0:-1], 0 * across[:0:-1] + room],
        [0 * along[:0:-1] - room, along[:0:-1]],
    ]
    rim = np.concatenate([np.stack(side) for side in sides], axis=1)
    rim = np.append(rim, rim[:, :1], axis=1)
    circle = radius * rim / np.hypot(*rim)
    rings = max(2, int(np.ceil((ROOM - 1.0) * radius / size)))
    count = np.arange(rim.shape[1], dtype=float)

    def place(number: Array, share: Array) -> tuple[Array, Array]:
        k = number.astype(int)
        point = (1.0 - share) * rim[:, k] + share * circle[:, k]
        return x0 + point[0], y0 + point[1]

    return mapped_grid(count, np.linspace(0.0, 1.0, rings + 1), place)
