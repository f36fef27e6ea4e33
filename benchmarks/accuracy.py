"""How accurate the surrogates are: the configurations in configs/accuracy, several seeds, one judge.

Each model is trained on `train`, its checkpoint is picked on `valid`, and it is judged by rollouts on `test`
and on two splits outside the distribution, from the first snapshot of each trajectory. A figure is the
median over seeds of the median over trajectories, with the range over seeds. Trainings that are finished are
not repeated; one that was stopped goes on.

    python benchmarks/accuracy.py                              # all configurations, seeds 0, 1, 2: hours
    python benchmarks/accuracy.py --models leapfrog --seeds 0  # a part of it
    python benchmarks/accuracy.py --quick                      # a tiny set and three models: does it run?
"""

import argparse
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from shared.accuracy_runs import CONFIGS, SNAPSHOTS, Bench, Judged, held_to, middle_error, table
from shared.targets import verdict

from slimwave.data.scenarios import draw_scenario
from slimwave.data.settings import GenerateConfig
from slimwave.data.solving import solve_scenario
from slimwave.surrogates.metrics import relative_l2

FOLDER = CONFIGS / "accuracy"
STEPS = (1, 10, 50, SNAPSHOTS)
WINDOWS = ("6-12", "13-30")
LIMITS = {
    "leapfrog": {
        ("test", 10): 0.005,
        ("test", 50): 0.02,
        ("test", SNAPSHOTS): 0.05,
        ("ood_pulses", 50): 0.15,
        ("ood_media", 50): 0.08,
    },
    "residual": {("test", 10): 0.04, ("test", 50): 0.12, ("test", SNAPSHOTS): 0.25},
}
"""Largest errors aimed at, by (split, step)."""


@dataclass(frozen=True)
class Pair:
    """A one-way network beside another one: its full form, or a narrow dense control.

    `fewer`, `one_step` and `rollout` are what is aimed at: how many times fewer parameters per step, and the
    ratios of the errors after one step and at `far`; None where nothing is aimed at.
    """

    one_way: str
    other: str
    fewer: float | None = None
    one_step: float | None = None
    rollout: float | None = None
    far: int = 50


PAIRS = (
    Pair("gated_linear_one_way", "gated_linear", 7.0, 1.1, 1.15),
    Pair("gated_linear_one_way", "gated_linear_narrow"),
    Pair("leapfrog_deep_one_way", "leapfrog_deep", 7.0, 1.1, 1.15),
    Pair("leapfrog_deep_random_one_way", "leapfrog_deep_random", 7.0, 1.1, 1.15),
    Pair("leapfrog_deep_random_one_way", "leapfrog_deep_random_narrow"),
    Pair("leapfrog_light", "leapfrog_narrow_dense"),
    Pair("space_time_one_way", "space_time", 8.0, 1.1),
    Pair("space_time_one_way", "space_time_narrow"),
)
QUICK = ("leapfrog", "gated_linear_one_way", "space_time_one_way")


def reference_error(data: GenerateConfig, trajectories: int) -> float:
    """Largest relative L2 difference at the last step between the reference and a finer solution."""
    worst = 0.0
    for index in range(trajectories):
        scenario = draw_scenario(data, "test", index)
        n, order = data.solver.elements, data.solver.order
        finer = (n[0] * 3 // 2, n[1] * 3 // 2)
        coarse = solve_scenario(scenario, data, snapshots=SNAPSHOTS + 1)
        fine = solve_scenario(scenario, data, snapshots=SNAPSHOTS + 1, elements=finer, order=order + 1)
        pair = (torch.from_numpy(found.u[-1]) for found in (coarse, fine))
        worst = max(worst, float(relative_l2(*pair)))
    return worst


def verdicts(results: dict[str, list[Judged]]) -> list[str]:
    """Say for each target of accuracy whether it is met, by medians over seeds."""
    lines = [
        line for name in LIMITS if name in results for line in held_to(name, results[name], LIMITS[name])
    ]
    return lines + [
        compare_pair(pair, results[pair.one_way], results[pair.other])
        for pair in PAIRS
        if pair.one_way in results and pair.other in results
    ]


def compare_pair(pair: Pair, one_way: Sequence[Judged], other: Sequence[Judged]) -> str:
    """Return how a one-way network stands beside another."""
    ours, theirs = one_way[0], other[0]
    in_all = (theirs.per_step + theirs.per_medium) / (ours.per_step + ours.per_medium)
    ratios = {
        step: middle_error(one_way, "test", step) / middle_error(other, "test", step)
        for step in (1, pair.far)
    }
    fewer = theirs.per_step / ours.per_step
    told = (
        f"{pair.one_way} beside {pair.other}: {fewer:.1f}x fewer parameters per step, {in_all:.1f}x in all, "
        f"{theirs.macs_per_node / ours.macs_per_node:.1f}x fewer MACs; "
        f"{ratios[1]:.2f}x the one-step error, {ratios[pair.far]:.2f}x at step {pair.far}"
    )
    aims = []
    if pair.fewer is not None:
        aims.append((f"at least {pair.fewer:g}x fewer", fewer >= pair.fewer))
    for step, aim in ((1, pair.one_step), (pair.far, pair.rollout)):
        if aim is not None:
            aims.append((f"at most {aim:g}x at step {step}", ratios[step] <= aim))
    return told + "".join(f"\n    {aim}: {verdict(met)}" for aim, met in aims)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = Bench(FOLDER, Path(), False).names()
    parser.add_argument("--models", nargs="+", choices=names, default=None, metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--quick", action="store_true", help="a tiny set, three models, four training steps")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) if arguments.quick else arguments.output
        bench = Bench(FOLDER, output, arguments.quick)
        chosen = arguments.models or (QUICK if arguments.quick else names)
        results = bench.run(chosen, [0] if arguments.quick else arguments.seeds)
        print(f"{platform.machine()}, one thread, torch {torch.__version__}; relative L2 of u in %\n")
        print("\n".join(table(results, STEPS, WINDOWS)))
        error = reference_error(bench.data(), 1 if arguments.quick else 4)
        told = f"within {error:.3%}, at most 0.2 %: {verdict(error <= 0.002)}"
        print("\n" + "\n".join([f"reference at step {SNAPSHOTS}: {told}", *verdicts(results)]))


if __name__ == "__main__":
    main()
