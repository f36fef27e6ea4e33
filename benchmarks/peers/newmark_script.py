"""What a first scikit-fem script does: triangles of order 2, consistent mass, Newmark steps."""

import numpy as np
from fem_accuracy import GRID, TIMES, Array
from scipy.sparse.linalg import splu
from skfem import Basis, BilinearForm, ElementTriP2, MeshTri
from skfem.helpers import dot, grad
from skfem.models.poisson import mass

from peers.problems import SNAPSHOTS, Case, Problem


def newmark_script(problem: Problem, cells: int, steps: int) -> Case:
    """Assemble; `steps` Newmark steps (β = 1/4, γ = 1/2) per snapshot, factorised once for each medium."""
    ticks = np.linspace(0.0, 1.0, cells + 1)
    basis = Basis(MeshTri.init_tensor(ticks, ticks), ElementTriP2())
    step, inner = TIMES[0] / steps, basis.complement_dofs(basis.get_dofs())

    @BilinearForm
    def stiffness(u, v, w):  # type: ignore[no-untyped-def]
        return problem.speed(*w.x) ** 2 * dot(grad(u), grad(v))

    K, M = (form.assemble(basis)[inner][:, inner].tocsc() for form in (stiffness, mass))
    probes = basis.probes(_points_off_edges()).tocsr()[:, inner]

    def solve() -> Array:
        consistent, implicit = splu(M), splu((M + 0.25 * step**2 * K).tocsc())
        u = problem.pulse(*basis.doflocs)[inner]
        v, a = np.zeros_like(u), consistent.solve(-K @ u)
        found = np.empty((SNAPSHOTS, len(u)))
        for number in range(SNAPSHOTS):
            for _ in range(steps):
                u = u + step * v + 0.25 * step**2 * a
                v = v + 0.5 * step * a
                a = implicit.solve(-K @ u)
                u, v = u + 0.25 * step**2 * a, v + 0.5 * step * a
            found[number] = u
        return found

    return Case(
        label=f"scikit-fem script: P2 Newmark, {cells}x{cells}",
        unknowns=len(inner),
        steps=SNAPSHOTS * steps,
        samples=1,
        solve=solve,
        snapshots=lambda found: (probes @ found.T).T.reshape(SNAPSHOTS, *GRID),
    )


def _points_off_edges() -> Array:
    """Points of the grid, shape (2, points), moved by 1e-9: on edges `probes` takes very long."""
    grid = np.meshgrid(*(np.linspace(0.0, 1.0, size) for size in GRID), indexing="ij")
    nudged = np.array([axis.ravel() for axis in grid]) + np.array([[3.1e-9], [1.7e-9]])
    return np.clip(nudged, 1e-9, 1.0 - 2e-9)
