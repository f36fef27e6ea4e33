"""Accuracy per CPU second of the wave solver on a smooth heterogeneous problem.

u_tt = ∇·(c² ∇u) on the unit square with Dirichlet walls, a Gaussian pulse of width 0.04, two smooth
layers and eight inclusions with c in [1, 3], up to T = 1; 50 snapshots of u and u_t on a 65 × 65 grid.
The error is the relative L2 error over all snapshots against a solution of order 8 on a finer mesh,
whose own error is estimated by a coarser one.

The times are CPU times of the process on one thread, medians of repeated runs: `set-up` once per mesh,
`medium` once per wave speed (evaluation, assembly, time step), `run` per sample.

    python benchmarks/fem_accuracy.py            # all rows
    python benchmarks/fem_accuracy.py --quick    # the rows that matter, fewer repetitions
    python benchmarks/fem_accuracy.py --json     # one JSON object on standard output
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy starts its threads

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from shared.targets import cpu_seconds, verdict
from shared.waves import sampled_space

from slimwave.fem.solver import Solution, WaveSolver
from slimwave.fem.space import GLLSpace

Array = NDArray[np.float64]
T = TypeVar("T")

TIMES = np.linspace(0.0, 1.0, 51)[1:]
GRID = (65, 65)
TARGET_ERROR, TARGET_CPU = 1e-3, 0.030


@dataclass(frozen=True)
class Method:
    """One row: element order, elements per side, type of the fields, storage of the operator, time scheme."""

    order: int
    elements: int
    dtype: str = "float64"
    structured: bool = True
    scheme: str = "lax-wendroff"

    def space(self) -> GLLSpace:
        """Mesh, nodes and sampling."""
        return sampled_space(self.elements, GRID, order=self.order, structured=self.structured)

    def solver(self, space: GLLSpace) -> WaveSolver:
        """Evaluate the medium, assemble, find the time step."""
        solver = WaveSolver(space, wave_speed=speed)
        solver.operator(self.dtype)
        return solver

    def solve(self, solver: WaveSolver) -> Solution:
        """One sample."""
        return solver.run(pulse, times=TIMES, grid=GRID, scheme=self.scheme, dtype=self.dtype)

    @property
    def label(self) -> str:
        """Short description for the table."""
        storage = "stencil" if self.structured else "sparse rows"
        return f"p={self.order} {self.elements}x{self.elements} {self.scheme} {storage} {self.dtype}"


@dataclass(frozen=True)
class Row:
    """Measured figures of a method; seconds of CPU."""

    method: str
    dofs: int
    steps: int
    error_u: float
    error_v: float
    setup: float
    medium: float
    run: float


TARGET = Method(4, 20)
QUICK = [TARGET, Method(4, 20, "float32"), Method(4, 20, structured=False), Method(4, 20, scheme="leapfrog")]
ALL = [
    *QUICK,
    *(Method(4, n, dtype) for n in (12, 16, 24, 32) for dtype in ("float64", "float32")),
    Method(2, 48),
    Method(3, 28),
    Method(5, 16),
    Method(6, 13),
    Method(8, 10),
]


def inclusions() -> Array:
    """Centre x, centre y, width and strength of eight inclusions, shape (8, 4)."""
    rng = np.random.default_rng(7)
    low, high = [0.15, 0.15, 0.07, -1.0], [0.85, 0.85, 0.14, 1.0]
    return rng.uniform(low, high, (8, 4))


def landscape(x: Array, y: Array) -> Array:
    """Layers and inclusions before they are scaled."""
    value = 0.8 * np.tanh((y - 0.55) / 0.06) + 0.5 * np.tanh((y - 0.8) / 0.05)
    for x0, y0, width, strength in inclusions():
        value += 1.2 * strength * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * width**2))
    return value


LOWEST, HIGHEST = (
    limit(landscape(*np.meshgrid(np.linspace(0, 1, 801), np.linspace(0, 1, 801))))
    for limit in (np.min, np.max)
)


def speed(x: Array, y: Array) -> Array:
    """Wave speed c, scaled to [1, 3]."""
    return 1.0 + 2.0 * (landscape(x, y) - LOWEST) / (HIGHEST - LOWEST)


def pulse(x: Array, y: Array) -> Array:
    """Initial u; u_t = 0."""
    return np.exp(-((x - 0.4) ** 2 + (y - 0.4) ** 2) / (2 * 0.04**2))


def cpu(action: Callable[[], T], repeats: int) -> tuple[float, T]:
    """Median CPU seconds of an action and its result; one run beforehand warms caches and compiles."""
    result = action()
    return statistics.median(cpu_seconds(action)[0] for _ in range(repeats)), result


def error(found: Array, exact: Array) -> float:
    """Relative L2 error over all snapshots."""
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def measure(method: Method, reference: Solution, repeats: int) -> Row:
    """Run one method."""
    setup, space = cpu(method.space, max(1, repeats // 3))
    medium, solver = cpu(lambda: method.solver(space), repeats)
    run, solution = cpu(lambda: method.solve(solver), repeats)
    errors = error(solution.u, reference.u), error(solution.v, reference.v)
    return Row(method.label, solution.n_dofs, solution.n_steps, *errors, setup, medium, run)


def reference_solution(elements: int) -> Solution:
    """Order 8, far finer than every method measured."""
    method = Method(8, elements)
    return method.solve(method.solver(method.space()))


def print_table(rows: list[Row], doubt: float) -> None:
    """The figures, and the verdict on the target."""
    print(f"reference agrees with a coarser one to {doubt:.1e}; CPU milliseconds on one thread\n")
    head = f"{'DOFs':>6} {'steps':>6} {'error u':>9} {'error v':>9} {'set-up':>7} {'medium':>7} {'run':>7}"
    print(f"{'method':44} {head}")
    for row in rows:
        figures = f"{row.dofs:6d} {row.steps:6d} {row.error_u:9.1e} {row.error_v:9.1e}"
        print(
            f"{row.method:44} {figures} {1e3 * row.setup:7.1f} {1e3 * row.medium:7.2f} {1e3 * row.run:7.2f}"
        )
    first = rows[0]
    met = first.error_u <= TARGET_ERROR and first.medium + first.run <= TARGET_CPU
    print(
        f"\ntarget: error <= {TARGET_ERROR:g} in <= {1e3 * TARGET_CPU:g} ms per sample, its medium included: "
        f"{first.error_u:.1e} in {1e3 * (first.medium + first.run):.1f} ms, {verdict(met)}"
    )


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rows and repetitions")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object on standard output, nothing else"
    )
    options = parser.parse_args()
    reference = reference_solution(24 if options.quick else 32)
    doubt = error(reference_solution(20 if options.quick else 24).u, reference.u)
    rows = []
    for method in QUICK if options.quick else ALL:
        print(f"measuring {method.label} ...", file=sys.stderr)
        rows.append(measure(method, reference, 5 if options.quick else 15))
    if options.json:
        print(json.dumps({"reference_doubt": doubt, "rows": [asdict(row) for row in rows]}, indent=2))
    else:
        print_table(rows, doubt)


if __name__ == "__main__":
    main()
