"""Speed of the wave solver's inner loops: one wave, driven waves, batches, many media, large meshes, set-up.

One run measures everything on one thread: the actions of a group take turns, and each figure is the median
CPU time of the process. Figures are nanoseconds per degree of freedom and product with L = M⁻¹K (Lax–Wendroff
takes two products per step), elements of order 4, float32.

    python benchmarks/fem_kernels.py            # all groups
    python benchmarks/fem_kernels.py --quick    # fewer repetitions and a smaller large mesh, below 20 s
    python benchmarks/fem_kernels.py --json     # one JSON object on standard output
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy starts its threads
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from shared.targets import Action, Target, interleaved
from shared.waves import random_media, sampled_space

from slimwave.fem.batches import WaveBatch
from slimwave.fem.boundaries import Boundaries
from slimwave.fem.forcing import PointSource, Source
from slimwave.fem.materials import Material, squared_speed
from slimwave.fem.meshes import rectangle
from slimwave.fem.operators import SparseOperator, WaveOperator, build_operator
from slimwave.fem.signals import Ricker
from slimwave.fem.solver import WaveSolver
from slimwave.fem.sources import GaussianPulses
from slimwave.fem.space import GLLSpace
from slimwave.fem.spectra import spectral_bound

Array = NDArray[np.float64]

PULSE = GaussianPulses(np.array([[0.5, 0.5]]), np.array([0.1]), np.array([1.0]))


def stepping(operator: WaveOperator, u: Array, step: float, steps: int) -> Action:
    """Take an even number of Lax–Wendroff steps, further on at each call; the first begins at rest from u."""
    new, old = operator.state(u), operator.state(u)
    return lambda: operator.lax_wendroff(new, old, step, steps)


def gemm(size: int = 1024) -> Action:
    """One product of square float32 matrices, 2 size³ operations."""
    left, right = np.random.default_rng(0).standard_normal((2, size, size)).astype(np.float32)
    out = np.empty_like(left)
    return lambda: np.matmul(left, right, out=out)


def one_wave(elements: int, repeats: int) -> tuple[dict[str, float], list[Target]]:
    """One wave on a square: the loop over sparse rows against that over lanes; a new medium."""
    mesh, dtype = rectangle(elements=(elements, elements)), "float32"
    spaces = {"rows": GLLSpace(mesh, 4, structured=False), "lanes": GLLSpace(mesh, 4)}
    points = spaces["rows"].points
    c2 = squared_speed(spaces["lanes"], random_media(1)[0], None)
    held = spaces["rows"].dirichlet_nodes("dirichlet")
    step = 0.9 * np.sqrt(12.0 / spectral_bound(spaces["lanes"], c2))
    u = PULSE(*points)
    u[held] = 0.0
    operators = {name: build_operator(space, c2, held, dtype) for name, space in spaces.items()}
    rows, lanes = (
        operators[name].nodal(stepping(operators[name], u, step, 100)()[0]) for name in ("rows", "lanes")
    )
    difference = float(np.abs(rows - lanes).max() / np.abs(rows).max())
    steps = 1_000_000 // len(u) * 2
    actions = {name: stepping(operator, u, step, steps) for name, operator in operators.items()}

    def new_media() -> None:
        for _ in range(20):
            build_operator(spaces["lanes"], c2, held, dtype)
            spectral_bound(spaces["lanes"], c2)

    found = interleaved(actions | {"medium": new_media}, repeats)
    cost = {name: 1e9 * found[name] / (2 * steps * len(u)) for name in spaces}
    size = f"{elements} x {elements}"
    figures = cost | {"speed-up": cost["rows"] / cost["lanes"], "difference": difference}
    figures["medium ms"] = 1e3 * found["medium"] / 20
    limit = {8: 6.0, 12: 10.0}[elements]
    return figures, [
        Target(f"one wave, {size}: times faster than sparse rows", figures["speed-up"], limit, "", False),
        Target(f"one wave, {size}: difference after 100 steps", difference, 1e-5, ""),
        Target(f"new medium, {size}: operator and safe step", figures["medium ms"], 0.5, "ms"),
    ]


def batches(elements: int, repeats: int, count: int = 32) -> tuple[dict[str, float], list[Target]]:
    """Many waves in one medium and in as many media, against the matrix product of this machine."""
    space = GLLSpace(rectangle(elements=(elements, elements)), 4)
    u = np.stack([PULSE(*space.points)] * count)
    setups: dict[str, Material | list[Material]] = {
        "one medium": random_media(1)[0],
        "many media": random_media(count),
    }
    steps, actions = 100, {"gemm": gemm()}
    for name, speeds in setups.items():
        batch = WaveBatch(space, speeds, boundaries="neumann")
        actions[name] = stepping(batch.operator("float32"), u, 0.9 * batch.stable_time_step(), steps)
    found = interleaved(actions, repeats)
    cost = {name: 1e9 * found[name] / (2 * steps * u.size) for name in setups}
    flops = 2.0 * entries_per_row(elements)
    rate = 2e-9 * 1024**3 / found["gemm"]
    share = flops / cost["one medium"] / rate
    ratio = cost["many media"] / cost["one medium"]
    size = f"{count} waves, {elements} x {elements}"
    figures = cost | {"gemm Gflop/s": rate, "flop per DOF": flops, "share of gemm": share, "ratio": ratio}
    return figures, [
        Target(f"{size}, one medium: per DOF and product", cost["one medium"], 0.6, "ns"),
        Target(f"{size}, one medium: share of the matrix product's rate", share, 0.4, "", False),
        Target(f"{size}, a medium each: times the cost of one medium", ratio, 2.0, ""),
    ]


def driven(elements: int, repeats: int) -> tuple[dict[str, float], list[Target]]:
    """A step of damped, absorbed and driven waves against one of a free wave."""
    space = GLLSpace(rectangle(elements=(elements, elements)), 4)
    source = [PointSource((0.31, 0.42), Ricker(4.0))]
    kinds: dict[str, tuple[Material, Boundaries, Sequence[Source]]] = {
        "source": (0.0, "neumann", source),
        "uniform damping, source": (1.0, "neumann", source),
        "absorbing sides, source": (0.0, "absorbing", source),
        "damping that varies, source": (lambda x, y: 1.0 + x * y, "neumann", source),
    }
    free = WaveSolver(space, wave_speed=random_media(1)[0], boundaries="neumann")
    u, step = PULSE(*space.points), 0.8 * free.stable_time_step()
    steps = 600_000 // len(u) * 2
    actions = {"free": stepping(free.operator("float32"), u, step, steps)}
    for name, (damping, walls, sources) in kinds.items():
        solver = WaveSolver(space, wave_speed=random_media(1)[0], damping=damping, boundaries=walls)
        stepper = solver.driven_stepper(PULSE, 0.0, step, dtype="float32", sources=sources)
        actions[name] = partial(stepper.advance, steps)
    found = interleaved(actions, repeats)
    ratios = {name: found[name] / found["free"] for name in kinds}
    size = f"{elements} x {elements}"
    return {"free us": 1e6 * found["free"] / steps} | ratios, [
        Target(f"{name}, {size}: times a free step", ratios[name], 1.3) for name in kinds
    ]


def driven_batch(count: int, repeats: int) -> tuple[dict[str, float], list[Target]]:
    """Damped, absorbed, driven waves with 50 snapshots of u to T = 1, set-up included: a batch, and alone."""
    times, grid, space = np.linspace(0.02, 1.0, 50), (64, 64), sampled_space(16, (64, 64))
    dampings = [lambda x, y, k=k: 0.1 * k * (1.0 + x * y) for k in range(count)]
    sources = [[PointSource((0.2 + 0.6 * k / count, 0.4), Ricker(4.0))] for k in range(count)]
    options = {"times": times, "grid": grid, "dtype": "float32", "record": ("u",)}

    def together() -> None:
        batch = WaveBatch(space, random_media(count), dampings=dampings, boundaries="absorbing")
        batch.run(PULSE, sources=sources, **options)

    def alone() -> None:
        for speed, damping, own in zip(random_media(count), dampings, sources, strict=True):
            solver = WaveSolver(space, wave_speed=speed, damping=damping, boundaries="absorbing")
            solver.run(PULSE, sources=own, **options)

    found = interleaved({"batch": together, "alone": alone}, repeats)
    figures = {f"{name} ms per wave": 1e3 * seconds / count for name, seconds in found.items()}
    ratio = found["batch"] / found["alone"]
    return figures, [Target(f"{count} driven waves in a batch: of the time one at a time", ratio, 1.0)]


def entries_per_row(elements: int) -> float:
    """Nonzero entries of L per row: twice as many operations are needed, however they are organised.

    The factorised kernel spends about twice that; only the needed ones count here.
    """
    space = GLLSpace(rectangle(elements=(elements, elements)), 4, structured=False)
    operator = build_operator(space, np.ones(space.n_nodes), np.empty(0, dtype=np.int64))
    assert isinstance(operator, SparseOperator)
    return operator.n_entries / space.n_nodes


def growth(large: int, repeats: int) -> tuple[dict[str, float], list[Target]]:
    """Cost per DOF and product on 25 x 25 elements (1e4 DOFs) and on a large mesh; memory of the latter."""
    actions, work = {}, {}
    for elements, steps in ((25, 240), (large, 24)):
        space = GLLSpace(rectangle(elements=(elements, elements)), 4)
        c2, held = np.ones(space.n_nodes), np.empty(0, dtype=np.int64)
        name = f"{space.n_nodes} DOFs"
        operator = build_operator(space, c2, held, "float32")
        step = 0.9 * np.sqrt(12.0 / spectral_bound(space, c2))
        actions[name] = stepping(operator, PULSE(*space.points), step, steps)
        work[name] = 2 * steps * space.n_nodes
    found = interleaved(actions, repeats)
    cost = {name: 1e9 * found[name] / work[name] for name in actions}
    small, big = cost.values()
    memory = bytes_per_dof(large)
    figures = cost | {"growth": big / small, "bytes per DOF": memory}
    return figures, [
        Target(f"cost per DOF, {large} x {large} elements against 25 x 25", big / small, 1.5, ""),
        Target(f"memory, {large} x {large} elements: per DOF", memory, 400.0, "bytes"),
    ]


def bytes_per_dof(elements: int) -> float:
    """Peak memory of a run in a process of its own, beyond that of a tiny run, per DOF (Linux only)."""
    command = [sys.executable, __file__, "--memory", str(elements)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def print_memory(elements: int) -> None:
    """What `bytes_per_dof` runs."""
    peaks = []
    for size in (2, elements):
        solver = WaveSolver(rectangle(elements=(size, size)))
        solver.run(PULSE, times=[5 * solver.stable_time_step()], grid=(9, 9), dtype="float32")
        status = Path("/proc/self/status").read_text()
        peaks.append(1024 * int(status.split("VmHWM:")[1].split()[0]))
    print((peaks[1] - peaks[0]) / solver.space.n_nodes)


def dataset(count: int, repeats: int) -> tuple[dict[str, float], list[Target]]:
    """A dataset of waves, each in its medium: set-up once, media, waves with 50 snapshots to T = 1."""
    times, grid, speeds = np.linspace(0.0, 1.0, 51), (64, 64), random_media(count)

    space = sampled_space(16, grid)
    batch = WaveBatch(space, speeds)
    batch.operator("float32")
    singles = speeds[: max(1, count // 10)]
    found = interleaved(
        {
            "set-up": lambda: sampled_space(16, grid),
            "media": lambda: WaveBatch(space, speeds).operator("float32"),
            "waves": lambda: batch.run(PULSE, times=times, grid=grid, dtype="float32"),
            "one by one": lambda: [
                WaveSolver(space, wave_speed=speed).run(PULSE, times=times, grid=grid, dtype="float32")
                for speed in singles
            ],
        },
        repeats,
    )
    found["one by one"] *= count / len(singles)
    hundred = (found["media"] + found["waves"]) * 100 / count
    share = found["set-up"] / (found["set-up"] + hundred)
    figures = {f"{name} s": seconds for name, seconds in found.items()}
    return figures, [Target("set-up, of the time of a dataset of 100 waves", share, 0.1, "")]


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, a smaller large mesh")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--memory", type=int, metavar="ELEMENTS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print_memory(options.memory)
        return
    quick = options.quick
    groups: dict[str, Callable[[], tuple[dict[str, float], list[Target]]]] = {
        "one wave, 8 x 8 elements": lambda: one_wave(8, 7 if quick else 25),
        "one wave, 12 x 12 elements": lambda: one_wave(12, 7 if quick else 25),
        "driven waves": lambda: driven(16, 7 if quick else 25),
        "driven batch": lambda: driven_batch(8 if quick else 32, 3 if quick else 9),
        "batches": lambda: batches(16, 5 if quick else 15),
        "growth": lambda: growth(160 if quick else 250, 3 if quick else 9),
        "dataset": lambda: dataset(20 if quick else 100, 3 if quick else 5),
    }
    figures, targets = {}, []
    for name, measure in groups.items():
        print(f"measuring {name} ...", file=sys.stderr)
        figures[name], found = measure()
        targets += found
    if options.json:
        judged = [target.as_json() for target in targets]
        print(json.dumps({"figures": figures, "targets": judged}, indent=2))
        return
    for name, values in figures.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in values.items()))
    print("\n" + "\n".join(target.line() for target in targets))


if __name__ == "__main__":
    main()
