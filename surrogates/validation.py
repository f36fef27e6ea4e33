"""The judge of a fit: rollouts over validation trajectories, never over test data.

A small one-step error says little about a forecast of a hundred steps, so checkpoints, pruning rounds and
early choices are made by the error of whole rollouts.
"""

from pathlib import Path

import torch

from slimwave.data.windows import load_trajectories
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

    Raises
    ------
    ValueError
        If the split holds fewer snapshots than the rollouts need.
    """

    def __init__(
        self, root: Path, config: ValidationConfig, device: torch.device, split: str = "valid"
    ) -> None:
        data = load_trajectories(root, split, limit=config.trajectories, snapshots=config.steps + 1)
        self.steps = config.steps
        self.initial = torch.stack([data.u[:, 0], data.v[:, 0]], dim=1).to(device)
        self.reference = data.u[:, 1:].to(device)
        self.wave_speed = data.c[:, None].to(device)
        self.walls = data.walls.to(device)

    def __call__(self, model: Surrogate) -> float:
        """Mean error over trajectories and steps; infinite if a rollout blows up."""
        forecast = states(model, self.initial, self.wave_speed, self.walls)
        errors = [
            relative_l2(next(forecast)[:, 0], self.reference[:, step]).mean() for step in range(self.steps)
        ]
        return float(torch.stack(errors).mean())
