"""What a scenario is drawn from: media, initial pulses and walls as typed settings.

Each class holds one concern and is frozen, free of torch and scikit-fem, and built from plain types, so that
the command line can read it and YAML can store it. A distribution may stand in several places, for the whole
dataset and for one split; ``check`` therefore takes the flag under which its user knows it.

>>> PulseConfig(width=(0.2, 0.1)).check("splits.ood.pulses")
Traceback (most recent call last):
...
ValueError: --splits.ood.pulses.width: expected [low, high] with 0 < low <= high, got [0.2, 0.1]
"""

import math
from dataclasses import dataclass
from typing import Literal

from slimwave.data.ranges import require_positive, require_positive_range

MediumKind = Literal["random", "layers", "inclusions"]
WallCondition = Literal["dirichlet", "neumann", "random"]


@dataclass(frozen=True)
class MediumConfig:
    """Distribution of the wave speed c(x, y).

    Parameters
    ----------
    kinds
        Families to draw from. Trajectory i of a split takes ``kinds[i % len(kinds)]``, so that every split
        holds them in equal shares.
    min_speed, max_speed
        Bounds of c, in units of length per unit of time.
    correlation_length
        Length over which a ``random`` medium varies (Gaussian correlation).
    interface_width
        Length over which c changes across an interface of ``layers`` and ``inclusions``.
    """

    kinds: tuple[MediumKind, ...] = ("random", "layers", "inclusions")
    min_speed: float = 1.0
    max_speed: float = 2.0
    correlation_length: float = 0.15
    interface_width: float = 0.02

    def check(self, flag: str) -> None:
        """Refuse, by the names of the flags below ``flag``, what cannot be drawn from."""
        if not self.kinds:
            raise ValueError(f"--{flag}.kinds: expected at least one of random, layers, inclusions, got none")
        if not 0 < self.min_speed <= self.max_speed < math.inf:
            raise ValueError(
                f"--{flag}.min_speed and --{flag}.max_speed: expected 0 < min_speed <= max_speed, finite, "
                f"got {self.min_speed} and {self.max_speed}"
            )
        require_positive(f"{flag}.correlation_length", self.correlation_length)
        require_positive(f"{flag}.interface_width", self.interface_width)


@dataclass(frozen=True)
class PulseConfig:
    """Distribution of the initial field: a sum of Gaussian pulses a exp(−r² / 2σ²) at random places.

    Parameters
    ----------
    count
        Fewest and most pulses of one field.
    width
        Smallest and largest σ, in units of length.
    amplitude
        Smallest and largest absolute value of a; the sign is random.
    """

    count: tuple[int, int] = (1, 3)
    width: tuple[float, float] = (0.06, 0.10)
    amplitude: tuple[float, float] = (0.5, 1.0)

    def check(self, flag: str) -> None:
        """Refuse, by the names of the flags below ``flag``, what cannot be drawn from."""
        require_positive_range(f"{flag}.count", self.count)
        require_positive_range(f"{flag}.width", self.width)
        require_positive_range(f"{flag}.amplitude", self.amplitude)


@dataclass(frozen=True)
class WallConfig:
    """Condition of each wall.

    ``dirichlet`` holds u = 0, ``neumann`` holds ∂u/∂n = 0, and ``random`` draws one of the two for every
    trajectory.
    """

    left: WallCondition = "dirichlet"
    right: WallCondition = "dirichlet"
    bottom: WallCondition = "dirichlet"
    top: WallCondition = "dirichlet"
