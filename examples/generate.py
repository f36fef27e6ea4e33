"""Generate a dataset, check it, and read a window of it back as tensors.

Prints the relative change of u over one macro step, which any surrogate has to beat.
"""

from pathlib import Path

import tiny

import slimwave as sw


def main(folder: Path = tiny.FOLDER) -> float:
    """Run the example and return its number."""
    data = tiny.dataset(folder)
    report = sw.check_dataset(data)
    assert report.ok, report.problems
    windows = sw.WaveWindows(data, "train", horizon=2)
    window = windows[0]
    before, after = window["state"][0], window["targets"][0, 0]
    change = float((after - before).norm() / after.norm())
    print(f"{len(windows)} windows of {tuple(window['targets'].shape)}")
    print(f"u changes by {100 * change:.1f} % in one macro step")
    return change


if __name__ == "__main__":
    main()
