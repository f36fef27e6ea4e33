"""The Well's own package reads what was solved, field for field, on a grid that is not square."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from the_well.data import WellDataset
from the_well.data.datasets import DeltaWellDataset
from the_well.data.normalization import RMSNormalization, ZScoreNormalization
from torch.utils.data import DataLoader

from slimwave.data.checking import check_dataset
from slimwave.data.generation import generate
from slimwave.data.reading import sharded_info
from slimwave.data.scenarios import (
    REQUIRED_SPLITS,
    SPLITS,
    GenerateConfig,
    SplitConfig,
    SplitsConfig,
    draw_scenario,
)
from slimwave.data.solving import solve_scenario
from slimwave.data.windows import WaveWindows, load_trajectories

WALL = 0


@pytest.mark.parametrize("split", REQUIRED_SPLITS)
def test_fields_are_those_that_were_solved(pristine: Path, small_config: GenerateConfig, split: str) -> None:
    """Against fresh solutions, bit for bit: u, v, c, the grid and the time steps."""
    config = small_config
    snapshots = config.split(split).snapshots  # type: ignore[arg-type]
    well = WellDataset(path=str(pristine), well_split_name=split, full_trajectory_mode=True)
    assert len(well) == config.split(split).trajectories  # type: ignore[arg-type]
    for index in range(len(well)):
        sample = well[index]
        solved = solve_scenario(
            draw_scenario(config, split, index),  # type: ignore[arg-type]
            config,
            snapshots=snapshots,
        )
        fields = torch.cat([sample["input_fields"], sample["output_fields"]]).numpy()
        assert fields.shape == (snapshots, 24, 18, 2)
        np.testing.assert_array_equal(fields[..., 0], solved.u)
        np.testing.assert_array_equal(fields[..., 1], solved.v)
        np.testing.assert_array_equal(sample["constant_fields"][..., 0], solved.c)
        np.testing.assert_allclose(sample["space_grid"][:, 0, 0], solved.x, atol=1e-7)
        np.testing.assert_allclose(sample["space_grid"][0, :, 1], solved.y, atol=1e-7)
        steps = np.diff(torch.cat([sample["input_time_grid"], sample["output_time_grid"]]))
        np.testing.assert_allclose(steps, config.time.step, rtol=1e-4)


@pytest.fixture(scope="module")
def all_splits(small_config: GenerateConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One trajectory in each split, the optional ones included; the long one is longer."""
    splits = {name: replace(getattr(SplitsConfig(), name), trajectories=1, snapshots=3) for name in SPLITS}
    splits["ood_long"] = SplitConfig(trajectories=1, snapshots=8)
    root = tmp_path_factory.mktemp("all_splits")
    generate(replace(small_config, output=root, splits=SplitsConfig(**splits)))
    return root


@pytest.mark.parametrize("split", SPLITS)
def test_named_splits_open(all_splits: Path, split: str) -> None:
    (sample,) = WellDataset(path=str(all_splits), well_split_name=split, full_trajectory_mode=True)
    ours = load_trajectories(all_splits, split)
    assert len(sample["output_fields"]) == (7 if split == "ood_long" else 2)
    assert torch.equal(sample["output_fields"][..., 0], ours.u[0, 1:])
    assert check_dataset(all_splits).ok


def test_metadata(pristine: Path) -> None:
    metadata = WellDataset(path=str(pristine), well_split_name="train").metadata
    assert metadata.dataset_name == "wave2d"
    assert metadata.spatial_resolution == (24, 18)
    assert metadata.field_names == {0: ["u", "v"], 1: [], 2: []}
    assert metadata.constant_field_names == {0: ["c"], 1: [], 2: []}
    assert metadata.n_trajectories_per_file == [2, 2, 1]
    assert metadata.boundary_condition_types == ["WALL"]


def test_mixed_walls_are_walls_on_all_sides(pristine: Path) -> None:
    """Dirichlet or Neumann, per trajectory: WALL to The Well, told apart in our own group."""
    well = WellDataset(path=str(pristine), well_split_name="train")
    assert all(bool((well[index]["boundary_conditions"] == WALL).all()) for index in range(len(well)))
    walls = load_trajectories(pristine, "train").walls
    assert {tuple(row) for row in walls[:, 2:].tolist()} == {(1.0, -1.0)}
    assert len({tuple(row) for row in walls.tolist()}) > 1


def test_windows_are_the_same_as_ours(pristine: Path) -> None:
    well = WellDataset(path=str(pristine), well_split_name="train", n_steps_output=3)
    ours = WaveWindows(pristine, "train", horizon=3)
    assert len(well) == len(ours)
    for index in range(len(ours)):
        theirs, window = well[index], ours[index]
        assert torch.equal(theirs["input_fields"][0].permute(2, 0, 1), window["state"])
        assert torch.equal(theirs["output_fields"].permute(0, 3, 1, 2), window["targets"])
        assert torch.equal(theirs["constant_fields"].permute(2, 0, 1), window["wave_speed"])


@pytest.mark.parametrize("normalisation", [ZScoreNormalization, RMSNormalization])
def test_normalised_by_our_statistics(pristine: Path, normalisation: type) -> None:
    well = WellDataset(
        path=str(pristine),
        well_split_name="train",
        full_trajectory_mode=True,
        use_normalization=True,
        normalization_type=normalisation,
    )
    samples = [well[index] for index in range(len(well))]
    fields = torch.cat([torch.cat([s["input_fields"], s["output_fields"]]).reshape(-1, 2) for s in samples])
    speeds = torch.cat([s["constant_fields"].reshape(-1) for s in samples])
    if normalisation is ZScoreNormalization:
        torch.testing.assert_close(fields.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
        torch.testing.assert_close(fields.std(0, correction=0), torch.ones(2), atol=1e-5, rtol=0)
        assert abs(float(speeds.std(correction=0)) - 1) < 1e-5
    else:
        torch.testing.assert_close((fields**2).mean(0).sqrt(), torch.ones(2), atol=1e-5, rtol=0)


def test_normalised_change_by_our_statistics(pristine: Path) -> None:
    well = DeltaWellDataset(
        path=str(pristine),
        well_split_name="train",
        use_normalization=True,
        normalization_type=ZScoreNormalization,
    )
    stats = sharded_info(pristine).stats
    data = load_trajectories(pristine, "train")
    change = (data.u[0, 1] - data.u[0, 0] - stats["mean_delta"]["u"]) / stats["std_delta"]["u"]
    torch.testing.assert_close(well[0]["output_fields"][0, ..., 0], change, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_their_loader_with_workers(pristine: Path) -> None:
    well = WellDataset(path=str(pristine), well_split_name="train")
    batches = DataLoader(well, batch_size=7, num_workers=1, multiprocessing_context="fork")
    assert sum(len(batch["input_fields"]) for batch in batches) == len(well)
