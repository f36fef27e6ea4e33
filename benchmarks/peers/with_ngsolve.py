"""NGSolve: quads of order 4 with consistent mass and Newmark steps, and triangles with lumped mass.

Both solve u_tt = ∇·(c² ∇u) with sparse matrices on one thread, stepped from Python as in NGSolve's tutorials.
"""

from typing import Any

import numpy as np
from fem_accuracy import GRID, TIMES, Array

from peers.problems import INTERFACES, LAYERS, SNAPSHOTS, WIDTH, Case, Problem, steps_per_snapshot

SAFETY = 0.95
TABLE = 1601
"""Points per side of the table from which NGSolve interpolates a smooth c linearly."""


def ngsolve_newmark(problem: Problem, cells: int, order: int, steps: int) -> Case:
    """Quads; `steps` Newmark steps (β = 1/4, γ = 1/2) per snapshot, factorised by sparse Cholesky."""
    import ngsolve as ng

    space, stiffness = _space(ng, problem, cells, order, lumped=False)
    trial, test = space.TnT()
    mass = ng.BilinearForm(trial * test * ng.dx).Assemble().mat
    step = TIMES[0] / steps
    implicit = mass.CreateMatrix()
    implicit.AsVector().data = mass.AsVector() + 0.25 * step**2 * stiffness.AsVector()
    inverse, consistent = (
        matrix.Inverse(space.FreeDofs(), inverse="sparsecholesky") for matrix in (implicit, mass)
    )
    start = _initial(ng, problem, space)

    def solve() -> Array:
        u, v, a, force = (start.CreateVector() for _ in range(4))
        u.data, v[:] = start, 0.0
        force.data = stiffness * u
        a.data = -consistent * force
        found = np.empty((SNAPSHOTS, len(u)))
        for number in range(SNAPSHOTS):
            for _ in range(steps):
                u.data += step * v + 0.25 * step**2 * a
                v.data += 0.5 * step * a
                force.data = stiffness * u
                a.data = -inverse * force
                u.data += 0.25 * step**2 * a
                v.data += 0.5 * step * a
            found[number] = u.FV().NumPy()
        return found

    label = f"NGSolve Q{order} Newmark, {cells}x{cells}"
    return _case(ng, label, space, SNAPSHOTS * steps, solve)


def ngsolve_lumped(problem: Problem, cells: int) -> Case:
    """Triangles of order 2 with bubbles and mass lumping, leapfrog."""
    import ngsolve as ng

    space, stiffness = _space(ng, problem, cells, 2, lumped=True)
    trial, test = space.TnT()
    rules = space.GetIntegrationRules()
    mass = ng.BilinearForm(trial * test * ng.dx(intrules=rules), diagonal=True).Assemble().mat
    inverse = mass.Inverse(space.FreeDofs())
    start = _initial(ng, problem, space)
    largest = 2.0 / np.sqrt(1.1 * _power_iteration(stiffness, inverse, start))
    steps = steps_per_snapshot(SAFETY * largest)
    step = TIMES[0] / steps

    def solve() -> Array:
        u, old, force, change = (start.CreateVector() for _ in range(4))
        u.data = start
        force.data = stiffness * u
        change.data = inverse * force
        old.data = u - 0.5 * step**2 * change
        found = np.empty((SNAPSHOTS, len(u)))
        for number in range(SNAPSHOTS):
            for _ in range(steps):
                force.data = stiffness * u
                change.data = inverse * force
                old *= -1.0
                old.data += 2.0 * u - step**2 * change
                u, old = old, u
            found[number] = u.FV().NumPy()
        return found

    return _case(ng, f"NGSolve lumped P2 leapfrog, {cells}x{cells}", space, SNAPSHOTS * steps, solve)


def _space(ng: Any, problem: Problem, cells: int, order: int, *, lumped: bool) -> tuple[Any, Any]:
    """Space with zero walls, and its stiffness matrix."""
    from ngsolve.meshes import MakeStructured2DMesh

    ng.SetNumThreads(1)
    mesh = MakeStructured2DMesh(quads=not lumped, nx=cells, ny=cells)
    kind = ng.H1LumpingFESpace if lumped else ng.H1
    space = kind(mesh, order=order, dirichlet=".*")
    trial, test = space.TnT()
    form = ng.BilinearForm(_speed(ng, problem) ** 2 * ng.grad(trial) * ng.grad(test) * ng.dx)
    return space, form.Assemble().mat


def _speed(ng: Any, problem: Problem) -> Any:
    """Speed c as a coefficient function; elements do not straddle the interfaces of layers."""
    if problem.sharp:
        speed = ng.CoefficientFunction(LAYERS[-1])
        for depth, below in zip(INTERFACES[::-1], LAYERS[-2::-1], strict=True):
            speed = ng.IfPos(depth - ng.y, below, speed)
        return speed
    ticks = np.linspace(0.0, 1.0, TABLE)
    table = problem.speed(*np.meshgrid(ticks, ticks))
    return ng.VoxelCoefficient((0.0, 0.0), (1.0, 1.0), table, linear=True)


def _initial(ng: Any, problem: Problem, space: Any) -> Any:
    """Pulse in the space, zero on the walls."""
    x0, y0 = problem.centre
    field = ng.GridFunction(space)
    field.Set(ng.exp(-((ng.x - x0) ** 2 + (ng.y - y0) ** 2) / (2 * WIDTH**2)))
    start = field.vec.CreateVector()
    start.data = ng.Projector(space.FreeDofs(), True) * field.vec
    return start


def _power_iteration(stiffness: Any, inverse: Any, start: Any, count: int = 200) -> float:
    """Estimate the largest eigenvalue from below, within some per cent."""
    vector, force = start.CreateVector(), start.CreateVector()
    vector.SetRandom(1)
    size = 1.0
    for _ in range(count):
        force.data = stiffness * vector
        vector.data = inverse * force
        size = vector.Norm()
        vector.data = 1.0 / size * vector
    return float(size)


def _case(ng: Any, label: str, space: Any, steps: int, solve: Any) -> Case:
    def snapshots(found: Array) -> Array:
        points = np.meshgrid(*(np.linspace(1e-9, 1.0 - 1e-9, size) for size in GRID), indexing="ij")
        places = space.mesh(*(axis.ravel() for axis in points))
        field, values = ng.GridFunction(space), []
        for u in found:
            field.vec.FV().NumPy()[:] = u
            values.append(field(places).reshape(GRID))
        return np.stack(values)

    return Case(label, space.ndof, steps, 1, solve, snapshots)
