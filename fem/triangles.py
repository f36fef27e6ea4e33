"""Triangle meshes made into quads, so that high order and the diagonal mass stay.

Each triangle is cut from its centre to the middles of its edges into three quads. Curved triangles
(`MeshTri2`) give curved quads on the same parabolas.

>>> from skfem import MeshTri
>>> int(quads_from_triangles(MeshTri()).nelements)
6
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from skfem import Mesh, MeshQuad, MeshQuad2, MeshTri1, MeshTri2

from slimwave.fem.gll import Array

_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


def quads_from_triangles(mesh: Mesh) -> MeshQuad | MeshQuad2:
    """Return three quads for each triangle; named parts of the boundary keep their names.

    Raises
    ------
    ValueError
        For a mesh of other cells than triangles.
    """
    if not isinstance(mesh, MeshTri1):
        raise ValueError(f"mesh: expected a mesh of triangles, got {type(mesh).__name__}")
    places = _quad_places()
    vertices = mesh.p.shape[1] if not isinstance(mesh, MeshTri2) else int(mesh.t.max()) + 1
    count, facets = mesh.nelements, mesh.facets.shape[1]
    middles, centres = vertices + mesh.t2f, vertices + facets + np.arange(count)
    edges = ((0, 2), (1, 0), (2, 1))  # edges of the triangle that meet in each vertex: after it, before it
    quads = [
        np.stack([mesh.t[k], middles[after], centres, middles[before]])
        for k, (after, before) in enumerate(edges)
    ]
    corners = np.concatenate(quads, axis=1)
    nine = np.concatenate([_map(mesh, places[k]) for k in range(3)], axis=2)  # (2, 9, quads)
    corners, nine = _counter_clockwise(corners, nine)
    points = np.empty((2, vertices + facets + count))
    points[:, corners] = nine[:, :4]
    straight = MeshQuad(points, corners)
    quad_mesh = _curved(straight, nine) if isinstance(mesh, MeshTri2) else straight
    return quad_mesh.with_boundaries(_halved(mesh, straight, vertices)) if mesh.boundaries else quad_mesh


def _quad_places() -> Array:
    """Reference coordinates of the nine nodes of each of the three quads, shape (3, 9, 2)."""
    centre = _CORNERS.mean(axis=0)
    found = []
    for k in range(3):
        after, before = _CORNERS[(k + 1) % 3], _CORNERS[(k + 2) % 3]
        own = _CORNERS[k]
        corners = np.array([own, 0.5 * (own + after), centre, 0.5 * (own + before)])
        middles = 0.5 * (corners + np.roll(corners, -1, axis=0))
        found.append(np.concatenate([corners, middles, [corners.mean(axis=0)]]))
    return np.array(found)


def _map(mesh: MeshTri1, reference: Array) -> Array:
    """Places of reference points (n, 2) in every triangle, shape (2, n, triangles)."""
    return np.asarray(mesh.mapping().F(reference.T)).transpose(0, 2, 1)


def _counter_clockwise(corners: NDArray[np.int64], nine: Array) -> tuple[NDArray[np.int64], Array]:
    """List all quads in the same sense; scikit-fem lists triangles by the numbers of their vertices."""
    first, second = nine[:, 2] - nine[:, 0], nine[:, 3] - nine[:, 1]
    clockwise = first[0] * second[1] - first[1] * second[0] < 0.0
    corners, nine = corners.copy(), nine.copy()
    corners[:, clockwise] = corners[[0, 3, 2, 1]][:, clockwise]
    nine[:, :, clockwise] = nine[:, [0, 3, 2, 1, 7, 6, 5, 4, 8]][:, :, clockwise]
    return corners, nine


def _curved(straight: MeshQuad, nine: Array) -> MeshQuad2:
    mesh = MeshQuad2.from_mesh(straight)
    places = mesh.doflocs.copy()
    places[:, mesh.dofs.element_dofs] = nine
    return MeshQuad2(places, mesh.t)


def _halved(mesh: Mesh, quads: MeshQuad, vertices: int) -> Mapping[str, NDArray[np.int64]]:
    """Facets of the quads on each named part: both halves of each edge."""
    pairs = {tuple(pair): number for number, pair in enumerate(np.sort(quads.facets, axis=0).T.tolist())}
    halves = {}
    for name, facets in mesh.boundaries.items():
        numbers = np.asarray(facets)
        ends = mesh.facets[:, numbers].tolist()
        halves[name] = np.array(
            [
                pairs[vertex, vertices + int(facet)]
                for side in ends
                for vertex, facet in zip(side, numbers, strict=True)
            ]
        )
    return halves
