"""Settings of a network: its name, and every flag that some network takes.

A flag that is left out takes the default of the network that is named; one that this network does not know is
refused, and so never silently without effect.

>>> NetworkConfig(width=8).shape()
ResidualShape(width=8, conv='dense', rank=None, depth=3, kernel_size=5, activation='none')
"""

import difflib
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from slimwave.compression.choices import FormatName
from slimwave.compression.ranks import Rank
from slimwave.surrogates.network_shapes import SHAPES, Activation, Init, NetworkShape, TimeOrder

Shape = TypeVar("Shape", bound=NetworkShape)


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of the network; what is left out takes the default of the network named.

    Parameters
    ----------
    name
        ``residual_cnn``: the full CNN of comparisons. ``gated_linear``: linear in the state (u, v) as the
        wave equation is, nonlinear in the medium only. ``leapfrog``: reversible and bounded for any weights.
        ``unet``: convolutions on a pyramid of grids. ``space_time``: convolutions over space and time, from a
        block of frames to the next block. ``macro_step``: as leapfrog, for long steps, on a coarse inner
        grid with operators as long as the domain.
    width
        Channels of a hidden layer (default 16; space_time: 12); of the finest level (unet); of the strain
        along each axis (leapfrog, macro_step: 1).
    conv
        Format of the convolutions. ``"dense"``: full kernels. ``"cp"``: one-way filters, every factor a
        vector. Others: ``"separable"``, ``"outer"``, ``"depthwise"``, ``"tucker"``.
    rank
        Terms per convolution for ``cp``, ``separable`` and ``tucker``: a number such as 16, a share of the
        channels such as 0.5, or a ratio such as 8x (dense weights over kept ones); default: as many as
        channels.
    depth
        Number of k × k convolutions (residual_cnn, gated_linear: 3; space_time: 6), of each block (unet: 2),
        or of the strain (leapfrog: 1).
    kernel_size
        Odd kernel length k along each axis (residual_cnn, gated_linear, space_time: 5; unet: 3). leapfrog:
        taps to each side along the axis of a strain (5).
    across
        leapfrog: taps across the axis of a strain, the middle one and those to one side, odd (1: vectors).
    activation
        ``"gelu"``, or ``"none"`` for a network that is linear in the state (residual_cnn,
        space_time: none; unet: gelu).
    levels
        Grids of the pyramid, each twice as coarse and wide as the one before (unet: 3).
    frames
        Frames of a block, which is also the number of macro steps that one call advances (space_time: 4).
    substeps
        Substeps in a macro step (leapfrog: 3; macro_step: 10).
    time_order
        Order of the time stepping, 2 (one force per substep) or 4 (three) (leapfrog, macro_step: 4).
    encoder_width
        Hidden channels of the encoder of the medium (leapfrog, macro_step: 8).
    init
        ``"stencil"`` starts from a solver of the wave equation, ``"random"`` from random filters (leapfrog,
        macro_step: stencil).
    coarsening
        Spacing of the inner grid in cells of the outer one (macro_step: 2).
    """

    name: str = "residual_cnn"
    width: int | None = None
    conv: FormatName = "dense"
    rank: Rank | None = None
    depth: int | None = None
    kernel_size: int | None = None
    across: int | None = None
    activation: Activation | None = None
    levels: int | None = None
    frames: int | None = None
    substeps: int | None = None
    time_order: TimeOrder | None = None
    encoder_width: int | None = None
    init: Init | None = None
    coarsening: float | None = None

    def __post_init__(self) -> None:
        if self.name not in SHAPES:
            near = difflib.get_close_matches(self.name, SHAPES, n=1)
            meant = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(
                f"--network.name: no network is called {self.name!r}; {meant}"
                f"available: {', '.join(sorted(SHAPES))}"
            )
        for flag, value in self._given().items():
            if flag not in _flags(SHAPES[self.name]):
                raise ValueError(self._useless(flag, value))
        self.shape()

    def shape(self) -> NetworkShape:
        """All that the named network takes, with its defaults filled in."""
        return SHAPES[self.name](**self._given())

    def shape_as(self, kind: type[Shape]) -> Shape:
        """Return :meth:`shape` as the class that a network reads."""
        shape = self.shape()
        if not isinstance(shape, kind):
            raise TypeError(f"expected the settings of a network of {kind.__name__}, got {self.name}")
        return shape

    def resolved(self) -> "NetworkConfig":
        """The same settings with every default of the network written out, as checkpoints keep them."""
        return NetworkConfig(name=self.name, **asdict(self.shape()))

    def _given(self) -> dict[str, Any]:
        settings = asdict(self)
        del settings["name"]
        return {flag: value for flag, value in settings.items() if value is not None}

    def _useless(self, flag: str, value: object) -> str:
        takers = [name for name, shape in SHAPES.items() if flag in _flags(shape)]
        return (
            f"--network.{flag} {value} has no meaning with --network.name {self.name}, which takes "
            f"{', '.join(_flags(SHAPES[self.name]))}; leave it out, or use it with {' or '.join(takers)}"
        )


def _flags(shape: type[NetworkShape]) -> list[str]:
    return [field.name for field in fields(shape)]
