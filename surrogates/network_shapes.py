"""What each network takes: one frozen class per network, with its own defaults and its own checks.

:class:`~slimwave.surrogates.network_settings.NetworkConfig` is the command line's view of a network, all
flags side by side; the classes here say which of them a network knows, and are what its constructor reads.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from slimwave.compression.choices import FORMATS, RANKED_FORMATS, FormatName
from slimwave.compression.ranks import Rank, check_rank_form
from slimwave.data.ranges import require_at_least

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
        Rank of the formats that have one, see :mod:`slimwave.compression.ranks`; None means as many terms as
        channels.
    """

    width: int = 16
    conv: FormatName = "dense"
    rank: Rank | None = None

    def __post_init__(self) -> None:
        require_count("network.width", self.width, MOST_CHANNELS)
        require_one_of("network.conv", self.conv, FORMATS)
        if self.rank is None:
            return
        check_rank_form(self.rank, "--network.rank")
        if self.conv not in RANKED_FORMATS:
            raise ValueError(
                f"--network.rank {self.rank} has no meaning with --network.conv {self.conv}; "
                f"leave it out or set --network.conv {' or '.join(RANKED_FORMATS)}"
            )


@dataclass(frozen=True)
class StackShape(NetworkShape):
    """Shape of a stack of convolutions, such as :class:`~slimwave.surrogates.gated_linear.GatedLinearCNN`.

    Parameters
    ----------
    depth
        Number of k × k convolutions.
    kernel_size
        Odd kernel length k along each axis.
    """

    depth: int = 3
    kernel_size: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("network.depth", self.depth, MOST_LAYERS)
        require_odd("network.kernel_size", self.kernel_size)


@dataclass(frozen=True)
class ResidualShape(StackShape):
    """Shape of :class:`~slimwave.surrogates.residual_cnn.ResidualCNN`.

    Parameters
    ----------
    activation
        ``"none"``: linear in the state; ``"gelu"``: the classical CNN.
    """

    activation: Activation = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("network.activation", self.activation, get_args(Activation))


SHAPES: dict[str, type[NetworkShape]] = {
    "gated_linear": StackShape,
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
