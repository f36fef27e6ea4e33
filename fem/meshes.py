"""Meshes of quads with named sides.

>>> mesh = rectangle(width=2.0, height=1.0, elements=(4, 3))
>>> sorted(mesh.boundaries)
['bottom', 'left', 'right', 'top']
"""

import numpy as np
from skfem import MeshQuad


def rectangle(width: float = 1.0, height: float = 1.0, elements: tuple[int, int] = (20, 20)) -> MeshQuad:
    """Return the rectangle [0, width] × [0, height] as a mesh of `elements` = (along x, along y) equal quads.

    The sides are named left (x = 0), right (x = width), bottom (y = 0) and top (y = height).

    Raises
    ------
    ValueError
        For sides that are not positive or fewer than one element along an axis.
    """
    for name, length in (("width", width), ("height", height)):
        if not 0.0 < length < np.inf:
            raise ValueError(f"{name}: expected a positive length, got {length:g}")
    if np.shape(elements) != (2,) or any(int(n) != n or n < 1 for n in elements):
        raise ValueError(f"elements: expected two positive integers (along x, along y), got {elements}")
    x, y = (np.linspace(0.0, length, n + 1) for length, n in zip((width, height), elements, strict=True))
    sides = {
        "left": lambda p: p[0] == 0.0,
        "right": lambda p: p[0] == x[-1],
        "bottom": lambda p: p[1] == 0.0,
        "top": lambda p: p[1] == y[-1],
    }
    return MeshQuad.init_tensor(x, y).with_boundaries(sides)
