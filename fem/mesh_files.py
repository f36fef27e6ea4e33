"""Meshes from files, in any format that meshio reads (Gmsh, VTK, Abaqus, …): the extra ``slimwave[mesh]``.

Quads, straight or biquadratic, are taken as they are; triangles are split into quads. Named groups of edges
(physical groups in Gmsh, cell sets elsewhere) become the named parts of the boundary.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from skfem import Mesh, MeshQuad, MeshQuad2
from skfem.refdom import RefTri

from slimwave.fem.gll import Array
from slimwave.fem.triangles import quads_from_triangles

PLANE_CELLS = ("quad", "quad9", "triangle", "triangle6")


def read_mesh(path: str | os.PathLike[str]) -> MeshQuad | MeshQuad2:
    """Read a plane mesh from a file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModuleNotFoundError
        Without meshio; ``pip install "slimwave[mesh]"`` brings it.
    ValueError
        For a file that meshio cannot read, without quads or triangles, with both, or not in a plane.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"path: there is no mesh file {path}")
    content = _read(path)
    kinds = [kind for kind in PLANE_CELLS if kind in content.cells_dict]
    if len(kinds) != 1:
        found = ", ".join(content.cells_dict) or "no cells"
        raise ValueError(
            f"path: expected cells of one kind of {', '.join(PLANE_CELLS)} in {path}, got {found}"
        )
    points = np.asarray(content.points, dtype=float)
    if points.shape[1] == 3 and np.ptp(points[:, 2]) > 1e-9 * np.ptp(points[:, :2]):
        raise ValueError(f"path: the mesh in {path} does not lie in a plane z = const")
    from skfem.io.meshio import from_meshio

    bare = type(content)(points[:, :2], {kinds[0]: content.cells_dict[kinds[0]]})
    mesh = from_meshio(bare, force_meshio_type=kinds[0], ignore_orientation=True)
    mesh = mesh.with_boundaries(_named_facets(content, points, mesh))
    return quads_from_triangles(mesh) if mesh.refdom is RefTri else mesh


def _named_facets(content: Any, points: Array, mesh: Mesh) -> dict[str, NDArray[np.int64]]:
    """Boundary facets under each named group of edges in the file, found by the middle of their ends.

    Edges of a group that lie inside the domain are left out.
    """
    tree = cKDTree(mesh.p[:, mesh.facets].mean(axis=1).T)
    slack = 1e-9 * np.ptp(mesh.p)
    named = {}
    for name, edges in _named_edges(content).items():
        distance, facets = tree.query(points[edges, :2].mean(axis=1))
        if np.any(distance > slack):
            raise ValueError(
                f"path: {np.sum(distance > slack)} edges of the group {name!r} are no edges of the mesh"
            )
        named[name] = np.intersect1d(facets, mesh.boundary_facets())
    return {name: facets for name, facets in named.items() if len(facets)}


def _named_edges(content: Any) -> dict[str, NDArray[np.int64]]:
    """Ends of the edges of each named group, (edges, 2): cell sets, and the physical groups of Gmsh."""
    names = {int(tag): name for name, (tag, dimension) in content.field_data.items() if dimension == 1}
    tags = content.cell_data.get("gmsh:physical", [None] * len(content.cells))
    found: dict[str, list[NDArray[np.int64]]] = {}
    for number, (block, tag) in enumerate(zip(content.cells, tags, strict=True)):
        if block.type not in ("line", "line3"):
            continue
        ends = np.asarray(block.data)[:, :2]
        for name, chosen in content.cell_sets.items():
            if not name.startswith("gmsh:") and chosen[number] is not None:
                found.setdefault(name, []).append(ends[np.asarray(chosen[number], dtype=int)])
        for value, name in names.items():
            if tag is not None:
                found.setdefault(name, []).append(ends[np.asarray(tag) == value])
    return {name: edges for name, parts in found.items() if len(edges := np.concatenate(parts))}


def _read(path: str | os.PathLike[str]) -> Any:
    try:
        import meshio
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'mesh files need meshio; install it with: pip install "slimwave[mesh]"'
        ) from error
    try:
        return meshio.read(path)
    except (meshio.ReadError, ValueError, KeyError, IndexError, UnicodeDecodeError, SystemExit) as error:
        raise ValueError(f"path: meshio cannot read {path}: {error}") from error
