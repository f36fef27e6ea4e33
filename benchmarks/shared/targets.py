"""What all benchmarks share: figures against their limits, and actions that take turns."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

Action = Callable[[], Any]


@dataclass(frozen=True)
class Target:
    """One figure against its limit; `at_most` says on which side the limit lies."""

    name: str
    value: float
    limit: float
    unit: str = ""
    at_most: bool = True

    @property
    def met(self) -> bool:
        """Whether the figure keeps to its limit."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def line(self) -> str:
        """One line of the report."""
        sign = "<=" if self.at_most else ">="
        return f"{verdict(self.met):15}{self.name:66}{self.value:9.3g} {sign} {self.limit:g} {self.unit}"

    def as_json(self) -> dict[str, Any]:
        """All fields, and whether the target is met."""
        return asdict(self) | {"met": self.met}


def verdict(met: bool) -> str:
    """Return the word for a target."""
    return "target met" if met else "target missed"


def cpu_seconds(action: Action) -> tuple[float, Any]:
    """CPU seconds of the process for one action, and its result."""
    start = time.process_time()
    result = action()
    return time.process_time() - start, result


def interleaved(actions: Mapping[str, Action], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each action; they take turns, after one round that warms up and compiles."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(repeats + 1):
        for name, action in actions.items():
            spent, _ = cpu_seconds(action)
            if turn:
                seconds[name].append(spent)
    return {name: statistics.median(values) for name, values in seconds.items()}
