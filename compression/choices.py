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
