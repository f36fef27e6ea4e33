"""Damping, sources and absorbing sides in scenarios: drawn from their ranges, apart from each other."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimwave.data.distributions import DampingKind, SignalKind
from slimwave.data.scenarios import (
    DampingConfig,
    DomainConfig,
    GenerateConfig,
    PulseConfig,
    Scenario,
    SourceConfig,
    WallConfig,
    draw_scenario,
)
from slimwave.data.shards import data_settings, hash_of
from slimwave.data.source_terms import SourceTerm, acting, source_scalars
from slimwave.fem.boundaries import SIDES
from slimwave.fem.damping import RandomDamping, SpongeDamping, UniformDamping

CONFIG = GenerateConfig(
    seed=1,
    damping=DampingConfig(kinds=("none", "uniform", "random", "sponge")),
    sources=SourceConfig(count=(0, 3), signals=("ricker", "gaussian_derivative", "tone_burst")),
    walls=WallConfig("random", "absorbing", "random", "dirichlet", random_from=("neumann", "absorbing")),
)
X, Y = np.meshgrid(np.linspace(0, 1, 31), np.linspace(0, 1, 31), indexing="ij")


def drawn(config: GenerateConfig, count: int = 40) -> list[Scenario]:
    return [draw_scenario(config, "train", index) for index in range(count)]


def without(scenario: Scenario, *concerns: str) -> dict[str, object]:
    return {name: value for name, value in scenario.parameters.items() if name not in concerns}


def test_every_concern_is_drawn_apart() -> None:
    """Changing the distribution of one leaves the draws of the others."""
    changes = {
        "damping": replace(CONFIG, damping=DampingConfig(kinds=("uniform",), strength=(3.0, 4.0))),
        "sources": replace(CONFIG, sources=SourceConfig(count=(2, 2), frequency=(5.0, 6.0))),
    }
    for concern, changed in changes.items():
        for before, after in zip(drawn(CONFIG), drawn(changed), strict=True):
            assert without(before, concern) == without(after, concern)
    plain = replace(CONFIG, damping=DampingConfig(), sources=SourceConfig())
    for before, after in zip(drawn(CONFIG), drawn(plain), strict=True):
        assert without(before, "damping", "sources") == after.parameters


def test_all_families_occur_within_their_ranges() -> None:
    scenarios = drawn(CONFIG, 80)
    kinds = {type(scenario.damping) for scenario in scenarios}
    assert kinds == {type(None), UniformDamping, RandomDamping, SpongeDamping}
    assert {len(scenario.sources) for scenario in scenarios} == {0, 1, 2, 3}
    terms = [source for scenario in scenarios for source in scenario.sources]
    assert {source.signal for source in terms} == set(CONFIG.sources.signals)
    for source in terms:
        assert 2.0 <= source.frequency <= 4.0
        assert 0.0 <= source.onset <= 0.2
        assert 0.04 <= source.width <= 0.06
        assert 2.0 <= abs(source.amplitude) <= 4.0
        assert source.cycles in (2, 3, 4)
        assert all(2 * source.width <= place <= 1 - 2 * source.width for place in source.place)
    assert {source.amplitude > 0 for source in terms} == {True, False}


def test_random_sides_draw_from_their_own_set() -> None:
    scenarios = drawn(CONFIG)
    for side in ("left", "bottom"):
        assert {scenario.walls[side] for scenario in scenarios} == {"neumann", "absorbing"}
    assert {scenario.wall_signs[SIDES.index("right")] for scenario in scenarios} == {0.0}
    assert {sign for scenario in scenarios for sign in scenario.wall_signs} == {-1.0, 0.0, 1.0}


def test_initial_fields_are_at_rest_at_absorbing_sides() -> None:
    """C ∂u/∂n = −u_t is zero at first: the field begins without a jump of u_t there."""
    config = replace(CONFIG, walls=WallConfig(*4 * ["absorbing"]))  # type: ignore[arg-type]
    s, step = np.linspace(0, 1, 33), 1e-6
    for scenario in drawn(config, 10):
        slope = (scenario.u0(np.full_like(s, 1 - step), s) - scenario.u0(np.ones_like(s), s)) / step
        assert np.abs(slope).max() < 1e-3


def test_parameters_rebuild_the_sources() -> None:
    t = np.linspace(0, 1, 50)
    for scenario in drawn(CONFIG, 20):
        plain = json.loads(json.dumps(scenario.parameters))
        rebuilt = [SourceTerm.from_plain(values) for values in plain.get("sources", [])]
        assert len(rebuilt) == len(scenario.sources)
        for ours, theirs in zip(scenario.sources, rebuilt, strict=True):
            np.testing.assert_array_equal(ours.shape(X, Y), theirs.shape(X, Y))
            np.testing.assert_array_equal(ours.strengths(t), theirs.strengths(t))


@settings(max_examples=30)
@given(
    signal=st.sampled_from(["ricker", "gaussian_derivative", "tone_burst"]),
    frequency=st.floats(0.5, 20),
    onset=st.floats(0, 2),
)
def test_a_signal_acts_from_its_onset_to_its_end(signal: SignalKind, frequency: float, onset: float) -> None:
    source = SourceTerm(signal, (0.5, 0.5), 0.05, 2.0, frequency, onset, 3, (1.0, 1.0), (-1.0,) * 4)
    inside = source.strengths(np.linspace(source.onset, source.end, 400))
    assert 0.7 * 2 < np.abs(inside).max() <= 2 * (1 + 1e-12)
    outside = np.concatenate([np.linspace(source.onset - 2, source.onset, 50), source.end + np.arange(50)])
    assert np.abs(source.strengths(outside)).max() < 1e-7
    times = np.array([source.onset - 1, source.onset, source.end, source.end + 1])
    assert acting([source], times).tolist() == [False, True, False]


def test_the_gaussian_of_a_source_has_its_amplitude_as_integral() -> None:
    source = SourceTerm("ricker", (0.4, 0.6), 0.05, -1.5, 3.0, 0.0, 3, (1.0, 1.0), (-1.0,) * 4)
    x = np.linspace(0, 1, 401)
    values = source.shape(*np.meshgrid(x, x, indexing="ij"))
    assert values.sum() * (x[1] ** 2) == pytest.approx(-1.5, rel=1e-6)


def test_scalars_of_fewer_sources_are_silent() -> None:
    source = SourceTerm("ricker", (0.4, 0.6), 0.05, 1.5, 3.0, 0.0, 3, (1.0, 1.0), (-1.0,) * 4)
    times = np.linspace(0, 1, 7)
    scalars = source_scalars([source], times, most=2)
    np.testing.assert_allclose(scalars["source0"], source.strengths(times), atol=1e-6)
    assert [float(scalars[f"source0_{name}"]) for name in ("x", "y", "width")] == pytest.approx(
        [0.4, 0.6, 0.05]
    )
    assert np.abs(scalars["source1"]).max() == 0
    assert list(scalars) == [
        f"source{number}{part}" for number in (0, 1) for part in ("", "_x", "_y", "_width")
    ]


def test_what_acts_is_part_of_the_data_and_what_does_not_is_not() -> None:
    base = GenerateConfig()
    kept = hash_of(data_settings(base))
    idle = replace(base, walls=WallConfig(random_from=("absorbing",)), damping=DampingConfig(thickness=0.1))
    assert hash_of(data_settings(idle)) == kept
    acting_ones = [
        replace(base, damping=DampingConfig(kinds=("sponge",))),
        replace(base, sources=SourceConfig(count=(0, 1))),
        replace(base, walls=WallConfig(left="random")),
        replace(base, walls=WallConfig(left="random", random_from=("absorbing",))),
        replace(
            base,
            splits=replace(
                base.splits, ood=replace(base.splits.ood, damping=DampingConfig(kinds=("uniform",)))
            ),
        ),
    ]
    hashes = {hash_of(data_settings(config)) for config in acting_ones}
    assert len(hashes | {kept}) == 6


@pytest.mark.parametrize("kind", ["uniform", "random", "sponge"])
def test_damping_stays_within_its_strength(kind: DampingKind) -> None:
    config = GenerateConfig(
        domain=DomainConfig(width=2.0), damping=DampingConfig(kinds=(kind,), strength=(1.0, 1.5))
    )
    for scenario in drawn(config, 10):
        assert scenario.damping is not None
        values = scenario.damping(2 * X, Y)
        assert 0 <= values.min() <= values.max() <= 1.5


def test_a_field_may_begin_at_rest() -> None:
    config = GenerateConfig(pulses=PulseConfig(count=(0, 0)), sources=SourceConfig(count=(1, 2)))
    scenario = draw_scenario(config, "train", 0)
    assert np.abs(scenario.u0(X, Y)).max() == 0
    assert scenario.sources
    assert config.most_sources == 2
    assert not config.damped
