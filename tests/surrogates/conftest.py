"""A dataset small enough for every test: two cells per macro step, mixed walls, a non-square grid."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from slimwave.data.generation import generate
from slimwave.data.scenarios import (
    DomainConfig,
    GenerateConfig,
    PulseConfig,
    SolverConfig,
    SplitConfig,
    SplitsConfig,
    TimeConfig,
    WallConfig,
)
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.training import TrainResult, train
from slimwave.surrogates.training_settings import FitConfig, TrainConfig, ValidationConfig


@pytest.fixture(scope="session")
def dataset_settings() -> Callable[..., GenerateConfig]:
    """Settings of a dataset on 17 × 13 nodes: ``dataset_settings(output, **changes)``."""

    def settings(output: Path, **changes: object) -> GenerateConfig:
        defaults: dict[str, object] = {
            "domain": DomainConfig(width=1.0, height=0.75, nx=17, ny=13),
            "pulses": PulseConfig(count=(1, 1), width=(0.06, 0.08)),
            "walls": WallConfig("random", "random", "random", "random"),
            "time": TimeConfig(step=0.05),
            "solver": SolverConfig(order=4, elements=(4, 3)),
            "splits": SplitsConfig(
                train=SplitConfig(trajectories=4, snapshots=8),
                valid=SplitConfig(trajectories=2, snapshots=8),
                test=SplitConfig(trajectories=2, snapshots=10),
                ood=SplitConfig(trajectories=2, snapshots=10),
            ),
        }
        return GenerateConfig(output=output, **(defaults | changes))  # type: ignore[arg-type]

    return settings


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors are fastest, and repeat bit by bit, on one thread."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dataset(
    dataset_settings: Callable[..., GenerateConfig], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of the tiny dataset."""
    root = tmp_path_factory.mktemp("tiny") / "data"
    generate(dataset_settings(root))
    return root


@pytest.fixture(scope="session")
def training(dataset: Path) -> Callable[..., TrainConfig]:
    """Settings of a training that takes a fraction of a second: ``training(output, **changes)``."""

    def settings(output: Path, **changes: object) -> TrainConfig:
        defaults: dict[str, object] = {
            "data": dataset,
            "network": NetworkConfig(width=4, depth=2, kernel_size=3),
            "fit": FitConfig(steps=6, batch_size=2, warmup=1, unroll=(1, 2)),
            "validation": ValidationConfig(every=2, steps=4),
            "device": "cpu",
        }
        return TrainConfig(output=output, **(defaults | changes))  # type: ignore[arg-type]

    return settings


@pytest.fixture(scope="session")
def trained(training: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """A tiny trained model."""
    return train(training(tmp_path_factory.mktemp("trained") / "run"))
