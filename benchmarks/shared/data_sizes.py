"""How much the benchmark of the data layer measures."""

from dataclasses import dataclass
from pathlib import Path

from slimwave.data.scenarios import DomainConfig, GenerateConfig, SolverConfig, SplitConfig, SplitsConfig


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes
    ----------
    name
        Its key in `SIZES`.
    nodes, elements
        Grid and mesh, along both axes.
    trajectories, paced
        Of the training split: where processor time and memory are measured, and where the pace is.
    shards
        Trajectories per shard with which the pace is measured.
    samples, repeats
        Windows read in one pass, and passes.
    steps
        Training steps.
    """

    name: str
    nodes: int
    elements: int
    trajectories: int
    paced: int
    shards: tuple[int, ...]
    samples: int
    repeats: int
    steps: int


SIZES = {
    size.name: size
    for size in (
        Size("full", 64, 24, trajectories=48, paced=576, shards=(6, 24), samples=200, repeats=5, steps=60),
        Size("quick", 32, 10, trajectories=18, paced=60, shards=(6,), samples=30, repeats=2, steps=15),
    )
}


def config_of(size: Size, output: Path, trajectories: int) -> GenerateConfig:
    """Return a dataset whose training split holds nearly everything."""
    split = SplitConfig(trajectories=2, snapshots=21)
    train = SplitConfig(trajectories=trajectories, snapshots=61)
    return GenerateConfig(
        output=output,
        domain=DomainConfig(nx=size.nodes, ny=size.nodes),
        solver=SolverConfig(elements=(size.elements, size.elements)),
        splits=SplitsConfig(train=train, valid=split, test=split, ood=split),
    )
