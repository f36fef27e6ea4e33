"""Settings shared by the examples: a problem small enough to be solved and learnt in seconds."""

from pathlib import Path

import slimwave as sw

FOLDER = Path("runs/examples")

FIT = sw.FitConfig(steps=300, batch_size=4, unroll=(1, 2))
VALIDATION = sw.ValidationConfig(every=100, steps=10)


def dataset(folder: Path = FOLDER, seed: int = 0) -> Path:
    """Generate the examples' dataset, or keep the one that is there, and return its folder."""
    split = sw.SplitConfig(trajectories=3, snapshots=21)
    config = sw.GenerateConfig(
        output=folder / "data",
        seed=seed,
        domain=sw.DomainConfig(nx=24, ny=24),
        pulses=sw.PulseConfig(width=(0.10, 0.14)),
        solver=sw.SolverConfig(elements=(6, 6)),
        splits=sw.SplitsConfig(
            train=sw.SplitConfig(trajectories=6, snapshots=21), valid=split, test=split, ood=split
        ),
    )
    sw.generate(config)
    return config.output


def model(folder: Path = FOLDER, conv: str = "cp") -> Path:
    """Train the examples' model with one-way (`cp`) or dense convolutions and return its folder."""
    network = sw.NetworkConfig(width=8, depth=3, kernel_size=3, conv=conv)
    config = sw.TrainConfig(
        data=dataset(folder),
        output=folder / conv,
        network=network,
        fit=FIT,
        validation=VALIDATION,
        device="cpu",
    )
    sw.train(config)
    return config.output
