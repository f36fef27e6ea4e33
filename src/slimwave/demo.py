"""The main job in one command: dataset → full and one-way surrogates → SAP → rollout → comparison.

Every stage is an ordinary command with a folder of its own below the demo's output; a finished stage is
kept, so that an interrupted demo goes on where it stopped.
"""

import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from slimwave.data.ranges import require_at_least
from slimwave.data.scenarios import GenerateConfig
from slimwave.surrogates.comparison_settings import CompareConfig
from slimwave.surrogates.pruning_settings import PruneConfig
from slimwave.surrogates.rollout_settings import RolloutConfig
from slimwave.surrogates.training_settings import TrainConfig

if TYPE_CHECKING:
    from slimwave.commands import Outcome


@dataclass(frozen=True)
class DemoConfig:
    """Settings of `slimwave demo`; the defaults stand in `configs/demo.yaml`.

    The folders, the seed and the device of the stages follow from the settings given here.

    Parameters
    ----------
    output : Path
        Folder of the whole demo; finished stages in it are kept.
    quick : bool
        Take `configs/demo_quick.yaml`: the same stages on a smaller problem, for a first look and for CI.
    seed : int
        Seed of the dataset, of both trainings and of the pruning.
    device : {"auto", "cpu", "cuda"}
        Where the surrogates are trained.
    generate, full, one_way, prune, rollout, compare
        Settings of the stages.
    """

    output: Path = Path("runs/demo")
    quick: bool = False
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    generate: GenerateConfig = field(default_factory=GenerateConfig)
    full: TrainConfig = field(default_factory=TrainConfig)
    one_way: TrainConfig = field(default_factory=TrainConfig)
    prune: PruneConfig = field(default_factory=PruneConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    compare: CompareConfig = field(default_factory=CompareConfig)

    def __post_init__(self) -> None:
        require_at_least("seed", self.seed, 0)

    def stages(self) -> dict[str, Any]:
        """Return the stages' settings in order, with folders, seed and device filled in."""
        root = self.output
        data = root / "data"
        run: dict[str, Any] = {"data": data, "seed": self.seed, "device": self.device}
        models = {
            "full CNN": root / "full",
            "one-way CNN": root / "one_way",
            "one-way CNN + SAP": root / "pruned",
        }
        return {
            "generate": replace(self.generate, output=data, seed=self.seed),
            "train the full CNN": replace(self.full, output=root / "full", **run),
            "train the one-way CNN": replace(self.one_way, output=root / "one_way", **run),
            "prune": replace(self.prune, model=root / "one_way", output=root / "pruned", **run),
            "rollout": replace(self.rollout, model=root / "pruned", output=root / "rollout", **run),
            "compare": replace(self.compare, models=models, output=root / "compare", **run),
        }


def demo(config: DemoConfig) -> "Outcome":
    """Run every stage and return the outcome of the last one, the comparison.

    One line per stage goes to standard error, so that standard output holds the table alone.
    """
    from slimwave.commands import COMMAND_OF, Outcome

    started = time.perf_counter()
    stages = config.stages()
    text = ""
    record: dict[str, Any] = {}
    for number, (name, settings) in enumerate(stages.items(), 1):
        seconds = time.perf_counter() - started
        print(f"[{number}/{len(stages)}] {name} ({seconds:.0f} s so far)", file=sys.stderr)
        outcome = COMMAND_OF[type(settings)](settings)
        record, text = outcome.record, outcome.text
        if number < len(stages):
            print(text, file=sys.stderr)
    return Outcome({**record, "seconds": time.perf_counter() - started}, text)
