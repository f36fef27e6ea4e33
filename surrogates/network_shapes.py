"""What each network takes: one frozen class per network, with its own defaults and its own checks.

:class:`~slimwave.surrogates.network_settings.NetworkConfig` is the command line's view of a network, all
flags side by side; the classes here say which of them a network knows, and are what its constructor reads.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from slimwave.data.ranges import require_at_least

Conv = Literal["dense", "cp"]
Rank = int | float | None
Activation = Literal["none", "gelu"]

MOST_CHANNELS, MOST_LAYERS = 10_000, 1000


@dataclass(frozen=True)
class NetworkShape:
    """What every network has.

    Parameters
    ----------
    width
        Channels of a hidden layer.
    conv
        Format of the convolutions.
    rank
        Rank terms per convolution of a one-way format: a number, or a share of the channels in (0, 1); None
        means as many as channels.
    """

    width: int = 16
    conv: Conv = "dense"
    rank: Rank = None

    def __post_init__(self) -> None:
        require_count("network.width", self.width, MOST_CHANNELS)
        require_one_of("network.conv", self.conv, get_args(Conv))
        if self.rank is None:
            return
        if self.conv == "dense":
            raise ValueError(
                f"--network.rank {self.rank} has no meaning with --network.conv dense; "
                "leave it out or set --network.conv cp"
            )
        if isinstance(self.rank, int):
            require_at_least("network.rank", self.rank, 1)
        elif not 0 < self.rank < 1:
            raise ValueError(
                "--network.rank: expected a number of terms, or a share of the channels between 0 and 1, "
                f"got {self.rank}"
            )

    def terms(self, channels: int) -> int | None:
        """Rank terms of a convolution whose wider side has ``channels`` channels; None for full kernels."""
        if self.conv == "dense":
            return None
        if isinstance(self.rank, float):
            return max(1, round(self.rank * channels))
        return self.rank or channels


@dataclass(frozen=True)
class ResidualShape(NetworkShape):
    """Shape of :class:`~slimwave.surrogates.residual_cnn.ResidualCNN`.

    Parameters
    ----------
    depth
        Number of k × k convolutions.
    kernel_size
        Odd kernel length k along each axis.
    activation
        ``"none"``: linear in the state; ``"gelu"``: the classical CNN.
    """

    depth: int = 3
    kernel_size: int = 5
    activation: Activation = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("network.depth", self.depth, MOST_LAYERS)
        require_odd("network.kernel_size", self.kernel_size)
        require_one_of("network.activation", self.activation, get_args(Activation))


SHAPES: dict[str, type[NetworkShape]] = {
    "residual_cnn": ResidualShape,
}
"""What ``--network.name`` may be, and what each network takes."""


def require_count(flag: str, count: int, most: int) -> None:
    """Refuse no layers or channels, and more than any memory holds, before anything is allocated."""
    require_at_least(flag, count, 1)
    if count > most:
        raise ValueError(f"--{flag}: expected at most {most}, got {count}")


def require_odd(flag: str, length: int) -> None:
    """Refuse a kernel length that has no middle."""
    if length < 1 or length % 2 == 0:
        raise ValueError(f"--{flag}: expected an odd length such as 3, 5 or 7, got {length}")


def require_one_of(flag: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a word that is not one of the choices."""
    if value not in choices:
        raise ValueError(f"--{flag}: expected one of {', '.join(choices)}, got {value!r}")
