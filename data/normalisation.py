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

from slimwave.data.info import Stats
from slimwave.data.schema import DAMPING, FIELDS

Normalisation = Literal["std", "rms"]

LEAST_SCALE = 1e-4
"""The Well's lower bound of a scale: a field that does not vary is not blown up."""


@dataclass(frozen=True)
class Normaliser:
    """Shift and scale of u, v, c and γ.

    Attributes
    ----------
    state_shift, state_scale
        Shape (2, 1, 1), for u and v.
    speed_shift, speed_scale
        For c.
    damping_shift, damping_scale
        For γ.
    """

    state_shift: Tensor
    state_scale: Tensor
    speed_shift: float
    speed_scale: float
    damping_shift: float = 0.0
    damping_scale: float = 1.0

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
        names = (*FIELDS, "c", DAMPING) if DAMPING in stats[kind] else (*FIELDS, "c")
        shift = [stats["mean"][name] if kind == "std" else 0.0 for name in names]
        scale = [max(stats[kind][name], LEAST_SCALE) for name in names]
        of_states = len(FIELDS)
        return cls(
            torch.tensor(shift[:of_states])[:, None, None],
            torch.tensor(scale[:of_states])[:, None, None],
            *(part[k] for k in range(of_states, len(names)) for part in (shift, scale)),
        )

    def normalise(self, window: dict[str, Tensor]) -> dict[str, Tensor]:
        """Normalise states (…, 2, nx, ny), wave speed and damping of a window; the walls stay."""
        moved = {name: (window[name] - self.state_shift) / self.state_scale for name in _states_of(window)}
        moved["wave_speed"] = (window["wave_speed"] - self.speed_shift) / self.speed_scale
        if "damping" in window:
            moved["damping"] = (window["damping"] - self.damping_shift) / self.damping_scale
        return {**window, **moved}

    def restore(self, states: Tensor) -> Tensor:
        """Return normalised states (…, 2, nx, ny) to physical units."""
        return states * self.state_scale + self.state_shift


def _states_of(window: dict[str, Tensor]) -> list[str]:
    return [name for name in ("past", "state", "targets") if name in window]
