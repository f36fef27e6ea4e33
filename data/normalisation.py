"""Normalisation of windows by the statistics of the training split, and back to physical units.

``std``
    (value − mean) / std, as The Well's ``ZScoreNormalization``
``rms``
    value / rms, as its ``RMSNormalization``; zero stays zero, so that walls and signs keep their meaning
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from slimwave.data.reading import Stats
from slimwave.data.schema import FIELDS

Normalisation = Literal["std", "rms"]

LEAST_SCALE = 1e-4
"""The Well's lower bound of a scale: a field that does not vary is not blown up."""


@dataclass(frozen=True)
class Normaliser:
    """Shift and scale of u, v and c.

    Attributes
    ----------
    state_shift, state_scale
        Shape (2, 1, 1), for u and v.
    speed_shift, speed_scale
        For c.
    """

    state_shift: Tensor
    state_scale: Tensor
    speed_shift: float
    speed_scale: float

    @classmethod
    def of(cls, stats: Stats, kind: Normalisation) -> "Normaliser":
        """Return the normalisation that belongs to statistics.

        Raises
        ------
        ValueError
            For an unknown kind.
        """
        if kind not in ("std", "rms"):
            raise ValueError(f"normalise: expected 'std', 'rms' or None, got {kind!r}")
        names = (*FIELDS, "c")
        shift = [stats["mean"][name] if kind == "std" else 0.0 for name in names]
        scale = [max(stats[kind][name], LEAST_SCALE) for name in names]
        of_states = len(FIELDS)
        return cls(
            torch.tensor(shift[:of_states])[:, None, None],
            torch.tensor(scale[:of_states])[:, None, None],
            shift[of_states],
            scale[of_states],
        )

    def normalise(self, window: dict[str, Tensor]) -> dict[str, Tensor]:
        """Normalise states (…, 2, nx, ny) and the wave speed of a window; the walls stay."""
        moved = {name: (window[name] - self.state_shift) / self.state_scale for name in _states_of(window)}
        speed = (window["wave_speed"] - self.speed_shift) / self.speed_scale
        return {**window, **moved, "wave_speed": speed}

    def restore(self, states: Tensor) -> Tensor:
        """Return normalised states (…, 2, nx, ny) to physical units."""
        return states * self.state_scale + self.state_shift


def _states_of(window: dict[str, Tensor]) -> list[str]:
    return [name for name in ("past", "state", "targets") if name in window]
