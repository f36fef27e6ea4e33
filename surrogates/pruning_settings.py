"""Settings of pruning: what is measured and removed, when to stop, and the rounds of prune and retrain."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from slimwave.compression.choices import ScheduleName, ScopeName
from slimwave.data.ranges import require_at_least, require_positive
from slimwave.surrogates.training_settings import Device, FitConfig, ValidationConfig


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
        Largest share β of the survivors that one round may remove, up to 1.
    scope
        What is measured and pruned together: all weights, each layer, or each neuron; or whole units, layer
        by layer: ``"term"``, the rank-one terms of one-way layers, or ``"channel"``, the output channels of
        dense layers.
    include, exclude
        Shell-style patterns of the layers to prune, such as ``[blocks.*]``, and of those to spare; None means
        all and none. With the scope ``"channel"``, whose layers lose outputs, give either, so that the layer
        that makes the model's output is spared.
    """

    p: float = 0.5
    q: float = 1.0
    eta: float = 0.0
    gamma: float = 1.0
    beta: float = 0.9
    scope: ScopeName = "global"
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.p <= 1 <= self.q or self.p >= self.q:
            raise ValueError(
                f"--sap.p, --sap.q: expected 0 < p <= 1 <= q and p < q, got p={self.p}, q={self.q}"
            )
        require_at_least("sap.eta", self.eta, 0)
        require_positive("sap.gamma", self.gamma)
        if not 0 < self.beta <= 1:
            raise ValueError(f"--sap.beta: expected a share above 0 and at most 1, got {self.beta}")
        if self.scope == "channel" and self.exclude is None and self.include is None:
            raise ValueError(
                "--sap.scope channel removes whole output channels; name the layer that makes the model's "
                "output, as in --sap.exclude '[head]', or those to prune, as in --sap.include '[blocks.*]'"
            )


@dataclass(frozen=True)
class StopConfig:
    """When to stop before the last round; whatever comes first.

    Parameters
    ----------
    sparsity
        Stop once this share of the weights is gone, such as 0.9.
    error
        Stop once the validation rollout error is above this factor times that of the reference, such as 1.2.
    rises
        Stop once the PQ Index of the survivors has risen this many rounds in a row: the sign that
        compressibility is used up. 1 takes the first rise for it.
    """

    sparsity: float | None = None
    error: float | None = None
    rises: int | None = None

    def __post_init__(self) -> None:
        if self.sparsity is not None and not 0 < self.sparsity < 1:
            raise ValueError(f"--stop.sparsity: expected a share between 0 and 1, got {self.sparsity}")
        if self.error is not None:
            require_positive("stop.error", self.error)
        if self.rises is not None:
            require_at_least("stop.rises", self.rises, 1)


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
    schedule
        How many go in a round, and by whose magnitudes: ``"sap"``, as many as the PQ Index allows;
        ``"lottery"``, the share ``rate`` of what is left; ``"oneshot"``, the same share, by the magnitudes
        that the model had before any pruning.
    rate
        Share of the survivors that ``"lottery"`` and ``"oneshot"`` remove in every round.
    rounds
        Most rounds to run; a round that finds nothing to prune is the last, too.
    stop
        See :class:`StopConfig`.
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
    validation
        See :class:`ValidationConfig`.
    seed
        Seed of the batches, the noise and the symmetries of every round.
    device
        Where to compute; ``auto`` takes a GPU when there is one.
    threads
        CPU threads; None leaves the choice to torch. Bit-identical repetition needs the same number.
    overwrite
        Start anew where the folder already holds a run.
    """

    model: Path = Path("runs/one_way")
    data: Path = Path("runs/data")
    output: Path = Path("runs/pruned")
    sap: SAPConfig = field(default_factory=SAPConfig)
    schedule: ScheduleName = "sap"
    rate: float = 0.2
    rounds: int = 6
    stop: StopConfig = field(default_factory=StopConfig)
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
        if not 0 < self.rate < 1:
            raise ValueError(f"--rate: expected a share between 0 and 1, got {self.rate}")
        if self.tolerance is not None:
            require_positive("tolerance", self.tolerance)
        require_at_least("seed", self.seed, 0)
        if self.threads is not None:
            require_at_least("threads", self.threads, 1)
