"""What is in a shard: The Well's HDF5 layout, and slimwave's own group beside it.

The Well's layout (Ohana et al., The Well, NeurIPS 2024, datasets and benchmarks) for B trajectories of T
snapshots, readable by ``the_well.data.WellDataset``::

    /                       dataset_name, grid_type, n_spatial_dims, n_trajectories, simulation_parameters
    /dimensions             time (T,), x (nx,), y (ny,)
    /boundary_conditions    x_wall, y_wall: bc_type WALL at both ends
    /scalars                none
    /t0_fields              u, v (B, T, nx, ny) varying in time; c (B, nx, ny)
    /t1_fields, /t2_fields  none

The Well has one kind of wall, so that the condition of each wall goes into our own group, which its loader
and its format checker pass over::

    /slimwave               format_version, config_hash, split
    /slimwave/indices       (B,)    place of each trajectory in its split
    /slimwave/walls         (B, 4)  left, right, bottom, top: −1 Dirichlet, +1 Neumann
    /slimwave/energy        (B, T)  energy of the finite-element solution
    /slimwave/parameters    (B,)    JSON of the scenario

Fields are float32, in contiguous storage: a window of snapshots is one read.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from slimwave.data.checked_file import CheckedFile
from slimwave.data.guard import DAMAGED
from slimwave.data.hdf5_image import HDF5Image
from slimwave.data.shards import FORMAT_VERSION, DatasetError

DATASET_NAME = "wave2d"
OWN_GROUP = "slimwave"
FIELDS = ("u", "v")

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Trajectory:
    """Finite-element solution of one scenario on the grid.

    Attributes
    ----------
    times, x, y
        Shapes (T,), (nx,), (ny,).
    u, v
        Field and its velocity u_t, (T, nx, ny), float32.
    c
        Wave speed, (nx, ny), float32.
    walls
        Mirror signs of left, right, bottom, top: −1 Dirichlet, +1 Neumann, (4,).
    energy
        ½ ∫ (v² + c² ∇u·∇u) of the finite-element solution, (T,).
    parameters
        Every drawn number of the scenario.
    setup_cpu_seconds, solve_cpu_seconds
        Process time of the work per medium (assembly, spectral radius) and of time stepping with output.
    """

    times: Float64
    x: Float64
    y: Float64
    u: Float32
    v: Float32
    c: Float32
    walls: Float32
    energy: Float64
    parameters: dict[str, Any]
    setup_cpu_seconds: float
    solve_cpu_seconds: float

    @property
    def cpu_seconds(self) -> float:
        """Process time of the whole solution."""
        return self.setup_cpu_seconds + self.solve_cpu_seconds


@dataclass(frozen=True)
class ShardHeader:
    """What a shard says about itself, checked against its arrays.

    Attributes
    ----------
    split, indices, config_hash
        Place of the trajectories in the dataset, and the hash of the settings they were made with.
    trajectories, snapshots, nx, ny
        Shape of the fields.
    times, x, y
        The grid as stored, float32.
    walls
        Shape (trajectories, 4).
    energy
        Shape (trajectories, snapshots).
    """

    split: str
    indices: tuple[int, ...]
    config_hash: str
    trajectories: int
    snapshots: int
    nx: int
    ny: int
    times: Float32
    x: Float32
    y: Float32
    walls: Float32
    energy: Float64


def shard_image(
    trajectories: Sequence[Trajectory], *, split: str, indices: Sequence[int], config_hash: str
) -> list[memoryview]:
    """Return the bytes of a shard, in pieces.

    The image is built in memory: HDF5 on a full disk can crash the interpreter, ordinary writes cannot. Equal
    arguments give equal bytes.
    """
    image = HDF5Image()
    with h5py.File(image, "w", track_order=False) as file:
        _write_root(file, len(trajectories))
        _write_dimensions(file.create_group("dimensions"), trajectories[0])
        _write_walls(file.create_group("boundary_conditions"), trajectories[0])
        _name_list(file.create_group("scalars"), "field_names", ())
        _write_fields(image, file.create_group("t0_fields"), trajectories)
        for order in (1, 2):
            _name_list(file.create_group(f"t{order}_fields"), "field_names", ())
        own = file.create_group(OWN_GROUP)
        own.attrs.update({"format_version": FORMAT_VERSION, "config_hash": config_hash, "split": split})
        _write_own(own, trajectories, indices)
    return image.pieces()


def read_header(file: h5py.File, path: Path) -> ShardHeader:
    """Read and check the header of a guarded shard; the fields themselves are not read.

    Raises
    ------
    DatasetError
        Naming the first missing or misshapen part.
    """
    try:
        return _read_header(CheckedFile(file, path))
    except DatasetError:
        raise
    except DAMAGED as error:
        raise DatasetError(path, f"damaged HDF5 file ({error})") from error


def layout_faults(file: h5py.File) -> Iterator[tuple[str, str, str]]:
    """Yield what The Well's readers need and do not find: what is wrong, expected, got."""
    wanted: dict[tuple[str, str], object] = {
        ("/", "grid_type"): "cartesian",
        ("/", "n_spatial_dims"): 2,
        ("/", "simulation_parameters"): [],
        ("dimensions", "spatial_dims"): ["x", "y"],
        ("scalars", "field_names"): [],
        ("t0_fields", "field_names"): [*FIELDS, "c"],
        ("t1_fields", "field_names"): [],
        ("t2_fields", "field_names"): [],
    }
    for name in ("time", "x", "y"):
        wanted |= _flags(f"dimensions/{name}", sample=False, time=name == "time")
    for name in (*FIELDS, "c"):
        wanted |= _flags(f"t0_fields/{name}", sample=True, time=name in FIELDS)
        wanted[f"t0_fields/{name}", "dim_varying"] = [True, True]
    for name in ("x", "y"):
        wanted |= _flags(f"boundary_conditions/{name}_wall", sample=False, time=False)
        wanted[f"boundary_conditions/{name}_wall", "associated_dims"] = [name]
        wanted[f"boundary_conditions/{name}_wall", "bc_type"] = "WALL"
    for (where, attribute), expected in wanted.items():
        got = file[where].attrs.get(attribute) if where in file else None
        plain = got.tolist() if isinstance(got, np.ndarray | np.generic) else got
        if repr(plain) != repr(expected):  # 1 is no substitute for True here
            yield f"attribute {attribute} of {where}", repr(expected), repr(plain)
    for name in ("x", "y"):
        mask = file.get(f"boundary_conditions/{name}_wall/mask")
        if not isinstance(mask, h5py.Dataset) or mask.dtype != bool or not mask[()][[0, -1]].all():
            yield f"mask of boundary_conditions/{name}_wall", "True at both ends", "otherwise"


def _flags(where: str, *, sample: bool, time: bool) -> dict[tuple[str, str], object]:
    return {(where, "sample_varying"): sample, (where, "time_varying"): time}


def _write_root(file: h5py.File, trajectories: int) -> None:
    file.attrs["dataset_name"] = DATASET_NAME
    file.attrs["grid_type"] = "cartesian"
    file.attrs["n_spatial_dims"] = 2
    file.attrs["n_trajectories"] = trajectories
    _name_list(file, "simulation_parameters", ())


def _write_dimensions(group: h5py.Group, first: Trajectory) -> None:
    _name_list(group, "spatial_dims", ("x", "y"))
    for name, values in (("time", first.times), ("x", first.x), ("y", first.y)):
        _write(group, name, values.astype(np.float32), sample=False, time=name == "time")


def _write_walls(group: h5py.Group, first: Trajectory) -> None:
    for name, values in (("x", first.x), ("y", first.y)):
        wall = group.create_group(f"{name}_wall")
        _name_list(wall, "associated_dims", (name,))
        _name_list(wall, "associated_fields", FIELDS)
        wall.attrs["bc_type"] = "WALL"
        wall.attrs["sample_varying"] = False
        wall.attrs["time_varying"] = False
        mask = np.zeros(len(values), dtype=bool)
        mask[[0, -1]] = True  # without a mask the loader takes the side for an open one
        wall.create_dataset("mask", data=mask)


def _write_fields(image: HDF5Image, group: h5py.Group, trajectories: Sequence[Trajectory]) -> None:
    """Set the fields aside as blocks of the image, one trajectory after the other."""
    _name_list(group, "field_names", (*FIELDS, "c"))
    for name in (*FIELDS, "c"):
        rows = [np.ascontiguousarray(getattr(one, name), "<f4") for one in trajectories]
        data = image.add_block(group, name, rows)
        _describe(data, sample=True, time=name in FIELDS)
        data.attrs["dim_varying"] = np.array([True, True])


def _write_own(group: h5py.Group, trajectories: Sequence[Trajectory], indices: Sequence[int]) -> None:
    group["indices"] = np.asarray(indices, dtype=np.int64)
    group["walls"] = np.stack([one.walls for one in trajectories]).astype(np.float32)
    group["energy"] = np.stack([one.energy for one in trajectories]).astype(np.float64)
    texts = [json.dumps(one.parameters, sort_keys=True) for one in trajectories]
    group.create_dataset("parameters", data=texts, dtype=h5py.string_dtype())


def _write(group: h5py.Group, name: str, values: NDArray[Any], *, sample: bool, time: bool) -> None:
    _describe(group.create_dataset(name, data=values), sample=sample, time=time)


def _describe(data: h5py.Dataset, *, sample: bool, time: bool) -> None:
    data.attrs["sample_varying"] = sample
    data.attrs["time_varying"] = time


def _name_list(item: h5py.Group, attribute: str, names: Sequence[str]) -> None:
    """Store a list of names, also an empty one, as strings: The Well refuses bytes."""
    item.attrs.create(attribute, data=list(names), shape=(len(names),), dtype=h5py.string_dtype())


def _read_header(reader: CheckedFile) -> ShardHeader:
    _require_version(reader)
    if reader.attribute("/", "dataset_name", str) != DATASET_NAME:
        raise DatasetError(reader.path, "attribute dataset_name of /", DATASET_NAME, "another")
    times = reader.data("dimensions/time", (None,), "f")[()]
    x = reader.data("dimensions/x", (None,), "f")[()]
    y = reader.data("dimensions/y", (None,), "f")[()]
    count = int(reader.attribute("/", "n_trajectories", int))
    for name in FIELDS:
        reader.data(f"t0_fields/{name}", (count, len(times), len(x), len(y)), "f")
    reader.data("t0_fields/c", (count, len(x), len(y)), "f")
    reader.data(f"{OWN_GROUP}/parameters", (count,), "O")
    return ShardHeader(
        split=reader.attribute(OWN_GROUP, "split", str),
        indices=tuple(int(i) for i in reader.data(f"{OWN_GROUP}/indices", (count,), "i")[()]),
        config_hash=reader.attribute(OWN_GROUP, "config_hash", str),
        trajectories=count,
        snapshots=len(times),
        nx=len(x),
        ny=len(y),
        times=times,
        x=x,
        y=y,
        walls=_checked_walls(reader.data(f"{OWN_GROUP}/walls", (count, 4), "f")[()], reader.path),
        energy=reader.data(f"{OWN_GROUP}/energy", (count, len(times)), "f")[()],
    )


def _require_version(reader: CheckedFile) -> None:
    if OWN_GROUP not in reader.file:
        raise DatasetError(
            reader.path, f"missing group /{OWN_GROUP}", remedy="use files written by 'slimwave generate'"
        )
    found = reader.attribute(OWN_GROUP, "format_version", int)
    if found > FORMAT_VERSION:
        raise DatasetError(
            reader.path, "newer format", f"format_version {FORMAT_VERSION} or less", found, "update slimwave"
        )


def _checked_walls(walls: Float32, path: Path) -> Float32:
    if not np.isin(walls, (-1.0, 1.0)).all():
        raise DatasetError(
            path, f"values of /{OWN_GROUP}/walls", "-1 or 1", walls[~np.isin(walls, (-1, 1))][0]
        )
    return walls
