"""Building blocks of meshes: mapped grids of quads, glued together, their edges bent onto circles."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skfem import MeshQuad, MeshQuad2

from slimwave.fem.gll import Array

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Block:
    """Quads on points of their own.

    Attributes
    ----------
    points
        Shape (2, n).
    quads
        Numbers of the vertices of each quad, shape (4, m).
    """

    points: Array
    quads: Indices


def mapped_grid(s: Array, t: Array, place: Callable[[Array, Array], tuple[Array, Array]]) -> Block:
    """Return the grid of parameters s (n,) × t (m,), each of its points moved to place(s, t)."""
    points = np.stack(place(*np.meshgrid(s, t, indexing="ij"))).reshape(2, -1)
    number = np.arange(len(s) * len(t)).reshape(len(s), len(t))
    corners = (number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:])
    return Block(points, np.stack([corner.ravel() for corner in corners]))


def glue(blocks: Sequence[Block]) -> MeshQuad:
    """Join blocks where their points coincide, to 1e-9 of the size of the whole."""
    points = np.concatenate([block.points for block in blocks], axis=1)
    starts = np.cumsum([0] + [block.points.shape[1] for block in blocks[:-1]])
    quads = np.concatenate([block.quads + start for block, start in zip(blocks, starts, strict=True)], axis=1)
    scale = 1e-9 * np.ptp(points, axis=1).max()
    _, first, number = np.unique(np.rint(points / scale), axis=1, return_index=True, return_inverse=True)
    return MeshQuad(points[:, first], number.reshape(-1)[quads])


def bend(mesh: MeshQuad, circles: Sequence[tuple[Array, float]]) -> MeshQuad2:
    """Biquadratic elements whose edges on the boundary lie on the circle (centre, radius) of their ends.

    The centre of each element follows its edges (Coons patch), which keeps the map regular.
    """
    curved = MeshQuad2.from_mesh(mesh)
    places = curved.doflocs.copy()
    boundary = mesh.boundary_facets()
    middles = curved.dofs.facet_dofs[0, boundary]
    for centre, radius in circles:
        ends = mesh.p[:, mesh.facets[:, boundary]] - centre[:, None, None]
        on_circle = np.all(np.abs(np.hypot(*ends) - radius) < 1e-9 * radius, axis=0)
        chosen = middles[on_circle]
        outward = places[:, chosen] - centre[:, None]
        places[:, chosen] = centre[:, None] + radius * outward / np.hypot(*outward)
    dofs = curved.dofs.element_dofs  # four corners, four middles, the centre
    places[:, dofs[8]] = 0.5 * places[:, dofs[4:8]].sum(axis=1) - 0.25 * places[:, dofs[:4]].sum(axis=1)
    return MeshQuad2(places, curved.t)
