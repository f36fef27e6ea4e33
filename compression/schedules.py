"""Schedules of pruning: how many members of a group go in one round, and by whose sizes they are ranked.

| schedule | count of d kept members | ranked by |
|---|---|---|
| `sap` | ⌊d · min(γ (1 − m/d), β)⌋, m from the PQ Index | the retrained model |
| `lottery` | ⌊P d⌋ (Frankle & Carbin, ICLR 2019) | the retrained model |
| `oneshot` | ⌊P d⌋ | the first trained model |

The last two are the baselines of Diao et al. (ICLR 2023), with P = 0.2.  All run on one interface and record
the same, so that they can be compared round by round.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from slimwave.compression.choices import SCHEDULES
from slimwave.compression.pq_index import SLACK, prune_count


class Schedule(ABC):
    """How many of each group go."""

    by_first_model: ClassVar[bool] = False
    """Whether members are ranked by their sizes in the first trained model."""

    @abstractmethod
    def count(self, d: Tensor, lower_bound: Tensor) -> Tensor:
        """Return c per group, of d kept members of which `lower_bound` (m) should stay."""


@dataclass(frozen=True)
class AdaptiveSchedule(Schedule):
    """SAP's own: as many as the PQ Index allows, times γ, and at most a share β."""

    gamma: float = 1.0
    beta: float = 0.9

    def __post_init__(self) -> None:
        if not 0.0 < self.gamma < float("inf"):
            raise ValueError(f"gamma: expected a finite number above 0, got {self.gamma}")
        if not 0.0 < self.beta <= 1.0:
            raise ValueError(f"beta: expected a share above 0 and at most 1, got {self.beta}")

    def count(self, d: Tensor, lower_bound: Tensor) -> Tensor:
        """Return ⌊d · min(γ (1 − m/d), β)⌋."""
        return prune_count(d, lower_bound, self.gamma, self.beta)


@dataclass(frozen=True)
class LotterySchedule(Schedule):
    """A fixed share of what is left, by the magnitudes of the retrained model."""

    rate: float = 0.2

    def __post_init__(self) -> None:
        if not 0.0 < self.rate < 1.0:
            raise ValueError(f"rate: expected a share between 0 and 1, got {self.rate}")

    def count(self, d: Tensor, lower_bound: Tensor) -> Tensor:  # noqa: ARG002 (the bound is recorded only)
        """Return ⌊P d⌋."""
        return torch.floor(self.rate * d.to(torch.float64) + SLACK).to(torch.int64)


@dataclass(frozen=True)
class OneShotSchedule(LotterySchedule):
    """The lottery's counts, by the magnitudes of the first trained model."""

    by_first_model: ClassVar[bool] = True


def make_schedule(name: str, *, gamma: float = 1.0, beta: float = 0.9, rate: float = 0.2) -> Schedule:
    """Return the schedule of that name; "sap" reads `gamma` and `beta`, the others `rate`.

    Raises
    ------
    ValueError
        There is no such schedule, or one of the numbers is out of range.
    """
    adaptive, lottery, one_shot = AdaptiveSchedule(gamma, beta), LotterySchedule(rate), OneShotSchedule(rate)
    schedules: dict[str, Schedule] = {"sap": adaptive, "lottery": lottery, "oneshot": one_shot}
    if name not in schedules:
        raise ValueError(f"schedule: expected one of {', '.join(SCHEDULES)}, got {name!r}")
    return schedules[name]
