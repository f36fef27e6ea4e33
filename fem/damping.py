"""Damping as functions γ(x, y) ≥ 0 of the term γ u_t: uniform, smoothly random, or a sponge along the sides.

>>> import numpy as np
>>> sponge = SpongeDamping(strength=4.0, thickness=0.25)
>>> sponge(np.array([0.0, 0.125, 0.5]), np.array([0.5, 0.5, 0.5])).tolist()
[4.0, 1.0, 0.0]
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slimwave.fem.checks import check_positive
from slimwave.fem.media import smooth_random_share, smooth_random_share_on_axes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class UniformDamping:
    """γ = strength everywhere: a wave loses its energy like exp(−γ t).

    Parameters
    ----------
    strength
        γ, in 1/time.
    """

    strength: float

    def __post_init__(self) -> None:
        _check_strength(self.strength)

    def __call__(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Damping γ at the points (x, y), arrays of one shape."""
        return np.full(np.broadcast_shapes(np.shape(x), np.shape(y)), float(self.strength))


@dataclass(frozen=True, eq=False)
class RandomDamping:
    """γ = strength · Φ(g), with g a smooth Gaussian random field as in `media.SmoothRandomMedium`.

    Parameters
    ----------
    wave_vectors
        Shape (features, 2), radians per unit of length.
    phases
        Shape (features,), radians.
    strength
        Largest γ, in 1/time.
    """

    wave_vectors: Array
    phases: Array
    strength: float

    def __post_init__(self) -> None:
        _check_strength(self.strength)

    def __call__(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Damping γ at the points (x, y), arrays of one shape."""
        return self.strength * smooth_random_share(self.wave_vectors, self.phases, x, y)

    def on_axes(self, x: Array, y: Array) -> Array:
        """Damping at all pairs of x (nx,) and y (ny,), see `fields.OnAxes`."""
        return self.strength * smooth_random_share_on_axes(self.wave_vectors, self.phases, x, y)


@dataclass(frozen=True)
class SpongeDamping:
    """γ = strength · (1 − d / thickness)² within the distance d < thickness of a side, else 0.

    The parabola lets a wave into the layer with little reflection, where it is absorbed on its way in and out
    (Israeli and Orszag, Approximation of radiation boundary conditions, J. Comput. Phys. 41, 1981).

    Parameters
    ----------
    strength
        γ on the sides, in 1/time.
    thickness
        Depth of the layer, in units of length.
    width, height
        Sides of the domain.
    """

    strength: float
    thickness: float
    width: float = 1.0
    height: float = 1.0

    def __post_init__(self) -> None:
        _check_strength(self.strength)
        check_positive("thickness", self.thickness)

    def __call__(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Damping γ at the points (x, y), arrays of one shape."""
        x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
        distance = np.minimum.reduce([x, self.width - x, y, self.height - y])
        return self.strength * np.clip(1.0 - distance / self.thickness, 0.0, 1.0) ** 2


Damping = UniformDamping | RandomDamping | SpongeDamping


def draw_random_damping(
    rng: np.random.Generator, *, correlation_length: float, strength: float, features: int = 64
) -> RandomDamping:
    """Draw a smoothly random damping with Gaussian correlation exp(−r² / 2 correlation_length²)."""
    check_positive("correlation_length", correlation_length)
    wave_vectors = rng.standard_normal((features, 2)) / correlation_length
    return RandomDamping(wave_vectors, rng.uniform(0.0, 2.0 * np.pi, features), strength)


def _check_strength(strength: float) -> None:
    if not 0.0 <= strength < np.inf:
        raise ValueError(f"strength: expected a number of at least 0, got {strength:g}")
