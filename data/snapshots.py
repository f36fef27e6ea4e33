"""What a source of data hands out: some snapshots of one trajectory, and what they were solved for."""

from typing import NamedTuple

from slimwave.data.schema import Float32


class Snapshots(NamedTuple):
    """Snapshots of one trajectory, in arrays of the caller's own.

    Attributes
    ----------
    states
        u and v, (n, 2, nx, ny).
    wave_speed
        c, (nx, ny).
    walls
        Left, right, bottom, top: −1 Dirichlet, +1 Neumann, 0 absorbing, (4,).
    damping
        γ, (nx, ny), or None in a dataset without damping.
    """

    states: Float32
    wave_speed: Float32
    walls: Float32
    damping: Float32 | None = None
