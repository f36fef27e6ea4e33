"""Forecast from an initial field of one's own, and from a test trajectory with its reference.

Prints the forecast's valid time on the test trajectory; returns its relative L2 error after ten steps.
"""

from pathlib import Path

import numpy as np
import tiny

import slimwave as sw


def main(folder: Path = tiny.FOLDER) -> float:
    """Run the example and return its number."""
    model = tiny.model(folder)
    x, y = np.meshgrid(*2 * [np.linspace(0, 1, 24)], indexing="ij")
    np.save(folder / "initial.npy", np.sin(np.pi * x) * np.sin(2 * np.pi * y))
    own = sw.rollout(
        sw.RolloutConfig(
            model=model,
            initial=folder / "initial.npy",
            wave_speed=1.5,
            steps=10,
            output=folder / "own",
            device="cpu",
        )
    )
    print(f"own field: {len(own.times) - 1} steps, energy {own.energy[-1] / own.energy[0]:.2f} of the first")
    result = sw.rollout(
        sw.RolloutConfig(
            model=model, data=folder / "data", trajectory=1, output=folder / "rollout", device="cpu"
        )
    )
    print(f"test trajectory 1: valid until t = {result.valid_time:.2f}")
    return float(result.relative_l2[9, 0])


if __name__ == "__main__":
    main()
