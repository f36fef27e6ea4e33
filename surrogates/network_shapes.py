"""What each network takes: one frozen class per network, with its own defaults and its own checks.

:class:`~slimwave.surrogates.network_settings.NetworkConfig` is the command line's view of a network, all
flags side by side; the classes here say which of them a network knows, and are what its constructor reads.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from slimwave.compression.choices import FORMATS, RANKED_FORMATS, FormatName
from slimwave.compression.ranks import Rank, check_rank_form
from slimwave.data.ranges import require_at_least, require_within

Activation = Literal["none", "gelu"]
TimeOrder = Literal[2, 4]
Init = Literal["stencil", "random"]

MOST_CHANNELS, MOST_LAYERS, MOST_LEVELS = 10_000, 1000, 8
MOST_COARSENING = 8.0


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

    @property
    def block(self) -> int:
        """Snapshots that a state holds, and macro steps that one call advances."""
        return 1

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


@dataclass(frozen=True)
class UNetShape(NetworkShape):
    """Shape of :class:`~slimwave.surrogates.unet.UNet`.

    Parameters
    ----------
    levels
        Grids of the pyramid; level l is 2ˡ times coarser and wider.
    depth
        Number of k × k convolutions of a block.
    kernel_size
        Odd kernel length k along each axis.
    activation
        ``"gelu"``: the classical U-Net; ``"none"``: linear in the state.
    """

    levels: int = 3
    depth: int = 2
    kernel_size: int = 3
    activation: Activation = "gelu"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("network.levels", self.levels, MOST_LEVELS)
        require_count("network.depth", self.depth, MOST_LAYERS)
        require_odd("network.kernel_size", self.kernel_size)
        require_one_of("network.activation", self.activation, get_args(Activation))


@dataclass(frozen=True)
class SteppedShape(NetworkShape):
    """What the networks have that learn a force and step by shears, see :mod:`slimwave.surrogates.shears`.

    Parameters
    ----------
    width
        Channels of the strain along each axis.
    substeps
        Substeps in a macro step.
    time_order
        Order of the time stepping, 2 or 4.
    encoder_width
        Hidden channels of the encoder of the medium.
    init
        ``"stencil"`` or ``"random"``.
    """

    width: int = 1
    substeps: int = 3
    time_order: TimeOrder = 4
    encoder_width: int = 8
    init: Init = "stencil"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("network.substeps", self.substeps, MOST_LAYERS)
        if self.time_order not in get_args(TimeOrder):
            raise ValueError(f"--network.time_order: expected 2 or 4, got {self.time_order}")
        require_count("network.encoder_width", self.encoder_width, MOST_CHANNELS)
        require_one_of("network.init", self.init, get_args(Init))


@dataclass(frozen=True)
class LeapfrogShape(SteppedShape):
    """Shape of :class:`~slimwave.surrogates.leapfrog.LeapfrogCNN`.

    Parameters
    ----------
    depth
        Convolutions of the strain, one after another.
    kernel_size, across
        Odd numbers of taps along and across the axis of a strain, in a quadrant of its mirrored kernel.
    """

    depth: int = 1
    kernel_size: int = 5
    across: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("network.depth", self.depth, MOST_LAYERS)
        require_odd("network.kernel_size", self.kernel_size)
        require_odd("network.across", self.across)
        if self.kernel_size == 1 and self.conv != "dense":
            raise ValueError(
                f"--network.kernel_size 1 leaves --network.conv {self.conv} nothing to separate; "
                "use --network.kernel_size 3 or more, or --network.conv dense"
            )


@dataclass(frozen=True)
class MacroStepShape(SteppedShape):
    """Shape of :class:`~slimwave.surrogates.macro_step.MacroStepNetwork`.

    Parameters
    ----------
    coarsening
        Spacing of the inner grid in cells of the outer one, at least 1.
    """

    substeps: int = 10
    coarsening: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within("network.coarsening", self.coarsening, 1, MOST_COARSENING)


@dataclass(frozen=True)
class SpaceTimeShape(ResidualShape):
    """Shape of :class:`~slimwave.surrogates.space_time.SpaceTimeCNN`.

    Parameters
    ----------
    frames
        Frames K of a block.
    """

    width: int = 12
    depth: int = 6
    frames: int = 4

    @property
    def block(self) -> int:
        """Frames of a block."""
        return self.frames

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("network.frames", self.frames, MOST_LAYERS)


SHAPES: dict[str, type[NetworkShape]] = {
    "gated_linear": StackShape,
    "leapfrog": LeapfrogShape,
    "macro_step": MacroStepShape,
    "residual_cnn": ResidualShape,
    "space_time": SpaceTimeShape,
    "unet": UNetShape,
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
