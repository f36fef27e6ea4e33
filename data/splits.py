"""The splits of a dataset: names, sizes, and where one departs from the dataset's distributions."""

from dataclasses import dataclass
from typing import Literal, get_args

from slimwave.data.distributions import DampingConfig, MediumConfig, PulseConfig, SourceConfig
from slimwave.data.ranges import require_at_least

Split = Literal["train", "valid", "test", "ood", "ood_pulses", "ood_media", "ood_long", "ood_loud"]

SPLITS: tuple[Split, ...] = get_args(Split)
"""Names of the splits; their order is part of the random streams: new ones go to the end."""
REQUIRED_SPLITS: tuple[Split, ...] = ("train", "valid", "test", "ood")


@dataclass(frozen=True)
class SplitConfig:
    """Size of a split, and where it departs from the dataset's distributions.

    Parameters
    ----------
    trajectories
        Number of trajectories; 0 leaves an optional split out.
    snapshots
        Snapshots per trajectory, the initial state included.
    medium, pulses, damping, sources
        Distributions of this split; None means the dataset's own.
    """

    trajectories: int = 96
    snapshots: int = 61
    medium: MediumConfig | None = None
    pulses: PulseConfig | None = None
    damping: DampingConfig | None = None
    sources: SourceConfig | None = None

    def check(self, flag: str, fewest: int) -> None:
        """Refuse, by the names of the flags below ``flag``, a split that cannot be made."""
        require_at_least(f"{flag}.trajectories", self.trajectories, fewest)
        require_at_least(f"{flag}.snapshots", self.snapshots, 2)
        for name in ("medium", "pulses", "damping", "sources"):
            if (own := getattr(self, name)) is not None:
                own.check(f"{flag}.{name}")


@dataclass(frozen=True)
class SplitsConfig:
    """The splits: three of the dataset's distribution, and one or more outside it.

    ``train`` is short; ``valid``, ``test`` and ``ood`` run longer, since forecasts are judged beyond the
    horizon of the training. ``ood`` leaves the distribution in two ways at once: sharper pulses in media that
    vary faster. The optional splits, each left out until it is given trajectories
    (``--splits.ood_long.trajectories 12``), depart from it in one way, so that a failure has one cause:

    ``ood_pulses``
        sharper pulses
    ``ood_media``
        media that vary faster
    ``ood_long``
        a horizon five times that of the training
    ``ood_loud``
        larger amplitudes
    """

    train: SplitConfig = SplitConfig(trajectories=96, snapshots=61)
    valid: SplitConfig = SplitConfig(trajectories=12, snapshots=101)
    test: SplitConfig = SplitConfig(trajectories=18, snapshots=101)
    ood: SplitConfig = SplitConfig(
        trajectories=18,
        snapshots=101,
        medium=MediumConfig(correlation_length=0.08),
        pulses=PulseConfig(width=(0.04, 0.05)),
    )
    ood_pulses: SplitConfig = SplitConfig(0, 101, pulses=PulseConfig(width=(0.04, 0.05)))
    ood_media: SplitConfig = SplitConfig(0, 101, medium=MediumConfig(correlation_length=0.08))
    ood_long: SplitConfig = SplitConfig(0, 301)
    ood_loud: SplitConfig = SplitConfig(0, 101, pulses=PulseConfig(amplitude=(2.0, 4.0)))

    def __post_init__(self) -> None:
        for name in SPLITS:
            split: SplitConfig = getattr(self, name)
            split.check(f"splits.{name}", fewest=1 if name in REQUIRED_SPLITS else 0)
