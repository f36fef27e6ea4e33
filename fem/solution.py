"""What a run returns: snapshots on a grid, at receivers, at the nodes, and how they were computed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skfem import Mesh

from slimwave.fem.gll import Array


@dataclass(frozen=True, eq=False)
class Traces:
    """u and v = u_t at a set of places.

    Attributes
    ----------
    points
        Shape (2, places).
    u, v
        Shape (n, places) for n output times; (0, places) for what was not recorded.
    """

    points: Array
    u: NDArray[Any]
    v: NDArray[Any]


NO_TRACES = Traces(np.empty((2, 0)), np.empty((0, 0)), np.empty((0, 0)))


@dataclass(frozen=True, eq=False)
class Solution:
    """Snapshots of a wave, and how they were computed.

    Attributes
    ----------
    times
        Shape (n,).
    x, y
        Coordinates of the grid, shapes (nx,) and (ny,); they include the walls. Empty without a grid.
    u, v
        u and v = u_t at these times, shape (n, nx, ny); zero outside the domain. What was not recorded is
        empty, of shape (0, nx, ny).
    energy
        ½ (vᵀMv + uᵀKu) of the nodal fields at these times, shape (n,), or (0,) if not recorded.
    time_step
        Largest time step taken.
    n_steps
        Number of time steps.
    scheme, order, n_dofs
        Time scheme, polynomial order and number of free nodes.
    mask
        Which points of the grid lie in the domain, shape (nx, ny).
    receivers, nodes
        u and v at the receivers and at all nodes, where these were asked for.
    provenance
        Version, mesh, order, scheme, step and type: what it takes to compute this again.
    """

    times: Array
    x: Array
    y: Array
    u: NDArray[Any]
    v: NDArray[Any]
    energy: Array
    time_step: float
    n_steps: int
    scheme: str
    order: int
    n_dofs: int
    mask: NDArray[np.bool_] = field(default_factory=lambda: np.ones((0, 0), dtype=bool))
    receivers: Traces = NO_TRACES
    nodes: Traces = NO_TRACES
    provenance: Mapping[str, str | int | float] = field(default_factory=dict)


def mesh_hash(mesh: Mesh) -> str:
    """SHA-256 of the nodes and the connectivity of a mesh, the first 16 digits."""
    digest = hashlib.sha256(type(mesh).__name__.encode())
    for array in (mesh.doflocs, mesh.t):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
