"""Source terms of scenarios: f(x, y, t) = Σ_i w_i(x, y) s_i(t), drawn, solved, and written down.

w_i is a Gaussian whose integral over the plane is the source's amplitude, so that narrow sources act like
point sources of this strength; like an initial pulse it is mirrored in the walls. s_i is a Ricker pulse, the
derivative of a Gaussian, or a tone burst (:mod:`slimwave.fem.signals`) that begins at the source's onset.

>>> import numpy as np
>>> config = SourceConfig(count=(1, 1), signals=("ricker",), frequency=(4.0, 4.0), onset=(0.1, 0.1))
>>> (source,) = draw_sources(np.random.default_rng(0), config, boundaries="neumann")
>>> round(source.end, 6)
0.85
>>> (source.strengths(np.array([0.1, 0.475, 0.85])) / source.amplitude).round(6).tolist()
[-0.0, 1.0, -0.0]
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from slimwave.data.distributions import SignalKind, SourceConfig
from slimwave.data.plain import to_plain
from slimwave.fem.sources import GaussianPulses, draw_gaussian_pulses

if TYPE_CHECKING:
    from slimwave.fem.forcing import DistributedSource
    from slimwave.fem.signals import Signal

Array = NDArray[np.float64]

PERIODS_TO_PEAK: dict[SignalKind, float] = {"ricker": 1.5, "gaussian_derivative": 1.1}
"""Periods from the onset to the middle of a pulse, at which it starts below 1e-8 of its peak."""

SCALAR_PARTS = ("", "_x", "_y", "_width")
"""What the scalars of a source add to its name: nothing for its strength, then its place and width."""


@dataclass(frozen=True, eq=False)
class SourceTerm:
    """One source, amplitude · G(x, y) s(t), where G is a Gaussian of unit integral with its images.

    Attributes
    ----------
    signal
        Family of s.
    place
        Centre (x, y) of the Gaussian.
    width
        Its standard deviation σ, in units of length.
    amplitude
        Integral of the Gaussian over the plane, times the sign of the source.
    frequency
        Of s, in cycles per unit of time.
    onset
        Time at which s begins.
    cycles
        Oscillations of a tone burst.
    domain
        (width, height) of the rectangle.
    signs
        Sign of the image in each wall: left, right, bottom, top.
    """

    signal: SignalKind
    place: tuple[float, float]
    width: float
    amplitude: float
    frequency: float
    onset: float
    cycles: int
    domain: tuple[float, float]
    signs: tuple[float, ...]

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> "SourceTerm":
        """Rebuild a source from the parameters of a trajectory, see ``Scenario.parameters``."""
        pairs = {name: tuple(values[name]) for name in ("place", "domain", "signs")}
        return cls(**{**values, **pairs})

    @property
    def shape(self) -> GaussianPulses:
        """Amplitude · G, callable on arrays (x, y)."""
        peak = self.amplitude / (2 * math.pi * self.width**2)
        return GaussianPulses(
            np.array([self.place]), np.array([self.width]), np.array([peak]), *self.domain, self.signs
        )

    @property
    def time_signal(self) -> "Signal":
        """Return s, callable on times."""
        from slimwave.fem.signals import GaussianDerivative, Ricker, ToneBurst

        if self.signal == "tone_burst":
            return ToneBurst(self.frequency, self.cycles, self.onset)
        family = Ricker if self.signal == "ricker" else GaussianDerivative
        return family(self.frequency, self.onset + PERIODS_TO_PEAK[self.signal] / self.frequency)

    @property
    def end(self) -> float:
        """Time from which s is zero, or below 1e-8 of its peak."""
        periods = self.cycles if self.signal == "tone_burst" else 2 * PERIODS_TO_PEAK[self.signal]
        return self.onset + periods / self.frequency

    def strengths(self, times: Array) -> Array:
        """Return amplitude · s at the times."""
        return self.amplitude * self.time_signal(times)

    def for_solver(self) -> "DistributedSource":
        """Return the source as :class:`slimwave.fem.solver.WaveSolver` takes it."""
        from slimwave.fem.forcing import DistributedSource

        return DistributedSource(self.shape, self.time_signal)


def draw_sources(
    rng: np.random.Generator,
    config: SourceConfig,
    *,
    boundaries: str | Mapping[str, Literal["dirichlet", "neumann"]],
    width: float = 1.0,
    height: float = 1.0,
) -> tuple[SourceTerm, ...]:
    """Draw sources at least two widths away from every side, see :class:`SourceConfig`.

    Parameters
    ----------
    boundaries
        Conditions in which the Gaussians are mirrored.
    width, height
        Sides of the domain.
    """
    if not config.acts:
        return ()
    gaussians = draw_gaussian_pulses(
        rng,
        count=config.count,
        pulse_width=config.width,
        amplitude=config.amplitude,
        boundaries=boundaries,
        width=width,
        height=height,
    )
    places = zip(gaussians.centres, gaussians.widths, gaussians.amplitudes, strict=True)
    return tuple(
        SourceTerm(
            signal=config.signals[rng.integers(len(config.signals))],
            place=(float(place[0]), float(place[1])),
            width=float(spread),
            amplitude=float(amplitude),
            frequency=float(rng.uniform(*config.frequency)),
            onset=float(rng.uniform(*config.onset)),
            cycles=int(rng.integers(*config.cycles, endpoint=True)),
            domain=(width, height),
            signs=gaussians.signs,
        )
        for place, spread, amplitude in places
    )


def source_scalars(sources: Sequence[SourceTerm], times: Array, most: int) -> dict[str, NDArray[np.float32]]:
    """Return what The Well's loader can read of sources: their strengths (T,), and places and widths ().

    Parameters
    ----------
    sources
        Sources of one trajectory.
    times
        Of the snapshots.
    most
        Most sources of a trajectory of the dataset: those that this one does not have are silent, with
        strength 0 and width 1 at (0, 0).
    """
    scalars: dict[str, Any] = {}
    for number in range(most):
        silent = number >= len(sources)
        place = (0.0, 0.0, 1.0) if silent else (*sources[number].place, sources[number].width)
        strengths = np.zeros(len(times)) if silent else sources[number].strengths(times)
        for part, value in zip(SCALAR_PARTS, (strengths, *place), strict=True):
            scalars[f"{source_name(number)}{part}"] = value
    return {name: np.asarray(value, dtype=np.float32) for name, value in scalars.items()}


def source_name(number: int) -> str:
    """Name of the scalar that holds the strength of a source."""
    return f"source{number}"


def acting(sources: Sequence[SourceTerm], times: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Tell for each interval between two times whether a source acts in it, (T − 1,)."""
    acts = np.zeros(len(times) - 1, dtype=bool)
    for source in sources:
        acts |= (times[1:] > source.onset) & (times[:-1] < source.end)
    return acts


def plain_sources(sources: Sequence[SourceTerm]) -> list[dict[str, Any]]:
    """Return sources as plain values; the inverse of :meth:`SourceTerm.from_plain`."""
    return [to_plain(source) for source in sources]
