"""Settings of the surrogate jobs: train, prune, rollout and compare.

Each class holds one concern and is frozen, free of torch, and built from plain types, so that the command
line can read it, YAML can store it and ``slimwave --help`` stays fast. Checks that span several fields stand
in ``__post_init__`` and name the flag to change. A flag is the path through the classes:
``TrainConfig.network.width`` is ``--network.width``.

>>> TrainConfig(network=NetworkConfig(width=16, conv="cp", rank=8)).network.rank
8
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from slimwave.data.ranges import require_at_least, require_positive, require_within
from slimwave.data.scenarios import Split

Device = Literal["auto", "cpu", "cuda"]
Side = Literal["dirichlet", "neumann"]
Runtime = Literal["eager", "onnx"]


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of the network.

    Parameters
    ----------
    name
        Registered network, see :mod:`slimwave.surrogates.networks`.
    width
        Channels of every hidden layer.
    depth
        Number of k × k convolutions; the reach is ``depth * (kernel_size // 2)`` cells.
    kernel_size
        Odd kernel length k along each axis.
    conv
        ``"dense"``: full kernels. ``"cp"``: one-way filters, every factor a vector.
    rank
        Rank terms per convolution for ``conv="cp"``; None means ``width``.
    activation
        ``"none"``: linear in the state (u, v) as the wave equation is, nonlinear in the medium only.
        ``"gelu"``: the classical residual CNN.
    """

    name: str = "residual_cnn"
    width: int = 16
    depth: int = 3
    kernel_size: int = 5
    conv: Literal["dense", "cp"] = "dense"
    rank: int | None = None
    activation: Literal["none", "gelu"] = "none"

    def __post_init__(self) -> None:
        require_at_least("network.width", self.width, 1)
        require_at_least("network.depth", self.depth, 1)
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(
                f"--network.kernel_size: expected an odd length such as 3, 5 or 7, got {self.kernel_size}"
            )
        if self.rank is not None:
            require_at_least("network.rank", self.rank, 1)
            if self.conv == "dense":
                raise ValueError(
                    f"--network.rank {self.rank} has no meaning with --network.conv dense; "
                    "leave it out or set --network.conv cp"
                )


@dataclass(frozen=True)
class FitConfig:
    """How weights are fitted: AdamW with warm-up, cosine decay and unrolled training.

    Parameters
    ----------
    steps
        Optimiser steps.
    batch_size
        Windows per step.
    learning_rate, warmup, weight_decay
        Peak rate, steps of linear warm-up to it, decoupled decay.
    clip
        Largest gradient norm.
    unroll
        Macro steps that the network runs on its own output before the loss, as a curriculum: the budget is
        divided evenly among the entries, ``(1, 2, 4)`` trains a third of the steps with each.
    noise
        Standard deviation of the noise added to the input state, relative to the scale of u and of v.
    augment
        Draw one of the eight symmetries of the square, and the sign of the state, for every window batch.
    ema
        Decay of the moving average of the weights that is validated and kept; 0 keeps the weights themselves.
    """

    steps: int = 2000
    batch_size: int = 2
    learning_rate: float = 8e-3
    warmup: int = 50
    weight_decay: float = 1e-4
    clip: float = 1.0
    unroll: tuple[int, ...] = (1, 2, 4, 8)
    noise: float = 0.02
    augment: bool = True
    ema: float = 0.0

    def __post_init__(self) -> None:
        require_at_least("fit.steps", self.steps, 1)
        require_at_least("fit.batch_size", self.batch_size, 1)
        require_positive("fit.learning_rate", self.learning_rate)
        require_at_least("fit.warmup", self.warmup, 0)
        require_at_least("fit.weight_decay", self.weight_decay, 0)
        require_positive("fit.clip", self.clip)
        require_at_least("fit.noise", self.noise, 0)
        require_within("fit.ema", self.ema, 0, 1)
        if not self.unroll or min(self.unroll) < 1:
            raise ValueError(f"--fit.unroll: expected step counts such as [1, 2, 4], got {list(self.unroll)}")


@dataclass(frozen=True)
class ValidationConfig:
    """Which rollouts pick the checkpoint.

    Parameters
    ----------
    every
        Optimiser steps between validations.
    steps
        Length of the validation rollouts in macro steps.
    trajectories
        How many validation trajectories to use; None means all.
    """

    every: int = 250
    steps: int = 50
    trajectories: int | None = None

    def __post_init__(self) -> None:
        require_at_least("validation.every", self.every, 1)
        require_at_least("validation.steps", self.steps, 1)
        if self.trajectories is not None:
            require_at_least("validation.trajectories", self.trajectories, 1)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of ``slimwave train``.

    Parameters
    ----------
    data
        Dataset folder.
    output
        Run folder; an unfinished run of the same settings in it is continued.
    network, fit, validation
        See :class:`NetworkConfig`, :class:`FitConfig`, :class:`ValidationConfig`.
    seed
        Seed of the initial weights, the batches, the noise and the symmetries.
    device
        Where to compute; ``auto`` takes a GPU when there is one.
    threads
        CPU threads; None leaves the choice to torch. Networks this small gain little from a second thread and
        lose much on a busy machine. Bit-identical repetition needs the same number.
    overwrite
        Start anew where the folder already holds a run.
    """

    data: Path = Path("runs/data")
    output: Path = Path("runs/full")
    network: NetworkConfig = field(default_factory=NetworkConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    seed: int = 0
    device: Device = "auto"
    threads: int | None = 1
    overwrite: bool = False

    def __post_init__(self) -> None:
        require_at_least("seed", self.seed, 0)
        if self.threads is not None:
            require_at_least("threads", self.threads, 1)


@dataclass(frozen=True)
class SAPConfig:
    """Sparsity-informed adaptive pruning (Diao et al., ICLR 2023, arXiv 2302.05601).

    Parameters
    ----------
    p, q
        Norms of the PQ Index, 0 < p ≤ 1 ≤ q and p < q.
    eta
        Compensation η ≥ 0 of the lower bound; larger prunes more.
    gamma
        Scaling γ > 0 of the prune ratio.
    beta
        Largest share β of the surviving weights that one round may remove.
    scope
        What is measured and pruned together: all weights, each layer, or each neuron.
    """

    p: float = 0.5
    q: float = 1.0
    eta: float = 0.0
    gamma: float = 1.0
    beta: float = 0.9
    scope: Literal["global", "layer", "neuron"] = "global"

    def __post_init__(self) -> None:
        if not 0 < self.p <= 1 <= self.q or self.p >= self.q:
            raise ValueError(
                f"--sap.p, --sap.q: expected 0 < p <= 1 <= q and p < q, got p={self.p}, q={self.q}"
            )
        require_at_least("sap.eta", self.eta, 0)
        require_positive("sap.gamma", self.gamma)
        if not 0 < self.beta < 1:
            raise ValueError(f"--sap.beta: expected a share between 0 and 1, got {self.beta}")


@dataclass(frozen=True)
class PruneConfig:
    """Settings of ``slimwave prune``: rounds of prune, rewind, retrain.

    Parameters
    ----------
    model
        Run folder of the trained model.
    data
        Dataset folder; only its training and validation splits are read.
    output
        Run folder; an unfinished run of the same settings in it is continued after its last finished round.
    sap
        See :class:`SAPConfig`.
    rounds
        Most rounds to run.
    tolerance
        A round is acceptable while its validation rollout error is at most ``tolerance`` times that of the
        reference; the sparsest acceptable round is kept. None keeps the last round whatever its error.
    reference
        ``"trained"``: the model as given. ``"finetuned"``: the model after one round of the same fine-tuning
        without pruning, which is the stricter comparison.
    rewind
        ``"initial"`` and ``"early"`` put surviving weights back to where the training began, or to where it
        stood after a tenth of its steps; ``"none"`` fine-tunes them.
    fit
        How each round retrains; ``fit.steps`` is per round.
    validation, seed, device, threads, overwrite
        As for training.
    """

    model: Path = Path("runs/one_way")
    data: Path = Path("runs/data")
    output: Path = Path("runs/pruned")
    sap: SAPConfig = field(default_factory=SAPConfig)
    rounds: int = 6
    tolerance: float | None = 1.1
    reference: Literal["trained", "finetuned"] = "trained"
    rewind: Literal["none", "initial", "early"] = "none"
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(steps=400, learning_rate=4e-3, warmup=10, unroll=(4,))
    )
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    seed: int = 0
    device: Device = "auto"
    threads: int | None = 1
    overwrite: bool = False

    def __post_init__(self) -> None:
        require_at_least("rounds", self.rounds, 1)
        if self.tolerance is not None:
            require_positive("tolerance", self.tolerance)
        require_at_least("seed", self.seed, 0)
        if self.threads is not None:
            require_at_least("threads", self.threads, 1)


@dataclass(frozen=True)
class RolloutWalls:
    """Condition of each wall of a user's own initial field."""

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
    data, split, trajectory, start
        Dataset folder, split, index of the trajectory in it and snapshot to start from. Without an index,
        ``seed`` draws one.
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
    seed
        Seed of the trajectory that is drawn where none is given. The forecast itself is deterministic.
    device, threads, overwrite
        As for training; latency is measured with one thread unless ``threads`` says otherwise.
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
        if self.runtime == "onnx" and self.device == "cuda":
            raise ValueError("--runtime onnx computes on the CPU; use --device cpu or --runtime eager")


@dataclass(frozen=True)
class CompareConfig:
    """Settings of ``slimwave compare``.

    Parameters
    ----------
    data
        Dataset folder; its test and ood splits are the judges.
    models
        Name of the row → run folder of the model.
    steps
        Rollout length in macro steps; None means as far as the reference reaches.
    trajectories
        Trajectories per split; None means all.
    coarse_elements
        Elements per side of the coarser finite-element baselines.
    threshold
        Relative L2 error up to which a forecast counts as valid.
    latency_steps
        Macro steps timed per competitor, interleaved, on one thread.
    output
        Run folder.
    seed
        Seed of the order in which the competitors take turns when timed, and of the test trajectory that is
        shown in full.
    device, overwrite
        As for training. Latency is always measured on one CPU thread.
    """

    data: Path = Path("runs/data")
    models: dict[str, Path] = field(
        default_factory=lambda: {
            "full CNN": Path("runs/full"),
            "one-way CNN": Path("runs/one_way"),
            "one-way CNN + SAP": Path("runs/pruned"),
        }
    )
    steps: int | None = None
    trajectories: int | None = None
    coarse_elements: tuple[int, ...] = (4, 6, 8)
    threshold: float = 0.2
    latency_steps: int = 100
    output: Path = Path("runs/compare")
    seed: int = 0
    device: Device = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("--models: expected at least one row name with its run folder, got none")
        reserved = [name for name in self.models if name == "persistence" or name.startswith("FE ")]
        if reserved:
            raise ValueError(
                f"--models: {reserved[0]!r} is the name of a baseline; expected another name for the row"
            )
        if self.steps is not None:
            require_at_least("steps", self.steps, 1)
        if self.trajectories is not None:
            require_at_least("trajectories", self.trajectories, 1)
        if any(count < 1 for count in self.coarse_elements):
            raise ValueError(
                f"--coarse_elements: expected counts of at least 1, got {list(self.coarse_elements)}"
            )
        require_positive("threshold", self.threshold)
        require_at_least("latency_steps", self.latency_steps, 2)
        require_at_least("seed", self.seed, 0)
