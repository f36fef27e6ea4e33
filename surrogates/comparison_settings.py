"""Settings of a comparison: which models are judged beside which baselines."""

from dataclasses import dataclass, field
from pathlib import Path

from slimwave.data.ranges import require_at_least, require_positive
from slimwave.data.scenarios import Split
from slimwave.surrogates.training_settings import Device


@dataclass(frozen=True)
class CompareConfig:
    """Settings of ``slimwave compare``.

    Parameters
    ----------
    data
        Dataset folder.
    models
        Name of the row → run folder of the model.
    splits
        Splits of the dataset that judge; None means test and every split out of distribution (ood…) that
        holds trajectories. Latency is measured, and a trajectory shown in full, on the first of them.
    steps
        Rollout length in macro steps; None means as far as the reference of each split reaches.
    trajectories
        Most trajectories per split; None means all.
    coarse_elements
        Elements per side of the coarser finite-element baselines.
    threshold
        Relative L2 error up to which a forecast counts as valid.
    latency_steps
        Macro steps timed per competitor, interleaved, on one thread.
    output
        Run folder.
    seed
        Seed of the order in which the competitors take turns when timed, and of the trajectory that is shown
        in full.
    device
        Where to compute; ``auto`` takes a GPU when there is one. Latency is always measured on one thread of
        the CPU.
    overwrite
        Start anew where the folder already holds a run.
    """

    data: Path = Path("runs/data")
    models: dict[str, Path] = field(
        default_factory=lambda: {
            "full CNN": Path("runs/full"),
            "one-way CNN": Path("runs/one_way"),
            "one-way CNN + SAP": Path("runs/pruned"),
        }
    )
    splits: tuple[Split, ...] | None = None
    steps: int | None = None
    trajectories: int | None = None
    coarse_elements: tuple[int, ...] = (4, 6, 8)
    threshold: float = 0.2
    latency_steps: int = 100
    output: Path = Path("runs/compare")
    seed: int = 0
    device: Device = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("--models: expected at least one row name with its run folder, got none")
        reserved = [name for name in self.models if name == "persistence" or name.startswith("FE ")]
        if reserved:
            raise ValueError(
                f"--models: {reserved[0]!r} is the name of a baseline; expected another name for the row"
            )
        if self.splits is not None and len(set(self.splits)) != max(1, len(self.splits)):
            raise ValueError(f"--splits: expected one or more splits, each once, got {list(self.splits)}")
        if self.steps is not None:
            require_at_least("steps", self.steps, 1)
        if self.trajectories is not None:
            require_at_least("trajectories", self.trajectories, 1)
        if any(count < 1 for count in self.coarse_elements):
            raise ValueError(
                f"--coarse_elements: expected counts of at least 1, got {list(self.coarse_elements)}"
            )
        require_positive("threshold", self.threshold)
        require_at_least("latency_steps", self.latency_steps, 2)
        require_at_least("seed", self.seed, 0)
