"""Real latency from pruned weights on one CPU core: the sparse loop against the best dense runtime.

Networks of eight convolutions with 32 channels on a 64 x 64 grid, batch 1, ReLU between them. The smallest
magnitudes of their weights are set to zero. All rivals run the SAME weights: ONNX Runtime, PyTorch eager in
both memory layouts, and `sparse_inference` (PyTorch eager with sparse loops where they are faster, and runs
of layers in one call). They take turns on one thread; times are medians of process time. One-way networks
stand beside the dense network of the same kernel size as well.

Single layers, many of them far from sparse enough, check that `sparse_inference` leaves alone what it cannot
speed up: never slower than 0.95 times the same layer in PyTorch eager. That is a promise against eager only:
ONNX Runtime can be faster than both, as it is for one-way networks in the table.

    python benchmarks/sparse_kernels.py            # two to five minutes
    python benchmarks/sparse_kernels.py --quick    # one kernel size, fewer rounds
    python benchmarks/sparse_kernels.py --json     # one JSON object on standard output
"""

import argparse
import copy
import itertools
import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median

import onnxruntime
import torch
from shared.rivals import milliseconds, onnx_session
from shared.targets import verdict
from torch import Tensor, nn

from slimwave.compression.formats import make_conv
from slimwave.compression.roles import prunable_parameters
from slimwave.compression.sparse_inference import sparse_inference

CHANNELS, GRID, LAYERS = 32, 64, 8
TARGETS = {0.9: 2.4, 0.95: 4.0}
FALLBACK = 0.95


@dataclass(frozen=True)
class Row:
    """One network at one sparsity; milliseconds per call.

    `over_dense` compares with the best dense runtime on the same weights, `over_full` with the best dense
    runtime on the dense network of the same kernel size.
    """

    network: str
    kernel: int
    sparsity: float
    onnxruntime: float
    eager: float
    eager_channels_last: float
    sparse: float
    over_dense: float
    over_full: float


@dataclass(frozen=True)
class FallbackRow:
    """A single layer through `sparse_inference` against the same layer in eager mode."""

    channels: int
    kernel: int
    grid: int
    density: float
    dense: float
    chosen: float
    ratio: float


def network(conv: str, kernel: int, rank: int | None) -> nn.Sequential:
    """Return eight convolutions with ReLU between them."""
    layers: list[nn.Module] = []
    for _ in range(LAYERS):
        layers += [make_conv(conv, CHANNELS, CHANNELS, kernel, rank=rank, padding="same"), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval().requires_grad_(False)


def prune(model: nn.Module, sparsity: float) -> None:
    """Set the smallest magnitudes of each weight tensor to zero; the axis filters of one-way layers stay."""
    for parameter in prunable_parameters(model.requires_grad_(True)).values():
        if parameter.shape[1] == 1:
            continue
        magnitude = parameter.detach().abs().flatten()
        smallest = magnitude.argsort()[: int(sparsity * magnitude.numel())]
        with torch.no_grad():
            parameter.view(-1)[smallest] = 0.0
    model.requires_grad_(False)


def compare(kernel: int, sparsities: tuple[float, ...], rounds: int) -> list[Row]:
    """Time the dense and the one-way network of one kernel size at each sparsity."""
    x = torch.randn(1, CHANNELS, GRID, GRID)
    full = network("dense", kernel, None)
    full_calls = {f"full {name}": call for name, call in dense_runtimes(full, x).items()}
    rows = []
    for name, conv, rank in (("dense", "dense", None), ("one-way, rank 16", "cp", 16)):
        for sparsity in sparsities:
            model = network(conv, kernel, rank)
            prune(model, sparsity)
            faster, _ = sparse_inference(model, x)
            require_equal(faster(x), model(x))
            calls = dense_runtimes(model, x)
            times = milliseconds(full_calls | calls | {"sparse": lambda f=faster: f(x)}, rounds)
            best = min(times[call] for call in calls)
            best_full = min(times[call] for call in full_calls)
            own = times["sparse"]
            rows.append(
                Row(
                    name, kernel, sparsity, *(times[call] for call in calls), own, best / own, best_full / own
                )
            )
    return rows


def dense_runtimes(model: nn.Module, x: Tensor) -> dict[str, Callable[[], object]]:
    """Return the dense runtimes on these weights."""
    eager = copy.deepcopy(model)
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    x_last = x.contiguous(memory_format=torch.channels_last)
    return {
        "ONNX Runtime": onnx_session(eager, x),
        "eager": lambda: eager(x),
        "eager channels-last": lambda: last(x_last),
    }


def fallback(quick: bool, rounds: int) -> list[FallbackRow]:
    """Time single layers, from dense to sparse and from tiny to large, as `sparse_inference` left them."""
    channels = (8, 32) if quick else (4, 8, 16, 32, 64)
    kernels = (1, 3) if quick else (1, 3, 5)
    densities = (1.0, 0.5) if quick else (1.0, 0.7, 0.5, 0.3)
    cases = itertools.product(channels, kernels, (16, 64), densities)
    return [one_layer(*case, rounds) for case in cases]


def one_layer(channels: int, kernel: int, grid: int, density: float, rounds: int) -> FallbackRow:
    """Time one layer."""
    layer = nn.Conv2d(channels, channels, kernel, padding="same").requires_grad_(False)
    prune(layer, 1.0 - density)
    x = torch.randn(1, channels, grid, grid)
    chosen, _ = sparse_inference(layer, x)
    times = milliseconds({"dense": lambda: layer(x), "chosen": lambda: chosen(x)}, 5 * rounds)
    ratio = times["dense"] / times["chosen"]
    return FallbackRow(channels, kernel, grid, density, times["dense"], times["chosen"], ratio)


def require_equal(found: Tensor, expected: Tensor) -> None:
    """Stop the benchmark if two outputs differ by more than rounding."""
    error = float((found - expected).abs().max() / expected.abs().max())
    if not error <= 1e-5:
        raise AssertionError(f"expected equal outputs to 1e-5, got a relative difference of {error:.1e}")


def report(rows: list[Row], fallbacks: list[FallbackRow]) -> str:
    """Return the tables and, for each target, whether it is met."""
    lines = [
        "network            k  sparsity   ORT  eager  channels-last  sparse | over best dense, over full"
    ]
    for row in rows:
        times = f"{row.onnxruntime:6.2f} {row.eager:6.2f} {row.eager_channels_last:10.2f} {row.sparse:10.2f}"
        lines.append(
            f"{row.network:17} {row.kernel:2}  {row.sparsity:6.0%}  {times} | "
            f"{row.over_dense:6.1f} {row.over_full:11.1f}"
        )
    for sparsity, target in TARGETS.items():
        worst = min(r.over_dense for r in rows if r.sparsity == sparsity and r.network == "dense")
        compared = f"{worst:.1f}x, at least {target}x: {verdict(worst >= target)}"
        lines.append(f"{sparsity:.0%} of a dense network pruned: {compared}")
        worst = min(r.over_full for r in rows if r.sparsity == sparsity and r.network != "dense")
        lines.append(f"{sparsity:.0%} of the 1x1 factors pruned, over the full network: {worst:.1f}x")
    ratios = sorted(row.ratio for row in fallbacks)
    lines.append(
        f"{len(ratios)} single layers against eager: worst {ratios[0]:.2f}x, median {median(ratios):.2f}x, "
        f"at least {FALLBACK}x: {verdict(ratios[0] >= FALLBACK)}"
    )
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one kernel size, fewer rounds")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rounds = 10 if arguments.quick else 40
    sparsities = (0.9, 0.95) if arguments.quick else (0.5, 0.7, 0.8, 0.9, 0.95)
    with torch.no_grad():
        kernels = (3,) if arguments.quick else (3, 7)
        rows = [row for kernel in kernels for row in compare(kernel, sparsities, rounds)]
        fallbacks = fallback(arguments.quick, rounds)
    if arguments.json:
        print(json.dumps({"rows": [asdict(r) for r in rows], "fallback": [asdict(r) for r in fallbacks]}))
    else:
        versions = f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}"
        print(f"{platform.machine()}, one thread, {versions}")
        print(report(rows, fallbacks))


if __name__ == "__main__":
    main()
