"""Meshes of quads with named parts of their boundary: rectangle, L-shape, disk; see also `holes`.

>>> mesh = rectangle(width=2.0, height=1.0, elements=(4, 3))
>>> sorted(mesh.boundaries)
['bottom', 'left', 'right', 'top']
"""

import numpy as np
from skfem import MeshQuad, MeshQuad2

from slimwave.fem.blocks import Block, bend, glue, mapped_grid
from slimwave.fem.gll import Array
from slimwave.fem.memory import MESH_PER_ELEMENT, require_memory


def rectangle(width: float = 1.0, height: float = 1.0, elements: tuple[int, int] = (20, 20)) -> MeshQuad:
    """Return the rectangle [0, width] × [0, height] as a mesh of `elements` = (along x, along y) equal quads.

    The sides are named left (x = 0), right (x = width), bottom (y = 0) and top (y = height).

    Raises
    ------
    ValueError
        For sides that are not positive, fewer than one element along an axis, or a mesh that does not fit
        into memory.
    """
    check_lengths(width=width, height=height)
    if np.shape(elements) != (2,) or any(int(n) != n or n < 1 for n in elements):
        raise ValueError(f"elements: expected two positive integers (along x, along y), got {elements}")
    size = MESH_PER_ELEMENT * int(elements[0]) * int(elements[1])
    require_memory(
        size, "elements", f"a mesh of {elements[0]} x {elements[1]} elements", "use fewer elements"
    )
    x, y = (np.linspace(0.0, length, n + 1) for length, n in zip((width, height), elements, strict=True))
    sides = {
        "left": lambda p: p[0] == 0.0,
        "right": lambda p: p[0] == x[-1],
        "bottom": lambda p: p[1] == 0.0,
        "top": lambda p: p[1] == y[-1],
    }
    return MeshQuad.init_tensor(x, y).with_boundaries(sides)


def l_shape(size: float = 1.0, elements: int = 10) -> MeshQuad:
    """Return the square [0, size]² without its upper right quarter; `elements` (even) along the long sides.

    The parts of the boundary are left, bottom, right (the lower half of x = size), top (the left half of
    y = size) and notch, the two sides of the corner that points inwards. The gradient is singular there:
    refine if its neighbourhood matters.

    Raises
    ------
    ValueError
        For a size that is not positive, or a number of elements that is odd or below 2.
    """
    check_lengths(size=size)
    if int(elements) != elements or elements < 2 or elements % 2:
        raise ValueError(f"elements: expected an even number of at least 2, got {elements}")
    half, whole = np.linspace(0.0, 0.5 * size, elements // 2 + 1), np.linspace(0.0, size, elements + 1)
    rest = whole[elements // 2 :]
    blocks = [mapped_grid(whole, half, lambda x, y: (x, y)), mapped_grid(half, rest, lambda x, y: (x, y))]
    slack = 1e-9 * size
    sides = {
        "left": lambda p: p[0] < slack,
        "right": lambda p: p[0] > size - slack,
        "bottom": lambda p: p[1] < slack,
        "top": lambda p: p[1] > size - slack,
        "notch": lambda p: (
            (np.abs(p - 0.5 * size).min(axis=0) < slack) & (p.min(axis=0) > 0.5 * size - slack)
        ),
    }
    return glue(blocks).with_boundaries(sides)


def disk(radius: float = 1.0, centre: tuple[float, float] = (0.0, 0.0), elements: int = 8) -> MeshQuad2:
    """Return a disk of curved quads: five blocks of `elements` × `elements`, one inside, four around it.

    Its boundary is named rim. The edges on it are parabolas, which limits the accuracy from order 5 on.

    Raises
    ------
    ValueError
        For a radius that is not positive or fewer than one element.
    """
    check_lengths(radius=radius)
    if int(elements) != elements or elements < 1:
        raise ValueError(f"elements: expected a positive integer, got {elements}")
    middle = np.array(centre, dtype=float)
    s = np.linspace(0.0, 1.0, elements + 1)
    core = mapped_grid(s, s, lambda a, b: (CORE * (2 * a - 1), CORE * (2 * b - 1)))
    unit = [core, *(_turned(mapped_grid(s, s, _rim_block), quarter) for quarter in range(4))]
    blocks = [Block(middle[:, None] + radius * block.points, block.quads) for block in unit]
    mesh = bend(glue(blocks), [(middle, radius)])
    return mesh.with_boundaries({"rim": lambda p: np.ones(p.shape[1], dtype=bool)})


CORE = 0.45
"""Half side of the square in the middle of the unit disk."""


def check_lengths(**lengths: float) -> None:
    """Refuse lengths that are not positive, naming the first of them."""
    for name, length in lengths.items():
        if not 0.0 < length < np.inf:
            raise ValueError(f"{name}: expected a positive length, got {length:g}")


def _rim_block(a: Array, b: Array) -> tuple[Array, Array]:
    """Between the right side of the core (a = 0) and the rim (a = 1); b runs counter-clockwise."""
    angle = (b - 0.5) * np.pi / 2
    return (1 - a) * CORE + a * np.cos(angle), (1 - a) * CORE * (2 * b - 1) + a * np.sin(angle)


def _turned(block: Block, quarters: int) -> Block:
    """Turn a block about the origin by quarters of a full turn."""
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarters]
    x, y = block.points
    return Block(np.stack([cosine * x - sine * y, sine * x + cosine * y]), block.quads)
