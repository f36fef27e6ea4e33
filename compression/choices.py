"""Names that users choose from, free of torch, so that settings and `--help` can read them fast.

>>> "cp" in FORMATS
True
"""

from typing import Literal, get_args

FormatName = Literal["dense", "cp", "separable", "outer", "depthwise", "tucker"]
FORMATS: tuple[FormatName, ...] = get_args(FormatName)
"""Formats of a convolution, see :mod:`slimwave.compression.formats`."""

RANKED_FORMATS: tuple[FormatName, ...] = ("cp", "separable", "tucker")
"""The formats that need a rank, see :mod:`slimwave.compression.ranks`."""

ScopeName = Literal["global", "layer", "neuron", "term", "channel"]
SCOPES: tuple[ScopeName, ...] = get_args(ScopeName)
"""What is measured and pruned together, see :mod:`slimwave.compression.scopes`."""

ScheduleName = Literal["sap", "lottery", "oneshot"]
SCHEDULES: tuple[ScheduleName, ...] = get_args(ScheduleName)
"""How many go in a round, and by which magnitudes, see :mod:`slimwave.compression.schedules`."""
