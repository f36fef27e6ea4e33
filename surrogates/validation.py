"""The judge of a fit: rollouts over validation trajectories, never over test data.

A small one-step error says little about a forecast of a hundred steps, so checkpoints, pruning rounds and
early choices are made by the error of whole rollouts.
"""

from pathlib import Path

import torch
from torch.utils.data import default_collate

from slimwave.data.windows import WaveWindows
from slimwave.surrogates.augmentation import Windows
from slimwave.surrogates.metrics import relative_l2
from slimwave.surrogates.rollout import states
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.training_settings import ValidationConfig


class RolloutValidator:
    """Mean relative L2 error of u over all steps of the rollouts from the first snapshots of a split.

    Parameters
    ----------
    root
        Dataset folder.
    config
        Length and number of the rollouts.
    device
        Where the model computes.
    split
        ``"valid"`` for every choice.
    frames
        Snapshots that the model's states hold.
    stride
        Snapshots in one macro step.

    Raises
    ------
    ValueError
        If the split holds fewer snapshots than the rollouts need, or fewer trajectories than asked for.
    """

    def __init__(
        self,
        root: Path,
        config: ValidationConfig,
        device: torch.device,
        split: str = "valid",
        *,
        frames: int = 1,
        stride: int = 1,
    ) -> None:
        windows = WaveWindows(root, split, horizon=config.steps, history=frames, stride=stride)
        count = _count(config.trajectories, windows.trajectories, split)
        starts = range(0, count * windows.windows_per_trajectory, windows.windows_per_trajectory)
        data = Windows.collated(default_collate([windows[start] for start in starts]), config.steps)
        self.steps = config.steps
        self.initial = data.state.to(device)
        self.reference = data.targets[:, :, 0].to(device)
        self.wave_speed = data.wave_speed.to(device)
        self.walls = data.walls.to(device)

    def __call__(self, model: Surrogate) -> float:
        """Mean error over trajectories and steps; infinite if a rollout blows up."""
        forecast = states(model, self.initial, self.wave_speed, self.walls)
        errors = [
            relative_l2(next(forecast)[:, 0], self.reference[:, step]).mean() for step in range(self.steps)
        ]
        return float(torch.stack(errors).mean())


def _count(asked: int | None, available: int, split: str) -> int:
    """How many trajectories to use."""
    if asked is not None and asked > available:
        raise ValueError(
            f"--validation.trajectories: expected at most {available}, all that {split} holds, got {asked}"
        )
    return asked or available
