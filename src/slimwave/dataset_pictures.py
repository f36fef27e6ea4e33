"""The pictures of a dataset: a contact sheet of trajectories, and an animation with one from every split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from slimwave import figures
from slimwave.animation import animate
from slimwave.data.durable import write_bytes
from slimwave.data.run_folders import require_writable
from slimwave.data.scenarios import Split
from slimwave.data.windows import DatasetInfo, WaveWindows, dataset_info

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Shown:
    """One trajectory of the contact sheet.

    Attributes
    ----------
    name : str
        Split and index.
    u : array (n, nx, ny)
        Every snapshot.
    wave_speed : array (nx, ny)
        The medium.
    """

    name: str
    u: Array
    wave_speed: Array


def write_dataset_pictures(
    root: Path, output: Path, *, trajectories: int = 2, snapshots: int = 6, seed: int = 0
) -> list[Path]:
    """Write `contact_sheet.png` and `animation.gif`; return their paths.

    Parameters
    ----------
    root, output : Path
        The dataset, and the folder of the pictures.
    trajectories : int
        Trajectories per split, drawn at random; all where a split has fewer.
    snapshots : int
        Snapshots per trajectory on the contact sheet.
    seed : int
        Seed of the draw.
    """
    require_writable(output)
    info = dataset_info(root)
    shown = [one for split in info.splits for one in draw_shown(info, split, trajectories, seed)]
    content = {
        "contact_sheet.png": figures.to_png(contact_sheet(shown, info, snapshots)),
        "animation.gif": _animation(shown, info),
    }
    for name, data in content.items():
        write_bytes(output / name, data)
    return [output / name for name in content]


def draw_shown(info: DatasetInfo, split: Split, count: int, seed: int) -> list[Shown]:
    """Draw trajectories of a split without repetition, in the order of their indices."""
    whole = WaveWindows(info.root, split, horizon=info.splits[split].snapshots - 1)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(whole), min(count, len(whole)), replace=False))
    windows = {int(i): whole[int(i)] for i in chosen}
    return [
        Shown(
            f"{split} {i}",
            np.concatenate([window["state"][None, 0].numpy(), window["targets"][:, 0].numpy()]),
            window["wave_speed"][0].numpy(),
        )
        for i, window in windows.items()
    ]


def contact_sheet(shown: list[Shown], info: DatasetInfo, snapshots: int) -> Figure:
    """Draw one row per trajectory: its medium, then u at even times, on the row's own colour scale."""
    width, height = (float(axis[-1] - axis[0]) for axis in info.axes)
    panel = 1.2
    figure = Figure(
        figsize=(panel * (snapshots + 1) + 0.4, (panel * height / width + 0.2) * len(shown) + 0.2),
        layout="constrained",
    )
    axes = figure.subplots(len(shown), snapshots + 1, squeeze=False)
    extent = (0, width, 0, height)
    low = min(float(one.wave_speed.min()) for one in shown)
    high = max(float(one.wave_speed.max()) for one in shown)
    for row, one in zip(axes, shown, strict=True):
        _panel(row[0], one.wave_speed, extent, figures.SPEED_COLOURS, low, high)
        row[0].set_ylabel(one.name, fontsize=8)
        row[0].set_title(f"c {one.wave_speed.min():.2f} … {one.wave_speed.max():.2f}", fontsize=7)
        scale = float(np.abs(one.u).max())
        moments = np.linspace(0, len(one.u) - 1, snapshots).round().astype(int)
        for axis, k in zip(row[1:], moments, strict=True):
            _panel(axis, one.u[k], extent, figures.FIELD_COLOURS, -scale, scale)
            axis.set_title(f"t = {k * info.macro_step:.2f}", fontsize=7)
    return figure


def _panel(
    axis: Axes, field: Array, extent: tuple[float, float, float, float], colours: str, low: float, high: float
) -> None:
    axis.imshow(field.T, origin="lower", extent=extent, cmap=colours, vmin=low, vmax=high)
    axis.set_xticks([])
    axis.set_yticks([])


def _animation(shown: list[Shown], info: DatasetInfo) -> bytes:
    """Return the first trajectory of every split side by side, as long as the shortest of them."""
    first: dict[str, Array] = {}
    for one in shown:
        first.setdefault(one.name.partition(" ")[0], one.u)
    frames = min(len(u) for u in first.values())
    times = info.macro_step * np.arange(frames)
    return animate({name: u[:frames] for name, u in first.items()}, times)
