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
from dataclasses import replace
from pathlib import Path

import torch
from shared.sap_runs import FULL, Contender, Plan, Seed, make_data, one_way

from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.pruning_settings import SAPConfig
from slimwave.surrogates.training_settings import FitConfig, ValidationConfig

ONE_WAY = one_way(16)
BOTH = (FULL, ONE_WAY)
FAST = SAPConfig(eta=0.1, gamma=1.6)
PLAN = Plan(
    networks={
        FULL: NetworkConfig(width=12),
        ONE_WAY: NetworkConfig(width=12, conv="cp", rank=16),
        one_way(8): NetworkConfig(width=12, conv="cp", rank=8),
    },
    contenders=(
        Contender("SAP", BOTH, sap=FAST),
        Contender("lottery", BOTH, "lottery"),
        Contender("one-shot", BOTH, "oneshot"),
        Contender("SAP, short rounds", (FULL,), sap=replace(FAST, gamma=1.2), rounds=10),
        Contender("SAP, layers", (FULL,), sap=replace(FAST, scope="layer")),
        Contender("lottery to collapse", (FULL,), "lottery", rate=0.6),
        Contender("SAP 1-2", (FULL,), sap=SAPConfig(p=1.0, q=2.0, eta=0.1, gamma=1.2)),
        Contender("SAP, defaults", (FULL,), sap=SAPConfig()),
    ),
    ranks=(16, 8),
    trajectories=(48, 8, 12),
    grid=32,
    train=FitConfig(steps=800, unroll=(1, 2, 4)),
    rounds=5,
    refit=FitConfig(steps=160, learning_rate=8e-3, warmup=10, unroll=(1, 2, 4)),
    validation=ValidationConfig(every=100, steps=40),
)
QUICK = replace(
    PLAN, networks={name: replace(network, width=4, kernel_size=3) for name, network in PLAN.networks.items()}
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("runs/sap_study"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    make_data(PLAN, arguments.output)
    for seed in arguments.seeds:
        for run in Seed(PLAN, arguments.output, seed).run():
            last = run["rounds"][-1]
            print(
                run["seed"],
                run["network"],
                run["name"],
                f"{last['weights_kept']} {last['error']:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
