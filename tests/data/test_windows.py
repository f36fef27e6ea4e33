"""Windows and trajectories: right values, right shapes, readable refusals, any number of processes."""

import json
import os
import pickle
from pathlib import Path

import h5py
import pytest
import torch
from torch.utils.data import DataLoader

from slimwave.data import handles
from slimwave.data.reading import sharded_info
from slimwave.data.shards import DatasetError
from slimwave.data.symmetries import Symmetry
from slimwave.data.windows import WaveWindows, load_trajectories


def test_info_says_what_the_dataset_holds(pristine: Path) -> None:
    info = sharded_info(pristine)
    assert info.grid == (24, 18)
    assert info.spacing == pytest.approx((1.0 / 23, 0.8 / 17))
    assert info.macro_step == 0.02
    assert (info.splits["train"].trajectories, info.splits["train"].snapshots) == (5, 9)
    assert 1.0 < info.max_speed <= 2.0
    assert info.config.seed == 5
    assert info.stats["rms"]["v"] > info.stats["rms"]["u"] > 0


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize(
    ("horizon", "history", "stride", "every"),
    [(1, 1, 1, 1), (3, 1, 1, 2), (2, 1, 3, 1), (2, 3, 1, 1), (1, 2, 2, 3)],
)
def test_every_window_is_a_cut_of_its_trajectory(
    pristine: Path, horizon: int, history: int, stride: int, every: int, in_memory: bool
) -> None:
    windows = WaveWindows(
        pristine, "train", horizon=horizon, history=history, stride=stride, every=every, in_memory=in_memory
    )
    data = load_trajectories(pristine, "train")
    starts = range(0, 9 - (history + horizon - 1) * stride, every)
    assert len(windows) == 5 * len(starts)
    for index in range(len(windows)):
        row, place = divmod(index, len(starts))
        states = torch.stack([data.u[row], data.v[row]], dim=1)[starts[place] :: stride]
        window = windows[index]
        assert window.keys() == {"state", "targets", "wave_speed", "walls"} | (
            {"past"} if history > 1 else set()
        )
        if history > 1:
            assert torch.equal(window["past"], states[: history - 1])
        assert torch.equal(window["state"], states[history - 1])
        assert torch.equal(window["targets"], states[history : history + horizon])
        assert window["targets"].shape == (horizon, 2, 24, 18)
        assert torch.equal(window["wave_speed"], data.c[row][None])
        assert torch.equal(window["walls"], data.walls[row])
        assert {value.dtype for value in window.values()} == {torch.float32}


@pytest.mark.parametrize("kind", ["std", "rms"])
def test_normalised_over_the_whole_split(pristine: Path, kind: str) -> None:
    """Mean 0 and deviation 1, or mean square 1, of every field; and back."""
    windows = WaveWindows(pristine, "train", horizon=8, normalise=kind)  # type: ignore[arg-type]
    plain = WaveWindows(pristine, "train", horizon=8)
    states = torch.stack([torch.cat([w["state"][None], w["targets"]]) for w in windows]).double()
    speeds = torch.stack([w["wave_speed"] for w in windows]).double()
    for values in (states[:, :, 0], states[:, :, 1], speeds):
        if kind == "std":
            assert abs(float(values.mean())) < 1e-5
            assert float(values.std(correction=0)) == pytest.approx(1, abs=1e-5)
        else:
            assert float(values.square().mean().sqrt()) == pytest.approx(1, abs=1e-5)
    assert windows.normaliser is not None
    torch.testing.assert_close(windows.normaliser.restore(windows[2]["targets"]), plain[2]["targets"])
    assert torch.equal(windows[2]["walls"], plain[2]["walls"])


def test_symmetries_are_applied_in_physical_units(pristine: Path) -> None:
    """The mean is not zero: a change of sign or of time's direction after the shift would be no symmetry."""
    symmetry = Symmetry(negate=True, reverse_time=True)
    moved = WaveWindows(
        pristine, "train", normalise="std", transform=lambda window, _: symmetry.apply(window)
    )
    plain = WaveWindows(pristine, "train")[7]
    assert moved.normaliser is not None
    assert float(moved.normaliser.state_shift.abs().max()) > 1e-3
    torch.testing.assert_close(
        moved.normaliser.restore(moved[7]["state"]),
        plain["targets"][0] * torch.tensor([-1.0, 1.0])[:, None, None],
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_window_is_the_callers_own(pristine: Path, in_memory: bool) -> None:
    windows = WaveWindows(pristine, "train", in_memory=in_memory)
    before = {name: values.clone() for name, values in windows[3].items()}
    for values in windows[3].values():
        values.zero_()
    assert all(torch.equal(windows[3][name], values) for name, values in before.items())


def test_file_cut_short_while_open(dataset: Path) -> None:
    """An error, where a memory map would end the process."""
    windows = WaveWindows(dataset, "train")
    windows[0]
    os.truncate(dataset / "data/train/wave2d_train_00000.hdf5", 4000)
    with pytest.raises(
        DatasetError, match=r"wave2d_train_00000\.hdf5: file was cut short while it was being"
    ):
        windows[7]


def test_compressed_fields_are_refused(dataset: Path) -> None:
    """What is listed is contiguous: a shard rewritten by another tool is not read as if it were."""
    path = dataset / "data/train/wave2d_train_00000.hdf5"
    with h5py.File(path, "r+") as file:
        values = file["t0_fields/u"][()]
        del file["t0_fields/u"]
        file.create_dataset("t0_fields/u", data=values, chunks=(1, 1, 24, 18), compression="gzip")
    content = json.loads((dataset / "manifest.json").read_text())
    next(entry for entry in content["shards"] if entry["split"] == "train")["size"] = path.stat().st_size
    (dataset / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(
        DatasetError, match="storage of /t0_fields/u: expected contiguous little-endian float32"
    ):
        WaveWindows(dataset, "train")[0]


def test_windows_end_where_they_should(pristine: Path) -> None:
    windows = WaveWindows(pristine, "train")
    assert torch.equal(windows[-1]["state"], windows[len(windows) - 1]["state"])
    for index in (len(windows), -len(windows) - 1):
        with pytest.raises(IndexError, match="expected an index below 40"):
            windows[index]


def test_whole_trajectories(pristine: Path) -> None:
    data = load_trajectories(pristine, "train")
    assert data.u.shape == data.v.shape == (5, 9, 24, 18)
    assert data.c.shape == (5, 24, 18)
    assert data.walls.shape == (5, 4)
    assert data.energy.shape == (5, 9)
    torch.testing.assert_close(data.times, 0.02 * torch.arange(9, dtype=torch.float64))
    assert (float(data.x[-1]), float(data.y[-1])) == (1.0, 0.8)
    assert float(data.v[:, 0].abs().max()) == 0.0


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 50])
def test_first_trajectories_and_snapshots(pristine: Path, limit: int) -> None:
    whole, part = load_trajectories(pristine, "train"), load_trajectories(pristine, "train", limit, 4)
    count = min(limit, 5)
    for name in ("u", "v", "energy"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[:count, :4])
    assert torch.equal(part.c, whole.c[:count])
    assert len(part.times) == 4


def test_more_snapshots_than_exist(pristine: Path) -> None:
    message = (
        r"expected at least 11 snapshots in split 'train', got 9; "
        r"ask for less or generate with --splits\.train\.snapshots 11"
    )
    with pytest.raises(ValueError, match=message):
        WaveWindows(pristine, "train", horizon=5, stride=2)
    with pytest.raises(ValueError, match=message):
        load_trajectories(pristine, "train", snapshots=11)


def test_nonsense_is_refused(pristine: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown split 'tests'; choose one of train, valid, test, ood"):
        WaveWindows(pristine, "tests")
    with pytest.raises(ValueError, match=r"has no split 'ood_long', only train, valid, test, ood; choose"):
        WaveWindows(pristine, "ood_long")
    with pytest.raises(ValueError, match="horizon: expected at least 1, got 0"):
        WaveWindows(pristine, "train", horizon=0)
    with pytest.raises(ValueError, match="every: expected at least 1, got -1"):
        WaveWindows(pristine, "train", every=-1)
    with pytest.raises(ValueError, match=r"normalise: expected 'std', 'rms' or None, got 'z'"):
        WaveWindows(pristine, "train", normalise="z")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="limit and snapshots: expected at least 1, got 0"):
        load_trajectories(pristine, "train", limit=0)
    with pytest.raises(FileNotFoundError, match=r"no dataset at .*: expected manifest\.json"):
        WaveWindows(tmp_path / "nowhere", "train")


def test_few_files_stay_open(pristine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handles, "MOST_OPEN", 1)
    windows = WaveWindows(pristine, "train")
    whole = WaveWindows(pristine, "train", in_memory=True)
    for index in (0, len(windows) - 1, 1):
        assert torch.equal(windows[index]["state"], whole[index]["state"])
    assert len(windows.source.handles.items) == 1


def test_a_pickled_copy_opens_its_own_files(pristine: Path) -> None:
    windows = WaveWindows(pristine, "train")
    windows[0]
    copy = pickle.loads(pickle.dumps(windows))
    assert not copy.source.handles.items
    assert torch.equal(copy[3]["state"], windows[3]["state"])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_batches_from_worker_processes(pristine: Path) -> None:
    """Forked workers must not share the file handles that the parent has opened."""
    windows = WaveWindows(pristine, "train", horizon=2)
    windows[0]
    here = [batch["targets"] for batch in DataLoader(windows, batch_size=4)]
    there = [
        batch["targets"]
        for batch in DataLoader(windows, batch_size=4, num_workers=2, multiprocessing_context="fork")
    ]
    assert torch.equal(torch.cat(here), torch.cat(there))
