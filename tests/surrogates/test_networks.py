"""What holds for every registered network: names, defaults, sizes, and nothing silently without effect."""

import dataclasses
from typing import get_args

import pytest
import torch

from slimwave.compression.formats import FORMATS
from slimwave.surrogates import networks
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.network_shapes import SHAPES, Conv, NetworkShape
from slimwave.surrogates.networks import NETWORKS, build_network, network_skeleton
from slimwave.surrogates.task import WaveTask

TASK = WaveTask(0.05, (0.0625, 0.0625), 2.0, (0.2, 1.5), (0.08, 0.7), 1.5, 0.3)


def test_settings_and_classes_know_the_same_networks() -> None:
    assert list(SHAPES) == list(NETWORKS)
    assert set(get_args(Conv)) <= set(FORMATS)


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_is_built_from_its_own_defaults_and_keeps_them(name: str) -> None:
    model = build_network(NetworkConfig(name=name), TASK)
    assert model.config == NetworkConfig(name=name).resolved() == model.config.resolved()
    for flag, value in dataclasses.asdict(model.config.shape()).items():
        assert getattr(model.config, flag) == value


@pytest.mark.parametrize("name", NETWORKS)
def test_every_flag_of_a_network_is_a_flag_of_the_command_line(name: str) -> None:
    flags = {field.name for field in dataclasses.fields(NetworkConfig)}
    assert {field.name for field in dataclasses.fields(SHAPES[name])} <= flags


def test_a_flag_that_the_network_does_not_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "plain", NetworkShape)
    expected = (
        r"--network\.depth 4 has no meaning with --network\.name plain, which takes width, conv, rank; "
    )
    with pytest.raises(ValueError, match=expected + r"leave it out, or use it with residual_cnn"):
        NetworkConfig(name="plain", depth=4)


@pytest.mark.parametrize(("rank", "terms"), [(None, 8), (5, 5), (0.5, 4), (0.01, 1)])
def test_rank_is_a_number_or_a_share_of_the_channels(rank: int | float | None, terms: int) -> None:
    assert NetworkConfig(conv="cp", rank=rank).shape().terms(8) == terms


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_too_large_for_any_memory_is_refused_before_it_is_allocated(name: str) -> None:
    giant = NetworkConfig(name=name, width=10_000)
    with pytest.raises(ValueError, match=r"--network\.width 10000: expected a network of at most 1e\+08"):
        build_network(giant, TASK)


def test_sizes_beyond_64_bits_are_refused() -> None:
    with pytest.raises(ValueError, match=r"parameters, got one that is larger"):
        build_network(NetworkConfig(kernel_size=2**31 + 1), TASK)


def test_a_skeleton_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    skeleton = network_skeleton(NetworkConfig(conv="cp", rank=4), TASK)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(weight.is_meta for weight in skeleton.parameters())


def test_the_largest_network_is_a_matter_of_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "MOST_PARAMETERS", 1000)
    with pytest.raises(ValueError, match=r"got one that is larger: 1\.49e\+04 parameters"):
        build_network(NetworkConfig(), TASK)
