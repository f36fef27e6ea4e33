"""Settings name the flag to change, and the command line can read them."""

from collections.abc import Callable
from pathlib import Path

import jsonargparse
import pytest

from slimwave.surrogates.comparison_settings import CompareConfig
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.pruning_settings import PruneConfig, SAPConfig, StopConfig
from slimwave.surrogates.rollout_settings import RolloutConfig
from slimwave.surrogates.training_settings import FitConfig, TrainConfig, ValidationConfig

MISTAKES: list[tuple[Callable[[], object], str]] = [
    (lambda: NetworkConfig(name="residul"), r"--network\.name: .* 'residul'; did you mean 'residual_cnn'"),
    (lambda: NetworkConfig(width=10**8), r"--network\.width: expected at most 10000, got 100000000"),
    (lambda: NetworkConfig(conv="cp", rank=1.5), r"--network\.rank: .* a share .* at most 1, got 1\.5"),
    (lambda: NetworkConfig(conv="tt"), r"--network\.conv: expected one of dense, cp.*, got 'tt'"),  # type: ignore[arg-type]
    (lambda: NetworkConfig(width=0), r"--network\.width: expected a value of at least 1, got 0"),
    (lambda: NetworkConfig(depth=0), r"--network\.depth"),
    (lambda: NetworkConfig(kernel_size=4), r"--network\.kernel_size: expected an odd length .* got 4"),
    (
        lambda: NetworkConfig(conv="cp", rank=0),
        r"--network\.rank: expected a whole number of at least 1, .* got 0",
    ),
    (lambda: NetworkConfig(conv="dense", rank=8), r"--network\.rank 8 has no meaning .* --network\.conv cp"),
    (lambda: NetworkConfig("leapfrog", across=2), r"--network\.across: expected an odd length .* got 2"),
    (lambda: NetworkConfig("leapfrog", time_order=3), r"--network\.time_order: expected 2 or 4, got 3"),  # type: ignore[arg-type]
    (lambda: NetworkConfig("macro_step", coarsening=0.5), r"--network\.coarsening: .* \[1, 8\.0\), got 0\.5"),
    (lambda: NetworkConfig("leapfrog", init="fd"), r"--network\.init: expected one of stencil, random"),  # type: ignore[arg-type]
    (lambda: NetworkConfig("leapfrog", substeps=0), r"--network\.substeps: .* at least 1, got 0"),
    (
        lambda: NetworkConfig("leapfrog", kernel_size=1, conv="cp"),
        r"--network\.kernel_size 1 leaves --network\.conv cp nothing to separate; use .* 3 or more",
    ),
    (lambda: FitConfig(steps=0), r"--fit\.steps"),
    (lambda: FitConfig(batch_size=0), r"--fit\.batch_size"),
    (lambda: FitConfig(learning_rate=0.0), r"--fit\.learning_rate"),
    (lambda: FitConfig(learning_rate=float("nan")), r"--fit\.learning_rate"),
    (lambda: FitConfig(unroll=()), r"--fit\.unroll"),
    (lambda: FitConfig(unroll=(1, 0)), r"--fit\.unroll"),
    (lambda: FitConfig(noise=-0.1), r"--fit\.noise"),
    (lambda: FitConfig(ema=1.0), r"--fit\.ema"),
    (lambda: FitConfig(energy_weight=-1.0), r"--fit\.energy_weight"),
    (lambda: FitConfig(gradient_weight=float("inf")), r"--fit\.gradient_weight"),
    (lambda: FitConfig(patience=0), r"--fit\.patience"),
    (lambda: TrainConfig(seeds=(1, 1)), r"--seeds: expected different seeds of at least 0, got \[1, 1\]"),
    (lambda: TrainConfig(seeds=(0, -1)), r"--seeds: expected different seeds"),
    (lambda: ValidationConfig(every=0), r"--validation\.every"),
    (lambda: ValidationConfig(trajectories=0), r"--validation\.trajectories"),
    (lambda: TrainConfig(seed=-1), r"--seed"),
    (lambda: TrainConfig(stride=0), r"--stride: expected a value of at least 1, got 0"),
    (lambda: TrainConfig(threads=0), r"--threads"),
    (lambda: SAPConfig(p=1.0, q=1.0), r"--sap\.p, --sap\.q"),
    (lambda: SAPConfig(beta=1.1), r"--sap\.beta: expected a share above 0 and at most 1, got 1\.1"),
    (lambda: SAPConfig(scope="channel"), r"--sap\.exclude '\[head\]', .*--sap\.include '\[blocks"),
    (lambda: StopConfig(sparsity=1.0), r"--stop\.sparsity"),
    (lambda: StopConfig(error=0.0), r"--stop\.error"),
    (lambda: StopConfig(rises=0), r"--stop\.rises"),
    (lambda: PruneConfig(rate=1.0), r"--rate"),
    (lambda: PruneConfig(rounds=0), r"--rounds"),
    (lambda: PruneConfig(tolerance=-1.0), r"--tolerance"),
    (lambda: RolloutConfig(steps=0), r"--steps"),
    (lambda: RolloutConfig(initial=Path("u.npy")), r"--initial has no reference .* --steps"),
    (lambda: RolloutConfig(wave_speed=-1.0), r"--wave_speed"),
    (lambda: RolloutConfig(runtime="onnx", device="cuda"), r"--runtime onnx computes on the CPU"),
    (lambda: CompareConfig(models={}), r"--models"),
    (lambda: CompareConfig(coarse_elements=(0,)), r"--coarse_elements"),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_a_mistake_names_its_flag(mistake: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mistake()


@pytest.mark.parametrize(
    ("settings", "arguments", "expected"),
    [
        (
            TrainConfig,
            ["--network.conv=cp", "--network.rank=8", "--fit.unroll=[1,2]", "--threads=1"],
            TrainConfig(network=NetworkConfig(conv="cp", rank=8), fit=FitConfig(unroll=(1, 2)), threads=1),
        ),
        (
            PruneConfig,
            ["--sap.eta=0.1", "--tolerance=null"],
            PruneConfig(sap=SAPConfig(eta=0.1), tolerance=None),
        ),
        (
            PruneConfig,
            ["--sap.scope=channel", "--sap.exclude=[head]", "--schedule=oneshot", "--stop.sparsity=0.9"],
            PruneConfig(
                sap=SAPConfig(scope="channel", exclude=("head",)),
                schedule="oneshot",
                stop=StopConfig(sparsity=0.9),
            ),
        ),
        (
            PruneConfig,
            ["--sap.scope=channel", "--sap.include=[blocks.0]"],
            PruneConfig(sap=SAPConfig(scope="channel", include=("blocks.0",))),
        ),
        (RolloutConfig, ["--wave_speed=1.5"], RolloutConfig(wave_speed=1.5)),
        (RolloutConfig, ["--wave_speed=c.npy"], RolloutConfig(wave_speed=Path("c.npy"))),
        (
            CompareConfig,
            ['--models={"full": "runs/f"}', "--coarse_elements=[3,5]"],
            CompareConfig(models={"full": Path("runs/f")}, coarse_elements=(3, 5)),
        ),
    ],
)
def test_dotted_flags_reach_the_dataclasses(settings: type, arguments: list[str], expected: object) -> None:
    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(settings, "job")
    prefixed = [argument.replace("--", "--job.", 1) for argument in arguments]
    assert parser.instantiate(parser.parse_args(prefixed)).job == expected
