"""Must a CNN be trained between the sides that it forecasts between? Walls and absorbing sides, crosswise.

Each network is trained between Dirichlet walls and, apart, between absorbing sides, and forecasts between
both and between Neumann walls. Errors of u are relative to its norm at the START, since a wave that leaves
takes the norm with it.

    python benchmarks/absorbing_sides.py            # a quarter of an hour of one core
    python benchmarks/absorbing_sides.py --quick
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from slimwave.data.generation import generate
from slimwave.data.scenarios import DomainConfig, GenerateConfig, SplitConfig, SplitsConfig, WallConfig
from slimwave.data.windows import load_trajectories
from slimwave.surrogates.checkpoints import load_model
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.rollout import rollout
from slimwave.surrogates.training import train
from slimwave.surrogates.training_settings import FitConfig, TrainConfig

SIDES = ("dirichlet", "neumann", "absorbing")
TRAINED = ("dirichlet", "absorbing")
STEPS = (1, 10, 30, 60)


def dataset(output: Path, side: str) -> Path:
    """Generate a small dataset with one kind of side."""
    splits = SplitsConfig(train=SplitConfig(24, snapshots=61), test=SplitConfig(12, snapshots=101))
    domain = DomainConfig(nx=32, ny=32)
    folder = output / side
    generate(
        GenerateConfig(output=folder, domain=domain, splits=splits, walls=WallConfig(side, side, side, side))
    )
    return folder


def model(output: Path, name: str, data: Path, fit: FitConfig) -> Path:
    """Train a network, or take the finished training."""
    folder = output / f"{name}-{data.name}"
    train(
        TrainConfig(data=data, output=folder, network=NetworkConfig(name, width=12), fit=fit), progress=True
    )
    return folder


def errors(folder: Path, data: Path) -> list[float]:
    """Median error of u over the test trajectories at each of ``STEPS``, relative to its first norm."""
    truth = load_trajectories(data, "test", snapshots=STEPS[-1] + 1)
    state = torch.stack([truth.u[:, 0], truth.v[:, 0]], dim=1)
    forecast = rollout(load_model(folder), state, truth.c[:, None], truth.walls, steps=STEPS[-1])
    size = truth.u[:, 0].flatten(1).norm(dim=1)
    wrong = (forecast[:, :, 0] - truth.u[:, 1:]).flatten(2).norm(dim=2) / size[:, None]
    return [float(wrong[:, step - 1].median()) for step in STEPS]


def report(output: Path, networks: tuple[str, ...], fit: FitConfig) -> None:
    """Train and judge, and print one line per network, training and kind of side."""
    data = {side: dataset(output, side) for side in SIDES}
    print("error of u at steps " + ", ".join(map(str, STEPS)) + ", relative to the start")
    for name in networks:
        for trained in TRAINED:
            folder = model(output, name, data[trained], fit)
            for side in SIDES:
                told = "  ".join(f"{error:6.2%}" for error in errors(folder, data[side]))
                print(f"{name:13s} trained {trained:10s} between {side:10s} {told}")


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/absorbing_sides"))
    parser.add_argument("--quick", action="store_true", help="one network, a few steps: shows that it runs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.quick:
        with TemporaryDirectory() as folder:
            report(Path(folder), ("residual_cnn",), FitConfig(steps=4, warmup=1, unroll=(1,)))
    else:
        report(arguments.output, ("residual_cnn", "gated_linear"), FitConfig(steps=1200))


if __name__ == "__main__":
    main()
