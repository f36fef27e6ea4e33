"""Meshes from files, in any format that meshio reads (Gmsh, VTK, Abaqus, …): the extra ``slimwave[mesh]``.

Quads, straight or biquadratic, are taken as they are; triangles are split into quads. Named groups of edges
(physical groups in Gmsh) become the named parts of the boundary.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from skfem import MeshQuad, MeshQuad2
from skfem.refdom import RefTri

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

    mesh = from_meshio(content, force_meshio_type=kinds[0], ignore_orientation=True)
    return quads_from_triangles(mesh) if mesh.refdom is RefTri else mesh


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
