"""Settings of a training: how weights are fitted, and which rollouts pick the checkpoint.

Each settings class holds one concern and is frozen, free of torch, and built from plain types, so that the
command line can read it, YAML can store it and ``slimwave --help`` stays fast. Checks that span several
fields stand in ``__post_init__`` and name the flag to change. A flag is the path through the classes:
``TrainConfig.network.width`` is ``--network.width``.

>>> TrainConfig(network=NetworkConfig(width=16, conv="cp", rank=8)).network.rank
8
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from slimwave.data.ranges import require_at_least, require_positive, require_within
from slimwave.surrogates.network_settings import NetworkConfig

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]


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
        Steps that the network runs on its own output before the loss, as a curriculum: the budget is
        divided evenly among the entries, ``(1, 2, 4)`` trains a third of the steps with each.
    noise
        Standard deviation of the noise added to the input state, relative to the scale of u and of v.
    augment
        Draw one of the eight symmetries of the square, and the sign of the state, for every window batch.
    ema
        Decay of the moving average of the weights that is validated and kept; 0 keeps the weights themselves.
    energy_weight, gradient_weight
        Weights of two more terms of the loss, relative errors of the energy and of the slopes; 0 leaves them
        out.
    patience
        Validations in a row without a better rollout error after which the last stage of the curriculum ends
        early; None never ends it.
    precision
        ``bfloat16`` computes convolutions in mixed precision. On CPUs that multiply in bfloat16 it makes full
        kernels faster and one-way filters slower.
    in_memory
        Read the training split once; false reads every window from its file, for splits larger than memory.
    compile
        Compile the network (``torch.compile``). On the CPU that takes most of a minute and makes networks
        this small no faster.
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
    energy_weight: float = 0.0
    gradient_weight: float = 0.0
    patience: int | None = None
    precision: Precision = "float32"
    compile: bool = False
    in_memory: bool = True

    def __post_init__(self) -> None:
        require_at_least("fit.steps", self.steps, 1)
        require_at_least("fit.batch_size", self.batch_size, 1)
        require_positive("fit.learning_rate", self.learning_rate)
        require_at_least("fit.warmup", self.warmup, 0)
        require_at_least("fit.weight_decay", self.weight_decay, 0)
        require_positive("fit.clip", self.clip)
        require_at_least("fit.noise", self.noise, 0)
        require_within("fit.ema", self.ema, 0, 1)
        require_at_least("fit.energy_weight", self.energy_weight, 0)
        require_at_least("fit.gradient_weight", self.gradient_weight, 0)
        if self.patience is not None:
            require_at_least("fit.patience", self.patience, 1)
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
class LogConfig:
    """What a training writes beside ``log.jsonl``.

    Parameters
    ----------
    tensorboard
        Curves for TensorBoard in ``tensorboard/``; needs the extra ``slimwave[tensorboard]``.
    """

    tensorboard: bool = False


@dataclass(frozen=True)
class TrainConfig:
    """Settings of ``slimwave train``.

    Parameters
    ----------
    data
        Dataset folder.
    output
        Run folder; an unfinished run of the same settings in it is continued.
    stride
        Snapshots of the dataset in one macro step of the surrogate, which is what steps count everywhere.
    network, fit, validation, log
        See :class:`NetworkConfig`, :class:`FitConfig`, :class:`ValidationConfig`, :class:`LogConfig`.
    seed
        Seed of the initial weights, the batches, the noise and the symmetries.
    seeds
        Train from each of these seeds instead, in folders ``seed_0``, ``seed_1``, … below the run folder, and
        report mean and spread.
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
    stride: int = 1
    network: NetworkConfig = field(default_factory=NetworkConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    log: LogConfig = field(default_factory=LogConfig)
    seed: int = 0
    seeds: tuple[int, ...] = ()
    device: Device = "auto"
    threads: int | None = 1
    overwrite: bool = False

    def __post_init__(self) -> None:
        require_at_least("stride", self.stride, 1)
        require_at_least("seed", self.seed, 0)
        if min(self.seeds, default=0) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"--seeds: expected different seeds of at least 0, got {list(self.seeds)}")
        if self.threads is not None:
            require_at_least("threads", self.threads, 1)
