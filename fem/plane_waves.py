"""Plane waves u = s(t − n·(x − origin) / c): initial fields, and values on the boundary.

>>> import numpy as np
>>> from slimwave.fem.signals import Ricker
>>> wave = PlaneWave(Ricker(frequency=4.0, delay=0.0), angle=0.0, speed=2.0)
>>> float(wave(np.array(1.0), np.array(0.3), t=0.5))
1.0
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slimwave.fem.checks import check_positive
from slimwave.fem.signals import Signal

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PlaneWave:
    """A wave that travels through a homogeneous part of the domain.

    Pass `u0` and `v0` to `WaveSolver.run` for a wave on its way, or the object itself to `Dirichlet` for one
    that enters through the boundary.

    Parameters
    ----------
    signal
        s(t), what is seen at `origin`.
    angle
        Direction of travel against x, radians.
    speed
        c where the wave is.
    origin
        A point (x, y).
    """

    signal: Signal
    angle: float
    speed: float = 1.0
    origin: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        check_positive("speed", self.speed)
        if not np.isfinite([self.angle, *self.origin]).all():
            raise ValueError(f"angle, origin: expected finite numbers, got {self.angle} and {self.origin}")

    def __call__(self, x: ArrayLike, y: ArrayLike, t: float) -> Array:
        """Field u at the points (x, y), arrays of one shape, and time t."""
        return self.signal(t - self._delay(x, y))

    def u0(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Field u at t = 0."""
        return self.signal(-self._delay(x, y))

    def v0(self, x: ArrayLike, y: ArrayLike) -> Array:
        """u_t at t = 0."""
        return self.signal.derivative(-self._delay(x, y))

    def _delay(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Time from the origin to the points."""
        along = np.cos(self.angle) * (np.asarray(x, float) - self.origin[0])
        across = np.sin(self.angle) * (np.asarray(y, float) - self.origin[1])
        return np.asarray((along + across) / self.speed)
