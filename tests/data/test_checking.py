"""``check_dataset`` finds every planted fault and names it; on a sound dataset it is silent."""

import ast
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from slimwave.data.checking import check_dataset
from slimwave.data.generation import generate
from slimwave.data.scenarios import GenerateConfig

SHARD = "data/test/wave2d_test_00000.hdf5"


def relist(root: Path, shard: str = SHARD) -> None:
    """Let the manifest vouch for a shard as it is now: what remains to be found is inside it."""
    content = json.loads((root / "manifest.json").read_text())
    for entry in content["shards"]:
        if entry["file"] == shard:
            entry["size"] = (root / shard).stat().st_size
            entry["sha256"] = hashlib.sha256((root / shard).read_bytes()).hexdigest()
    (root / "manifest.json").write_text(json.dumps(content))


def problems(root: Path) -> list[str]:
    report = check_dataset(root)
    assert report.ok == (not report.problems)
    return [str(problem) for problem in report.problems]


def test_sound_dataset(pristine: Path) -> None:
    report = check_dataset(pristine)
    assert report.ok
    assert report.problems == ()
    assert (report.shards, report.trajectories, report.seed) == (7, 12, 5)


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no dataset at .*expected manifest\.json in it"):
        check_dataset(tmp_path)


FLIPS = """
import random, shutil, sys
from pathlib import Path
import torch
from slimwave.data.checking import check_dataset
from slimwave.data.windows import WaveWindows, dataset_info, load_trajectories

pristine, root = Path(sys.argv[1]), Path(sys.argv[2])
SPLITS = list(dataset_info(pristine).splits)


def everything(folder, splits):
    stats = dataset_info(folder).stats
    values = [torch.tensor(list(stats[key].values())) for key in sorted(stats)]
    for split in splits:
        values += [one for one in vars(load_trajectories(folder, split)).values() if one is not None]
        values += WaveWindows(folder, split, horizon=3)[4].values()
    return values


true = everything(pristine, SPLITS)
files = sorted(path for path in pristine.rglob("*") if path.suffix in (".hdf5", ".json", ".yaml"))
outcomes = {"found": 0, "refused": 0, "harmless": 0, "read": 0}
for seed in range(200):
    rng = random.Random(seed)
    name = rng.choice(files).relative_to(pristine)
    content = bytearray((pristine / name).read_bytes())
    content[rng.randrange(len(content))] ^= rng.randrange(1, 256)
    (root / name).write_bytes(content)
    try:
        found = not check_dataset(root).ok
    except FileNotFoundError:
        found = True
    outcomes["found"] += found
    try:
        values = everything(root, [name.parent.name] if found and name.suffix == ".hdf5" else SPLITS)
        outcomes["read"] += 1
    except (ValueError, FileNotFoundError):
        outcomes["refused"] += 1
        values = true
    if not found:
        assert all(map(torch.equal, values, true)), f"seed {seed}: {name} is silently wrong"
        outcomes["harmless"] += 1
    shutil.copy(pristine / name, root / name)
print(outcomes)
"""


def test_200_flipped_bytes_are_never_silently_wrong(small_config: GenerateConfig, tmp_path: Path) -> None:
    """Any byte of any file, in a process of its own: what ``check`` accepts gives the true values.

    Files that a run leaves beside the data (versions and times) may change without harm.
    """
    pristine, damaged = tmp_path / "pristine", tmp_path / "damaged"
    generate(replace(small_config, output=pristine, trajectories_per_shard=10))
    shutil.copytree(pristine, damaged)
    command = [sys.executable, "-c", FLIPS, str(pristine), str(damaged)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    outcomes = ast.literal_eval(done.stdout)
    assert outcomes["found"] + outcomes["harmless"] == 200
    assert outcomes["found"] > 120
    assert outcomes["refused"] > 20


def test_all_faults_are_listed_at_once(dataset: Path) -> None:
    (dataset / SHARD).unlink()
    (dataset / "data/train/wave2d_train_00001.hdf5").write_bytes(b"")
    (dataset / "data/train/extra.hdf5").write_bytes(b"extra")
    (dataset / "data/train/.wave2d_train_00009.hdf5.1.part").write_bytes(b"half")
    found = "\n".join(problems(dataset))
    assert f"{SHARD}: missing file" in found
    assert "wave2d_train_00001.hdf5: SHA-256 differs" in found
    assert "extra.hdf5: not in the manifest" in found
    assert "temporary file of a killed run" in found
    assert len(problems(dataset)) == 4


def test_unfinished_dataset(dataset: Path) -> None:
    content = json.loads((dataset / "manifest.json").read_text())
    content["complete"] = False
    (dataset / "manifest.json").write_text(json.dumps(content))
    assert problems(dataset) == [
        f"{dataset}/manifest.json: unfinished dataset: expected complete, got not complete"
    ]


def test_shard_gone_from_the_manifest(dataset: Path) -> None:
    content = json.loads((dataset / "manifest.json").read_text())
    content["shards"].pop()
    (dataset / "manifest.json").write_text(json.dumps(content))
    found = "\n".join(problems(dataset))
    assert "wave2d_valid_00000.hdf5 with 2 trajectories from number 0 is missing from" in found
    assert "wave2d_valid_00000.hdf5: not in the manifest" in found


@pytest.mark.parametrize(
    "content", ["", "{}", '{"format_version": 1, "version": "0", "config": {"seed": "x"}}']
)
def test_damaged_manifest(dataset: Path, content: str) -> None:
    (dataset / "manifest.json").write_text(content)
    (found,) = problems(dataset)
    assert found.startswith(f"{dataset}/manifest.json: ")


def put(name: str, place: object, value: object) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        file[name][place] = value

    return edit


def scale(name: str, factor: float) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        file[name][...] *= factor

    return edit


def attribute(where: str, name: str, value: object) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        file[where].attrs[name] = value

    return edit


def repeat_first(file: h5py.File) -> None:
    for name in ("t0_fields/u", "t0_fields/v", "t0_fields/c", "slimwave/walls", "slimwave/energy"):
        file[name][1] = file[name][0]


def free_walls(file: h5py.File) -> None:
    file["slimwave/walls"][...] = -file["slimwave/walls"][...]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            put("t0_fields/u", (0, 3, 4, 5), np.nan),
            "trajectory 0: values of u: expected finite, got 1 that are",
        ),
        (
            put("t0_fields/v", (1, 2, 4, 5), np.inf),
            "trajectory 1: values of v: expected finite, got 1 that are",
        ),
        (put("t0_fields/c", (1, 4, 5), -1.0), "trajectory 1: wave speed: expected [1, 2], got [-1"),
        (
            put("t0_fields/u", (0, 3, slice(None), -1), 0.1),
            "u on the Dirichlet wall top: expected 0, got up to 0.1",
        ),
        (scale("t0_fields/v", 1.2), "energy on the grid departs from the solution's"),
        (scale("t0_fields/u", 0.8), "energy on the grid departs from the solution's"),
        (scale("t0_fields/c", 0.4), "wave speed: expected [1, 2], got [0."),
        (
            put("t0_fields/c", (0, slice(None), slice(None)), 1.5),
            "least and largest wave speed differ from the manifest: expected (1.",
        ),
        (free_walls, "u on the Dirichlet wall bottom"),
        (put("slimwave/energy", (0, 5), -1.0), "trajectory 0: energy: expected positive, finite, got -1"),
        (
            put("slimwave/energy", (0, 5), 9.0),
            "trajectory 0: energy of the solution changes: expected at most 0.1%",
        ),
        (
            put("slimwave/indices", 0, 1),
            "list of trajectories differs from the manifest: expected (0, 1), got (1, 1)",
        ),
        (put("dimensions/time", 3, 0.5), "/dimensions/time: expected even steps from 0 to 0.24"),
        (put("dimensions/x", -1, 2.0), "/dimensions/x: expected even steps from 0 to 1"),
        (repeat_first, "trajectory 1: the same scenario as trajectory test 0"),
        (attribute("slimwave", "config_hash", "0" * 64), "config_hash differs from the manifest"),
        (
            attribute("slimwave", "split", "train"),
            "split differs from the manifest: expected test, got train",
        ),
        (
            attribute("t0_fields/u", "time_varying", 1),
            "attribute time_varying of t0_fields/u: expected True, got 1",
        ),
        (attribute("boundary_conditions/x_wall", "bc_type", "OPEN"), "expected 'WALL', got 'OPEN'"),
        (
            put("boundary_conditions/y_wall/mask", 0, False),
            "mask of boundary_conditions/y_wall: expected (True, True) at the ends",
        ),
    ],
)
def test_planted_fault_is_named(dataset: Path, edit: Callable[[h5py.File], None], message: str) -> None:
    with h5py.File(dataset / SHARD, "r+") as file:
        edit(file)
    relist(dataset)
    found = problems(dataset)
    assert any(message in problem for problem in found), found
    assert all(problem.startswith(str(dataset / SHARD)) for problem in found)


def test_overlap_of_splits_is_found(dataset: Path) -> None:
    """Every scenario of the test shard turns up in the training split."""
    train = "data/train/wave2d_train_00000.hdf5"
    with h5py.File(dataset / SHARD) as source, h5py.File(dataset / train, "r+") as target:
        for name in ("u", "v"):
            target[f"t0_fields/{name}"][...] = source[f"t0_fields/{name}"][:, :9]
        target["t0_fields/c"][...] = source["t0_fields/c"][...]
        target["slimwave/walls"][...] = source["slimwave/walls"][...]
        target["slimwave/energy"][...] = source["slimwave/energy"][:, :9]
    relist(dataset, train)
    found = [problem for problem in problems(dataset) if "the same scenario as trajectory test" in problem]
    assert len(found) == 2


def test_wrong_statistics(dataset: Path) -> None:
    text = (dataset / "stats.yaml").read_text()
    line = next(line for line in text.splitlines() if line.startswith("  c: "))
    (dataset / "stats.yaml").write_text(text.replace(line, "  c: 1.25", 1))
    assert problems(dataset)[0].startswith(f"{dataset}/stats.yaml: SHA-256 differs from the manifest")
    content = json.loads((dataset / "manifest.json").read_text())
    content["stats_sha256"] = hashlib.sha256((dataset / "stats.yaml").read_bytes()).hexdigest()
    (dataset / "manifest.json").write_text(json.dumps(content))
    (found,) = problems(dataset)
    assert found.startswith(f"{dataset}/stats.yaml: mean of c: expected 1.")
    (dataset / "stats.yaml").unlink()
    assert problems(dataset) == [f"{dataset}/stats.yaml: missing file"]
