"""Latency over rank in ONNX Runtime, before and after `materialise(align=16)`.

Networks of eight one-way convolutions with 32 channels on a 64 x 64 grid, batch 1, ReLU between them; all
ranks from 1 to 48. Each is timed as it is, materialised to a multiple of 16 by terms of zeros, and beside a
network of that next multiple, in turns on one thread; medians of process time.

    python benchmarks/rank_staircase.py            # ranks 1 to 48, about five minutes
    python benchmarks/rank_staircase.py --quick    # two ranks
"""

import argparse

import onnxruntime
import torch
from shared.rivals import milliseconds, onnx_session
from shared.targets import verdict
from torch import nn

from slimwave.compression.formats import make_conv
from slimwave.compression.materialise import materialise

CHANNELS, GRID, LAYERS, ALIGN = 32, 64, 8, 16
TARGET = 1.05


def network(rank: int) -> nn.Sequential:
    """Return eight one-way convolutions with ReLU between them."""
    layers: list[nn.Module] = []
    for _ in range(LAYERS):
        layers += [make_conv("cp", CHANNELS, CHANNELS, 3, rank=rank, padding="same"), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval().requires_grad_(False)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two ranks, fewer rounds")
    quick = parser.parse_args().quick
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x = torch.randn(1, CHANNELS, GRID, GRID)
    print(f"one thread, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}; ms per call")
    print("rank    as it is   materialised   next multiple   materialised / next multiple")
    worst = 0.0
    for rank in (31, 33) if quick else range(1, 49):
        model = network(rank)
        rivals = {
            "raw": onnx_session(model, x),
            "aligned": onnx_session(materialise(model, ALIGN)[0], x),
            "next": onnx_session(network(-(-rank // ALIGN) * ALIGN), x),
        }
        times = milliseconds(rivals, 20 if quick else 80)
        ratio = times["aligned"] / times["next"]
        worst = max(worst, ratio)
        print(f"{rank:4}  {times['raw']:10.2f} {times['aligned']:14.2f} {times['next']:15.2f} {ratio:15.2f}")
    print(f"worst ratio {worst:.2f}, at most {TARGET}: {verdict(worst <= TARGET)}")


if __name__ == "__main__":
    main()
