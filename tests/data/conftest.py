"""A small real dataset on a non-square grid, with walls of all kinds."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from slimwave.data.generation import generate
from slimwave.data.scenarios import (
    DomainConfig,
    GenerateConfig,
    PulseConfig,
    SolverConfig,
    SplitConfig,
    SplitsConfig,
    WallConfig,
)


@pytest.fixture(scope="session")
def small_config() -> GenerateConfig:
    """Twelve trajectories in seven shards, the last training shard shorter than the others."""
    return GenerateConfig(
        seed=5,
        domain=DomainConfig(width=1.0, height=0.8, nx=24, ny=18),
        pulses=PulseConfig(width=(0.1, 0.15)),
        walls=WallConfig(left="random", right="random", bottom="neumann", top="dirichlet"),
        solver=SolverConfig(order=4, elements=(8, 6)),
        splits=SplitsConfig(
            train=SplitConfig(trajectories=5, snapshots=9),
            valid=SplitConfig(trajectories=2, snapshots=13),
            test=SplitConfig(trajectories=3, snapshots=13),
            ood=SplitConfig(trajectories=2, snapshots=13, pulses=PulseConfig(width=(0.09, 0.1))),
        ),
        trajectories_per_shard=2,
    )


@pytest.fixture(scope="session")
def pristine(small_config: GenerateConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the dataset, for reading only."""
    root = tmp_path_factory.mktemp("pristine") / "data"
    generate(replace(small_config, output=root))
    return root


@pytest.fixture
def dataset(pristine: Path, tmp_path: Path) -> Path:
    """Return a copy of the dataset that a test may damage."""
    root = tmp_path / "dataset"
    shutil.copytree(pristine, root)
    return root
