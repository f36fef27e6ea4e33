"""Signals s(t) that drive sources and plane waves: Ricker, Gaussian derivative, tone burst, samples.

A signal is called like a function of time and knows its derivative. The pulses have peak value 1; scale
them by the amplitude of the source that they drive.

>>> pulse = Ricker(frequency=5.0)
>>> float(pulse(pulse.delay))
1.0
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from scipy.interpolate import CubicSpline

from slimwave.fem.checks import check_positive

Array = NDArray[np.float64]


class Signal(ABC):
    """A function of time, vectorised, with its derivative; defined for all times, also negative ones."""

    @abstractmethod
    def __call__(self, t: ArrayLike) -> Array:
        """Value at the times t, of any shape."""

    @abstractmethod
    def derivative(self, t: ArrayLike) -> Array:
        """ds/dt at the times t."""


@dataclass(frozen=True)
class Ricker(Signal):
    """Second derivative of a Gaussian, s = (1 − 2τ²) exp(−τ²) with τ = π f (t − delay).

    Its spectrum has its maximum at f (Ricker, Wavelet contraction, wavelet expansion, and the control of
    seismic resolution, Geophysics 18, 1953).

    Parameters
    ----------
    frequency
        f, cycles per unit of time.
    delay
        Time of the peak; by default 1.5 / f, where the pulse starts at 1e-8 of its peak.
    """

    frequency: float
    delay: float = field(default=np.nan)

    def __post_init__(self) -> None:
        _default_delay(self, 1.5)

    def __call__(self, t: ArrayLike) -> Array:
        """Value at the times t."""
        tau2 = self._tau(t) ** 2
        return (1.0 - 2.0 * tau2) * np.exp(-tau2)

    def derivative(self, t: ArrayLike) -> Array:
        """ds/dt = π f (4τ³ − 6τ) exp(−τ²)."""
        tau = self._tau(t)
        return np.pi * self.frequency * (4.0 * tau**3 - 6.0 * tau) * np.exp(-(tau**2))

    def _tau(self, t: ArrayLike) -> Array:
        return np.pi * self.frequency * (np.asarray(t, float) - self.delay)


@dataclass(frozen=True)
class GaussianDerivative(Signal):
    """First derivative of a Gaussian, s = −√(2e) τ exp(−τ²) with τ = √2 π f (t − delay).

    Parameters
    ----------
    frequency
        f, where the spectrum has its maximum.
    delay
        Time of the zero between the two peaks; by default 1.1 / f.
    """

    frequency: float
    delay: float = field(default=np.nan)

    def __post_init__(self) -> None:
        _default_delay(self, 1.1)

    def __call__(self, t: ArrayLike) -> Array:
        """Value at the times t."""
        tau = self._tau(t)
        return -np.sqrt(2.0 * np.e) * tau * np.exp(-(tau**2))

    def derivative(self, t: ArrayLike) -> Array:
        """ds/dt."""
        tau2 = self._tau(t) ** 2
        rate = np.sqrt(2.0) * np.pi * self.frequency
        return -np.sqrt(2.0 * np.e) * rate * (1.0 - 2.0 * tau2) * np.exp(-tau2)

    def _tau(self, t: ArrayLike) -> Array:
        return np.sqrt(2.0) * np.pi * self.frequency * (np.asarray(t, float) - self.delay)


@dataclass(frozen=True)
class ToneBurst(Signal):
    """`cycles` oscillations sin(2πf (t − start)) under the Hann window sin²(πf (t − start) / cycles).

    It is zero outside [start, start + cycles / f] and twice continuously differentiable.
    """

    frequency: float
    cycles: int = 5
    start: float = 0.0

    def __post_init__(self) -> None:
        check_positive("frequency", self.frequency)
        if int(self.cycles) != self.cycles or self.cycles < 1:
            raise ValueError(f"cycles: expected a positive integer, got {self.cycles}")

    def __call__(self, t: ArrayLike) -> Array:
        """Value at the times t."""
        phase = self._phase(t)
        return np.sin(phase) * np.sin(0.5 * phase / self.cycles) ** 2

    def derivative(self, t: ArrayLike) -> Array:
        """ds/dt."""
        phase = self._phase(t)
        half = 0.5 * phase / self.cycles
        slope = np.cos(phase) * np.sin(half) ** 2 + np.sin(phase) * np.sin(2.0 * half) * 0.5 / self.cycles
        return 2.0 * np.pi * self.frequency * slope

    def _phase(self, t: ArrayLike) -> Array:
        """2πf (t − start), kept at the ends of the burst, where the signal and its slope are zero."""
        passed = np.asarray(t, float) - self.start
        return 2.0 * np.pi * np.clip(self.frequency * passed, 0.0, self.cycles)


@dataclass(frozen=True, eq=False)
class SampledSignal(Signal):
    """The cubic spline through samples, zero before the first and after the last of them.

    Parameters
    ----------
    times
        Increasing, shape (n,), n ≥ 4.
    values
        Shape (n,).
    """

    times: Array
    values: Array
    _spline: "CubicSpline" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        times, values = np.asarray(self.times, float), np.asarray(self.values, float)
        if times.ndim != 1 or times.shape != values.shape or len(times) < 4:
            raise ValueError(
                f"times, values: expected two sequences of one length of at least 4, got shapes "
                f"{times.shape} and {values.shape}"
            )
        if not (np.isfinite(times).all() and np.isfinite(values).all()):
            raise ValueError("times, values: expected finite numbers")
        if np.any(np.diff(times) <= 0.0):
            raise ValueError("times: expected increasing times")
        from scipy.interpolate import CubicSpline  # slow to load, and few signals are samples

        object.__setattr__(self, "_spline", CubicSpline(times, values))

    def __call__(self, t: ArrayLike) -> Array:
        """Value at the times t."""
        return self._within(t, self._spline(t))

    def derivative(self, t: ArrayLike) -> Array:
        """ds/dt of the spline."""
        return self._within(t, self._spline(t, 1))

    def _within(self, t: ArrayLike, values: Array) -> Array:
        t = np.asarray(t, float)
        return np.where((t >= self.times[0]) & (t <= self.times[-1]), values, 0.0)


def _default_delay(pulse: Ricker | GaussianDerivative, periods: float) -> None:
    """Check the frequency of a pulse and put its peak `periods` periods after t = 0 unless told otherwise."""
    check_positive("frequency", pulse.frequency)
    if np.isnan(pulse.delay):
        object.__setattr__(pulse, "delay", periods / pulse.frequency)
