"""What a surrogate is made for: the grid spacing, the macro step, the wave speeds and the scales of the
fields.

A task is stored in every checkpoint, so that a model refuses a dataset it was not made for, and normalises
any input by the statistics of its own training split.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np

from slimwave.data.windows import DatasetInfo, WaveWindows

SPACING_TOLERANCE = 1e-3
LEAST_SPREAD = 0.01
"""Smallest standard deviation of the wave speed relative to its mean, for media that (hardly) vary."""


@dataclass(frozen=True)
class WaveTask:
    """One forecasting task.

    Parameters
    ----------
    macro_step
        Time between a state and the next.
    spacing
        (dx, dy) of the grid, in units of length.
    max_speed
        Largest wave speed, in units of length per unit of time.
    scale
        Root mean square of u and of v over the training split.
    increment
        Root mean square of the change of u and of v in one macro step.
    speed_mean, speed_std
        Mean and standard deviation of the wave speed over the training split.
    """

    macro_step: float
    spacing: tuple[float, float]
    max_speed: float
    scale: tuple[float, float]
    increment: tuple[float, float]
    speed_mean: float
    speed_std: float

    def __post_init__(self) -> None:
        positive = {
            "macro_step": self.macro_step,
            "spacing": min(self.spacing),
            "max_speed": self.max_speed,
            "scale": min(self.scale),
            "increment": min(self.increment),
            "speed_std": self.speed_std,
        }
        for name, value in positive.items():
            if not 0 < value < math.inf:
                raise ValueError(f"{name}: expected a positive, finite number, got {value}")

    @classmethod
    def of_windows(cls, windows: WaveWindows) -> "WaveTask":
        """Task of a dataset's training windows: their stride is the macro step in snapshots.

        Raises
        ------
        ValueError
            If the waves are damped or driven.
        """
        info, stride = windows.info, windows.stride
        require_free(info, f"the dataset {info.root}")
        stats = info.stats
        delta = stats["rms_delta"]
        return cls(
            macro_step=stride * info.macro_step,
            spacing=info.spacing,
            max_speed=info.max_speed,
            scale=(stats["rms"]["u"], stats["rms"]["v"]),
            increment=(delta["u"], delta["v"]) if stride == 1 else _increment(windows),
            speed_mean=stats["mean"]["c"],
            speed_std=max(stats["std"]["c"], LEAST_SPREAD * stats["mean"]["c"]),
        )

    @property
    def cells_per_step(self) -> float:
        """Cells that the fastest wave crosses in one macro step."""
        return self.max_speed * self.macro_step / min(self.spacing)

    def snapshots_per_step(self, info: DatasetInfo, source: str) -> int:
        """Refuse a dataset that the model was not made for; see :meth:`stride_in`."""
        require_free(info, source)
        return self.stride_in(info.spacing, info.macro_step, source)

    def stride_in(self, spacing: tuple[float, float], snapshot_step: float, source: str) -> int:
        """Return how many snapshots of a dataset make one macro step; the grid's size is free.

        Raises
        ------
        ValueError
            Naming what the model expects, what ``source`` has, and what to do.
        """
        if not _close(spacing[0], self.spacing[0]) or not _close(spacing[1], self.spacing[1]):
            raise ValueError(
                f"{source} has grid spacing {_pair(spacing)}, but the model was made for "
                f"{_pair(self.spacing)}; generate data with that spacing (domain size / (nodes - 1)) "
                "or train a model on this dataset"
            )
        stride = round(self.macro_step / snapshot_step)
        if not stride or not _close(stride * snapshot_step, self.macro_step):
            raise ValueError(
                f"{source} has a snapshot every {snapshot_step:.6g}, but the model takes steps of "
                f"{self.macro_step:.6g}, which must be one or several of them; generate data with "
                f"--time.step {self.macro_step:.6g} or train a model on this dataset"
            )
        return stride

    def to_json(self) -> dict[str, object]:
        """Plain values that :meth:`from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, object]) -> "WaveTask":
        """Rebuild a task; ValueError or TypeError where the values do not fit."""
        plain = {key: _numbers(value) for key, value in values.items()}
        return cls(**plain)  # type: ignore[arg-type]


def require_free(info: DatasetInfo, source: str) -> None:
    """Refuse waves that are damped or driven: no network is told of γ or f.

    Raises
    ------
    ValueError
        Naming what acts.
    """
    if info.driven or info.damped:
        what, flag = (
            ("sources", "--sources.count 0,0") if info.driven else ("damping", "--damping.kinds none")
        )
        raise ValueError(
            f"{source} has {what}, which no surrogate takes into account; use data generated with {flag}"
        )


def _increment(windows: WaveWindows) -> tuple[float, float]:
    """Root mean square of the change of u and of v over one stride, over the whole split."""
    source, stride = windows.source, windows.stride
    squares, count = np.zeros(2), 0
    for trajectory in range(source.trajectories):
        states = source.read(trajectory, range(source.snapshots))[0].astype(np.float64)
        change = states[stride:] - states[:-stride]
        squares += np.square(change).sum(axis=(0, 2, 3))
        count += change[:, 0].size
    u, v = np.sqrt(squares / count)
    return float(u), float(v)


def _numbers(value: object) -> float | tuple[float, ...]:
    if isinstance(value, list):
        return tuple(float(item) for item in value)
    return float(value)  # type: ignore[arg-type]


def _close(value: float, expected: float) -> bool:
    return math.isclose(value, expected, rel_tol=SPACING_TOLERANCE)


def _pair(values: tuple[float, float]) -> str:
    return f"({values[0]:.6g}, {values[1]:.6g})"
