"""Scenarios: bad settings are refused by name; draws depend on seed, split and index alone."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from slimwave.cli import main
from slimwave.data.plain import build, to_plain
from slimwave.data.scenarios import (
    REQUIRED_SPLITS,
    SPLITS,
    DampingConfig,
    DomainConfig,
    GenerateConfig,
    MediumConfig,
    PulseConfig,
    Scenario,
    SolverConfig,
    SourceConfig,
    SplitConfig,
    SplitsConfig,
    TimeConfig,
    WallConfig,
    draw_scenario,
)
from slimwave.data.shards import data_settings, hash_of
from slimwave.fem.boundaries import SIDES

CONFIG = GenerateConfig(seed=1)
X, Y = np.meshgrid(np.linspace(0, 1, 41), np.linspace(0, 1, 41), indexing="ij")


def medium(**values: Any) -> GenerateConfig:
    return GenerateConfig(medium=MediumConfig(**values))


def pulses(**values: Any) -> GenerateConfig:
    return GenerateConfig(pulses=PulseConfig(**values))


def damping(**values: Any) -> GenerateConfig:
    return GenerateConfig(damping=DampingConfig(**values))


def sources(**values: Any) -> GenerateConfig:
    return GenerateConfig(sources=SourceConfig(**values))


def fields(scenario: Scenario) -> bytes:
    return scenario.wave_speed(X, Y).tobytes() + scenario.u0(X, Y).tobytes()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DomainConfig(width=0.0), r"--domain\.width: expected a positive, finite number, got 0"),
        (lambda: DomainConfig(height=float("nan")), r"--domain\.height"),
        (lambda: DomainConfig(nx=2), r"--domain\.nx: expected a value of at least 8, got 2"),
        (lambda: medium(kinds=()), r"--medium\.kinds"),
        (lambda: medium(min_speed=-1.0), r"--medium\.min_speed.*got -1"),
        (lambda: medium(max_speed=float("nan")), r"--medium\.max_speed.*got 1\.0 and nan"),
        (lambda: medium(min_speed=3.0), r"min_speed <= max_speed"),
        (lambda: medium(correlation_length=0.0), r"--medium\.correlation_length"),
        (lambda: medium(interface_width=-1.0), r"--medium\.interface_width"),
        (lambda: pulses(count=(3, 2)), r"--pulses\.count: expected \[low, high\]"),
        (
            lambda: pulses(count=(0, 2)),
            r"--pulses\.count: expected at least 1 where --sources\.count begins at 0, got \[0, 2\] in split",
        ),
        (
            lambda: GenerateConfig(
                pulses=PulseConfig(count=(0, 0)), sources=SourceConfig(count=(1, 1), onset=(0.0, 1.2))
            ),
            r"--sources\.onset: expected less than 1\.2, where split train ends, got \[0\.0, 1\.2\]",
        ),
        (lambda: damping(kinds=()), r"--damping\.kinds: expected one or more names, each once, got \[\]"),
        (lambda: damping(kinds=("none", "none")), r"--damping\.kinds"),
        (lambda: damping(strength=(-1.0, 1.0)), r"--damping\.strength: expected .* 0 <= low <= high, got"),
        (lambda: damping(correlation_length=0.0), r"--damping\.correlation_length"),
        (lambda: damping(thickness=-0.1), r"--damping\.thickness"),
        (lambda: sources(count=(-1, 1)), r"--sources\.count"),
        (lambda: sources(signals=()), r"--sources\.signals: expected one or more names"),
        (lambda: sources(frequency=(0.0, 1.0)), r"--sources\.frequency: expected .* 0 < low"),
        (lambda: sources(onset=(0.3, 0.2)), r"--sources\.onset"),
        (lambda: sources(amplitude=(1.0, float("inf"))), r"--sources\.amplitude"),
        (lambda: sources(cycles=(0, 2)), r"--sources\.cycles"),
        (lambda: sources(count=(1, 1), width=(0.1, 0.3)), r"--sources\.width: expected less than 0\.25"),
        (
            lambda: SplitsConfig(ood=SplitConfig(sources=SourceConfig(width=(0.2, 0.1)))),
            r"--splits\.ood\.sources\.width",
        ),
        (
            lambda: SplitsConfig(ood=SplitConfig(damping=DampingConfig(strength=(2.0, 1.0)))),
            r"--splits\.ood\.damping\.strength",
        ),
        (
            lambda: GenerateConfig(walls=WallConfig(random_from=())),
            r"--walls\.random_from: expected one or more names, each once",
        ),
        (lambda: pulses(width=(0.2, 0.1)), r"--pulses\.width"),
        (lambda: pulses(amplitude=(float("nan"), 1.0)), r"--pulses\.amplitude"),
        (lambda: TimeConfig(step=-0.1), r"--time\.step"),
        (lambda: SolverConfig(order=0), r"--solver\.order"),
        (lambda: SolverConfig(elements=(0, 4)), r"--solver\.elements"),
        (
            lambda: SplitsConfig(ood_long=SplitConfig(trajectories=-1)),
            r"--splits\.ood_long\.trajectories: expected a value of at least 0, got -1",
        ),
        (
            lambda: SplitsConfig(valid=SplitConfig(trajectories=0)),
            r"--splits\.valid\.trajectories: expected a value of at least 1, got 0",
        ),
        (
            lambda: SplitsConfig(test=SplitConfig(snapshots=1)),
            r"--splits\.test\.snapshots: expected a value of at least 2, got 1",
        ),
        (
            lambda: SplitsConfig(ood=SplitConfig(medium=MediumConfig(min_speed=-1.0))),
            r"--splits\.ood\.medium\.min_speed and --splits\.ood\.medium\.max_speed: .*got -1\.0 and 2",
        ),
        (
            lambda: SplitsConfig(train=SplitConfig(pulses=PulseConfig(width=(0.3, 0.1)))),
            r"--splits\.train\.pulses\.width: expected \[low, high\]",
        ),
        (lambda: GenerateConfig(seed=-1), r"--seed"),
        (lambda: GenerateConfig(workers=0), r"--workers"),
        (
            lambda: GenerateConfig(workers=2, scheduler="tcp://localhost:1"),
            r"--workers: expected 1 together with --scheduler.*got 2",
        ),
        (lambda: GenerateConfig(trajectories_per_shard=0), r"--trajectories_per_shard"),
        (lambda: GenerateConfig(device="cuda"), r"--device: expected auto or cpu"),
        (
            lambda: GenerateConfig(domain=DomainConfig(height=0.3)),
            r"--pulses\.width: expected less than 0\.075",
        ),
    ],
)
def test_bad_settings_are_refused_by_name(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_too_wide_pulses_of_a_split_are_named() -> None:
    splits = SplitsConfig(ood=SplitConfig(pulses=PulseConfig(width=(0.2, 0.3))))
    with pytest.raises(ValueError, match=r"--splits\.ood\.pulses\.width: expected less than 0\.25.*got 0\.3"):
        GenerateConfig(splits=splits)


def test_settings_of_a_split_are_named_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    for flag, value in (("medium.min_speed", "-1"), ("pulses.width", "0.3,0.1"), ("trajectories", "-1")):
        assert main(["generate", f"--splits.ood.{flag}", value]) == 2
        assert f"--splits.ood.{flag}" in capsys.readouterr().err


def test_output_may_be_a_string() -> None:
    assert GenerateConfig(output="runs/data").output == Path("runs/data")  # type: ignore[arg-type]


def parse(*arguments: str) -> GenerateConfig:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(GenerateConfig)
    return GenerateConfig(**vars(parser.instantiate(parser.parse_args(list(arguments)))))


def test_command_line_reaches_every_group() -> None:
    config = parse(
        "--seed=3",
        "--medium.correlation_length=0.1",
        "--medium.kinds=[layers]",
        "--solver.elements=[4,6]",
        "--walls.top=neumann",
        "--splits.train.trajectories=8",
        "--splits.test.pulses.width=[0.03,0.04]",
        "--splits.ood.medium.correlation_length=0.05",
    )
    assert config.seed == 3
    assert config.medium == MediumConfig(kinds=("layers",), correlation_length=0.1)
    assert config.solver.elements == (4, 6)
    assert config.walls.top == "neumann"
    assert config.splits.train == SplitConfig(trajectories=8)
    assert config.pulses_of("test").width == (0.03, 0.04)
    assert config.medium_of("ood").correlation_length == 0.05
    assert config.pulses_of("ood") == GenerateConfig().pulses_of("ood")


def test_splits_may_return_to_the_datasets_distributions() -> None:
    config = parse("--splits.ood.medium=null", "--medium.max_speed=3")
    assert config.medium_of("ood").max_speed == 3.0


def test_settings_survive_plain_values() -> None:
    config = parse("--splits.ood.medium=null", "--walls.left=random", "--output=elsewhere")
    assert build(GenerateConfig, json.loads(json.dumps(to_plain(config)))) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seeds": 1}, "unknown name 'seeds'"),
        ({"seed": "1"}, r"GenerateConfig\.seed: expected int, got '1'"),
        ({"domain": 3}, r"GenerateConfig\.domain: expected a mapping"),
        ({"medium": {"min_speed": -1}}, "min_speed"),
    ],
)
def test_foreign_plain_values_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(GenerateConfig, values)


@given(seed=st.integers(0, 2**32), split=st.sampled_from(SPLITS), index=st.integers(0, 10**6))
def test_draw_is_a_function_of_its_arguments(seed: int, split: str, index: int) -> None:
    config = GenerateConfig(seed=seed)
    first, again = (draw_scenario(config, split, index) for _ in range(2))  # type: ignore[arg-type]
    assert fields(first) == fields(again)
    assert first.walls == again.walls


def rounded(value: Any) -> Any:
    """To nine digits, which every machine's mathematics agrees on."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def test_scenarios_and_hash_of_earlier_versions_stay() -> None:
    """Pinned before damping, sources and absorbing sides came: what does not ask for them draws as before."""
    config = GenerateConfig(seed=5, walls=WallConfig("random", "random", "neumann", "dirichlet"))
    drawn = [rounded(draw_scenario(config, split, i).parameters) for split in SPLITS for i in range(4)]
    digest = hashlib.sha256(json.dumps(drawn, sort_keys=True).encode()).hexdigest()
    assert digest == "85c53c80fcae785e30553486febb98cfe97ebf8f1a7ec1987774234c1dbae547"
    settings = hash_of(data_settings(config))
    assert settings == "3d86a582c928d36dd2fade020b2b3fdb0279bf31c4d3df8614a2d832d8db1418"


def test_no_two_places_share_a_scenario() -> None:
    drawn = {fields(draw_scenario(CONFIG, split, index)) for split in SPLITS for index in range(24)}
    drawn |= {fields(draw_scenario(replace(CONFIG, seed=2), "train", index)) for index in range(24)}
    assert len(drawn) == (len(SPLITS) + 1) * 24


def test_streams_of_medium_pulses_and_walls_are_apart() -> None:
    """Changing the distribution of one leaves the draws of the other two."""
    walls = WallConfig("random", "random", "random", "random")
    config = replace(CONFIG, walls=walls)
    before = draw_scenario(config, "train", 3)
    other_pulses = draw_scenario(replace(config, pulses=PulseConfig(count=(7, 7))), "train", 3)
    other_medium = draw_scenario(replace(config, medium=MediumConfig(max_speed=3.0)), "train", 3)
    other_walls = draw_scenario(replace(config, walls=WallConfig()), "train", 3)
    for after in (other_pulses, other_walls):
        np.testing.assert_array_equal(before.wave_speed(X, Y), after.wave_speed(X, Y))
    for after in (other_medium, other_walls):
        np.testing.assert_array_equal(before.u0.centres, after.u0.centres)
    assert before.walls == other_pulses.walls == other_medium.walls


def test_draws_stay_in_their_distributions() -> None:
    medium = MediumConfig(min_speed=0.5, max_speed=3.0)
    config = replace(CONFIG, medium=medium, pulses=PulseConfig((2, 2), (0.08, 0.09), (0.3, 0.4)))
    for index in range(12):
        scenario = draw_scenario(config, "train", index)
        speed = scenario.wave_speed(X, Y)
        assert 0.5 <= speed.min() <= speed.max() <= 3.0
        assert scenario.u0.widths.shape == (2,)
        assert np.all((scenario.u0.widths >= 0.08) & (scenario.u0.widths <= 0.09))
        assert np.all((np.abs(scenario.u0.amplitudes) >= 0.3) & (np.abs(scenario.u0.amplitudes) <= 0.4))


def test_kinds_come_in_equal_shares() -> None:
    drawn = [draw_scenario(CONFIG, "test", index).parameters["medium"]["kind"] for index in range(6)]
    assert drawn == ["SmoothRandomMedium", "LayeredMedium", "InclusionMedium"] * 2


def test_ood_is_sharper_and_rougher() -> None:
    usual, ood = GenerateConfig().medium_of("train"), GenerateConfig().medium_of("ood")
    assert ood.correlation_length < usual.correlation_length
    assert CONFIG.pulses_of("ood").width[1] < CONFIG.pulses_of("train").width[0]
    longer = [CONFIG.split(name).snapshots > CONFIG.split("train").snapshots for name in ("test", "ood")]
    assert all(longer)


def test_optional_splits_depart_in_one_way_each() -> None:
    config = parse(*(f"--splits.{name}.trajectories=2" for name in SPLITS))
    assert config.split_names == SPLITS
    usual_medium, usual_pulses = config.medium, config.pulses
    for name in ("ood_pulses", "ood_long", "ood_loud"):
        assert config.medium_of(name) == usual_medium
    for name in ("ood_media", "ood_long"):
        assert config.pulses_of(name) == usual_pulses
    assert config.medium_of("ood_media").correlation_length < usual_medium.correlation_length
    assert config.pulses_of("ood_pulses").width[1] < usual_pulses.width[0]
    assert config.pulses_of("ood_loud").amplitude[0] > usual_pulses.amplitude[1]
    assert config.pulses_of("ood_loud").width == usual_pulses.width
    assert config.split("ood_long").snapshots - 1 == 5 * (config.split("train").snapshots - 1)


def test_split_left_out_is_no_part_of_the_data() -> None:
    """A later version may add splits: what was generated before keeps its hash and its streams."""
    config = GenerateConfig()
    assert config.split_names == REQUIRED_SPLITS
    assert list(data_settings(config)["splits"]) == list(REQUIRED_SPLITS)
    more = parse("--splits.ood_loud.trajectories=2")
    assert hash_of(data_settings(more)) != hash_of(data_settings(config))
    assert fields(draw_scenario(more, "test", 0)) == fields(draw_scenario(config, "test", 0))


def test_random_walls_draw_both_conditions_on_every_side() -> None:
    config = replace(CONFIG, walls=WallConfig("random", "random", "random", "neumann"))
    drawn = [draw_scenario(config, "train", index) for index in range(40)]
    for side in SIDES[:3]:
        assert {scenario.walls[side] for scenario in drawn} == {"dirichlet", "neumann"}
    assert {scenario.walls["top"] for scenario in drawn} == {"neumann"}
    assert all(scenario.wall_signs[3] == 1.0 for scenario in drawn)


def test_initial_field_obeys_the_walls() -> None:
    config = replace(CONFIG, walls=WallConfig("dirichlet", "neumann", "dirichlet", "neumann"))
    u0 = draw_scenario(config, "train", 0).u0
    s, step = np.linspace(0, 1, 33), 1e-5
    assert np.abs(u0(np.zeros_like(s), s)).max() < 1e-12
    slope = (u0(np.ones_like(s), s) - u0(np.full_like(s, 1 - step), s)) / step
    assert np.abs(slope).max() < 2e-2


def test_parameters_are_plain() -> None:
    for index in range(3):
        parameters = draw_scenario(CONFIG, "train", index).parameters
        assert json.loads(json.dumps(parameters)) == parameters


def test_settings_import_neither_torch_nor_scikit_fem() -> None:
    code = (
        "import sys, slimwave.data.scenarios, slimwave.data.run_folders; "
        "print([name for name in ('torch', 'skfem', 'scipy', 'h5py') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
