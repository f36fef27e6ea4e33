"""Settings of a rollout: the forecast of one trajectory."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from slimwave.data.ranges import require_at_least, require_positive
from slimwave.data.scenarios import Split
from slimwave.surrogates.training_settings import Device

Side = Literal["dirichlet", "neumann", "absorbing"]
Runtime = Literal["eager", "onnx", "sparse"]


@dataclass(frozen=True)
class RolloutWalls:
    """Condition of each wall of a user's own initial field.

    Parameters
    ----------
    left, right, bottom, top
        ``dirichlet`` (u = 0), ``neumann`` (∂u/∂n = 0) or ``absorbing``.
    """

    left: Side = "dirichlet"
    right: Side = "dirichlet"
    bottom: Side = "dirichlet"
    top: Side = "dirichlet"


@dataclass(frozen=True)
class RolloutConfig:
    """Settings of ``slimwave rollout``.

    The forecast starts from snapshot ``start`` of a dataset trajectory, or from the user's own field when
    ``initial`` is given.

    Parameters
    ----------
    model
        Run folder of the model.
    data, split
        Dataset folder, and the split of it.
    trajectory
        Index of the trajectory in the split; without one, ``seed`` draws it.
    start
        Snapshot to start from.
    steps
        Macro steps; may go on beyond the reference. None means as far as the reference reaches.
    initial
        ``.npy`` file with u of shape (nx, ny), or with u and u_t of shape (2, nx, ny).
    wave_speed
        Wave speed for ``initial``: a number, or a ``.npy`` file of shape (nx, ny).
    walls
        Conditions of the walls for ``initial``.
    threshold
        Relative L2 error up to which the forecast counts as valid.
    output
        Run folder.
    animation
        Write the animation FE | surrogate | error.
    runtime
        ``"eager"``: PyTorch. ``"onnx"``: ONNX Runtime, from the extra ``realtime``.
        ``"sparse"``: loops that skip the zeros of a pruned model, on one CPU core.
    seed
        Seed of the trajectory that is drawn where none is given. The forecast itself is deterministic.
    device
        Where to compute; ``auto`` takes a GPU when there is one.
    threads
        CPU threads, also of the latency that is measured.
    overwrite
        Start anew where the folder already holds a run.
    """

    model: Path = Path("runs/full")
    data: Path = Path("runs/data")
    split: Split = "test"
    trajectory: int | None = None
    start: int = 0
    steps: int | None = None
    initial: Path | None = None
    wave_speed: float | Path = 1.0
    walls: RolloutWalls = field(default_factory=RolloutWalls)
    threshold: float = 0.2
    output: Path = Path("runs/rollout")
    animation: bool = True
    runtime: Runtime = "eager"
    seed: int = 0
    device: Device = "auto"
    threads: int = 1
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.trajectory is not None:
            require_at_least("trajectory", self.trajectory, 0)
        require_at_least("seed", self.seed, 0)
        require_at_least("start", self.start, 0)
        require_positive("threshold", self.threshold)
        require_at_least("threads", self.threads, 1)
        if self.steps is not None:
            require_at_least("steps", self.steps, 1)
        if self.initial is not None and self.steps is None:
            raise ValueError(
                "--initial has no reference to end at; give the number of macro steps with --steps"
            )
        if isinstance(self.wave_speed, (int, float)):
            require_positive("wave_speed", self.wave_speed)
        if self.runtime != "eager" and self.device == "cuda":
            raise ValueError(
                f"--runtime {self.runtime} computes on the CPU; use --device cpu or --runtime eager"
            )
