"""What a scenario is drawn from: medium, damping, initial pulses, sources and walls as typed settings.

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

from slimwave.data.ranges import require_names, require_positive, require_positive_range, require_range

MediumKind = Literal["random", "layers", "inclusions"]
DampingKind = Literal["none", "uniform", "random", "sponge"]
SignalKind = Literal["ricker", "gaussian_derivative", "tone_burst"]
SideCondition = Literal["dirichlet", "neumann", "absorbing"]
WallCondition = Literal["dirichlet", "neumann", "absorbing", "random"]


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
        if not self.kinds:  # one may stand twice, for a larger share
            raise ValueError(f"--{flag}.kinds: expected at least one of random, layers, inclusions, got none")
        if not 0 < self.min_speed <= self.max_speed < math.inf:
            raise ValueError(
                f"--{flag}.min_speed and --{flag}.max_speed: expected 0 < min_speed <= max_speed, finite, "
                f"got {self.min_speed} and {self.max_speed}"
            )
        require_positive(f"{flag}.correlation_length", self.correlation_length)
        require_positive(f"{flag}.interface_width", self.interface_width)


@dataclass(frozen=True)
class DampingConfig:
    """Distribution of the damping γ(x, y) ≥ 0 in u_tt + γ u_t = ∇·(c² ∇u) + f.

    Parameters
    ----------
    kinds
        Families, one of which is drawn for each trajectory: ``none``, the same γ everywhere (``uniform``), a
        smooth field between 0 and its strength (``random``), or a layer along all sides in which γ grows to
        its strength (``sponge``).
    strength
        Smallest and largest strength, in 1/time.
    correlation_length
        Length over which a ``random`` damping varies (Gaussian correlation).
    thickness
        Depth of the layer of a ``sponge``, in units of length.
    """

    kinds: tuple[DampingKind, ...] = ("none",)
    strength: tuple[float, float] = (0.5, 2.0)
    correlation_length: float = 0.15
    thickness: float = 0.2

    @property
    def acts(self) -> bool:
        """Whether any trajectory is damped."""
        return any(kind != "none" for kind in self.kinds)

    def check(self, flag: str) -> None:
        """Refuse, by the names of the flags below ``flag``, what cannot be drawn from."""
        require_names(f"{flag}.kinds", self.kinds)
        require_range(f"{flag}.strength", self.strength)
        require_positive(f"{flag}.correlation_length", self.correlation_length)
        require_positive(f"{flag}.thickness", self.thickness)


@dataclass(frozen=True)
class PulseConfig:
    """Distribution of the initial field: a sum of Gaussian pulses a exp(−r² / 2σ²) at random places.

    Parameters
    ----------
    count
        Fewest and most pulses of one field; a field without pulses needs a source.
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
        require_range(f"{flag}.count", self.count)
        require_positive_range(f"{flag}.width", self.width)
        require_positive_range(f"{flag}.amplitude", self.amplitude)


@dataclass(frozen=True)
class SourceConfig:
    """Distribution of the source term: Gaussians at random places, each driven by a signal of time.

    Parameters
    ----------
    count
        Fewest and most sources of one trajectory; (0, 0) means none.
    signals
        Families, one of which is drawn for each source: ``ricker``, ``gaussian_derivative``, ``tone_burst``.
    width
        Smallest and largest standard deviation of the Gaussian, in units of length.
    amplitude
        Smallest and largest absolute value of its integral over the plane; the sign is random.
    frequency
        Lowest and highest frequency of the signal, in cycles per unit of time.
    onset
        Earliest and latest time at which the signal begins; a pulse ends two or three periods later.
    cycles
        Fewest and most oscillations of a tone burst.
    """

    count: tuple[int, int] = (0, 0)
    signals: tuple[SignalKind, ...] = ("ricker",)
    width: tuple[float, float] = (0.04, 0.06)
    amplitude: tuple[float, float] = (2.0, 4.0)
    frequency: tuple[float, float] = (2.0, 4.0)
    onset: tuple[float, float] = (0.0, 0.2)
    cycles: tuple[int, int] = (2, 4)

    @property
    def acts(self) -> bool:
        """Whether any trajectory has a source."""
        return self.count[1] > 0

    def check(self, flag: str) -> None:
        """Refuse, by the names of the flags below ``flag``, what cannot be drawn from."""
        require_range(f"{flag}.count", self.count)
        require_names(f"{flag}.signals", self.signals)
        for name in ("width", "amplitude", "frequency", "cycles"):
            require_positive_range(f"{flag}.{name}", getattr(self, name))
        require_range(f"{flag}.onset", self.onset)


@dataclass(frozen=True)
class WallConfig:
    """Condition of each side.

    ``dirichlet`` holds u = 0, ``neumann`` holds ∂u/∂n = 0, ``absorbing`` lets waves out to first order
    (c ∂u/∂n = −u_t), and ``random`` draws one for every trajectory.

    Parameters
    ----------
    left, right, bottom, top
        Conditions at x = 0, x = width, y = 0 and y = height.
    random_from
        Conditions from which ``random`` draws.
    """

    left: WallCondition = "dirichlet"
    right: WallCondition = "dirichlet"
    bottom: WallCondition = "dirichlet"
    top: WallCondition = "dirichlet"
    random_from: tuple[SideCondition, ...] = ("dirichlet", "neumann")

    @property
    def sides(self) -> tuple[WallCondition, ...]:
        """Conditions of left, right, bottom, top."""
        return self.left, self.right, self.bottom, self.top

    @property
    def absorb(self) -> bool:
        """Whether a side of any trajectory absorbs."""
        return "absorbing" in self.sides or ("random" in self.sides and "absorbing" in self.random_from)

    def check(self, flag: str) -> None:
        """Refuse, by the names of the flags below ``flag``, what cannot be drawn from."""
        require_names(f"{flag}.random_from", self.random_from)
