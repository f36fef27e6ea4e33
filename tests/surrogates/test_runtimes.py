"""Runtimes agree, latency is counted honestly, and a missing extra is told in one line."""

import builtins
import dataclasses
import time
from typing import Any

import pytest
import torch

from slimwave.compression.roles import prunable_parameters
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.networks import build_network
from slimwave.surrogates.runtimes import (
    EagerRuntime,
    MissingExtraError,
    OnnxRuntime,
    SparseRuntime,
    measure_latency,
    onnx_available,
    summarise_latency,
)
from slimwave.surrogates.task import WaveTask

TASK = WaveTask(0.05, (0.0625, 0.0625), 2.0, (0.2, 1.5), (0.08, 0.7), 1.5, 0.3)
SMALL = NetworkConfig(width=4, depth=2, kernel_size=3)


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({}, 1.0),
        ({"conv": "cp", "rank": 3, "activation": "gelu"}, 1.0),
        ({"name": "gated_linear"}, 0.0),
        ({"name": "unet"}, 1.0),
        ({"name": "leapfrog", "width": 1, "depth": None, "substeps": 2}, 0.0),
        ({"name": "leapfrog", "width": 2, "across": 3, "conv": "cp", "time_order": 2}, 1.0),
        ({"name": "macro_step", "depth": None, "kernel_size": None, "substeps": 2}, 1.0),
        ({"name": "space_time", "frames": 2, "kernel_size": 5, "conv": "cp"}, 0.0),
    ],
    ids=[
        "dense",
        "cp-gelu",
        "gated-absorbing",
        "unet",
        "leapfrog-absorbing",
        "leapfrog-cp",
        "macro-step",
        "space-time-absorbing",
    ],
)
def test_onnx_runtime_steps_like_eager_pytorch(changes: dict[str, Any], right: float) -> None:
    """On a batch of two media with different walls."""
    pytest.importorskip("onnxruntime")
    model = build_network(dataclasses.replace(SMALL, **changes), TASK).eval()
    wave_speed = 1 + torch.rand(2, 1, 11, 14)
    walls = torch.tensor([[-1.0, right, 1.0, -1.0], [1.0, -1.0, -1.0, 1.0]])
    eager, onnx = (kind(model, wave_speed, walls) for kind in (EagerRuntime, OnnxRuntime))
    state = torch.randn(2, 2 * model.frames, 11, 14)
    for _ in range(3):
        expected, found = eager(state), onnx(state)
        assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))
        state = expected


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 16, "kernel_size": 5},
        {"name": "unet", "width": 16},
        {"name": "gated_linear", "width": 16, "conv": "cp", "rank": 8},
        {"name": "space_time", "frames": 2, "kernel_size": 5, "conv": "cp"},
    ],
    ids=["dense", "unet", "gated-cp", "space-time-cp"],
)
def test_sparse_runtime_steps_like_eager_pytorch(changes: dict[str, Any]) -> None:
    """With 95 % of the weights zero, on a batch of two media, outside `no_grad`."""
    model = build_network(dataclasses.replace(SMALL, **changes), TASK).eval()
    with torch.no_grad():
        for weight in prunable_parameters(model).values():
            weight.mul_(torch.rand_like(weight) > 0.95)
    media = 1 + torch.rand(2, 1, 40, 50), torch.tensor([[-1.0, 1.0, 1.0, -1.0], [1.0, -1.0, -1.0, 1.0]])
    eager, sparse = (kind(model, *media) for kind in (EagerRuntime, SparseRuntime))
    state = torch.randn(2, 2 * model.frames, 40, 50)
    for _ in range(3):
        expected, found = eager(state), sparse(state)
        assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))
        state = expected


def test_a_missing_extra_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError("no such module", name=name)
        return original(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    assert not onnx_available()
    model = build_network(SMALL, TASK)
    with pytest.raises(MissingExtraError, match=r"'onnxruntime'; .*pip install 'slimwave\[realtime\]'"):
        OnnxRuntime(model, torch.ones(1, 1, 11, 14), torch.ones(1, 4))


def test_latency_is_the_median_and_the_95th_percentile_in_milliseconds() -> None:
    times = [n / 1000 for n in range(1, 102)]
    latency = summarise_latency(times, times[:3])
    assert (latency.median, latency.p95, latency.cpu_median, latency.calls) == pytest.approx((51, 96, 2, 101))


def test_competitors_take_turns_on_one_thread() -> None:
    turns: list[str] = []
    threads: set[int] = set()

    def competitor(name: str, seconds: float) -> None:
        turns.append(name)
        threads.add(torch.get_num_threads())
        time.sleep(seconds)

    measured = measure_latency(
        {"fast": lambda: competitor("fast", 0.0), "slow": lambda: competitor("slow", 0.005)}, calls=5
    )
    pairs = list(zip(turns[::2], turns[1::2], strict=True))
    assert set(pairs) == {("fast", "slow"), ("slow", "fast")}
    assert threads == {1}
    assert measured["slow"].calls == 5
    assert measured["slow"].median >= 5 > measured["fast"].median
    assert measured["slow"].cpu_median < 2.5
