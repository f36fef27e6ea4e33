"""Long steps: one-way operators as long as the domain against U-Nets and deep stacks of 5 x 5 convolutions.

The set of benchmarks/accuracy.py with macro steps of eight snapshots, 0.16, in which the fastest wave crosses
20 cells of the 64 x 64 grid. `macro_step` starts from propagators of one-dimensional waves,
`macro_step_random` from nothing. Its rivals come twice: about as cheap, in multiplications, and many times
dearer. Then one comparison in one run: latency on one thread beside the finite-element solver, which is asked
for the same snapshots. Trainings that are finished are not repeated; one that was stopped goes on.

    python benchmarks/macro_steps.py                        # configs/macro_steps, hours
    python benchmarks/macro_steps.py --models macro_step unet --seeds 0
    python benchmarks/macro_steps.py --quick                # a tiny set and two models: does it run?
"""

import argparse
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from shared.accuracy_runs import CONFIGS, Bench, Judged, middle_error, table
from shared.targets import verdict

from slimwave.surrogates.comparison import compare
from slimwave.surrogates.comparison_settings import CompareConfig
from slimwave.surrogates.competitors import Row

SNAPSHOTS = (8, 48, 96)
"""After one, six and twelve macro steps."""
OURS = "macro_step"
CHEAP = ("unet_narrow", "deep_stack_narrow")
DEAR = ("unet", "deep_stack")
LOWER, FEWER = 1.5, 2.0
"""Aims: how many times lower the rollout error at equal multiplications, or fewer of them at equal error."""
QUICK = (OURS, "unet_narrow")


def verdicts(results: dict[str, list[Judged]]) -> list[str]:
    """Say how the one-way operators stand beside every rival."""
    return [
        against(results[OURS], results[rival], rival)
        for rival in (*CHEAP, *DEAR)
        if OURS in results and rival in results
    ]


def against(ours: Sequence[Judged], theirs: Sequence[Judged], rival: str) -> str:
    """One rival: the ratio of the errors on every seed's worst side, and of the multiplications."""
    far = SNAPSHOTS[-1]
    lower = middle_error(theirs, "test", far) / middle_error(ours, "test", far)
    worst = min(one.error("test", far) for one in theirs) / max(one.error("test", far) for one in ours)
    fewer = theirs[0].macs_per_node / ours[0].macs_per_node
    met = worst >= LOWER and fewer >= 0.8 if rival in CHEAP else worst >= 1 and fewer >= FEWER
    return (
        f"{OURS} beside {rival}: {lower:.3g}x lower error at snapshot {far} "
        f"({worst:.3g}x, our worst seed against its best), with {fewer:.3g}x fewer multiplications: "
        f"{verdict(met)}"
    )


def latencies(bench: Bench, names: Sequence[str], seed: int, elements: tuple[int, ...]) -> list[str]:
    """Return a table of one comparison in one run, as `slimwave compare` makes it."""
    models = {name: bench.training(name, seed).output for name in names}
    config = CompareConfig(
        data=bench.output / "data",
        models=models,
        splits=("test",),
        coarse_elements=elements,
        latency_steps=5 if bench.quick else 40,
        output=bench.output / "compare_macro_steps",
        device="cpu",
        overwrite=True,
    )
    comparison = compare(config)
    last = str(comparison.steps["test"][-1])
    lines = [
        f"| | ms per macro step | once per medium, ms | error at step {last} |",
        "| --- | --- | --- | --- |",
    ]
    return lines + [latency_row(row, last) for row in comparison.rows if row.latency]


def latency_row(row: Row, last: str) -> str:
    """One competitor: the fastest runtime that serves it."""
    assert row.latency and row.errors
    runtime, fastest = min(row.latency.items(), key=lambda item: item[1].cpu_median)
    error = row.errors["test"][last]
    return f"| {row.name} | {fastest.cpu_median:.3g} ({runtime}) | {row.setup_ms:.3g} | {error:.2%} |"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = Bench(CONFIGS / "macro_steps", Path(), False).names()
    parser.add_argument("--models", nargs="+", choices=names, default=None, metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--quick", action="store_true", help="a tiny set, two models, four training steps")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) if arguments.quick else arguments.output
        bench = Bench(CONFIGS / "macro_steps", output, arguments.quick)
        chosen = arguments.models or (QUICK if arguments.quick else names)
        seeds = [0] if arguments.quick else arguments.seeds
        results = bench.run(chosen, seeds)
        print(f"{platform.machine()}, one thread, torch {torch.__version__}; relative L2 of u in %\n")
        print("\n".join(table(results, SNAPSHOTS, ("6-12",))))
        print("\n" + "\n".join(verdicts(results)))
        print(
            "\n" + "\n".join(latencies(bench, chosen, seeds[0], (4, 6) if arguments.quick else (4, 6, 8, 10)))
        )


if __name__ == "__main__":
    main()
