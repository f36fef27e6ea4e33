"""How fast the wave solver converges: in space, in time, on curved domains, across sharp layers.

Four studies against exact solutions, each a set of lines of relative L2 errors of u:

* space: a standing wave of the unit square, orders 1, 2, 4, 6, the time error out of the way;
* time: the same with variable damping and a source, and a pulse that an absorbing boundary lets out;
* disk: a Bessel mode, on curved and on straight elements of order 4;
* layers: a pulse through 1.5 | 3 | 1, c evaluated per element and at the nodes.

    python benchmarks/fem_convergence.py           # draws docs/images/fem_convergence.png
    python benchmarks/fem_convergence.py --quick   # two points per line, no picture
    python benchmarks/fem_convergence.py --json    # one JSON object on standard output
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy starts its threads

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import j0, jn_zeros
from skfem import MeshQuad

from slimwave.fem.boundaries import Dirichlet
from slimwave.fem.forcing import DistributedSource
from slimwave.fem.materials import Material, PerElement
from slimwave.fem.meshes import disk, rectangle
from slimwave.fem.plane_waves import PlaneWave
from slimwave.fem.signals import Ricker
from slimwave.fem.solver import Solution, WaveSolver
from slimwave.fem.space import GLLSpace

Array = NDArray[np.float64]
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "fem_convergence.png"
TIMES = np.linspace(0.1, 1.0, 10)


@dataclass(frozen=True)
class Line:
    """Errors of one method at several resolutions.

    Attributes
    ----------
    study, method
        What is solved, and how.
    sizes
        Elements per unit length, or steps per unit time.
    errors
        Relative L2 errors of u over all output times.
    """

    study: str
    method: str
    sizes: list[float]
    errors: list[float]

    @property
    def rate(self) -> float:
        """Observed order between the last two resolutions."""
        return float(np.log(self.errors[-2] / self.errors[-1]) / np.log(self.sizes[-1] / self.sizes[-2]))


def shape(x: Array, y: Array) -> Array:
    """Standing wave, frequency √5 π at c = 1."""
    return np.sin(np.pi * x) * np.sin(2 * np.pi * y)


def nodal_error(solution: Solution, exact: Callable[[Array, Array, float], Array]) -> float:
    """Relative error over all nodes and output times."""
    right = np.stack([exact(*solution.nodes.points, t) for t in solution.times])
    return float(np.linalg.norm(solution.nodes.u - right) / np.linalg.norm(right))


def space_error(order: int, elements: float) -> float:
    """Error of the standing wave with a time error far below."""
    solver = WaveSolver(rectangle(elements=(int(elements), int(elements))), order=order)
    step = min(1e-3, solver.stable_time_step())
    solution = solver.run(shape, times=TIMES, nodes=True, time_step=step)
    return nodal_error(solution, lambda x, y, t: np.cos(np.sqrt(5) * np.pi * t) * shape(x, y))


def driven_error(space: GLLSpace, scheme: str, steps: float) -> float:
    """Error of u = cos(5t) shape for γ = 4x + 3 cos²(2y), made the solution by two sources."""

    def damping(x: Array, y: Array) -> Array:
        return 4 * x + 3 * np.cos(2 * y) ** 2

    sources = [
        DistributedSource(lambda x, y: (5 * np.pi**2 - 25) * shape(x, y), lambda t: np.cos(5 * t)),
        DistributedSource(lambda x, y: -5 * damping(x, y) * shape(x, y), lambda t: np.sin(5 * t)),
    ]
    solver = WaveSolver(space, damping=damping)
    solution = solver.run(shape, times=TIMES, sources=sources, nodes=True, time_step=1 / steps, scheme=scheme)
    return nodal_error(solution, lambda x, y, t: np.cos(5 * t) * shape(x, y))


def leaving_error(space: GLLSpace, steps: float) -> float:
    """Error of a pulse that enters by prescribed values on the left and is absorbed on the right."""
    wave = PlaneWave(Ricker(2.0), angle=0.0)
    walls = {"left": Dirichlet(wave), "right": "absorbing", "bottom": "neumann", "top": "neumann"}
    solver = WaveSolver(space, boundaries=walls)
    solution = solver.run(wave.u0, wave.v0, times=2 * TIMES, nodes=True, time_step=1 / steps)
    return nodal_error(solution, wave)


def disk_error(elements: float, *, curved: bool) -> float:
    """Error of the third radial Bessel mode of the unit disk."""
    mesh, k = disk(elements=int(elements)), jn_zeros(0, 3)[2]
    if not curved:
        vertices = int(mesh.t.max()) + 1
        mesh = MeshQuad(mesh.p[:, :vertices], mesh.t)
    solution = WaveSolver(mesh).run(lambda x, y: j0(k * np.hypot(x, y)), times=TIMES, nodes=True)
    return nodal_error(solution, lambda x, y, t: np.cos(k * t) * j0(k * np.hypot(x, y)))


def layer_speed(x: Array, _: Array) -> Array:
    """1.5 | 3, the jump at x = 1."""
    return np.where(x < 1.0, 1.5, 3.0)


def layer_error(elements: float, speed: Material) -> float:
    """Error of a pulse that is reflected by (c1 − c2)/(c1 + c2) and transmitted by 2 c1/(c1 + c2).

    Both have left the interface, and neither has reached an end of the channel, when the time is over.
    """
    pulse, mesh = Ricker(5.0, delay=0.0), rectangle(4.0, 0.2, (int(4 * elements), 1))

    def exact(x: Array, _: Array, t: float) -> Array:
        there = pulse(t - (x - 0.5) / 1.5) - pulse(t - (1.5 - x) / 1.5) / 3
        return np.where(x < 1.0, there, 2 / 3 * pulse(t - 1 / 3 - (x - 1.0) / 3.0))

    wave = PlaneWave(pulse, angle=0.0, speed=1.5, origin=(0.5, 0.0))
    solver = WaveSolver(mesh, wave_speed=speed, boundaries="neumann")
    return nodal_error(solver.run(wave.u0, wave.v0, times=0.75 * TIMES, nodes=True), exact)


def measure(*, quick: bool) -> list[Line]:
    """All lines."""
    square = GLLSpace(rectangle(elements=(4, 4)), 8)
    channel = GLLSpace(rectangle(1.0, 0.25, (8, 2)), 8)
    orders = {1: (8, 16, 32, 64), 2: (4, 8, 16, 32), 4: (2, 4, 8, 16), 6: (2, 4, 6, 8)}
    lines: list[Line] = []

    def add(study: str, method: str, sizes: Sequence[float], error: Callable[[float], float]) -> None:
        kept = list(sizes[-2:] if quick else sizes)
        lines.append(Line(study, method, kept, [error(size) for size in kept]))

    for order, sizes in orders.items():
        add("space", f"order {order}", sizes, lambda n, order=order: space_error(order, n))
    for scheme, sizes in (("leapfrog", (200, 400, 800)), ("lax-wendroff", (100, 200, 400))):
        add("time", f"{scheme}, damped", sizes, lambda n, s=scheme: driven_error(square, s, n))
    add("time", "lax-wendroff, absorbed", (300, 400, 600), lambda n: leaving_error(channel, n))
    for curved in (True, False):
        name = "curved" if curved else "straight"
        add("disk", f"order 4, {name}", (3, 6, 9, 12), lambda n, c=curved: disk_error(n, curved=c))
    for name, speed in (("per element", PerElement(layer_speed)), ("at nodes", layer_speed)):
        add("layers", f"order 4, c {name}", (10, 20, 40), lambda n, c=speed: layer_error(n, c))
    return lines


def draw(lines: list[Line], path: Path) -> None:
    """One panel per study, errors over resolution."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    labels = {
        "space": "elements per side",
        "time": "steps per unit time",
        "disk": "elements per block",
        "layers": "elements per unit length",
    }
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for axes, (study, label) in zip(figure.subplots(1, 4), labels.items(), strict=True):
        shown = [line for line in lines if line.study == study]
        for line in shown:
            axes.loglog(line.sizes, line.errors, "o-", ms=4, label=f"{line.method}: {line.rate:.1f}")
        axes.set(title=f"{study}: observed orders", xlabel=label)
        axes.grid(alpha=0.3)
        axes.xaxis.set_minor_locator(NullLocator())
        ticks = sorted({size for line in shown for size in line.sizes})
        axes.set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.2), frameon=False)
    figure.supylabel("relative error of u", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def main() -> None:
    """Measure, then print a table or JSON, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two points per line, no picture")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    lines = measure(quick=arguments.quick)
    if arguments.json:
        print(json.dumps([asdict(line) | {"rate": line.rate} for line in lines]))
    else:
        for line in lines:
            errors = " ".join(f"{error:.1e}" for error in line.errors)
            print(f"{line.study:7s} {line.method:24s} order {line.rate:4.1f}   {errors}")
    if not arguments.quick:
        draw(lines, PICTURE)


if __name__ == "__main__":
    main()
