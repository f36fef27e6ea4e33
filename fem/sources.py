"""Initial fields: Gaussian pulses that obey the walls.

A Gaussian cut off at a wall would start the solution with a kink and cost a high-order method its
order. The pulses are therefore mirrored in the walls (method of images): odd in a Dirichlet wall, so that
u = 0 on it, even in a Neumann wall, so that ∂u/∂n = 0 on it. The field stays smooth wherever the pulse is.

>>> import numpy as np
>>> pulse = draw_gaussian_pulses(np.random.default_rng(0), boundaries="dirichlet")
>>> bool(np.abs(pulse(np.zeros(9), np.linspace(0, 1, 9))).max() < 1e-12)
True
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slimwave.fem.boundaries import wall_signs

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GaussianPulses:
    """u(x, y) = Σ_i a_i G_i(x) G_i(y), G_i(s) the mirrored Gaussian of width σ_i.

    On [0, L] with mirror signs s₀ (wall at 0) and s₁ (wall at L), the images of a pulse at x₀ stand at −x₀
    (sign s₀), 2L − x₀ (s₁) and x₀ ± 2L (s₀ s₁); those further away are below e^(−2 L²/σ²).

    Parameters
    ----------
    centres
        Shape (pulses, 2), inside the domain.
    widths
        Standard deviations σ, shape (pulses,), units of length; at most a quarter of the shorter side.
    amplitudes
        Shape (pulses,).
    width, height
        Sides of the domain.
    signs
        Mirror sign of each wall in the order left, right, bottom, top: −1 Dirichlet, +1 Neumann.

    Raises
    ------
    ValueError
        For widths outside (0, min(width, height) / 4] or centres outside the domain.
    """

    centres: Array
    widths: Array
    amplitudes: Array
    width: float = 1.0
    height: float = 1.0
    signs: tuple[float, ...] = (-1.0, -1.0, -1.0, -1.0)

    def __post_init__(self) -> None:
        widest = min(self.width, self.height) / 4
        if not (np.all(self.widths > 0) and np.all(self.widths <= widest)):
            raise ValueError(f"widths: expected 0 < width <= {widest:g}, got {self.widths}")
        box = np.array([self.width, self.height])
        if not (np.all(self.centres >= 0) and np.all(self.centres <= box)):
            raise ValueError(
                f"centres: expected points in [0, {box[0]:g}] x [0, {box[1]:g}], got {self.centres}"
            )

    def __call__(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Field u at the points (x, y), arrays that broadcast against one another."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        field = np.zeros(np.broadcast_shapes(x.shape, y.shape))
        for (x0, y0), sigma, amplitude in zip(self.centres, self.widths, self.amplitudes, strict=True):
            along_x = _mirrored_gaussian(x, x0, sigma, self.width, *self.signs[:2])
            along_y = _mirrored_gaussian(y, y0, sigma, self.height, *self.signs[2:])
            field += amplitude * along_x * along_y
        return field

    def on_axes(self, x: Array, y: Array) -> Array:
        """Field at all pairs of x (nx,) and y (ny,), see `fields.OnAxes`."""
        return self(x[:, None], y[None, :])


def draw_gaussian_pulses(
    rng: np.random.Generator,
    *,
    count: tuple[int, int] = (1, 3),
    pulse_width: tuple[float, float] = (0.06, 0.10),
    amplitude: tuple[float, float] = (0.5, 1.0),
    margin: float = 2.0,
    boundaries: str | Mapping[str, str] = "dirichlet",
    width: float = 1.0,
    height: float = 1.0,
) -> GaussianPulses:
    """Draw pulses of random number, place, width, amplitude and sign on a domain (width, height).

    Parameters
    ----------
    count, pulse_width, amplitude
        Ranges, both ends included; the sign of each amplitude is drawn too.
    margin
        Least distance of a centre from every wall, in widths of the pulse. Closer to a Dirichlet wall
        the image would cancel a good part of the pulse.
    boundaries
        Conditions of the walls, see `slimwave.fem.boundaries`.

    Raises
    ------
    ValueError
        If `pulse_width` and `margin` leave no room in the domain.
    """
    if margin * pulse_width[1] >= 0.5 * min(width, height):
        raise ValueError(
            f"pulse_width: a pulse of width {pulse_width[1]:g} kept {margin:g} widths from every wall "
            f"does not fit into {width:g} x {height:g}; choose narrower pulses or a smaller margin"
        )
    pulses = int(rng.integers(count[0], count[1], endpoint=True))
    widths = rng.uniform(*pulse_width, pulses)
    inset = margin * widths[:, None]
    box = np.array([width, height])
    centres = inset + rng.uniform(size=(pulses, 2)) * (box - 2.0 * inset)
    amplitudes = rng.uniform(*amplitude, pulses) * rng.choice([-1.0, 1.0], pulses)
    return GaussianPulses(centres, widths, amplitudes, width, height, wall_signs(boundaries))


def _mirrored_gaussian(
    s: Array, centre: float, sigma: float, length: float, low: float, high: float
) -> Array:
    """Gaussian on [0, length] with its images in the two walls, whose mirror signs are `low` and `high`."""
    images = (
        (1.0, centre),
        (low, -centre),
        (high, 2.0 * length - centre),
        (low * high, centre - 2.0 * length),
        (low * high, centre + 2.0 * length),
    )
    total = np.zeros_like(s)
    for sign, place in images:
        total += sign * np.exp(-0.5 * ((s - place) / sigma) ** 2)
    return total
