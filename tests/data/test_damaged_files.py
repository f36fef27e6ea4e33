"""Damaged, foreign and hostile files: refused before any field is read, each in one sentence with a remedy.

Every test damages a copy of a real dataset and reads it as a user would.
"""

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from slimwave.data.guard import open_guarded
from slimwave.data.headers import read_header
from slimwave.data.reading import sharded_info
from slimwave.data.shards import DatasetError
from slimwave.data.windows import WaveWindows, load_trajectories

SHARD = "data/train/wave2d_train_00000.hdf5"


def read(root: Path) -> None:
    load_trajectories(root, "train")


def remove(root: Path, name: str) -> None:
    """Remove one dataset of the first shard; the manifest is told the new size."""
    with h5py.File(root / SHARD, "r+") as file:
        del file[name]
    relist(root)


def swap(root: Path, name: str, make: Callable[[h5py.File], object]) -> None:
    """Replace one dataset of the first shard; the manifest is told the new size."""
    remove(root, name)
    with h5py.File(root / SHARD, "r+") as file:
        make(file)
    relist(root)


def relist(root: Path) -> None:
    """Let the manifest list the first shard's present size."""
    content = json.loads((root / "manifest.json").read_text())
    for entry in content["shards"]:
        if entry["file"] == SHARD:
            entry["size"] = (root / SHARD).stat().st_size
    (root / "manifest.json").write_text(json.dumps(content))


def edit_manifest(root: Path, edit: Callable[[dict[str, object]], object]) -> None:
    content = json.loads((root / "manifest.json").read_text())
    edit(content)
    (root / "manifest.json").write_text(json.dumps(content))


def test_missing_shard(dataset: Path) -> None:
    (dataset / SHARD).unlink()
    with pytest.raises(FileNotFoundError, match=r"wave2d_train_00000\.hdf5: no such file; check the path"):
        read(dataset)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file: expected an HDF5 file, got 0 bytes; delete the file and run 'slimwave generate'"),
        (b"once upon a time", "not an HDF5 file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "truncated or damaged HDF5 file"),
        (b"PK\x03\x04" + bytes(100), "not an HDF5 file"),
    ],
)
def test_not_an_hdf5_file(dataset: Path, content: bytes, message: str) -> None:
    (dataset / SHARD).write_bytes(content)
    with pytest.raises(DatasetError, match=rf"wave2d_train_00000\.hdf5: {message}"):
        read(dataset)


def test_folder_in_place_of_a_shard(dataset: Path) -> None:
    (dataset / SHARD).unlink()
    (dataset / SHARD).mkdir()
    with pytest.raises(DatasetError, match="not a file: expected an HDF5 file, got a folder or device"):
        read(dataset)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_truncated(dataset: Path, share: float) -> None:
    content = (dataset / SHARD).read_bytes()
    (dataset / SHARD).write_bytes(content[: int(share * len(content))])
    with pytest.raises(DatasetError, match=r"truncated or damaged HDF5 file.*delete the file and run"):
        read(dataset)


FLIP = """
import sys
from pathlib import Path
import numpy as np
from slimwave.data.reading import open_shard, sharded_info
from slimwave.data.shards import DatasetError
root, shard = Path(sys.argv[1]), Path(sys.argv[2])
content, rng, refused = shard.read_bytes(), np.random.default_rng(0), 0
info = sharded_info(root)
for place in rng.integers(8, 6000, size=60):
    flipped = bytearray(content)
    flipped[place] ^= 1 << int(rng.integers(8))
    shard.write_bytes(flipped)
    try:
        file, _ = open_shard(root, info.shards("train")[0], info.config)
        with file:
            file["t0_fields/u"][()], file["t0_fields/c"][()]
    except DatasetError:
        refused += 1
print(refused)
"""


def test_flipped_bits_never_crash_the_reader(dataset: Path) -> None:
    """Flips in the metadata, where a parser can stumble: the reader gives values or a DatasetError."""
    command = [sys.executable, "-c", FLIP, str(dataset), str(dataset / SHARD)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 0 < int(done.stdout) <= 60


def external_link(root: Path) -> None:
    other = root / "other.hdf5"
    shutil.copy(root / SHARD, other)
    swap(root, "t0_fields/u", lambda f: f.__setitem__("t0_fields/u", h5py.ExternalLink(other, "t0_fields/u")))


def soft_link(root: Path) -> None:
    swap(root, "t0_fields/u", lambda f: f.__setitem__("t0_fields/u", h5py.SoftLink("/t0_fields/v")))


def external_storage(root: Path) -> None:
    secret = root / "secret.txt"
    secret.write_bytes(bytes(2 * 9 * 24 * 18 * 4))
    swap(
        root,
        "t0_fields/u",
        lambda f: f.create_dataset(
            "t0_fields/u", (2, 9, 24, 18), "f4", external=[(str(secret), 0, secret.stat().st_size)]
        ),
    )


def virtual_dataset(root: Path) -> None:
    layout = h5py.VirtualLayout((2, 9, 24, 18), "f4")
    layout[:] = h5py.VirtualSource(str(root / SHARD), "t0_fields/v", (2, 9, 24, 18))
    swap(root, "t0_fields/u", lambda f: f.create_virtual_dataset("t0_fields/u", layout))


def foreign_filter(root: Path) -> None:
    swap(
        root,
        "t0_fields/u",
        lambda f: f.create_dataset(
            "t0_fields/u", (2, 9, 24, 18), "f4", chunks=(1, 1, 24, 18), compression="lzf", fletcher32=False
        ),
    )


def four_terabytes(root: Path) -> None:
    swap(
        root,
        "t0_fields/u",
        lambda f: f.create_dataset(
            "t0_fields/u", (10**6, 10**6), "f4", chunks=(1024, 1024), compression="gzip"
        ),
    )


def unwritten_terabytes(root: Path) -> None:
    swap(root, "t0_fields/u", lambda f: f.create_dataset("t0_fields/u", (10**6, 10**6), "f4"))


def named_type(root: Path) -> None:
    swap(root, "t0_fields/u", lambda f: f.__setitem__("t0_fields/u", np.dtype("f4")))


def references(root: Path) -> None:
    swap(root, "t0_fields/u", lambda f: f.create_dataset("t0_fields/u", (3,), h5py.ref_dtype))


def no_data(root: Path) -> None:
    swap(root, "t0_fields/u", lambda f: f.__setitem__("t0_fields/u", h5py.Empty("f4")))


def too_many_objects(root: Path) -> None:
    def fill(file: h5py.File) -> None:
        for number in range(1100):
            file.create_group(f"t0_fields/u/{number}")

    swap(root, "t0_fields/u", fill)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (
            external_link,
            "/t0_fields/u: ExternalLink is not allowed; use files written by 'slimwave generate'",
        ),
        (soft_link, "/t0_fields/u: SoftLink is not allowed"),
        (external_storage, "/t0_fields/u: external raw storage is not allowed"),
        (virtual_dataset, "/t0_fields/u: a virtual dataset is not allowed"),
        (foreign_filter, "/t0_fields/u: filter 32000 is not allowed"),
        (four_terabytes, "/t0_fields/u: claims 4,000,000,000,000 bytes of values, but 0 are stored"),
        (unwritten_terabytes, "/t0_fields/u: claims 4,000,000,000,000 bytes of values, but 0 are stored"),
        (named_type, "/t0_fields/u: Datatype is not allowed"),
        (references, "/t0_fields/u: type object is not allowed"),
        (no_data, "/t0_fields/u: claims"),
        (too_many_objects, "too many objects: expected at most 1000, got more"),
    ],
)
def test_hostile_files_are_refused_before_reading(
    dataset: Path, attack: Callable[[Path], None], message: str
) -> None:
    attack(dataset)
    with pytest.raises(DatasetError, match=message):
        read(dataset)
    with pytest.raises(DatasetError, match=message):
        WaveWindows(dataset, "train")[0]


def test_circles_of_links_end(dataset: Path) -> None:
    """A group that contains itself is walked once."""
    with h5py.File(dataset / SHARD, "r+") as file:
        file["slimwave/again"] = file["slimwave"]
    with open_guarded(dataset / SHARD) as file:
        assert read_header(file, dataset / SHARD).snapshots == 9


@pytest.mark.parametrize(
    "name",
    ["t0_fields/u", "t0_fields/v", "t0_fields/c", "dimensions/time", "slimwave/walls", "slimwave/energy"],
)
def test_missing_field(dataset: Path, name: str) -> None:
    remove(dataset, name)
    with pytest.raises(DatasetError, match=f"missing dataset /{name}; delete the file and run"):
        read(dataset)


@pytest.mark.parametrize(
    ("group", "name"),
    [("/", "n_trajectories"), ("/", "dataset_name"), ("slimwave", "split"), ("slimwave", "config_hash")],
)
def test_missing_attribute(dataset: Path, group: str, name: str) -> None:
    with h5py.File(dataset / SHARD, "r+") as file:
        del file[group].attrs[name]
    relist(dataset)
    with pytest.raises(DatasetError, match=f"missing attribute {name} of {group}"):
        read(dataset)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((2, 9, 18, 24), "f4", r"shape of /t0_fields/u: expected \(2, 9, 24, 18\), got \(2, 9, 18, 24\)"),
        ((9, 24, 18), "f4", r"shape of /t0_fields/u: expected \(2, 9, 24, 18\), got \(9, 24, 18\)"),
        ((2, 9, 24, 18), "i4", r"type of /t0_fields/u: expected numpy kind 'f', got int32"),
    ],
)
def test_wrong_shape_or_type(dataset: Path, shape: tuple[int, ...], dtype: str, message: str) -> None:
    swap(dataset, "t0_fields/u", lambda file: file.create_dataset("t0_fields/u", data=np.ones(shape, dtype)))
    with pytest.raises(DatasetError, match=message):
        read(dataset)


def test_wall_of_an_unknown_kind(dataset: Path) -> None:
    with h5py.File(dataset / SHARD, "r+") as file:
        file["slimwave/walls"][0, 0] = 0.5
    with pytest.raises(DatasetError, match=r"values of /slimwave/walls: expected -1, 0 or 1, got 0\.5"):
        read(dataset)


def test_file_of_another_tool(dataset: Path) -> None:
    with h5py.File(dataset / SHARD, "r+") as file:
        del file["slimwave"]
    with pytest.raises(DatasetError, match="missing group /slimwave; use files written by 'slimwave gen"):
        read(dataset)


def test_newer_shard(dataset: Path) -> None:
    with h5py.File(dataset / SHARD, "r+") as file:
        file["slimwave"].attrs["format_version"] = 2
    with pytest.raises(DatasetError, match="newer format: expected format_version 1 or less, got 2; update"):
        read(dataset)


def test_shard_of_another_grid(dataset: Path) -> None:
    """A consistent file, but not of this dataset's grid."""
    with h5py.File(dataset / SHARD, "r+") as file:
        for name in ("t0_fields/u", "t0_fields/v", "t0_fields/c"):
            values = file[name][..., :16]
            attributes = dict(file[name].attrs)
            del file[name]
            file.create_dataset(name, data=values).attrs.update(attributes)
        y = file["dimensions/y"][:16]
        del file["dimensions/y"]
        file["dimensions/y"] = y
    relist(dataset)
    with pytest.raises(
        DatasetError, match=r"grid size differs from the manifest: expected \(24, 18\), got \(24, 16\)"
    ):
        read(dataset)


def test_exchanged_shards(dataset: Path) -> None:
    other = dataset / "data/train/wave2d_train_00001.hdf5"
    (dataset / SHARD).write_bytes(other.read_bytes())
    relist(dataset)
    with pytest.raises(
        DatasetError, match=r"list of trajectories differs from the manifest: expected \(0, 1\)"
    ):
        read(dataset)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "manifest.json: not readable as JSON"),
        (b"\xff", "manifest.json: not readable as JSON"),
        (b"[]", "damaged manifest: expected a JSON object, got list"),
        (b"{}", "format_version: expected an integer from 1 to 1, got None"),
        (b'{"format_version": 9}', "newer format: expected format_version 1 or less, got 9; update slimwave"),
        (b'{"format_version": 1}', "damaged manifest"),
    ],
)
def test_damaged_manifest(dataset: Path, content: bytes, message: str) -> None:
    (dataset / "manifest.json").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        sharded_info(dataset)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m["config"].update(seed=9), "config_hash does not fit the settings"),
        (lambda m: m.update(config_hash="0"), "config_hash does not fit the settings"),
        (lambda m: m["shards"][0].update(file="../../etc/passwd"), "foreign shard name"),
        (lambda m: m["shards"][0].update(split="test"), "foreign shard name"),
        (lambda m: m["shards"].append(m["shards"][0]), "a shard is listed twice"),
        (lambda m: m["shards"][0].pop("sha256"), "damaged manifest"),
        (lambda m: m["shards"][0].update(size="big"), "expected int, got 'big'"),
        (lambda m: m["shards"].pop(), "is missing from the settings' list of shards; run the same"),
        (lambda m: m.update(complete=False), "unfinished dataset, 7 shards so far; run the same"),
    ],
)
def test_inconsistent_manifest(
    dataset: Path, edit: Callable[[dict[str, object]], object], message: str
) -> None:
    edit_manifest(dataset, edit)
    with pytest.raises(DatasetError, match=message):
        sharded_info(dataset)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"stats\.yaml: missing file"),
        ("a: [", r"stats\.yaml: not readable as YAML"),
        ("mean: {u: 0.0}", r"stats\.yaml: mean: v: expected a finite number, got None"),
        ("mean: {u: 1e-5}", r"stats\.yaml: mean: u: expected a finite number, got 1e-5"),
        ("mean: {u: .nan}", r"stats\.yaml: mean: u: expected a finite number, got nan"),
    ],
)
def test_damaged_statistics(dataset: Path, content: str | None, message: str) -> None:
    """1e-5 without a dot is a string in YAML: the reader says so instead of failing later."""
    if content is None:
        (dataset / "stats.yaml").unlink()
    else:
        (dataset / "stats.yaml").write_text(content)
    with pytest.raises(DatasetError, match=message):
        sharded_info(dataset)


def test_exchanged_statistics(dataset: Path) -> None:
    """Well-formed, but not the statistics of this dataset."""
    text = (dataset / "stats.yaml").read_text()
    (dataset / "stats.yaml").write_text(text.replace("c: 1.", "c: 2.", 1))
    with pytest.raises(DatasetError, match=r"stats\.yaml: SHA-256 differs from the manifest"):
        sharded_info(dataset)


def test_errors_travel_between_processes() -> None:
    error = DatasetError("a.hdf5", "shape", (1, 2), (2, 1), "look again")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) == "a.hdf5: shape: expected (1, 2), got (2, 1); look again"
