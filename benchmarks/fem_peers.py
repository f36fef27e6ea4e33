"""CPU time per wave at equal error: slimwave's solver against other solvers, on one thread.

Two problems (see `peers/problems.py`): a smooth medium, and sharp layers 1.5 | 3 | 1. Resolutions are chosen
so that the error, relative L2 of u over 50 snapshots, comes near 1e-3. deepwave and devito solve another
equation, u_tt = c² Δu, which is cheaper, and are held against a reference of that equation. At sharp
interfaces finite differences take means of the two sides, which costs nothing and helps much; `no means` is
what they give without.

One run measures everything: solvers take turns, figures are medians of the CPU time of the process. `set-up`
holds what is done once: meshes, matrices, generated code. `run` holds what a further wave of the same medium
costs, per wave: snapshots of u alone, from all solvers alike. One row, `u_t, energy`, has slimwave add both,
which no other solver computes. The plain script's run includes its factorisation.

    python benchmarks/fem_peers.py            # every installed solver
    python benchmarks/fem_peers.py --quick    # fewer rows, long runs timed once, below 30 s
    python benchmarks/fem_peers.py --json     # one JSON object on standard output
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy starts its threads
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from fem_accuracy import error
from peers.finite_differences import finite_differences
from peers.newmark_script import newmark_script
from peers.problems import SHARP, SMOOTH, Case, Problem, reference
from peers.slimwave_waves import many_waves, one_wave
from peers.with_deepwave import deepwave_scalar
from peers.with_devito import devito_scalar
from peers.with_ngsolve import ngsolve_lumped, ngsolve_newmark
from shared.targets import Target, cpu_seconds

LONG, LONG_REPEATS = 0.6, 3
"""Seconds above which a run is timed less often, and how often; a quick run takes its first time."""

REMEDIES = {
    "deepwave": "pip install 'slimwave[bench]'",
    "ngsolve": "pip install 'slimwave[bench]'",
    "devito": "pip install 'slimwave[devito]', in an environment of its own: it needs an older numpy",
}

Maker = Callable[[Problem], Case]


@dataclass(frozen=True)
class Entry:
    """A solver at one resolution; `quick` says whether a quick run has it."""

    family: str
    make: Maker
    quick: bool = True


@dataclass(frozen=True)
class Row:
    """Measured figures of a solver; seconds of CPU."""

    problem: str
    family: str
    method: str
    seismic: bool
    unknowns: int
    steps: int
    error: float
    setup: float
    run: float


def slimwave_entries(elements: int) -> list[Entry]:
    """One wave, a batch in one medium, a batch of media."""
    return [
        Entry("slimwave", lambda problem: one_wave(problem, elements, "float32")),
        Entry("slimwave", lambda problem: one_wave(problem, elements, "float64"), quick=False),
        Entry("slimwave", lambda problem: many_waves(problem, elements, 16, media=False)),
        Entry("slimwave", lambda problem: many_waves(problem, elements, 16, media=True)),
        Entry(
            "slimwave with u_t",
            lambda problem: many_waves(problem, elements, 16, media=True, everything=True),
        ),
    ]


def ngsolve_entries(quick: bool) -> list[Entry]:
    """The same on both problems; `quick` says whether a quick run has the first."""
    return [
        Entry("ngsolve", lambda problem: ngsolve_lumped(problem, 96), quick),
        Entry("ngsolve", lambda problem: ngsolve_newmark(problem, 24, 4, 40), quick=False),
    ]


def script(problem: Problem) -> Case:
    """Return the plain script at the resolution of the target."""
    return newmark_script(problem, 64, 24)


ENTRIES: Mapping[Problem, Sequence[Entry]] = {
    SMOOTH: [
        *slimwave_entries(20),
        Entry("deepwave", lambda problem: deepwave_scalar(problem, 192, 4, 1)),
        Entry("deepwave", lambda problem: deepwave_scalar(problem, 192, 4, 16)),
        Entry("deepwave", lambda problem: deepwave_scalar(problem, 256, 8, 1), quick=False),
        Entry("devito", lambda problem: devito_scalar(problem, 256, lax_wendroff=False), quick=False),
        Entry("devito", lambda problem: devito_scalar(problem, 64, lax_wendroff=True)),
        *ngsolve_entries(True),
        Entry("numpy", lambda problem: finite_differences(problem, 64)),
        Entry("script", script),
    ],
    SHARP: [
        *slimwave_entries(24),
        Entry("numpy", lambda problem: finite_differences(problem, 256, mean=False)),
        Entry("numpy means", lambda problem: finite_differences(problem, 64)),
        Entry("numpy means", lambda problem: finite_differences(problem, 192), quick=False),
        Entry("deepwave", lambda problem: deepwave_scalar(problem, 256, 4, 1)),
        Entry("devito", lambda problem: devito_scalar(problem, 192, lax_wendroff=True)),
        *ngsolve_entries(False),
        Entry("script", script, quick=False),
    ],
}


@dataclass(frozen=True)
class Contestant:
    """A solver that is set up, and the seconds that this took."""

    problem: Problem
    family: str
    case: Case
    setup: float

    def row(self, wrong: float, seconds: Sequence[float]) -> Row:
        """Figures for the table."""
        case, per_wave = self.case, statistics.median(seconds) / self.case.samples
        figures = (case.seismic, case.unknowns, case.steps, wrong, self.setup, per_wave)
        return Row(self.problem.name, self.family, case.label, *figures)


def set_up(quick: bool) -> tuple[list[Contestant], list[str]]:
    """Every solver that is installed, and the names of those that are not."""
    ready, missing = [], []
    listed = [(problem, entry) for problem, entries in ENTRIES.items() for entry in entries]
    for problem, entry in listed:
        if entry.family in missing or (quick and not entry.quick):
            continue
        try:
            seconds, case = cpu_seconds(lambda entry=entry, problem=problem: entry.make(problem))
        except ModuleNotFoundError as absent:
            if absent.name != entry.family:
                raise
            missing.append(entry.family)
        else:
            ready.append(Contestant(problem, entry.family, case, seconds))
    return ready, missing


def first_run(contestant: Contestant, elements: int) -> tuple[float, float]:
    """Error, against a reference of so many elements per side, and CPU seconds of the first solution."""
    case, problem = contestant.case, contestant.problem
    print(f"first run of {case.label}, {problem.name} ...", file=sys.stderr)
    seconds, found = cpu_seconds(case.solve)
    return error(case.snapshots(found), reference(problem, case.seismic, elements)), seconds


def measure(quick: bool, repeats: int) -> tuple[list[Row], list[str]]:
    """Solve once for the error and to warm up, then take turns; long runs have fewer, or only the first."""
    ready, missing = set_up(quick)
    firsts = [first_run(contestant, 16 if quick else 24) for contestant in ready]
    seconds: list[list[float]] = []
    for _, first in firsts:
        seconds.append([first] if first > LONG and quick else [])
    for turn in range(repeats):
        for contestant, (_, first), own in zip(ready, firsts, seconds, strict=True):
            if first <= LONG or (not quick and turn < LONG_REPEATS):
                own.append(cpu_seconds(contestant.case.solve)[0])
    rows = [
        contestant.row(wrong, own) for contestant, (wrong, _), own in zip(ready, firsts, seconds, strict=True)
    ]
    return rows, missing


def cheapest(rows: Sequence[Row], problem: Problem, family: str, worst: float) -> Row | None:
    """Return the row of least CPU time whose error, to two digits, is at most `worst`."""
    fit = [
        row
        for row in rows
        if row.problem == problem.name and row.family == family and float(f"{row.error:.1e}") <= worst
    ]
    return min(fit, key=lambda row: row.run, default=None)


def judge(rows: Sequence[Row]) -> list[Target]:
    """Return the targets whose solvers were measured."""
    asked = [
        (SMOOTH, "deepwave", 1.2e-3, 10.0, "deepwave at an error of 1.2e-3"),
        (SMOOTH, "script", 1.0, 1000.0, "the plain P2 Newmark script at 4 times the error"),
        (SHARP, "numpy", 1.5e-2, 20.0, "order-8 differences at 1.5e-2, sharp layers"),
        (SHARP, "numpy means", 1.5e-2, 20.0, "the same with means of c² on the interfaces"),
    ]
    targets = []
    for problem, family, worst, times, name in asked:
        peer = cheapest(rows, problem, family, worst)
        own = cheapest(rows, problem, "slimwave", 1e-3)
        if peer is None or own is None:
            continue
        if family == "script" and own.error > peer.error / 4:
            continue
        targets.append(Target(f"times less CPU than {name}", peer.run / own.run, times, at_most=False))
    return targets


def print_report(rows: Sequence[Row], missing: Sequence[str], targets: Sequence[Target]) -> None:
    """Print the table of each problem, the missing solvers and the verdicts."""
    for problem in ENTRIES:
        own = cheapest(rows, problem, "slimwave", 1e-3)
        head = f"{'unknowns':>9}{'steps':>7}{'error':>9}{'set-up ms':>11}{'run ms':>10}{'ratio':>8}"
        print(f"{problem.name + ' (* c² Δu)':58}{head}")
        for row in rows:
            if row.problem == problem.name:
                ratio = f"{row.run / own.run:8.3g}" if own else ""
                figures = f"{row.unknowns:9d}{row.steps:7d}{row.error:9.1e}{1e3 * row.setup:11.1f}"
                print(f"{row.method + ' *' * row.seismic:58}{figures}{1e3 * row.run:10.2f}{ratio}")
        print()
    for name in missing:
        print(f"{name} is not installed: {REMEDIES[name]}")
    print("\n".join(target.line() for target in targets))


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rows, long runs timed once")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    options = parser.parse_args()
    rows, missing = measure(options.quick, 3 if options.quick else 7)
    targets = judge(rows)
    if options.json:
        judged = [target.as_json() for target in targets]
        report = {"missing": missing, "rows": [asdict(row) for row in rows], "targets": judged}
        print(json.dumps(report, indent=2))
    else:
        print_report(rows, missing, targets)


if __name__ == "__main__":
    main()
