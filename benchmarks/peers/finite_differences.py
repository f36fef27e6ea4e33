"""Finite differences of order 8 in plain numpy, with Lax–Wendroff steps of order 4.

u_tt = ∂_x(c² ∂_x u) + ∂_y(c² ∂_y u) on a staggered grid: the fluxes c² ∂u live half-way between the nodes.
Beyond a wall at zero u is continued oddly and the flux evenly.
"""

import numpy as np
from fem_accuracy import TIMES, Array

from peers.problems import FASTEST, SNAPSHOTS, Case, Problem, interface_mean, steps_per_snapshot

STAGGERED = np.array([1225 / 1024, -245 / 3072, 49 / 5120, -5 / 7168])
"""Weights of (u(x + (k + ½)h) − u(x − (k + ½)h))/h, of order 8 (Fornberg, Math. Comp. 51, 1988)."""

REACH = len(STAGGERED)
SAFETY = 0.95


class StaggeredGrid:
    """L u = −∇·(c² ∇u) on the nodes of the unit square with `cells` cells per side."""

    def __init__(self, problem: Problem, cells: int):
        self.nodes = np.linspace(0.0, 1.0, cells + 1)
        middles = 0.5 * (self.nodes[1:] + self.nodes[:-1])
        self._speed_x = problem.speed(*np.meshgrid(middles, self.nodes[1:-1], indexing="ij")) ** 2
        self._speed_y = problem.speed(*np.meshgrid(self.nodes[1:-1], middles, indexing="ij")) ** 2
        self._cells = cells

    def acceleration(self, u: Array) -> Array:
        """∇·(c² ∇u) at all nodes, zero on the walls."""
        out = np.zeros_like(u)
        out[1:-1, 1:-1] = self._divergence(u[:, 1:-1], self._speed_x)
        out[1:-1, 1:-1] += self._divergence(u[1:-1].T, self._speed_y.T).T
        return out

    def largest_step(self) -> float:
        """Stability limit √(12/λ) with λ ≤ 2 (2 c Σ|w| / h)²."""
        return float(np.sqrt(6.0) / (2.0 * FASTEST * np.abs(STAGGERED).sum() * self._cells))

    def _divergence(self, u: Array, speed: Array) -> Array:
        """∂(c² ∂u) along the first axis, at the inner nodes."""
        odd = np.pad(u, ((REACH - 1, REACH - 1), (0, 0)), mode="reflect", reflect_type="odd")
        flux = speed * self._derivative(odd)
        even = np.pad(flux, ((REACH - 1, REACH - 1), (0, 0)), mode="symmetric")
        return self._derivative(even)

    def _derivative(self, values: Array) -> Array:
        """Half-way between the values along the first axis; 2 REACH − 1 fewer than these."""
        count = len(values) - 2 * REACH + 1
        total = np.zeros((count, values.shape[1]))
        for k, weight in enumerate(STAGGERED):
            right, left = REACH + k, REACH - 1 - k
            total += weight * self._cells * (values[right : right + count] - values[left : left + count])
        return total


def finite_differences(problem: Problem, cells: int, *, mean: bool = True) -> Case:
    """Set up the grid, with the mean of c² on interfaces or with c as it is found there."""
    grid = StaggeredGrid(interface_mean(problem, 2) if mean else problem, cells)
    steps = steps_per_snapshot(SAFETY * grid.largest_step())
    step, stride = TIMES[0] / steps, cells // 64

    def increment(u: Array) -> Array:
        """Δt² (L + Δt² L²/12) u with L = ∇·c²∇."""
        first = grid.acceleration(u)
        return step**2 * (first + step**2 / 12 * grid.acceleration(first))

    def solve() -> Array:
        u = problem.pulse(*np.meshgrid(grid.nodes, grid.nodes, indexing="ij"))
        u[[0, -1]], u[:, [0, -1]] = 0.0, 0.0
        old = u + 0.5 * increment(u)
        found = np.empty((SNAPSHOTS, 65, 65))
        for number in range(SNAPSHOTS):
            for _ in range(steps):
                u, old = 2 * u - old + increment(u), u
            found[number] = u[::stride, ::stride]
        return found

    return Case(
        label=f"numpy finite differences, order 8, {cells}x{cells}{'' if mean else ', no means'}",
        unknowns=(cells - 1) ** 2,
        steps=SNAPSHOTS * steps,
        samples=1,
        solve=solve,
        snapshots=lambda found: found,
    )
