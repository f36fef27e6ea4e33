"""devito: finite differences of order 8 for u_tt = c² Δu, as compiled C, leapfrog or Lax–Wendroff, float32.

The grid is longer by four nodes on every side; there the field is continued oddly, which holds the walls at
zero. Code is generated and compiled when the case is set up.
"""

import os
from typing import Any

import numpy as np
from fem_accuracy import TIMES, Array

from peers.problems import FASTEST, SNAPSHOTS, Case, Problem, interface_mean, steps_per_snapshot

REACH = 4
SAFETY = 0.95
STENCIL = np.array([-205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560])
"""Second derivative of order 8: weights at distances 0 to 4."""


def devito_scalar(problem: Problem, cells: int, *, lax_wendroff: bool) -> Case:
    """Generate the loop and compile it."""
    os.environ.setdefault("DEVITO_LOGGING", "ERROR")
    import devito

    problem = interface_mean(problem, -2)
    outer = np.arange(-REACH, cells + REACH + 1) / cells
    points = np.meshgrid(outer, outer, indexing="ij")
    steps = steps_per_snapshot(SAFETY * _largest_step(cells, lax_wendroff))
    step, stride = TIMES[0] / steps, cells // 64
    shape = (len(outer), len(outer))
    grid = devito.Grid(shape, extent=(outer[-1] - outer[0],) * 2, dtype=np.float32)
    u = devito.TimeFunction(name="u", grid=grid, time_order=2, space_order=2 * REACH)
    speed2 = devito.Function(name="c2", grid=grid)
    speed2.data[:] = problem.speed(*points) ** 2
    every = devito.ConditionalDimension("every", parent=grid.time_dim, factor=steps)
    kept = devito.TimeFunction(name="kept", grid=grid, time_order=0, save=SNAPSHOTS + 1, time_dim=every)
    inside = _inner_nodes(devito, grid)
    change, before = speed2 * u.laplace, []
    if lax_wendroff:
        w = devito.TimeFunction(name="w", grid=grid, time_order=1, space_order=2 * REACH)
        before = [devito.Eq(w.forward, change, subdomain=inside), *_walls(devito, w.forward, cells)]
        change = w.forward + step**2 / 12 * speed2 * w.forward.laplace
    update = devito.Eq(u.forward, 2 * u - u.backward + step**2 * change, subdomain=inside)
    loop = devito.Operator([devito.Eq(kept, u), *before, update, *_walls(devito, u.forward, cells)])
    start = _continued(problem.pulse(*points))
    rate = _continued(_acceleration(problem, points, start, cells))
    past = start + step**2 / 2 * rate + step**4 / 24 * _acceleration(problem, points, rate, cells)

    def solve() -> Array:
        u.data[0], u.data[-1] = start, past
        loop.apply(time_m=0, time_M=SNAPSHOTS * steps, dt=step)
        return np.array(kept.data[1:, REACH:-REACH:stride, REACH:-REACH:stride])

    return Case(
        label=f"devito order 8 {'Lax–Wendroff' if lax_wendroff else 'leapfrog'}, {cells}x{cells}",
        unknowns=(cells - 1) ** 2,
        steps=SNAPSHOTS * steps,
        samples=1,
        solve=solve,
        snapshots=lambda found: found,
        seismic=True,
    )


def _largest_step(cells: int, lax_wendroff: bool) -> float:
    """2/√λ or √12/√λ with λ = 2 c² Σ|w| / h²; the weights alternate, so that the bound is sharp."""
    weights = np.abs(STENCIL[0]) + 2 * np.abs(STENCIL[1:]).sum()
    return float(np.sqrt((12.0 if lax_wendroff else 4.0) / (2.0 * weights)) / (FASTEST * cells))


def _inner_nodes(devito: Any, grid: Any) -> Any:
    """All but the outermost nodes; `_walls` overwrites what lies on the walls and beyond."""

    class Inner(devito.SubDomain):
        name = "inner"

        def define(self, dimensions: Any) -> Any:
            return dict.fromkeys(dimensions, ("middle", REACH, REACH))

    return Inner(grid=grid)


def _walls(devito: Any, field: Any, cells: int) -> list[Any]:
    """Zero on the walls, odd beyond."""
    rules = []
    for axis in field.grid.dimensions:
        for wall, outward in ((REACH, -1), (REACH + cells, 1)):
            rules.append(devito.Eq(field.subs({axis: wall}), 0.0))
            for k in range(1, REACH + 1):
                mirrored = -field.subs({axis: wall - outward * k})
                rules.append(devito.Eq(field.subs({axis: wall + outward * k}), mirrored))
    return rules


def _continued(values: Array) -> Array:
    """Zero on the walls, odd beyond."""
    inner = values[REACH:-REACH, REACH:-REACH].copy()
    inner[[0, -1]], inner[:, [0, -1]] = 0.0, 0.0
    return np.pad(inner, REACH, mode="reflect", reflect_type="odd")


def _acceleration(problem: Problem, points: list[Array], u: Array, cells: int) -> Array:
    """c² Δu by the same stencil, zero in the outermost nodes."""
    out = np.zeros_like(u)
    inner = slice(REACH, -REACH)
    for distance, weight in enumerate(STENCIL):
        for shift in {distance, -distance}:
            rows = slice(REACH + shift, len(u) - REACH + shift)
            out[inner, inner] += weight * cells**2 * (u[rows, inner] + u[inner, rows])
    return out * problem.speed(*points) ** 2
