"""Random media as functions c(x, y): smooth random fields, layers, faults, inclusions and gradients.

Each medium is a frozen description that is called like a function, and is drawn from a numpy `Generator`, so
that the same seed gives the same medium on every machine:

>>> import numpy as np
>>> medium = draw_smooth_random_medium(np.random.default_rng(0), correlation_length=0.2)
>>> x, y = np.meshgrid(np.linspace(0, 1, 5), np.linspace(0, 1, 3), indexing="ij")
>>> medium(x, y).shape
(5, 3)

On a grid, `fields.values_on_axes` takes the axes alone, and is much faster for smooth random media, which are
sums of products of functions of x and of y:

>>> from slimwave.fem.fields import values_on_axes
>>> same = values_on_axes(medium, np.linspace(0, 1, 5), np.linspace(0, 1, 3))
>>> bool(np.abs(same - medium(x, y)).max() < 1e-14)
True

All values lie in [min_speed, max_speed], because every medium is a convex combination of speeds from
that interval. Interfaces are tanh profiles of a given width: a jump inside an element would cost a
high-order method its order. For jumps along element edges see `materials.PerElement`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slimwave.fem.checks import check_positive

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SmoothRandomMedium:
    """Random Fourier features: a smooth Gaussian random field mapped into a range of speeds.

    With wave vectors k ~ N(0, I/ℓ²), phases φ ~ U(0, 2π) and m features,

        g(x) = √(2/m) Σ cos(k·x + φ),    E[g(x) g(x')] = exp(−|x − x'|² / 2ℓ²),

    (Rahimi and Recht, Random features for large-scale kernel machines, NeurIPS 2007), g is close to
    normal and c = min_speed + (max_speed − min_speed) Φ(g) close to uniform in the range. The normal
    distribution function is taken as Φ(g) = (1 + tanh(√(2/π) g)) / 2.

    Parameters
    ----------
    wave_vectors
        k, shape (features, 2), radians per unit of length.
    phases
        φ, shape (features,), radians.
    min_speed, max_speed
        Range of c.
    """

    wave_vectors: Array
    phases: Array
    min_speed: float
    max_speed: float

    def __post_init__(self) -> None:
        _check_range(self.min_speed, self.max_speed)

    def __call__(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Speed c at the points (x, y), arrays of one shape."""
        share = smooth_random_share(self.wave_vectors, self.phases, x, y)
        return self.min_speed + (self.max_speed - self.min_speed) * share

    def on_axes(self, x: Array, y: Array) -> Array:
        """Speed at all pairs of x (nx,) and y (ny,), see `fields.OnAxes`."""
        share = smooth_random_share_on_axes(self.wave_vectors, self.phases, x, y)
        return self.min_speed + (self.max_speed - self.min_speed) * share


@dataclass(frozen=True, eq=False)
class LayeredMedium:
    """Parallel layers, stacked upwards, with a common dip.

    Interface k is the line y = depths[k] + dip · x. With H_k = (1 + tanh((y − y_k) / interface_width)) / 2,

        c = speeds[0] + Σ_k (speeds[k+1] − speeds[k]) H_k.

    Because H_1 ≥ H_2 ≥ …, this is a convex combination of the speeds.

    Parameters
    ----------
    speeds
        Speed of each layer from the bottom up, shape (layers,).
    depths
        Heights of the interfaces at x = 0, increasing, shape (layers − 1,).
    dip
        Slope dy/dx of every interface.
    interface_width
        Half width of the tanh profile, in units of length.
    """

    speeds: Array
    depths: Array
    dip: float
    interface_width: float

    def __post_init__(self) -> None:
        check_positive("interface_width", self.interface_width)
        if len(self.depths) != len(self.speeds) - 1 or np.any(np.diff(self.depths) <= 0):
            raise ValueError(f"depths: expected {len(self.speeds) - 1} increasing heights, got {self.depths}")

    def __call__(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Speed c at the points (x, y), arrays of one shape."""
        height = np.asarray(y, float) - self.dip * np.asarray(x, float)
        speed = np.full(height.shape, float(self.speeds[0]))
        for depth, step in zip(self.depths, np.diff(self.speeds), strict=True):
            speed += step * _ramp((height - depth) / self.interface_width)
        return np.clip(speed, self.speeds.min(), self.speeds.max())


@dataclass(frozen=True, eq=False)
class InclusionMedium:
    """A background with elliptic inclusions; a later inclusion covers an earlier one.

    With the scaled radius ρ = √((ξ/a)² + (η/b)²) in the axes of an ellipse with half axes a, b and
    r = √(ab), the mask of an inclusion is m = (1 + tanh((1 − ρ) r / interface_width)) / 2 and
    c ← (1 − m) c + m · speed.

    Parameters
    ----------
    background
        Speed outside the inclusions.
    centres
        Shape (inclusions, 2).
    half_axes
        Shape (inclusions, 2), units of length.
    angles
        Direction of the first axis against x, radians, shape (inclusions,).
    speeds
        Shape (inclusions,).
    interface_width
        Half width of the tanh profile, in units of length.
    """

    background: float
    centres: Array
    half_axes: Array
    angles: Array
    speeds: Array
    interface_width: float

    def __post_init__(self) -> None:
        check_positive("interface_width", self.interface_width)

    def __call__(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Speed c at the points (x, y), arrays of one shape."""
        x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
        speed = np.full(x.shape, self.background)
        parts = zip(self.centres, self.half_axes, self.angles, self.speeds, strict=True)
        for (x0, y0), (a, b), angle, inside in parts:
            along = np.cos(angle) * (x - x0) + np.sin(angle) * (y - y0)
            across = np.cos(angle) * (y - y0) - np.sin(angle) * (x - x0)
            radius = np.hypot(along / a, across / b)
            mask = _ramp((1.0 - radius) * np.sqrt(a * b) / self.interface_width)
            speed = speed + mask * (inside - speed)
        lowest, highest = min(self.background, self.speeds.min()), max(self.background, self.speeds.max())
        return np.clip(speed, lowest, highest)


@dataclass(frozen=True, eq=False)
class FaultedMedium:
    """Layers cut by faults: beyond each fault, all that lies there is thrown up or down.

    Fault k is the line through (positions[k], 0) at the angle angles[k] against x. On its right side, the
    medium is that on the left moved by throws[k] along y; with d the distance from the fault, positive on the
    right, H = (1 + tanh(d / interface_width)) / 2 and c = (1 − H) c_left(x, y) + H c_left(x, y − throw).

    Parameters
    ----------
    layers
        The medium before faulting.
    positions
        Where each fault meets y = 0, shape (faults,).
    angles
        Radians, in (0, π), shape (faults,).
    throws
        Units of length, shape (faults,).
    interface_width
        Half width of the tanh profile, in units of length.
    """

    layers: LayeredMedium
    positions: Array
    angles: Array
    throws: Array
    interface_width: float

    def __post_init__(self) -> None:
        check_positive("interface_width", self.interface_width)
        if not len(self.positions) == len(self.angles) == len(self.throws):
            raise ValueError(
                "positions, angles, throws: expected one of each for every fault, got "
                f"{len(self.positions)}, {len(self.angles)} and {len(self.throws)}"
            )
        if not (np.all(self.angles > 0) and np.all(self.angles < np.pi)):
            raise ValueError(f"angles: expected radians between 0 and pi, got {self.angles}")

    def __call__(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Speed c at the points (x, y), arrays of one shape."""
        x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
        return self._with_faults(x, y, 0)

    def _with_faults(self, x: Array, y: Array, first: int) -> Array:
        """Speed with the faults from number `first` on."""
        if first == len(self.throws):
            return self.layers(x, y)
        angle = self.angles[first]
        distance = np.sin(angle) * (x - self.positions[first]) - np.cos(angle) * y
        right = _ramp(distance / self.interface_width)
        stayed = self._with_faults(x, y, first + 1)
        thrown = self._with_faults(x, y - self.throws[first], first + 1)
        return (1.0 - right) * stayed + right * thrown


@dataclass(frozen=True)
class GradientMedium:
    """A speed that grows linearly along a direction, and is constant before and after.

    With s = (cos(angle) x + sin(angle) y − start) / length, kept in [0, 1],
    c = min_speed + (max_speed − min_speed) s.

    Parameters
    ----------
    min_speed, max_speed
        Range of c.
    angle
        Direction of growth against x, radians.
    start, length
        Where the growth begins along that direction, and over which length it extends.
    """

    min_speed: float
    max_speed: float
    angle: float
    start: float
    length: float

    def __post_init__(self) -> None:
        _check_range(self.min_speed, self.max_speed)
        check_positive("length", self.length)

    def __call__(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Speed c at the points (x, y), arrays of one shape."""
        along = np.cos(self.angle) * np.asarray(x, float) + np.sin(self.angle) * np.asarray(y, float)
        share = np.clip((along - self.start) / self.length, 0.0, 1.0)
        return self.min_speed + (self.max_speed - self.min_speed) * share


Medium = SmoothRandomMedium | LayeredMedium | InclusionMedium | FaultedMedium | GradientMedium


def smooth_random_share(wave_vectors: Array, phases: Array, x: ArrayLike, y: ArrayLike) -> Array:
    """Φ(g), a smooth random field close to uniform in (0, 1); see `SmoothRandomMedium`."""
    x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    gaussian = np.zeros(x.shape)
    for (kx, ky), phase in zip(wave_vectors, phases, strict=True):
        gaussian += np.cos(kx * x + ky * y + phase)
    return _share(gaussian, len(phases))


def smooth_random_share_on_axes(wave_vectors: Array, phases: Array, x: Array, y: Array) -> Array:
    """The same at all pairs of x (nx,) and y (ny,), equal to rounding, shape (nx, ny).

    With cos(kx x + φ + ky y) = cos(kx x + φ) cos(ky y) − sin(kx x + φ) sin(ky y), the features are needed
    along the axes only. Their products are summed in compiled code: a matrix product may depend on the number
    of its threads by rounding, and datasets shall not.
    """
    from slimwave.fem.kernels import sum_of_products  # settings shall not wait for the compiler's import

    kx, ky = wave_vectors.T[:, :, None]
    along_x, along_y = kx * x + phases[:, None], ky * y
    gaussian = np.zeros((len(x), len(y)))
    sum_of_products(np.cos(along_x), np.cos(along_y), gaussian)
    sum_of_products(np.sin(along_x), -np.sin(along_y), gaussian)
    return _share(gaussian, len(phases))


def _share(features: Array, count: int) -> Array:
    """Φ(g) for the sum of so many features."""
    gaussian = np.sqrt(2.0 / count) * features
    return 0.5 * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * gaussian))


def draw_smooth_random_medium(
    rng: np.random.Generator,
    *,
    correlation_length: float = 0.15,
    min_speed: float = 1.0,
    max_speed: float = 2.0,
    features: int = 64,
) -> SmoothRandomMedium:
    """Draw a smooth random medium with Gaussian correlation exp(−r² / 2 correlation_length²)."""
    check_positive("correlation_length", correlation_length)
    wave_vectors = rng.standard_normal((features, 2)) / correlation_length
    phases = rng.uniform(0.0, 2.0 * np.pi, features)
    return SmoothRandomMedium(wave_vectors, phases, min_speed, max_speed)


def draw_layered_medium(
    rng: np.random.Generator,
    *,
    min_speed: float = 1.0,
    max_speed: float = 2.0,
    interface_width: float = 0.02,
    layers: tuple[int, int] = (2, 5),
    max_dip: float = 0.3,
    width: float = 1.0,
    height: float = 1.0,
) -> LayeredMedium:
    """Draw a layered medium on a domain (width, height).

    The number of layers is uniform in `layers` (both ends included). The interfaces pass mid-width at heights
    that leave every layer at least half its equal share.
    """
    _check_range(min_speed, max_speed)
    count = int(rng.integers(layers[0], layers[1], endpoint=True))
    thickness = 0.5 + rng.dirichlet(np.ones(count)) * 0.5 * count
    heights = np.cumsum(thickness)[:-1] * height / count
    dip = rng.uniform(-max_dip, max_dip) * height / width
    speeds = rng.uniform(min_speed, max_speed, count)
    return LayeredMedium(speeds, heights - 0.5 * dip * width, float(dip), interface_width)


def draw_inclusion_medium(
    rng: np.random.Generator,
    *,
    min_speed: float = 1.0,
    max_speed: float = 2.0,
    interface_width: float = 0.02,
    inclusions: tuple[int, int] = (1, 4),
    half_axes: tuple[float, float] = (0.06, 0.2),
    width: float = 1.0,
    height: float = 1.0,
) -> InclusionMedium:
    """Draw a medium with elliptic inclusions on a domain (width, height).

    The number of inclusions is uniform in `inclusions` (both ends included); `half_axes` is their range as a
    share of the shorter side.
    """
    _check_range(min_speed, max_speed)
    count = int(rng.integers(inclusions[0], inclusions[1], endpoint=True))
    return InclusionMedium(
        background=float(rng.uniform(min_speed, max_speed)),
        centres=rng.uniform(0.1, 0.9, (count, 2)) * [width, height],
        half_axes=rng.uniform(*half_axes, (count, 2)) * min(width, height),
        angles=rng.uniform(0.0, np.pi, count),
        speeds=rng.uniform(min_speed, max_speed, count),
        interface_width=interface_width,
    )


def draw_faulted_medium(
    rng: np.random.Generator,
    *,
    min_speed: float = 1.0,
    max_speed: float = 2.0,
    interface_width: float = 0.02,
    layers: tuple[int, int] = (3, 6),
    faults: tuple[int, int] = (1, 3),
    max_dip: float = 0.2,
    throw: tuple[float, float] = (0.05, 0.2),
    width: float = 1.0,
    height: float = 1.0,
) -> FaultedMedium:
    """Draw a layered medium with steep faults on a domain (width, height).

    The numbers of layers and faults are uniform in their ranges (both ends included); the size of each throw
    is uniform in `throw`, a share of the height, and goes up or down; faults stand within 30° of upright.
    """
    layered = draw_layered_medium(
        rng,
        min_speed=min_speed,
        max_speed=max_speed,
        interface_width=interface_width,
        layers=layers,
        max_dip=max_dip,
        width=width,
        height=height,
    )
    count = int(rng.integers(faults[0], faults[1], endpoint=True))
    return FaultedMedium(
        layers=layered,
        positions=rng.uniform(0.1, 0.9, count) * width,
        angles=0.5 * np.pi + rng.uniform(-np.pi / 6, np.pi / 6, count),
        throws=rng.uniform(*throw, count) * rng.choice([-1.0, 1.0], count) * height,
        interface_width=interface_width,
    )


def draw_gradient_medium(
    rng: np.random.Generator,
    *,
    min_speed: float = 1.0,
    max_speed: float = 2.0,
    width: float = 1.0,
    height: float = 1.0,
) -> GradientMedium:
    """Draw a speed that grows from min_speed to max_speed across the domain, in any direction."""
    angle = float(rng.uniform(0.0, 2.0 * np.pi))
    corners = np.outer([0.0, width], [np.cos(angle)]) + np.outer([0.0, height], [np.sin(angle)]).T
    start, length = float(corners.min()), float(np.ptp(corners))
    return GradientMedium(min_speed, max_speed, angle, start, length)


def _ramp(scaled_distance: Array) -> Array:
    """Smooth step from 0 to 1."""
    return 0.5 * (1.0 + np.tanh(scaled_distance))


def _check_range(min_speed: float, max_speed: float) -> None:
    if not 0.0 < min_speed <= max_speed < np.inf:
        raise ValueError(
            f"min_speed, max_speed: expected 0 < min_speed <= max_speed, got {min_speed:g} and {max_speed:g}"
        )
