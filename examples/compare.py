"""Compare a one-way network with persistence and with finite elements on coarser meshes; write the report.

Prints the table; returns the one-step error of the network divided by that of persistence.
"""

from pathlib import Path

import tiny

import slimwave as sw


def main(folder: Path = tiny.FOLDER) -> float:
    """Run the example and return its number."""
    comparison = sw.compare(
        sw.CompareConfig(
            data=tiny.dataset(folder),
            models={"one-way CNN": tiny.model(folder)},
            coarse_elements=(2, 3),
            latency_steps=10,
            output=folder / "compare",
            device="cpu",
        )
    )
    print(f"report: {sw.write_report(comparison)}")
    one_step = {row.name: row.errors["test"]["1"] for row in comparison.rows}
    for name, error in one_step.items():
        print(f"{name}: {100 * error:.2f} % after one step")
    return one_step["one-way CNN"] / one_step["persistence"]


if __name__ == "__main__":
    main()
