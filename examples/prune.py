"""Prune a one-way network in two rounds of SAP and write the sparse file.

Prints the PQ Index and the share of weights kept after each round; returns the last share.
"""

from dataclasses import replace
from pathlib import Path

import tiny

import slimwave as sw


def main(folder: Path = tiny.FOLDER) -> float:
    """Run the example and return its number."""
    config = sw.PruneConfig(
        model=tiny.model(folder),
        data=folder / "data",
        output=folder / "pruned",
        sap=sw.SAPConfig(eta=0.1),
        rounds=2,
        tolerance=None,
        fit=replace(tiny.FIT, steps=20, unroll=(2,)),
        validation=tiny.VALIDATION,
        device="cpu",
    )
    result = sw.prune(config)
    for record in result.rounds:
        kept = record.kept / record.total
        print(f"round {record.round}: PQ Index {record.pq_index:.3f}, kept {100 * kept:.0f} %")
    print(f"{result.sparse_bytes} bytes on disk")
    return result.rounds[-1].kept / result.rounds[-1].total


if __name__ == "__main__":
    main()
