"""What a shard says about itself, read and checked before a field is touched; see `slimwave.data.schema`."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path

import h5py
import numpy as np

from slimwave.data.checked_file import CheckedFile
from slimwave.data.guard import DAMAGED
from slimwave.data.schema import DAMPING, DATASET_NAME, FIELDS, OWN_GROUP, Float32, Float64, open_sides
from slimwave.data.shards import FORMAT_VERSION, DatasetError
from slimwave.data.source_terms import SCALAR_PARTS, source_name


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
        Shape (trajectories, 4): −1 Dirichlet, +1 Neumann, 0 absorbing.
    energy
        Shape (trajectories, snapshots).
    damped
        Whether the shard holds the damping.
    sources
        Number of sources per trajectory, silent ones included.
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
    damped: bool
    sources: int

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, those that vary in time first."""
        return (*FIELDS, "c", DAMPING) if self.damped else (*FIELDS, "c")

    @property
    def scalars(self) -> tuple[str, ...]:
        """Names of the scalars."""
        return tuple(
            f"{source_name(number)}{part}" for number in range(self.sources) for part in SCALAR_PARTS
        )


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


def layout_faults(file: h5py.File, header: ShardHeader) -> Iterator[tuple[str, str, str]]:
    """Yield what The Well's readers need and do not find: what is wrong, expected, got."""
    wanted: dict[tuple[str, str], object] = {
        ("/", "grid_type"): "cartesian",
        ("/", "n_spatial_dims"): 2,
        ("/", "simulation_parameters"): [],
        ("dimensions", "spatial_dims"): ["x", "y"],
        ("scalars", "field_names"): [*header.scalars],
        ("t0_fields", "field_names"): [*header.fields],
        ("t1_fields", "field_names"): [],
        ("t2_fields", "field_names"): [],
    }
    for name in ("time", "x", "y"):
        wanted |= _flags(f"dimensions/{name}", sample=False, time=name == "time")
    for name in header.fields:
        wanted |= _flags(f"t0_fields/{name}", sample=True, time=name in FIELDS)
        wanted[f"t0_fields/{name}", "dim_varying"] = [True, True]
    for name in header.scalars:
        wanted |= _flags(f"scalars/{name}", sample=True, time=file[f"scalars/{name}"].ndim > 1)
    masks = _masks(header)
    for side in masks:
        wanted |= _flags(f"boundary_conditions/{side}", sample=False, time=False)
        wanted[f"boundary_conditions/{side}", "associated_dims"] = [side[0]]
        wanted[f"boundary_conditions/{side}", "bc_type"] = side[2:].upper()
    for (where, attribute), expected in wanted.items():
        got = file[where].attrs.get(attribute) if where in file else None
        plain = got.tolist() if isinstance(got, np.ndarray | np.generic) else got
        if repr(plain) != repr(expected):  # 1 is no substitute for True here
            yield f"attribute {attribute} of {where}", repr(expected), repr(plain)
    for side, ends in masks.items():
        mask = file.get(f"boundary_conditions/{side}/mask")
        fits = isinstance(mask, h5py.Dataset) and mask.dtype == bool
        if not fits or tuple(mask[()][[0, -1]].tolist()) != ends:
            yield f"mask of boundary_conditions/{side}", f"{ends} at the ends", "otherwise"
    for side in set(file.get("boundary_conditions", {})) - set(masks):
        yield f"group boundary_conditions/{side}", "none of this name", "one"


def _masks(header: ShardHeader) -> dict[str, tuple[bool, bool]]:
    """Return which ends of its axis each group of boundary conditions covers."""
    masks = {}
    for axis, (low, high) in open_sides(header.walls).items():
        masks[f"{axis}_wall"], masks[f"{axis}_open"] = (not low, not high), (low, high)
    return {side: ends for side, ends in masks.items() if any(ends)}


def _flags(where: str, *, sample: bool, time: bool) -> dict[tuple[str, str], object]:
    return {(where, "sample_varying"): sample, (where, "time_varying"): time}


def _read_header(reader: CheckedFile) -> ShardHeader:
    _require_version(reader)
    if reader.attribute("/", "dataset_name", str) != DATASET_NAME:
        raise DatasetError(reader.path, "attribute dataset_name of /", DATASET_NAME, "another")
    times = reader.data("dimensions/time", (None,), "f")[()]
    x = reader.data("dimensions/x", (None,), "f")[()]
    y = reader.data("dimensions/y", (None,), "f")[()]
    rows = int(reader.attribute("/", "n_trajectories", int))
    for name in FIELDS:
        reader.data(f"t0_fields/{name}", (rows, len(times), len(x), len(y)), "f")
    damped = f"t0_fields/{DAMPING}" in reader.file
    for name in ("c", DAMPING) if damped else ("c",):
        reader.data(f"t0_fields/{name}", (rows, len(x), len(y)), "f")
    reader.data(f"{OWN_GROUP}/parameters", (rows,), "O")
    return ShardHeader(
        split=reader.attribute(OWN_GROUP, "split", str),
        indices=tuple(int(i) for i in reader.data(f"{OWN_GROUP}/indices", (rows,), "i")[()]),
        config_hash=reader.attribute(OWN_GROUP, "config_hash", str),
        trajectories=rows,
        snapshots=len(times),
        nx=len(x),
        ny=len(y),
        times=times,
        x=x,
        y=y,
        walls=_checked_walls(reader.data(f"{OWN_GROUP}/walls", (rows, 4), "f")[()], reader.path),
        energy=reader.data(f"{OWN_GROUP}/energy", (rows, len(times)), "f")[()],
        damped=damped,
        sources=_count_sources(reader, rows, len(times)),
    )


def _count_sources(reader: CheckedFile, rows: int, snapshots: int) -> int:
    """Count the sources, each with its strength, place and width."""
    found = list(takewhile(lambda number: f"scalars/{source_name(number)}" in reader.file, count()))
    for number in found:
        for part in SCALAR_PARTS:
            shape = (rows,) if part else (rows, snapshots)
            reader.data(f"scalars/{source_name(number)}{part}", shape, "f")
    return len(found)


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
    known = np.isin(walls, (-1.0, 0.0, 1.0))
    if not known.all():
        raise DatasetError(path, f"values of /{OWN_GROUP}/walls", "-1, 0 or 1", walls[~known][0])
    return walls
