"""Own data: trajectories of another solver become a dataset that trains, checks and opens like any other."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from the_well.data import WellDataset

from slimwave.cli import main
from slimwave.data.checking import check_dataset
from slimwave.data.generation import generate
from slimwave.data.own_data import OwnTrajectory, write_dataset
from slimwave.data.reading import sharded_info
from slimwave.data.run_folders import RunFolderError
from slimwave.data.scenarios import GenerateConfig
from slimwave.data.shards import DatasetError
from slimwave.data.windows import WaveWindows, load_trajectories
from slimwave.surrogates.competitors import CoarseSolver

NX, NY, STEP = 21, 15, 0.05
SIDES = {"width": 1.0, "height": 0.7}


def standing_wave(number: int, snapshots: int = 6) -> OwnTrajectory:
    """Return u = sin(mπx) sin(πy/0.7) cos(ωt) in c = 1.2, by its formula."""
    x, y = np.linspace(0, 1, NX)[:, None], np.linspace(0, 0.7, NY)
    shape = np.sin(number * np.pi * x) * np.sin(np.pi * y / 0.7)
    omega = 1.2 * np.pi * np.hypot(number, 1 / 0.7)
    t = STEP * np.arange(snapshots)[:, None, None]
    return OwnTrajectory(
        np.cos(omega * t) * shape,
        -omega * np.sin(omega * t) * shape,
        np.full((NX, NY), 1.2),
        parameters={"m": number},
    )


def splits() -> dict[Any, Any]:
    return {
        "train": [standing_wave(m) for m in (1, 2, 3)],
        "valid": [standing_wave(4)],
        "test": [standing_wave(5, 9)],
        "ood": [standing_wave(6)],
    }


def test_own_data_is_a_dataset(tmp_path: Path) -> None:
    info = write_dataset(tmp_path, splits(), macro_step=STEP, trajectories_per_shard=2, **SIDES)
    assert (info.grid, info.macro_step, info.manifest.origin) == ((NX, NY), STEP, "given")
    assert check_dataset(tmp_path).problems == ()
    data = load_trajectories(tmp_path, "train")
    for row, m in enumerate((1, 2, 3)):
        np.testing.assert_array_equal(data.u[row], standing_wave(m).u.astype(np.float32))
    assert len(WaveWindows(tmp_path, "test", horizon=2)) == 7
    sample = WellDataset(path=str(tmp_path), well_split_name="test", full_trajectory_mode=True)[0]
    assert torch.equal(sample["output_fields"][..., 0], load_trajectories(tmp_path, "test").u[0, 1:])


def test_a_surrogate_trains_on_it_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(tmp_path / "data", splits(), macro_step=STEP, **SIDES)
    arguments = f"train --data {tmp_path}/data --output {tmp_path}/model --fit.steps 2 --fit.batch_size 2 "
    arguments += "--fit.unroll 2 --network.width 4 --network.depth 1 --validation.steps 4 --device cpu"
    assert main(arguments.split()) == 0, capsys.readouterr().err
    arguments = f"compare --data {tmp_path}/data --output {tmp_path}/compare --latency_steps 2 "
    arguments += "--coarse_elements [] --models"
    assert main([*arguments.split(), f"{{small: {tmp_path}/model}}"]) == 0, capsys.readouterr().err


def test_damping_and_absorbing_sides(tmp_path: Path) -> None:
    """Both are kept as given; what a trajectory does not say of damping is none."""
    given = splits()
    gamma = np.linspace(0, 2, NX * NY).reshape(NX, NY)
    sides = {"left": "absorbing", "right": "neumann", "bottom": "dirichlet", "top": "dirichlet"}
    given["train"][0] = replace(given["train"][0], damping=gamma, walls=sides)
    given["test"][0] = replace(given["test"][0], damping=0.5)
    info = write_dataset(tmp_path, given, macro_step=STEP, **SIDES)
    assert (info.damped, info.absorbing, info.driven) == (True, True, False)
    assert check_dataset(tmp_path).problems == ()
    data = load_trajectories(tmp_path, "train")
    assert data.damping is not None
    np.testing.assert_array_equal(data.damping[0], gamma.astype(np.float32))
    assert float(data.damping[1:].abs().max()) == 0
    assert data.walls.tolist() == [[0, 1, -1, -1], [-1, -1, -1, -1], [-1, -1, -1, -1]]
    assert float(WaveWindows(tmp_path, "test")[0]["damping"].mean()) == 0.5
    config = info.config
    assert (config.walls.left, config.walls.bottom) == ("random", "dirichlet")
    assert config.walls.random_from == ("absorbing", "dirichlet", "neumann")


def test_lossy_data_passes_the_check(tmp_path: Path) -> None:
    """Another solver may damp its waves; a dataset generated here may not."""
    given = splits()
    decay = np.exp(-0.1 * np.arange(6))[:, None, None]
    given["train"] = [replace(one, u=one.u * decay, v=one.v * decay) for one in given["train"]]
    write_dataset(tmp_path, given, macro_step=STEP, **SIDES)
    assert check_dataset(tmp_path).ok


def test_the_folder_is_kept(tmp_path: Path, small_config: GenerateConfig) -> None:
    write_dataset(tmp_path, splits(), macro_step=STEP, **SIDES)
    with pytest.raises(RunFolderError, match="already holds a run of 'import'"):
        write_dataset(tmp_path, splits(), macro_step=STEP, **SIDES)
    with pytest.raises(RunFolderError, match="holds a run of 'import', not of 'generate'"):
        generate(replace(small_config, output=tmp_path))
    assert write_dataset(tmp_path, splits(), macro_step=0.1, overwrite=True, **SIDES).macro_step == 0.1


def test_origin_is_checked(tmp_path: Path) -> None:
    write_dataset(tmp_path, splits(), macro_step=STEP, **SIDES)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"given"', '"taken"'))
    with pytest.raises(DatasetError, match="origin: expected generated or given, got taken"):
        sharded_info(tmp_path)


def test_its_scenarios_are_not_solved_again(tmp_path: Path) -> None:
    """A comparison with coarser finite elements would draw scenarios that this data never had."""
    info = write_dataset(tmp_path, splits(), macro_step=STEP, **SIDES)
    with pytest.raises(ValueError, match=r"--coarse_elements: .* was not generated by slimwave"):
        CoarseSolver(info, 4)


def damaged(split: str, **changes: Any) -> Callable[[dict[Any, Any]], None]:
    def change(given: dict[Any, Any]) -> None:
        given[split][0] = replace(given[split][0], **changes)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: given.pop("valid"), "splits: expected trajectories for each of .* none for valid"),
        (damaged("train", u=np.zeros((3, 3))), r"train 0: expected u of shape \(T, nx, ny\), got \(3, 3\)"),
        (
            damaged("ood", v=np.zeros((6, NY, NX))),
            r"ood 0: v: expected shape \(6, 21, 15\), got \(6, 15, 21\)",
        ),
        (
            damaged("test", u=np.full((9, NX, NY), np.nan)),
            "test 0: u: expected finite real numbers, got type float64",
        ),
        (damaged("valid", c=np.full((NX, NY), "c")), "valid 0: c"),
        (damaged("train", c=np.zeros((NX, NY))), "min_speed"),
        (
            damaged("train", walls="periodic"),
            r"train 0: walls: .* unknown condition 'periodic'; choose one of",
        ),
        (damaged("test", damping=-1.0), "test 0: damping: expected values of at least 0, got -1"),
        (damaged("test", damping=np.ones((NY, NX))), r"test 0: damping: expected shape \(21, 15\)"),
    ],
)
def test_bad_arrays_are_named(tmp_path: Path, change: Callable[[dict[Any, Any]], None], message: str) -> None:
    given = splits()
    change(given)
    with pytest.raises(ValueError, match=message):
        write_dataset(tmp_path, given, macro_step=STEP, **SIDES)
    assert not (tmp_path / "manifest.json").exists()
