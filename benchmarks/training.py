"""How fast a training step is: slimwave's loop against the plain loop that anyone would write first.

Both train the same network on the same dataset (64 x 64 nodes, random media and walls) with the same loss,
from the same weights; the plain one is `shared/plain_training.py`. A turn is one optimiser step of each, in a
new random order, on one thread; times are medians of process time. "curriculum" adds the steps of 1, 2, 4 and
8 macro steps, which share the default training equally. "convolutions alone" runs the layers of the network,
forward and backward, and nothing else: what no loop can leave out. The target: 1.5 times as many steps per
second.

    python benchmarks/training.py              # about two minutes
    python benchmarks/training.py --quick      # a smaller grid, fewer turns
    python benchmarks/training.py --compile    # also torch.compile, which takes minutes to compile
    python benchmarks/training.py --json       # one JSON object on standard output
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from shared.plain_training import PlainResidual, plain_loop
from shared.rivals import milliseconds
from shared.targets import verdict
from torch import Tensor, nn

from slimwave.compression.axis_filters import as_convolutions
from slimwave.data.generation import generate
from slimwave.data.scenarios import DomainConfig, GenerateConfig, SolverConfig, SplitConfig, SplitsConfig
from slimwave.data.windows import WaveWindows
from slimwave.surrogates.fitting import Fitter
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.networks import build_network
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.task import WaveTask
from slimwave.surrogates.training_settings import FitConfig

BATCH, TARGET = 2, 1.5
UNROLLS = (1, 2, 4, 8)
PLAIN, FLOOR = "plain loop", "convolutions alone"


@dataclass(frozen=True)
class Row:
    """One way to train one network: ms per optimiser step by macro steps unrolled, and over all of them."""

    network: str
    way: str
    milliseconds: dict[int, float]
    curriculum: float
    speedup: float
    target: bool


NETWORKS = {
    "residual, full 5 x 5": NetworkConfig(width=16, depth=3, kernel_size=5),
    "residual, one-way": NetworkConfig(width=16, depth=3, kernel_size=5, conv="cp", rank=16),
}


def dataset(folder: Path, nodes: int) -> Path:
    """Generate a small dataset with windows of nine states."""
    few, many = SplitConfig(trajectories=1, snapshots=11), SplitConfig(trajectories=4, snapshots=41)
    config = GenerateConfig(
        output=folder / "data",
        domain=DomainConfig(nx=nodes, ny=nodes),
        solver=SolverConfig(elements=(10, 10)),
        splits=SplitsConfig(train=many, valid=few, test=few, ood=few),
    )
    generate(config)
    return config.output


def plain_copy(model: Surrogate) -> PlainResidual:
    """Return the same network, with the same weights, as a plain module."""
    shape = model.config.resolved()
    assert shape.width and shape.depth and shape.kernel_size
    rank = int(shape.rank) if shape.rank is not None else None
    plain = PlainResidual(model.task, shape.width, shape.depth, shape.kernel_size, rank)
    with torch.no_grad():
        for own, given in zip(plain.parameters(), model.parameters(), strict=True):
            own.copy_(given.reshape(own.shape))
    return plain


def require_equal(model: Surrogate, plain: nn.Module, windows: WaveWindows) -> None:
    """Make sure that both are the same network."""
    window = windows[3]
    inputs = [window[name][None] for name in ("state", "wave_speed", "walls")]
    with torch.no_grad():
        expected, found = plain(*inputs), model(*inputs)
    assert torch.allclose(expected, found, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def without_filters(step: Callable[[], object]) -> Callable[[], object]:
    """Return a step whose filters along one axis are torch's convolutions."""

    def taken() -> object:
        with as_convolutions():
            return step()

    return taken


def convolutions_alone(model: Surrogate, windows: WaveWindows, unroll: int) -> Callable[[], object]:
    """Return a run of all layers, forward and backward, as often as a training step runs them."""
    seen: list[tuple[nn.Module, Tensor]] = []
    steps = (model.lift, *model.blocks, model.head)
    layers = (*steps, model.encoder, model.gates)
    hooks = [layer.register_forward_hook(lambda m, x, _: seen.append((m, x[0].detach()))) for layer in layers]
    window = windows[0]
    batch = [window[name][None].repeat_interleave(BATCH, 0) for name in ("state", "wave_speed", "walls")]
    model(*batch)
    for hook in hooks:
        hook.remove()

    def run() -> None:
        for layer, x in seen:
            weights = list(layer.parameters())
            for turn in range(unroll if layer in steps else 1):
                known = layer is model.encoder or (layer is model.lift and turn == 0)
                given = x.detach().requires_grad_(not known)
                y = layer(given)
                torch.autograd.grad(y, weights if known else [given, *weights], torch.ones_like(y))

    return run


def ways(
    config: NetworkConfig, root: Path, unroll: int, *, compiled: bool
) -> dict[str, Callable[[], object]]:
    """Return the rivals by name, each from fresh weights."""
    files = WaveWindows(root, "train", horizon=max(UNROLLS))
    memory = WaveWindows(root, "train", horizon=max(UNROLLS), in_memory=True)
    task = WaveTask.of_windows(files)
    torch.manual_seed(0)
    model = build_network(config, task)
    plain = plain_copy(model)
    require_equal(model, plain, files)
    fit = FitConfig(batch_size=BATCH, unroll=(unroll,), noise=0.0, augment=False)  # as the plain loop
    fits = {"slimwave": fit, "slimwave, bfloat16": replace(fit, precision="bfloat16")}
    if compiled:
        fits["slimwave, compiled"] = replace(fit, compile=True)
    rivals: dict[str, Callable[[], object]] = {
        PLAIN: plain_loop(plain, model.scale, files, BATCH, unroll),
        "plain loop, slimwave's module": plain_loop(model, model.scale, files, BATCH, unroll),
    }
    for name, settings in fits.items():
        rivals[name] = Fitter(build_network(config, task), memory, settings, seed=0).step
    rivals[FLOOR] = convolutions_alone(model, files, unroll)
    fitter = Fitter(build_network(config, task), memory, fits["slimwave"], seed=0)
    rivals["slimwave, torch's filters"] = without_filters(fitter.step)
    return rivals


def measure(root: Path, turns: int, unrolls: tuple[int, ...], *, compiled: bool) -> list[Row]:
    """Time all networks."""
    rows = []
    for network, config in NETWORKS.items():
        taken: dict[str, dict[int, float]] = {}
        for unroll in unrolls:
            rivals = ways(config, root, unroll, compiled=compiled)
            for name, spent in milliseconds(rivals, max(5, turns // unroll)).items():
                taken.setdefault(name, {})[unroll] = spent
        plain = sum(taken[PLAIN].values())
        for name, by_unroll in taken.items():
            total = sum(by_unroll.values())
            rows.append(Row(network, name, by_unroll, total, plain / total, plain / total >= TARGET))
    return rows


def table(rows: list[Row]) -> str:
    """Return a Markdown table."""
    unrolls = list(rows[0].milliseconds)
    heads = [f"ms, {n} macro step{'s' * (n > 1)}" for n in unrolls]
    lines = [
        "| network | way | " + " | ".join(heads) + " | curriculum, ms | times the plain loop |",
        "|---|---|" + "---:|" * (len(unrolls) + 2),
    ]
    for row in rows:
        times = " | ".join(f"{row.milliseconds[n]:.1f}" for n in unrolls)
        lines.append(f"| {row.network} | {row.way} | {times} | {row.curriculum:.0f} | {row.speedup:.2f} |")
    for network in NETWORKS:
        trained = [row for row in rows if row.network == network and row.way != FLOOR]
        best = max(trained, key=lambda row: row.speedup)
        met = verdict(best.speedup >= TARGET)
        lines.append(f"\n{network}: {best.speedup:.2f} times by {best.way}, at least {TARGET}: {met}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a smaller grid, fewer turns")
    parser.add_argument("--compile", action="store_true", help="also torch.compile")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        root = dataset(Path(folder), 32 if arguments.quick else 64)
        turns, unrolls = (10, (1, 4)) if arguments.quick else (40, UNROLLS)
        rows = measure(root, turns, unrolls, compiled=arguments.compile)
    if arguments.json:
        about = {"processor": platform.processor(), "torch": torch.__version__}
        json.dump(about | {"rows": [asdict(row) for row in rows]}, sys.stdout)
    else:
        print(table(rows))
        print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
