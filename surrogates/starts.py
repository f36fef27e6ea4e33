"""Where a forecast starts: a snapshot of a dataset, or the user's own field.

Either way the start is checked against the model before a step is taken, and what is wrong is said by flag.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from slimwave.data.windows import dataset_info, load_trajectories
from slimwave.surrogates.rollout_settings import RolloutConfig
from slimwave.surrogates.speed_limit import require_speed
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.walls import SIDES, wall_codes, wall_mask

REST = 1e-3
"""Largest value on a Dirichlet wall, relative to the field's largest, that counts as zero."""


@dataclass(frozen=True)
class Start:
    """The beginning of a forecast.

    Attributes
    ----------
    state: (1, 2 · frames, nx, ny)
        u and v of as many snapshots as the model's states hold; the forecast starts from the last of them.
    wave_speed: (1, 1, nx, ny)
    walls: (1, 4)
    reference: (m, 2, nx, ny)
        States after macro steps 1 … m by finite elements; m = 0 for a user's own field.
    """

    state: Tensor
    wave_speed: Tensor
    walls: Tensor
    reference: Tensor


def dataset_start(config: RolloutConfig, model: Surrogate) -> Start:
    """Take a snapshot of a dataset trajectory, or a block of them that begins there.

    Raises
    ------
    ValueError
        If the dataset is not one the model was made for, there is no such trajectory or snapshot, or its
        waves are too fast for the model.
    """
    info = dataset_info(config.data)
    stride = model.task.snapshots_per_step(info, f"the dataset {config.data}")
    if config.split not in info.splits:
        raise ValueError(
            f"--split: {config.data} has the splits {', '.join(info.splits)}, got {config.split}; choose one"
        )
    split = info.splits[config.split]
    trajectory = config.trajectory
    if trajectory is None:
        trajectory = int(np.random.default_rng(config.seed).integers(split.trajectories))
    _require_below("trajectory", trajectory, split.trajectories, f"trajectories in {config.split}")
    last = config.start + (model.frames - 1) * stride
    _require_below("start", last, split.snapshots, f"snapshots in {config.split}")
    data = load_trajectories(config.data, config.split, limit=trajectory + 1)
    wave_speed = data.c[-1:, None]
    require_speed(
        model, float(wave_speed.max()), f"trajectory {trajectory} of {config.split} in {config.data}"
    )
    states = torch.stack([data.u[-1], data.v[-1]], dim=1)[config.start :: stride]
    known = model.join(states[None, : model.frames])
    return Start(known, wave_speed, data.walls[-1:], states[model.frames :])


def user_start(config: RolloutConfig, model: Surrogate) -> Start:
    """Read the user's initial field, wave speed and walls.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If an array has the wrong shape or values, the field does not fit its walls, or the waves are too fast
        for the model.
    """
    assert config.initial is not None
    snapshots = _initial_snapshots(_array("initial", config.initial), model.frames)
    state = model.join(snapshots[None])
    wave_speed = _wave_speed(config.wave_speed, state.shape[-2:])
    walls = wall_codes(asdict(config.walls))[None]
    _require_rest_at_walls(snapshots, walls)
    require_speed(model, float(wave_speed.max()), "--wave_speed")
    return Start(state, wave_speed, walls, snapshots[:0])


def _initial_snapshots(field: Tensor, frames: int) -> Tensor:
    """Snapshots (frames, 2, nx, ny); a single one may be u alone (nx, ny), at rest, or u and u_t."""
    if min(field.shape[-2:], default=0) < 2:
        raise ValueError(f"--initial: expected at least 2 nodes along each axis, got {tuple(field.shape)}")
    if frames == 1 and field.ndim == 2:
        return torch.stack([field, torch.zeros_like(field)])[None]
    if frames == 1 and field.ndim == 3 and field.shape[0] == 2:
        return field[None]
    if field.ndim == 4 and field.shape[:2] == (frames, 2):
        return field
    wanted = (
        "(nx, ny) for u or (2, nx, ny) for u and u_t"
        if frames == 1
        else f"({frames}, 2, nx, ny) for u and u_t of the {frames} frames that the model reads"
    )
    raise ValueError(f"--initial: expected an array of shape {wanted}, got {tuple(field.shape)}")


def _wave_speed(source: float | Path, grid: torch.Size) -> Tensor:
    """Wave speed (1, 1, nx, ny) from a number or a file."""
    speed = (
        torch.full(grid, float(source)) if isinstance(source, int | float) else _array("wave_speed", source)
    )
    if speed.shape != grid:
        raise ValueError(
            f"--wave_speed: expected a number or an array of the initial field's shape {tuple(grid)}, "
            f"got {tuple(speed.shape)}"
        )
    if not bool((speed > 0).all()):
        raise ValueError(f"--wave_speed: expected positive values, got a minimum of {float(speed.min()):g}")
    return speed[None, None]


def _array(flag: str, path: Path) -> Tensor:
    """Read a real, finite array; nothing pickled."""
    if not path.is_file():
        raise FileNotFoundError(f"--{flag}: {path} does not exist; expected a .npy file")
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"--{flag}: {path} is not a readable .npy file of numbers ({error})") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise ValueError(f"--{flag}: {path} must hold one array of real numbers; save it with numpy.save")
    if not np.isfinite(values).all():
        raise ValueError(f"--{flag}: {path} holds NaN or infinity; expected finite values")
    return torch.from_numpy(values.astype(np.float32))


def _require_rest_at_walls(snapshots: Tensor, walls: Tensor) -> None:
    """Refuse a u or a u_t that does not vanish on a Dirichlet wall, each relative to its largest value."""
    at_walls = snapshots * (1 - wall_mask(walls, *snapshots.shape[-2:]))
    for name, field, wall in zip(("u", "u_t"), snapshots.unbind(1), at_walls.unbind(1), strict=True):
        largest, at_wall = float(field.abs().max()), float(wall.abs().max())
        if at_wall > REST * largest:
            raise ValueError(
                f"--initial: {name} must vanish on Dirichlet walls, got {at_wall:.3g} of at most "
                f"{largest:.3g}; taper it, or make the wall neumann (--walls.{SIDES[0]} neumann and so on)"
            )


def _require_below(flag: str, value: int, limit: int, what: str) -> None:
    if value >= limit:
        raise ValueError(f"--{flag} {value}: there are {limit} {what}; expected 0 to {limit - 1}")
