"""SAP against lottery tickets and one-shot pruning, and one-way layers a priori against a posteriori.

On slimwave's own wave data, for a full CNN and for one-way CNNs, from several seeds: validation rollout error
over the weights kept, the PQ Index over rounds, and at the end the test error of the rounds that validation
chose. Every contender starts from the same trained network and gets as much training as the others and as a
control that is not pruned; lottery and one-shot prune at the rate with which they end at as many weights as
SAP after as many rounds. Finished runs are kept: an interrupted study goes on where it was.

    python benchmarks/sap_study.py                       # seeds 0, 1, 2
    python benchmarks/sap_study.py --seeds 1             # one of them, beside another process for another
    python benchmarks/sap_study.py --report docs         # write sap_study.json and the pictures from it
    python benchmarks/sap_study.py --quick               # a tiny problem: does it run?
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from shared.sap_findings import a_priori_ratio, behind, course, last_errors, select, sparsest
from shared.sap_pictures import draw_errors, draw_indices
from shared.sap_runs import (
    CONTROL,
    DECOMPOSED,
    FULL,
    RIVALS,
    UNPRUNED,
    WIDE,
    Contender,
    Plan,
    Run,
    Schedule,
    Seed,
    make_data,
    one_way,
)
from shared.targets import Target

from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.pruning_settings import SAPConfig
from slimwave.surrogates.training_settings import FitConfig, ValidationConfig

ONE_WAY = one_way(16)
ALL = (FULL, ONE_WAY, WIDE)
FAST = SAPConfig(eta=0.1, gamma=1.6)
PLAN = Plan(
    networks={
        FULL: NetworkConfig(width=12),
        ONE_WAY: NetworkConfig(width=12, conv="cp", rank=16),
        one_way(8): NetworkConfig(width=12, conv="cp", rank=8),
        WIDE: NetworkConfig(width=24),
    },
    contenders=(
        Contender("SAP", ALL, sap=FAST),
        Contender("lottery", ALL, "lottery"),
        Contender("one-shot", (FULL, ONE_WAY), "oneshot"),
        Contender("SAP, rewound", (FULL,), sap=FAST, rewind="early"),
        Contender("SAP, terms", (ONE_WAY,), sap=replace(FAST, scope="term", gamma=1.0)),
        Contender("SAP, short rounds", (FULL,), sap=replace(FAST, gamma=1.2), rounds=10),
        Contender("SAP, layers", (FULL,), sap=replace(FAST, scope="layer")),
        Contender("lottery to collapse", (FULL,), "lottery", rate=0.6),
        Contender("SAP 1-2", (FULL, ONE_WAY), sap=SAPConfig(p=1.0, q=2.0, eta=0.1, gamma=1.2)),
        Contender("SAP, defaults", (FULL, ONE_WAY), sap=SAPConfig()),
    ),
    ranks=(16, 8),
    trajectories=(48, 8, 12),
    grid=32,
    train=FitConfig(steps=800, unroll=(1, 2, 4)),
    schedule=Schedule(rounds=5, steps=160),
    longer={WIDE: Schedule(rounds=6, steps=500)},
    refit=FitConfig(learning_rate=8e-3, warmup=10, unroll=(1, 2, 4)),
    validation=ValidationConfig(steps=40),
)
QUICK = replace(
    PLAN,
    networks={
        FULL: NetworkConfig(width=4, kernel_size=3),
        one_way(8): NetworkConfig(width=4, kernel_size=3, conv="cp", rank=8),
    },
    contenders=tuple(replace(one, networks=(FULL, one_way(8))) for one in PLAN.contenders[:3]),
    ranks=(8,),
    trajectories=(4, 2, 2),
    grid=16,
    train=replace(PLAN.train, steps=8, warmup=1),
    schedule=Schedule(rounds=3, steps=4),
    longer={},
    refit=replace(PLAN.refit, warmup=1, unroll=(2,)),
)
TOLERANCE = 1.05
FEWEST = 0.1


@dataclass(frozen=True)
class Findings:
    """The runs, and the errors of the full CNNs that they are held against, one per seed.

    One-way CNNs are held against the full CNN of their width, the wide CNN against itself.
    """

    runs: list[Run]
    chosen: list[dict[str, Any]]

    def full(self, at: int, network: str = FULL) -> dict[int, float]:
        """Errors of a network's full CNN by seed: as trained (0), or after the last refit (-1)."""
        return {run["seed"]: run["rounds"][at]["error"] for run in select(self.runs, base(network), CONTROL)}

    def weights(self, network: str = FULL) -> int:
        """Weights of a network's full CNN that can be pruned."""
        return int(select(self.runs, base(network), CONTROL)[0]["rounds"][0]["weights_total"])

    def kept_within(self, network: str, runs: Sequence[Run], at: int) -> float:
        """Least share of the full CNN's weights within the tolerance, median over seeds; else 1."""
        limits, weights = self.full(at, network), self.weights(network)
        rounds = [sparsest(run, TOLERANCE * limits[run["seed"]]) for run in runs]
        return median(one["weights_kept"] / weights if one else 1.0 for one in rounds)

    def names(self) -> list[tuple[str, str]]:
        """Return network and contender of all runs, in order."""
        return list(dict.fromkeys((run["network"], run["name"]) for run in self.runs))


def base(network: str) -> str:
    """Return the full CNN that a network is held against."""
    return WIDE if network == WIDE else FULL


def collect(plan: Plan, output: Path, seeds: Sequence[int], *, start: bool) -> Findings:
    """Run all seeds, or take what is finished; then, and not before, look at the test split."""
    if start:
        make_data(plan, output)
    runs = []
    for seed in seeds:
        for run in Seed(plan, output, seed).run(start=start):
            last = run["rounds"][-1]
            print(f"seed {seed}, {run['network']}, {run['name']}: {last['error']:.4f}", file=sys.stderr)
            runs.append(run)
    known = Findings(runs, [])
    findings = Findings([run for run in runs if run["seed"] in known.full(-1, run["network"])], [])
    if not findings.runs:
        raise SystemExit(f"{output} holds no finished control yet; run the study without --finished")
    for run in findings.runs:
        limit = TOLERANCE * known.full(-1, run["network"])[run["seed"]]
        round_ = run["rounds"][-1] if run["name"] in UNPRUNED else sparsest(run, limit)
        if round_:
            judge = Seed(plan, output, run["seed"])
            error = judge.test_error(run["network"], run["name"], round_["round"])
            key = {name: run[name] for name in ("seed", "network", "name")}
            findings.chosen.append(key | {"round": round_["round"], "test_error": error})
    return findings


def targets(plan: Plan, findings: Findings) -> list[Target]:
    """Hold the findings against the limits, as far as both sides of a comparison are finished."""
    found = []
    runs, leader = findings.runs, plan.leader.name
    for network in plan.leader.networks:
        ours = select(runs, network, leader)
        for at, what in ((0, "trained"), (-1, "control")) if ours else ():
            name = f"{network} CNN, {leader}: weights kept within {TOLERANCE:g}x {base(network)} CNN ({what})"
            found.append(Target(name, findings.kept_within(network, ours, at), FEWEST))
        for rival in RIVALS:
            if ours and (theirs := select(runs, network, rival)):
                worst, beyond, end = behind(ours, theirs)
                name = f"{network} CNN, {leader}/{rival}: end {end:.2f}, worst {worst:.2f}, less spread"
                found.append(Target(name, beyond, 1.0))
    for rank in plan.ranks:
        sides = [select(runs, one_way(rank), name) for name in (CONTROL, DECOMPOSED)]
        if all(sides):
            name = f"{one_way(rank)} CNN: error a priori over a posteriori"
            found.append(Target(name, a_priori_ratio(*sides), 1.0))
    return found


def table(findings: Findings) -> list[str]:
    """Return a Markdown table: medians over seeds, errors with their range."""
    head = (
        "network",
        "contender",
        "seeds",
        "weights at the end",
        "validation error there",
        "kept within 1.05× control",
        "kept within 1.05× trained",
        "test error, chosen rounds",
        "PQ Index",
    )
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return lines + ["| " + " | ".join(row(findings, *key)) + " |" for key in findings.names()]


def row(findings: Findings, network: str, name: str) -> list[str]:
    """One contender's row."""
    runs = select(findings.runs, network, name)
    weights = findings.weights(network)
    kept = median(run["rounds"][-1]["weights_kept"] / weights for run in runs)
    held_out = [one["test_error"] for one in select(findings.chosen, network, name)]
    courses = Counter(
        course([one["pq_index_after"] for one in run["rounds"]]) for run in runs if name not in UNPRUNED
    )
    told = "; ".join(f"{words} ({count})" for words, count in courses.most_common())
    within = [findings.kept_within(network, runs, at) for at in (-1, 0)]
    least = ["–" if name in UNPRUNED or share == 1 else f"{share:.1%}" for share in within]
    cells = [network, name, str(len(runs)), f"{kept:.1%}", percent(last_errors(runs)), *least]
    return [*cells, percent(held_out) if held_out else "–", told or "–"]


def percent(values: Sequence[float]) -> str:
    """Median and range in percent."""
    middle = f"{100 * median(values):.2f}"
    return f"{middle} ({100 * min(values):.2f}–{100 * max(values):.2f})"


def write_report(findings: Findings, judged: Sequence[Target], folder: Path) -> None:
    """Write the records, and the pictures drawn from them."""
    records = {**asdict(findings), "targets": [target.as_json() for target in judged]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sap_study.json").write_text(json.dumps(records) + "\n")
    if pruned := [run for run in findings.runs if run["name"] not in UNPRUNED]:
        limits = {
            network: {
                "full CNN, trained": median(findings.full(0, network).values()),
                "full CNN, control": median(findings.full(-1, network).values()),
            }
            for network in {run["network"] for run in pruned}
        }
        draw_errors(pruned, limits, folder / "images" / "sap_errors.png")
        draw_indices(pruned, folder / "images" / "sap_indices.png")


def main() -> None:
    """Run the study, print the table and the targets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("runs/sap_study"), help="folder of the runs")
    parser.add_argument("--finished", action="store_true", help="report what is finished, start nothing")
    parser.add_argument("--report", type=Path, help="folder of sap_study.json and images/")
    parser.add_argument(
        "--quick", action="store_true", help="a tiny problem, one seed, in a temporary folder"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        plan, output, seeds = (
            (QUICK, Path(folder), [0]) if arguments.quick else (PLAN, arguments.output, arguments.seeds)
        )
        findings = collect(plan, output, seeds, start=not arguments.finished)
        judged = targets(plan, findings)
        report = output / "report" if arguments.report is None else arguments.report
        write_report(findings, judged, report)
    print("\n".join([*table(findings), "", *(target.line() for target in judged)]))
    if arguments.quick:
        print("quick: the networks are hardly trained, the figures mean nothing")


if __name__ == "__main__":
    main()
