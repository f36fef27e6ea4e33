"""The same training from several seeds: what of a figure is the method's, and what is chance.

>>> trained = train_seeds(TrainConfig(output="runs/full", seeds=(0, 1, 2)))  # doctest: +SKIP
>>> trained.mean, trained.spread  # doctest: +SKIP
(0.0893, 0.0041)

Every seed is a training of its own in ``seed_0``, ``seed_1``, … below the run folder, so that an interrupted
series goes on within the training that was cut off, and more seeds can be added to a finished one. A seed
that diverges is listed as such and does not cost the others.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slimwave.data.durable import write_text
from slimwave.data.plain import to_plain
from slimwave.data.run_folders import LOG, RunFolder, RunFolderError
from slimwave.surrogates.fitting import TrainingDivergedError
from slimwave.surrogates.processes import launched
from slimwave.surrogates.training import MAY_DIFFER, STATE, TrainResult, resolved_settings, train
from slimwave.surrogates.training_settings import TrainConfig

RESULT_FILE = "seeds.json"


@dataclass(frozen=True)
class SeedsResult:
    """Outcome of a training from several seeds.

    Attributes
    ----------
    folder
        Run folder of the series.
    seeds
        The seeds whose trainings came to their end.
    results
        Outcome of each.
    diverged
        Why each of the other seeds has none.
    mean, spread
        Mean and sample standard deviation (n − 1) of the validation rollout errors; no spread for one seed,
        and neither where all have diverged.
    """

    folder: Path
    seeds: tuple[int, ...]
    results: tuple[TrainResult, ...]
    diverged: dict[int, str]
    mean: float | None
    spread: float | None

    @classmethod
    def of(cls, folder: Path, results: Mapping[int, TrainResult], diverged: dict[int, str]) -> "SeedsResult":
        """Sum up trainings."""
        errors = [result.rollout_error for result in results.values()]
        mean = statistics.fmean(errors) if errors else None
        spread = statistics.stdev(errors) if len(errors) > 1 else None
        return cls(folder, tuple(results), tuple(results.values()), diverged, mean, spread)


def train_seeds(config: TrainConfig, *, progress: bool = False) -> SeedsResult:
    """Train from each of ``config.seeds``, or continue where such a series was stopped.

    Raises
    ------
    ValueError
        If there are no seeds, or as :func:`slimwave.surrogates.training.train`.
    """
    if not config.seeds:
        raise ValueError("--seeds: expected at least one seed such as 0,1,2, got none")
    if launched() > 1:
        raise ValueError("--seeds: expected one process, got several; give each seed a torchrun of its own")
    folder = _prepare(config)
    results: dict[int, TrainResult] = {}
    diverged: dict[int, str] = {}
    for seed in config.seeds:
        try:
            results[seed] = train(_of_seed(config, seed), progress=progress)
        except TrainingDivergedError as error:
            diverged[seed] = str(error)
    outcome = SeedsResult.of(folder.path, results, diverged)
    _keep(outcome, folder, config.seeds)
    return outcome


def _prepare(config: TrainConfig) -> RunFolder:
    if (Path(config.output) / STATE).is_file() and not config.overwrite:
        raise RunFolderError(f"{config.output} holds a single training; choose another --output for --seeds")
    return RunFolder.prepare(
        config.output,
        command="train",
        config=config,
        existing="overwrite" if config.overwrite else "resume",
        may_differ=(*MAY_DIFFER, "seed", "seeds"),
        resolve=resolved_settings,
    )


def _of_seed(config: TrainConfig, seed: int) -> TrainConfig:
    return replace(config, seed=seed, seeds=(), output=Path(config.output) / f"seed_{seed}", overwrite=False)


def _keep(outcome: SeedsResult, folder: RunFolder, seeds: Sequence[int]) -> None:
    """Write the figures as JSON, one log line per seed, and close the folder."""
    plain = to_plain(outcome)
    write_text(folder.path / RESULT_FILE, json.dumps(plain, indent=1) + "\n")
    (folder.path / LOG).unlink(missing_ok=True)
    results = dict(zip(outcome.seeds, outcome.results, strict=True))
    for seed in seeds:
        known = to_plain(results[seed]) if seed in results else {"diverged": outcome.diverged[seed]}
        folder.log(seed=seed, **known)
    folder.finish(
        mean=outcome.mean, spread=outcome.spread, seeds=outcome.seeds, diverged=sorted(outcome.diverged)
    )
