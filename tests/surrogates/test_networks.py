"""What holds for every registered network: names, defaults, sizes, and nothing silently without effect."""

import dataclasses

import pytest
import torch

from slimwave.compression.choices import FORMATS, FormatName
from slimwave.surrogates import networks
from slimwave.surrogates.layers import network_conv
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.network_shapes import SHAPES, NetworkShape
from slimwave.surrogates.networks import NETWORKS, build_network, network_skeleton
from slimwave.surrogates.task import WaveTask

TASK = WaveTask(0.05, (0.0625, 0.0625), 2.0, (0.2, 1.5), (0.08, 0.7), 1.5, 0.3)


def test_settings_and_classes_know_the_same_networks() -> None:
    assert list(SHAPES) == list(NETWORKS)


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
        r"leave it out, or use it with gated_linear or .*"
    )
    with pytest.raises(ValueError, match=expected):
        NetworkConfig(name="plain", depth=4)


@pytest.mark.parametrize(("rank", "ranks"), [(None, [8, 8]), (30, [25, 30]), (0.5, [4, 4]), ("4x", [2, 15])])
def test_rank_is_a_number_a_share_or_a_ratio(rank: int | float | str | None, ranks: list[int]) -> None:
    """Convolutions 1 → 8 and 8 → 8, k = 5; a number is held to, for thin kernels up to the full rank."""
    shape = NetworkConfig(conv="cp", width=8, rank=rank).shape()
    layers = [network_conv(shape, channels, 8, 5, bias=False) for channels in (1, 8)]
    assert [layer.rank for layer in layers] == ranks


def test_a_number_above_the_full_rank_is_refused_between_hidden_layers() -> None:
    shape = NetworkConfig(conv="cp", width=4, rank=401).shape()
    with pytest.raises(ValueError, match=r"rank: expected 1 to 80 "):
        network_conv(shape, 4, 4, 5, bias=False)


@pytest.mark.parametrize("conv", FORMATS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_built_from_every_format(name: str, conv: FormatName) -> None:
    model = build_network(NetworkConfig(name=name, width=4, conv=conv), TASK)
    state, wave_speed = torch.randn(1, 2 * model.frames, 13, 10), 1 + torch.rand(1, 1, 13, 10)
    assert model(state, wave_speed, torch.ones(1, 4)).shape == state.shape


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_too_large_for_any_memory_is_refused_before_it_is_allocated(name: str) -> None:
    deep = {"encoder_width": 10_000} if name == "macro_step" else {"depth": 3}
    giant = NetworkConfig(name=name, width=10_000, **deep)
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
