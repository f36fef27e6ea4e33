"""Bytes on disk of pruned networks: sparse files against the dense float32 safetensors file.

Residual-free CNNs 3 → width → … → 2 of one-way (and, for reference, dense) layers learn for a few steps to
shift a random field by one node, so that their weights are spread as trained weights are; the smallest
magnitudes of all convolution weights are set to zero, biases stay; every file is read back and compared.

    python benchmarks/sparse_files.py            # 2 to 100 thousand parameters
    python benchmarks/sparse_files.py --quick    # two sizes
    python benchmarks/sparse_files.py --json     # one JSON object on standard output
"""

import argparse
import itertools
import json
import math
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from shared.targets import Target
from torch import nn

from slimwave.compression.counting import count_nonzeros, count_parameters
from slimwave.compression.formats import make_conv
from slimwave.compression.roles import prunable_parameters
from slimwave.compression.sparse_file import load_sparse, save_sparse

SPARSITIES = (0.9, 0.95)
LEAST = {
    (0.9, "float32"): (7.4, 1_700),
    (0.95, "float32"): (11.7, 1_700),
    (0.9, "float16"): (14.0, 1_700),
    (0.95, "float16"): (25.0, 4_000),
}
"""How many times smaller the files shall be, from at most how many parameters on."""


@dataclass(frozen=True)
class Size:
    """A network: `rank` None is the dense format."""

    width: int
    layers: int
    kernel: int
    rank: int | None


SIZES = (
    Size(16, 6, 3, 8),
    Size(20, 7, 3, 10),
    Size(16, 8, 5, 12),
    Size(24, 10, 5, 16),
    Size(32, 10, 7, 32),
    Size(48, 10, 5, 48),
    Size(64, 12, 7, 64),
    Size(12, 3, 5, None),
    Size(24, 4, 5, None),
)


@dataclass(frozen=True)
class Row:
    """Bytes of one pruned network in three files, and how many times smaller the sparse ones are."""

    network: str
    parameters: int
    sparsity: float
    nonzeros: int
    dense_bytes: int
    float32_bytes: int
    float16_bytes: int
    float32_ratio: float
    float16_ratio: float


def build(size: Size) -> nn.Sequential:
    """Return the network, untrained."""
    channels = [3, *[size.width] * (size.layers - 1), 2]
    conv = "dense" if size.rank is None else "cp"
    layers: list[nn.Module] = []
    for c_in, c_out in itertools.pairwise(channels):
        layers += [make_conv(conv, c_in, c_out, size.kernel, rank=size.rank, padding="same"), nn.GELU()]
    return nn.Sequential(*layers[:-1])


def train(model: nn.Module, steps: int) -> None:
    """Learn to shift a random field by one node."""
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(steps):
        x = torch.randn(4, 3, 24, 24)
        optimizer.zero_grad()
        (model(x) - x[:, :2].roll(1, dims=-1)).square().mean().backward()
        optimizer.step()


@torch.no_grad()
def prune(model: nn.Module, sparsity: float) -> None:
    """Set the smallest magnitudes of all weights together to zero."""
    weights = prunable_parameters(model).values()
    magnitudes = torch.cat([w.abs().flatten() for w in weights])
    threshold = magnitudes.kthvalue(int(sparsity * magnitudes.numel())).values
    for weight in weights:
        weight.masked_fill_(weight.abs() <= threshold, 0.0)


def measure(size: Size, sparsity: float, steps: int, folder: Path) -> Row:
    """Train, prune and write one network; check that the lossless file returns every bit."""
    torch.manual_seed(0)
    model = build(size)
    train(model, steps)
    prune(model, sparsity)
    state = model.state_dict()
    save_file(state, folder / "dense")
    save_sparse(folder / "float32", model)
    save_sparse(folder / "float16", model, dtype="float16")
    if any(not torch.equal(value, state[name]) for name, value in load_sparse(folder / "float32").items()):
        raise RuntimeError("the lossless file did not return the same weights")
    dense, lossless, half = ((folder / n).stat().st_size for n in ("dense", "float32", "float16"))
    form = "dense" if size.rank is None else f"cp R={size.rank}"
    return Row(
        network=f"{form}, width {size.width}, {size.layers} layers, k={size.kernel}",
        parameters=count_parameters(model),
        sparsity=sparsity,
        nonzeros=count_nonzeros(model),
        dense_bytes=dense,
        float32_bytes=lossless,
        float16_bytes=half,
        float32_ratio=round(dense / lossless, 2),
        float16_ratio=round(dense / half, 2),
    )


def table(rows: list[Row]) -> str:
    """Return the rows as text."""
    lines = [
        f"{'network':36} {'params':>7} {'zeros':>6} {'dense B':>8} {'f32 B':>7} {'f16 B':>7}   f32×   f16×"
    ]
    lines += [
        f"{r.network:36} {r.parameters:7d} {r.sparsity:6.0%} {r.dense_bytes:8d} {r.float32_bytes:7d} "
        f"{r.float16_bytes:7d} {r.float32_ratio:6.2f} {r.float16_ratio:6.2f}"
        for r in rows
    ]
    return "\n".join(lines)


def judge(rows: list[Row]) -> list[Target]:
    """Say from which size on every network's file is small enough, and hold that size against the limits."""
    targets = []
    for (sparsity, name), (least, most) in LEAST.items():
        sizes = [(r.parameters, getattr(r, f"{name}_ratio")) for r in rows if r.sparsity == sparsity]
        larger = max((size for size, ratio in sizes if ratio < least), default=0)
        first = min((size for size, _ in sizes if size > larger), default=math.inf)
        what = f"{least:4} times smaller, {name}, {sparsity:.0%} zeros, from here on"
        targets.append(Target(what, first, most, "parameters"))
    return targets


def main() -> None:
    """Measure every size at every sparsity and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two sizes, ten training steps")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sizes, steps = (SIZES[:2], 10) if arguments.quick else (SIZES, 60)
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(size, sparsity, steps, Path(folder)) for size in sizes for sparsity in SPARSITIES]
    if arguments.json:
        judged = [target.as_json() for target in judge(rows)]
        json.dump({"rows": [asdict(row) for row in rows], "targets": judged}, sys.stdout)
    else:
        print(table(rows))
        print("\n".join(target.line() for target in judge(rows)))


if __name__ == "__main__":
    main()
