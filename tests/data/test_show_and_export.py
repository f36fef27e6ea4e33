"""``slimwave show`` and ``slimwave export``: what is drawn and copied is what was solved."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from slimwave.cli import main
from slimwave.data.checking import check_dataset
from slimwave.data.pdebench import export_pdebench
from slimwave.data.reading import sharded_info
from slimwave.data.scenarios import REQUIRED_SPLITS
from slimwave.data.windows import load_trajectories
from slimwave.dataset_pictures import contact_sheet, draw_shown


@pytest.mark.parametrize("split", REQUIRED_SPLITS)
def test_pdebench_holds_what_was_solved(pristine: Path, tmp_path: Path, split: str) -> None:
    """Read as PDEBench's loaders do: sorted groups, ``data`` as (T, X, Y, C), the grid beside it."""
    files = export_pdebench(pristine, tmp_path)
    assert [path.name for path in files] == [f"wave2d_{name}.h5" for name in REQUIRED_SPLITS]
    data = load_trajectories(pristine, split)
    with h5py.File(tmp_path / f"wave2d_{split}.h5") as file:
        assert sorted(file) == [f"{i:04d}" for i in range(len(data.u))]
        for i, name in enumerate(sorted(file)):
            values = file[name]["data"][()]
            assert values.shape == (data.u.shape[1], 24, 18, 3)
            assert values.dtype == np.float32
            np.testing.assert_array_equal(values[..., 0], data.u[i])
            np.testing.assert_array_equal(values[..., 1], data.v[i])
            np.testing.assert_array_equal(values[-1, ..., 2], data.c[i])
            for axis, expected in (("t", data.times), ("x", data.x), ("y", data.y)):
                np.testing.assert_allclose(file[name]["grid"][axis], expected, atol=1e-6)
            assert list(file[name].attrs["channels"]) == ["u", "v", "c"]
            np.testing.assert_array_equal(file[name].attrs["walls"], data.walls[i])


def test_export_refusals(pristine: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--seed: .* was generated from seed 5, expected 6"):
        export_pdebench(pristine, tmp_path / "p", seed=6)
    with pytest.raises(FileNotFoundError, match="no dataset at"):
        export_pdebench(tmp_path, tmp_path / "p")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="cannot write into the output folder"):
        export_pdebench(pristine, tmp_path / "file")


FULL = """
import resource, signal, sys
from slimwave.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
sys.exit(main(["export", sys.argv[1], "--output", sys.argv[2]]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_full_disk_leaves_no_part_of_an_export(pristine: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(pristine), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    (message,) = done.stderr.splitlines()
    assert message.startswith("slimwave: ")
    assert "File too large" in message
    assert not list(tmp_path.iterdir())


def test_export_command(pristine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["export", str(pristine), "--output", str(tmp_path / "p"), "--format", "pdebench", "--json"])
        == 0
    )
    files = json.loads(capsys.readouterr().out)["files"]
    assert [Path(name).is_file() for name in files] == [True] * 4
    assert main(["export", str(pristine), "--format", "plaid"]) == 2
    assert "pdebench" in capsys.readouterr().err


def test_show_command(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The pictures lie beside the data and do not disturb it."""
    assert main(["show", str(dataset), "--trajectories", "1", "--snapshots", "3", "--json"]) == 0
    pictures = json.loads(capsys.readouterr().out)
    with Image.open(pictures["contact_sheet"]) as sheet, Image.open(pictures["animation"]) as animation:
        assert sheet.format == "PNG"
        assert (animation.format, animation.n_frames) == ("GIF", 9)
    assert check_dataset(dataset).ok
    assert main(["show", str(dataset), "--snapshots", "0"]) == 2
    assert "--snapshots: expected a value of at least 1, got 0" in capsys.readouterr().err


def test_contact_sheet_shows_the_trajectories(pristine: Path) -> None:
    info = sharded_info(pristine)
    data = load_trajectories(pristine, "train")
    shown = draw_shown(info, "train", 99, seed=0)
    assert [one.name for one in shown] == [f"train {i}" for i in range(5)]
    for i, one in enumerate(shown):
        np.testing.assert_array_equal(one.u, data.u[i])
    figure = contact_sheet(shown[:2], info, snapshots=3)
    images = [axis.images[0] for axis in figure.axes]
    assert len(images) == 2 * 4
    np.testing.assert_array_equal(images[4].get_array(), data.c[1].T)
    np.testing.assert_array_equal(images[7].get_array(), data.u[1, -1].T)
    assert images[7].get_extent() == [0, 1.0, 0, 0.8]


def test_draw_depends_on_the_seed(pristine: Path) -> None:
    info = sharded_info(pristine)
    names = [[one.name for one in draw_shown(info, "train", 2, seed)] for seed in (0, 0, 1, 2, 3)]
    assert names[0] == names[1]
    assert len({tuple(pair) for pair in names}) > 1
