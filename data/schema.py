"""What is in a shard: The Well's HDF5 layout, and slimwave's own group beside it.

The Well's layout (Ohana et al., The Well, NeurIPS 2024, datasets and benchmarks) for B trajectories of T
snapshots, readable by ``the_well.data.WellDataset``::

    /                       dataset_name, grid_type, n_spatial_dims, n_trajectories, simulation_parameters
    /dimensions             time (T,), x (nx,), y (ny,)
    /boundary_conditions    x_wall, y_wall: bc_type WALL; x_open, y_open: bc_type OPEN, where a side absorbs
    /scalars                source0 (B, T), source0_x, source0_y, source0_width (B,), source1, …
    /t0_fields              u, v (B, T, nx, ny) varying in time; c (B, nx, ny); gamma (B, nx, ny)
    /t1_fields, /t2_fields  none

The sources stand in a dataset whose trajectories may have some, gamma in one that may be damped.

The Well has one kind of wall and one condition per side and file: OPEN stands where the side absorbs in any
trajectory of the shard. The condition of each side of each trajectory goes into our own group, which its
loader and its format checker pass over::

    /slimwave               format_version, config_hash, split
    /slimwave/indices       (B,)    place of each trajectory in its split
    /slimwave/walls         (B, 4)  left, right, bottom, top: −1 Dirichlet, +1 Neumann, 0 absorbing
    /slimwave/energy        (B, T)  energy of the finite-element solution
    /slimwave/parameters    (B,)    JSON of the scenario

Fields are float32, in contiguous storage: a window of snapshots is one read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from slimwave.data.hdf5_image import HDF5Image
from slimwave.data.shards import FORMAT_VERSION

DATASET_NAME = "wave2d"
OWN_GROUP = "slimwave"
FIELDS = ("u", "v")
"""Fields that vary in time: the state."""
DAMPING = "gamma"
"""Field of the damping, in datasets that may be damped."""

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
        Left, right, bottom, top: −1 Dirichlet, +1 Neumann, 0 absorbing, (4,).
    energy
        ½ ∫ (v² + c² ∇u·∇u) of the finite-element solution, (T,).
    parameters
        Every drawn number of the scenario.
    setup_cpu_seconds, solve_cpu_seconds
        Process time of the work per medium (assembly, spectral radius) and of time stepping with output.
    damping
        γ, (nx, ny), float32, in a dataset that may be damped, else None.
    scalars
        Name → values of shape (T,) or (), for The Well's ``/scalars``; see
        :func:`slimwave.data.source_terms.source_scalars`.
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
    damping: Float32 | None = None
    scalars: Mapping[str, Float32] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, Float32]:
        """Fields by the names that they have in a shard, those that vary in time first."""
        fields = {"u": self.u, "v": self.v, "c": self.c}
        return fields if self.damping is None else {**fields, DAMPING: self.damping}

    @property
    def cpu_seconds(self) -> float:
        """Process time of the whole solution."""
        return self.setup_cpu_seconds + self.solve_cpu_seconds


def shard_image(
    trajectories: Sequence[Trajectory], *, split: str, indices: Sequence[int], config_hash: str
) -> list[memoryview]:
    """Return the bytes of a shard, in pieces.

    The image is built in memory: HDF5 on a full disk can crash the interpreter, ordinary writes cannot. Equal
    arguments give equal bytes.
    """
    image = _skeleton(_Layout.of(trajectories)).copy()
    with h5py.File(image, "r+") as file:
        _write_scalars(file.create_group("scalars"), trajectories)
        own = file.create_group(OWN_GROUP)
        own.attrs.update({"format_version": FORMAT_VERSION, "config_hash": config_hash, "split": split})
        _write_own(own, trajectories, indices)
    fields = [one.fields for one in trajectories]
    return image.pieces(
        {
            f"/t0_fields/{name}": [np.ascontiguousarray(each[name], "<f4") for each in fields]
            for name in fields[0]
        }
    )


class _Layout(NamedTuple):
    """What the shards of a split share: all but the values of the trajectories."""

    trajectories: int
    times: tuple[float, ...]
    x: tuple[float, ...]
    y: tuple[float, ...]
    fields: tuple[str, ...]
    open_sides: tuple[tuple[str, tuple[bool, bool]], ...]

    @classmethod
    def of(cls, trajectories: Sequence[Trajectory]) -> "_Layout":
        first = trajectories[0]
        times, x, y = (tuple(values.tolist()) for values in (first.times, first.x, first.y))
        sides = open_sides(np.stack([one.walls for one in trajectories]))
        return cls(len(trajectories), times, x, y, tuple(first.fields), tuple(sides.items()))


@lru_cache(maxsize=16)
def _skeleton(layout: _Layout) -> HDF5Image:
    """Return what The Well wants in a shard; to write it again for each would cost more than all else."""
    image = HDF5Image()
    with h5py.File(image, "w", track_order=False) as file:
        _write_root(file, layout.trajectories)
        _write_dimensions(file.create_group("dimensions"), layout)
        _write_sides(file.create_group("boundary_conditions"), layout)
        _add_fields(image, file.create_group("t0_fields"), layout)
        for order in (1, 2):
            _name_list(file.create_group(f"t{order}_fields"), "field_names", ())
    return image


def _write_root(file: h5py.File, trajectories: int) -> None:
    file.attrs["dataset_name"] = DATASET_NAME
    file.attrs["grid_type"] = "cartesian"
    file.attrs["n_spatial_dims"] = 2
    file.attrs["n_trajectories"] = trajectories
    _name_list(file, "simulation_parameters", ())


def _write_dimensions(group: h5py.Group, layout: _Layout) -> None:
    _name_list(group, "spatial_dims", ("x", "y"))
    for name, values in (("time", layout.times), ("x", layout.x), ("y", layout.y)):
        _write(group, name, np.array(values, np.float32), sample=False, time=name == "time")


def open_sides(walls: Float32) -> dict[str, tuple[bool, bool]]:
    """Tell for both ends of each axis whether the side absorbs in any of the trajectories, walls (B, 4)."""
    left, right, bottom, top = (walls == 0).any(axis=0).tolist()
    return {"x": (left, right), "y": (bottom, top)}


def _write_sides(group: h5py.Group, layout: _Layout) -> None:
    for (name, sides), values in zip(layout.open_sides, (layout.x, layout.y), strict=True):
        for kind, ends in (("wall", [not end for end in sides]), ("open", sides)):
            if any(ends):
                _write_side(group.create_group(f"{name}_{kind}"), name, kind.upper(), len(values), ends)


def _write_side(side: h5py.Group, axis: str, kind: str, nodes: int, ends: Sequence[bool]) -> None:
    _name_list(side, "associated_dims", (axis,))
    _name_list(side, "associated_fields", FIELDS)
    side.attrs["bc_type"] = kind
    side.attrs["sample_varying"] = False
    side.attrs["time_varying"] = False
    mask = np.zeros(nodes, dtype=bool)
    mask[[0, -1]] = ends  # without a mask the loader takes the side for an open one
    side.create_dataset("mask", data=mask)


def _write_scalars(group: h5py.Group, trajectories: Sequence[Trajectory]) -> None:
    names = tuple(trajectories[0].scalars)
    _name_list(group, "field_names", names)
    for name in names:
        values = np.stack([one.scalars[name] for one in trajectories]).astype(np.float32)
        _write(group, name, values, sample=True, time=values.ndim > 1)


def _add_fields(image: HDF5Image, group: h5py.Group, layout: _Layout) -> None:
    """Set the fields aside as blocks of the image."""
    _name_list(group, "field_names", layout.fields)
    grid = len(layout.x), len(layout.y)
    for name in layout.fields:
        times = (len(layout.times),) if name in FIELDS else ()
        data = image.add_block(group, name, (layout.trajectories, *times, *grid))
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
