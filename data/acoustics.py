"""The Well's acoustic datasets, read as waves of this project's equation.

The datasets ``acoustic_scattering_*`` hold pressure p, velocity w, density ρ and speed of sound c of

    p_t + K ∇·w = 0,    ρ w_t + ∇p = 0,    K = ρ c².

The bulk modulus K is one constant in all of them, so that p obeys the equation of this project,

    p_tt = ∇·(c² ∇p),

and a trajectory becomes u = p, v = p_t = −K ∇·w, with the divergence from central differences (second
order). A WALL, where the normal velocity vanishes, is a Neumann wall of p (+1), an OPEN side an absorbing one
(0). The fields stand at the centres of cells, so that a wall lies half a cell outside the grid: a network,
which mirrors in the outermost nodes, takes it half a cell further in.

>>> windows = WaveWindows("the_well/acoustic_scattering_inclusions", "train", horizon=4)  # doctest: +SKIP
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from slimwave.data.checked_file import CheckedFile
from slimwave.data.grid_energy import energy_density
from slimwave.data.guard import DAMAGED, open_file
from slimwave.data.handles import Handles
from slimwave.data.info import Float64, SplitInfo, Stats
from slimwave.data.moments import moments_of, stats_of
from slimwave.data.run_folders import RUN
from slimwave.data.schema import FIELDS, Float32
from slimwave.data.shards import MANIFEST, DatasetError
from slimwave.data.snapshots import Snapshots
from slimwave.data.splits import SPLITS, Split

PREFIX = "acoustic_scattering"
REMEDY = "use files of The Well's acoustic_scattering datasets"
SAMPLED = 8
"""Training trajectories from which statistics and the largest speed are taken."""
MODULUS_SPREAD = 1e-3
"""Largest relative variation of K = ρ c²: rounding of float32 fields."""
WALL_SIGNS = {"WALL": 1.0, "OPEN": 0.0}


def is_acoustic(root: Path) -> bool:
    """Tell whether a folder is laid out like The Well's datasets and is none of slimwave's."""
    ours = any((root / name).is_file() for name in (MANIFEST, RUN))
    return not ours and any((root / "data").glob("*/*.hdf5"))


def acoustic_info(root: Path | str) -> "AcousticInfo":
    """Read what an acoustic dataset holds.

    Raises
    ------
    DatasetError
        If a file is damaged, hostile, or of another kind.
    ValueError
        If none of its folders is a split.
    """
    splits = _splits(Path(root))
    if not splits:
        raise ValueError(
            f"{root}/data: expected a folder for each split, such as train, with .hdf5 files in it"
        )
    return AcousticSource(root, splits[0]).info


@dataclass(frozen=True, eq=False)
class AcousticInfo:
    """What an acoustic dataset holds; see :class:`slimwave.data.info.DatasetInfo`.

    Attributes
    ----------
    root
        Dataset folder.
    axes
        Coordinates of the cells' centres, (nx,) and (ny,).
    spacing
        Distance (dx, dy) of these centres.
    macro_step
        Time between two snapshots.
    absorbing
        Whether a side is open.
    """

    root: Path
    axes: tuple[Float64, Float64]
    spacing: tuple[float, float]
    macro_step: float
    absorbing: bool

    @property
    def damped(self) -> bool:
        """Whether any trajectory may be damped: never."""
        return False

    @property
    def driven(self) -> bool:
        """Whether any trajectory may have a source: never."""
        return False

    @property
    def grid(self) -> tuple[int, int]:
        """Cells (nx, ny)."""
        return len(self.axes[0]), len(self.axes[1])

    @property
    def stats(self) -> Stats:
        """Statistics of u, v and c, and of the change of u and v, from a few training trajectories."""
        return self._sample[0]

    @property
    def max_speed(self) -> float:
        """Largest wave speed in these trajectories."""
        return self._sample[1]

    @cached_property
    def splits(self) -> dict[Split, SplitInfo]:
        """Size of each split."""
        sources = {split: AcousticSource(self.root, split) for split in _splits(self.root)}
        return {split: SplitInfo(one.trajectories, one.snapshots) for split, one in sources.items()}

    @cached_property
    def _sample(self) -> tuple[Stats, float]:
        source = AcousticSource(self.root, "train")
        return stats_of(moments_of(_sampled_fields(source))), max(
            float(fields["c"].max()) for fields in _sampled_fields(source, snapshots=1)
        )


def _splits(root: Path) -> list[Split]:
    return [split for split in SPLITS if any((root / "data" / split).glob("*.hdf5"))]


class AcousticSource:
    """Snapshots of a split of an acoustic dataset; see :class:`slimwave.data.datasets.Source`.

    Parameters
    ----------
    root, split
        Dataset folder (the one that holds ``data/``) and split: ``train``, ``valid`` or ``test``.

    Raises
    ------
    ValueError
        If there is no such split.
    DatasetError
        If a file is damaged, hostile, or of another kind.
    """

    def __init__(self, root: Path | str, split: str) -> None:
        self.root = Path(root)
        self.files = sorted((self.root / "data" / split).glob("*.hdf5"))
        if not self.files:
            known = sorted(path.parent.name for path in (self.root / "data").glob("*/*.hdf5"))
            raise ValueError(
                f"{root}: unknown split '{split}'; choose one of {', '.join(dict.fromkeys(known))}"
            )
        self.handles = Handles(AcousticFile)
        first = AcousticFile(self.files[0])
        self.snapshots = first.snapshots
        absorbing = bool((first.walls == 0).any())
        self.info = AcousticInfo(self.root, first.axes, first.spacing, first.macro_step, absorbing)
        counts = [first.trajectories, *(AcousticFile(path).trajectories for path in self.files[1:])]
        self.ends = np.cumsum(counts)
        self.trajectories = int(self.ends[-1])

    def read(self, trajectory: int, snapshots: range) -> Snapshots:
        """Return some snapshots of a trajectory."""
        number = int(np.searchsorted(self.ends, trajectory, side="right"))
        file = self.handles.get(self.files[number])
        if (file.grid, file.snapshots) != (self.info.grid, self.snapshots):
            expected, got = (*self.info.grid, self.snapshots), (*file.grid, file.snapshots)
            raise DatasetError(
                file.path, "grid and snapshots differ from the first file's", expected, got, REMEDY
            )
        row = trajectory - int(self.ends[number]) + file.trajectories
        speed = file.read_constant("speed_of_sound", row)
        return Snapshots(file.read_states(row, snapshots), speed, file.walls.copy())

    def energy(self, trajectory: int, read: Snapshots) -> Float64:
        """Return the energies (n,) of snapshots on the grid, one cell after the other."""
        del trajectory
        u, v = read.states[:, 0], read.states[:, 1]
        density = energy_density(u, v, read.wave_speed, np.zeros(4), self.info.spacing)
        return np.asarray(density.sum(axis=(1, 2)) * np.prod(self.info.spacing))


class AcousticFile:
    """One open file of an acoustic dataset, its header checked; closed with the object.

    Attributes
    ----------
    trajectories, snapshots, grid, axes, spacing, macro_step
        Shape of the fields, coordinates, and distances in space and time.
    walls
        Sign of left, right, bottom, top: +1 WALL, 0 OPEN.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = open_file(path)
        try:
            self._read_header(CheckedFile(self.file, path, REMEDY))
        except DAMAGED as error:
            if isinstance(error, DatasetError):
                raise
            raise DatasetError(path, f"damaged HDF5 file ({error})", remedy=REMEDY) from error

    def _read_header(self, checked: CheckedFile) -> None:
        name = checked.attribute("/", "dataset_name", str)
        if not name.startswith(PREFIX):
            checked.refuse("attribute dataset_name of /", f"{PREFIX}_…", name)
        times, x, y = (checked.data(f"dimensions/{axis}", (None,), "f")[()] for axis in ("time", "x", "y"))
        self.trajectories = int(checked.attribute("/", "n_trajectories", int))
        self.axes = x.astype(np.float64), y.astype(np.float64)
        self.snapshots, self.grid = len(times), (len(x), len(y))
        if min(self.snapshots, *self.grid) < 3:
            checked.refuse(
                "size of the fields", "at least 3 along time and space", (self.snapshots, *self.grid)
            )
        shape = (self.trajectories, self.snapshots, *self.grid)
        checked.data("t0_fields/pressure", shape, "f")
        checked.data("t1_fields/velocity", (*shape, 2), "f")
        for field in ("density", "speed_of_sound"):
            varying = checked.attribute(f"t0_fields/{field}", "sample_varying", bool)
            checked.data(f"t0_fields/{field}", (self.trajectories, *self.grid) if varying else self.grid, "f")
        self.spacing = _step(checked, "x", x), _step(checked, "y", y)
        self.macro_step = _step(checked, "time", times)
        self.walls = np.array([_wall(checked, axis, side) for axis in "xy" for side in (0, -1)], np.float32)

    def read_constant(self, name: str, row: int) -> Float32:
        """Return a field that does not vary in time, (nx, ny)."""
        data = self.file["t0_fields"][name]
        values: Float32 = (data[row] if data.ndim == 3 else data[()]).astype(np.float32, copy=False)
        return values

    def read_states(self, row: int, snapshots: range) -> Float32:
        """Return p and −K ∇·w of some snapshots of a trajectory, (len(snapshots), 2, nx, ny)."""
        window = slice(snapshots.start, snapshots.stop, snapshots.step)
        velocity = self.file["t1_fields/velocity"][row, window]
        divergence = np.gradient(velocity[..., 0], self.spacing[0], axis=1, edge_order=2)
        divergence += np.gradient(velocity[..., 1], self.spacing[1], axis=2, edge_order=2)
        states = np.empty((len(snapshots), len(FIELDS), *self.grid), np.float32)
        states[:, 0] = self.file["t0_fields/pressure"][row, window]
        states[:, 1] = -self.bulk_modulus(row) * divergence
        return states

    def bulk_modulus(self, row: int) -> float:
        """Return K = ρ c² of a trajectory.

        Raises
        ------
        DatasetError
            If it varies in space: then the pressure obeys another equation.
        """
        density, speed = (self.read_constant(name, row) for name in ("density", "speed_of_sound"))
        modulus = density.astype(np.float64) * speed.astype(np.float64) ** 2
        low, high = float(modulus.min()), float(modulus.max())
        if not (low > 0 and high - low <= MODULUS_SPREAD * high):
            what = f"bulk modulus of trajectory {row}"
            raise DatasetError(self.path, what, "one positive constant", f"{low:g} … {high:g}", REMEDY)
        return float(np.median(modulus))


def _sampled_fields(source: AcousticSource, snapshots: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield u, v and c of a few trajectories, evenly spread."""
    spread = np.linspace(0, source.trajectories - 1, min(SAMPLED, source.trajectories)).round().astype(int)
    for trajectory in spread:
        read = source.read(int(trajectory), range(snapshots or source.snapshots))
        yield {"u": read.states[:, 0], "v": read.states[:, 1], "c": read.wave_speed}


def _step(checked: CheckedFile, axis: str, values: Any) -> float:
    steps = np.diff(values.astype(np.float64))
    mean = float(steps.mean())
    if not (mean > 0 and np.abs(steps - mean).max() < 1e-2 * mean):
        checked.refuse(f"/dimensions/{axis}", "even, increasing steps", f"{steps.min():g} … {steps.max():g}")
    return mean


def _wall(checked: CheckedFile, axis: str, side: int) -> float:
    """Return the sign of one side; a side that no condition names is open."""
    found = "OPEN"
    for name, group in checked.file.get("boundary_conditions", {}).items():
        if axis not in _names(group, "associated_dims"):
            continue
        kind = checked.attribute(group.name, "bc_type", str).upper()
        mask = checked.data(f"boundary_conditions/{name}/mask", (None,) * group["mask"].ndim, "b")[()]
        here = mask if mask.ndim == 1 else np.moveaxis(mask, "xy".index(axis), 0)
        if kind != "OPEN" and here[side].all():
            found = kind
    if found not in WALL_SIGNS:
        checked.refuse(f"boundary condition at an end of {axis}", " or ".join(WALL_SIGNS), found)
    return WALL_SIGNS[found]


def _names(group: h5py.Group, attribute: str) -> list[str]:
    return [str(name) for name in np.atleast_1d(group.attrs.get(attribute, []))]
