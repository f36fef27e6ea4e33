"""Damped, driven and absorbed waves from generation to every reader: the same values, the right refusals."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from the_well.data import WellDataset
from the_well.data.normalization import ZScoreNormalization

from slimwave.data.checking import check_dataset
from slimwave.data.generation import generate
from slimwave.data.pdebench import export_pdebench
from slimwave.data.reading import sharded_info
from slimwave.data.scenarios import (
    DampingConfig,
    GenerateConfig,
    PulseConfig,
    SourceConfig,
    WallConfig,
    draw_scenario,
)
from slimwave.data.shards import DatasetError
from slimwave.data.solving import solve_scenario
from slimwave.data.source_terms import SourceTerm
from slimwave.data.symmetries import RandomSymmetry
from slimwave.data.windows import WaveWindows, load_trajectories
from slimwave.fem.forcing import DistributedSource
from slimwave.fem.meshes import rectangle
from slimwave.fem.signals import Ricker
from slimwave.fem.solver import WaveSolver

WALL, OPEN = 0, 1
TRAIN = "data/train/wave2d_train_00000.hdf5"


@pytest.fixture(scope="module")
def config(small_config: GenerateConfig) -> GenerateConfig:
    """Every family of damping and source; left always absorbs, the right side in some trajectories."""
    return replace(
        small_config,
        seed=7,
        damping=DampingConfig(kinds=("none", "uniform", "random", "sponge")),
        sources=SourceConfig(
            count=(0, 2),
            signals=("ricker", "gaussian_derivative", "tone_burst"),
            width=(0.08, 0.1),
            frequency=(8.0, 12.0),
            onset=(0.0, 0.02),
            cycles=(1, 2),
        ),
        walls=WallConfig(
            "absorbing", "random", "neumann", "dirichlet", random_from=("neumann", "absorbing", "dirichlet")
        ),
    )


@pytest.fixture(scope="module")
def driven(config: GenerateConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the dataset, for reading only."""
    root = tmp_path_factory.mktemp("driven") / "data"
    generate(replace(config, output=root))
    return root


def scenarios(config: GenerateConfig, split: str) -> list[tuple[object, object]]:
    """Return the scenarios of a split, each with a solution of its own."""
    snapshots = config.split(split).snapshots  # type: ignore[arg-type]
    drawn = [draw_scenario(config, split, i) for i in range(config.split(split).trajectories)]  # type: ignore[arg-type]
    return [(one, solve_scenario(one, config, snapshots=snapshots)) for one in drawn]


def test_check_finds_nothing(driven: Path) -> None:
    assert check_dataset(driven).problems == ()
    info = sharded_info(driven)
    assert (info.damped, info.driven, info.absorbing) == (True, True, True)


def test_an_undriven_dataset_says_so(pristine: Path) -> None:
    info = sharded_info(pristine)
    assert (info.damped, info.driven, info.absorbing) == (False, False, False)


def test_the_wells_loader_reads_what_was_solved(driven: Path, config: GenerateConfig) -> None:
    """Fields, damping, the strength of each source at every snapshot, its place, and its width."""
    well = WellDataset(path=str(driven), well_split_name="test", full_trajectory_mode=True)
    assert well.metadata.constant_field_names[0] == ["c", "gamma"]
    assert well.metadata.scalar_names == ["source0", "source1"]
    names = well.metadata.constant_scalar_names
    assert names == [f"source{k}_{part}" for k in (0, 1) for part in ("x", "y", "width")]
    for sample, (scenario, solved) in zip(well, scenarios(config, "test"), strict=True):
        fields = torch.cat([sample["input_fields"], sample["output_fields"]]).numpy()
        np.testing.assert_array_equal(fields[..., 0], solved.u)
        np.testing.assert_array_equal(fields[..., 1], solved.v)
        np.testing.assert_array_equal(sample["constant_fields"][..., 0], solved.c)
        np.testing.assert_array_equal(sample["constant_fields"][..., 1], solved.damping)
        strengths = torch.cat([sample["input_scalars"], sample["output_scalars"]]).numpy()
        constants = dict(zip(names, sample["constant_scalars"].tolist(), strict=True))
        times = config.time.step * np.arange(len(strengths))
        for k, source in enumerate(scenario.sources):
            np.testing.assert_allclose(strengths[:, k], source.strengths(times), rtol=1e-5, atol=1e-6)
            assert (constants[f"source{k}_x"], constants[f"source{k}_y"]) == pytest.approx(source.place)
            assert constants[f"source{k}_width"] == pytest.approx(source.width)
        assert np.abs(strengths[:, len(scenario.sources) :]).max(initial=0) == 0


def test_the_wells_sides_are_open_where_a_side_absorbs(driven: Path) -> None:
    """One condition per side and file: left absorbs in all trajectories, right in some of some shards."""
    well = WellDataset(path=str(driven), well_split_name="train", full_trajectory_mode=True)
    walls = load_trajectories(driven, "train").walls
    assert well.metadata.boundary_condition_types.count("OPEN") == 1
    for index in range(len(well)):
        shard = walls[index // 2 * 2 : index // 2 * 2 + 2]
        expected = torch.where((shard == 0).any(dim=0), OPEN, WALL).reshape(2, 2)
        assert torch.equal(well[index]["boundary_conditions"], expected.float())
    assert {0.0, 1.0, -1.0} >= set(walls[:, 1].tolist()) > {0.0}


@pytest.mark.parametrize("shard", ["train/wave2d_train_00000", "test/wave2d_test_00001"])
def test_the_rules_of_the_wells_format_checker(driven: Path, shard: str) -> None:
    """What its ``check_thewell_formatting.py`` asks: names are str, flags bool, ranks as the flags say."""
    with h5py.File(driven / f"data/{shard}.hdf5") as file:
        rows, axes = file.attrs["n_trajectories"], file["dimensions"].attrs["spatial_dims"]
        assert isinstance(file.attrs["dataset_name"], str)
        assert isinstance(file.attrs["grid_type"], str)
        sizes = [file["dimensions"][name].shape[-1] for name in axes]
        described = [*(file["dimensions"][name] for name in ("time", *axes)), *file["scalars"].values()]
        described += [*file["t0_fields"].values(), *file["boundary_conditions"].values()]
        for item in described:
            for flag in ("sample_varying", "time_varying"):
                assert isinstance(item.attrs[flag], np.bool_), (item.name, flag)
        for group in ("scalars", "t0_fields", "t1_fields", "t2_fields"):
            names = file[group].attrs["field_names"]
            assert sorted(names) == sorted(file[group])
            assert all(isinstance(name, str) for name in names)
            for data in file[group].values():
                leading = [rows] * bool(data.attrs["sample_varying"])
                leading += [len(file["dimensions/time"])] * bool(data.attrs["time_varying"])
                assert list(data.shape) == leading + (sizes if group == "t0_fields" else [])
        assert {f"{name}" for name in file["boundary_conditions"]} > {"x_open", "y_wall"} or shard > "train"
        for side in file["boundary_conditions"].values():
            assert side["mask"].shape == (file["dimensions"][side.attrs["associated_dims"][0]].shape[-1],)
            assert side.attrs["bc_type"] in ("WALL", "OPEN")


def test_normalised_by_our_statistics(driven: Path) -> None:
    well = WellDataset(
        path=str(driven),
        well_split_name="train",
        full_trajectory_mode=True,
        use_normalization=True,
        normalization_type=ZScoreNormalization,
    )
    gamma = torch.stack([sample["constant_fields"][..., 1] for sample in well])
    assert abs(float(gamma.mean())) < 1e-5
    assert float(gamma.std(correction=0)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("in_memory", [True, False])
def test_windows_and_trajectories(driven: Path, config: GenerateConfig, in_memory: bool) -> None:
    data = load_trajectories(driven, "valid")
    windows = WaveWindows(driven, "valid", horizon=12, in_memory=in_memory)
    assert data.damping is not None
    for index, (scenario, solved) in enumerate(scenarios(config, "valid")):
        np.testing.assert_array_equal(data.damping[index], solved.damping)
        np.testing.assert_array_equal(data.u[index], solved.u)
        assert data.walls[index].tolist() == list(scenario.wall_signs)
        window = windows[index]
        assert torch.equal(window["damping"], data.damping[index][None])
        assert torch.equal(window["walls"], data.walls[index])
        assert torch.equal(window["targets"][:, 0], data.u[index, 1:])


def test_normalised_windows(driven: Path) -> None:
    stats = sharded_info(driven).stats
    plain = WaveWindows(driven, "train")[0]["damping"]
    for kind, expected in (
        ("std", (plain - stats["mean"]["gamma"]) / stats["std"]["gamma"]),
        ("rms", plain / stats["rms"]["gamma"]),
    ):
        window = WaveWindows(driven, "train", normalise=kind)[0]  # type: ignore[arg-type]
        torch.testing.assert_close(window["damping"], expected)


def test_the_parameters_rebuild_what_was_solved(driven: Path, config: GenerateConfig) -> None:
    """The documented formula alone, written out here, gives the stored field again."""
    with h5py.File(driven / TRAIN) as file:
        for row in range(2):
            parameters = json.loads(file["slimwave/parameters"].asstr()[row])
            sources = []
            for plain in parameters.get("sources", []):
                term = SourceTerm.from_plain(plain)
                (x0, y0), sigma = plain["place"], plain["width"]
                peak = plain["amplitude"] / (2 * math.pi * sigma**2)
                x, y = np.meshgrid(np.linspace(0.3, 0.7, 9), np.linspace(0.3, 0.5, 9), indexing="ij")
                formula = peak * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * sigma**2))
                near = np.hypot(x - x0, y - y0) < sigma  # where images do not matter
                np.testing.assert_allclose(term.shape(x, y)[near], formula[near], rtol=0.1)
                sources.append(term.for_solver())
            scenario = draw_scenario(config, "train", row)
            wave = WaveSolver(
                rectangle(1.0, 0.8, (8, 6)),
                wave_speed=scenario.wave_speed,
                damping=scenario.damping or 0.0,
                boundaries=parameters["walls"],
                order=4,
            )
            times = config.time.step * np.arange(9)
            solution = wave.run(scenario.u0, times=times, grid=(24, 18), sources=sources)
            scale = np.abs(solution.u).max()
            np.testing.assert_allclose(file["t0_fields/u"][row], solution.u, atol=1e-4 * scale)


def test_a_ricker_source_alone_gives_the_solvers_own_solution() -> None:
    """A field that begins at rest, against a call of the solver with the source written by hand."""
    config = GenerateConfig(
        seed=3,
        pulses=PulseConfig(count=(0, 0)),
        sources=SourceConfig(count=(1, 1), width=(0.06, 0.08), frequency=(6.0, 8.0)),
        walls=WallConfig(*4 * ["neumann"]),  # type: ignore[arg-type]
    )
    scenario = draw_scenario(config, "train", 0)
    (source,) = scenario.sources
    solved = solve_scenario(scenario, config, snapshots=16, elements=(10, 10))
    peak = source.amplitude / (2 * math.pi * source.width**2)

    def shape(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        images = [
            np.exp(-(((x - sx) ** 2 + (y - sy) ** 2) / (2 * source.width**2)))
            for sx in (source.place[0], -source.place[0], 2 - source.place[0])
            for sy in (source.place[1], -source.place[1], 2 - source.place[1])
        ]
        return peak * sum(images)

    signal = Ricker(source.frequency, source.onset + 1.5 / source.frequency)
    wave = WaveSolver(
        rectangle(elements=(10, 10)), wave_speed=scenario.wave_speed, boundaries="neumann", order=5
    )
    solution = wave.run(times=0.02 * np.arange(16), grid=(64, 64), sources=[DistributedSource(shape, signal)])
    np.testing.assert_allclose(solved.u, solution.u, atol=1e-4 * np.abs(solution.u).max())
    assert solved.energy[0] == 0 < solved.energy[-1]


def test_pdebench_carries_damping_and_sources(driven: Path, config: GenerateConfig, tmp_path: Path) -> None:
    export_pdebench(driven, tmp_path)
    with h5py.File(tmp_path / "wave2d_test.h5") as file:
        for index, (_, solved) in enumerate(scenarios(config, "test")):
            group = file[f"{index:04d}"]
            assert group["data"].shape == (13, 24, 18, 4)
            np.testing.assert_array_equal(group["data"][5, ..., 3], solved.damping)
            assert list(group.attrs["channels"]) == ["u", "v", "c", "gamma"]
            np.testing.assert_array_equal(group.attrs["walls"], solved.walls)
            for name, values in solved.scalars.items():
                np.testing.assert_array_equal(group["sources"][name], values)


def test_symmetries_keep_what_they_may(driven: Path, config: GenerateConfig, tmp_path: Path) -> None:
    """Never backwards in time with losses; not at all with sources, which they do not move."""
    with pytest.raises(ValueError, match="has sources, which RandomSymmetry does not move"):
        WaveWindows(driven, "train", transform=RandomSymmetry(0, square_cells=False))
    root = tmp_path / "damped"
    generate(replace(config, output=root, sources=SourceConfig()))
    plain = WaveWindows(root, "train")
    for seed in range(8):
        moved = WaveWindows(root, "train", transform=RandomSymmetry(seed, square_cells=False))
        window, before = moved[1], plain[1]
        axes = next(
            axes
            for axes in ([], [-1], [-2], [-2, -1])
            if torch.equal(before["damping"].flip(axes), window["damping"])
            and torch.equal(before["wave_speed"].flip(axes), window["wave_speed"])
        )
        signs = [sign for sign in (1, -1) if torch.equal(sign * before["state"].flip(axes), window["state"])]
        assert len(signs) == 1
        assert torch.equal(signs[0] * before["targets"].flip(axes), window["targets"])


@pytest.fixture
def damaged(driven: Path, tmp_path: Path) -> Callable[[Callable[[h5py.File], object]], list[str]]:
    """Return a function that edits a training shard, lets the manifest vouch for it, and checks."""
    root = tmp_path / "damaged"
    shutil.copytree(driven, root)

    def problems(edit: Callable[[h5py.File], object]) -> list[str]:
        with h5py.File(root / TRAIN, "r+") as file:
            edit(file)
        content = json.loads((root / "manifest.json").read_text())
        for entry in content["shards"]:
            if entry["file"] == TRAIN:
                entry["size"] = (root / TRAIN).stat().st_size
                entry["sha256"] = hashlib.sha256((root / TRAIN).read_bytes()).hexdigest()
        (root / "manifest.json").write_text(json.dumps(content))
        return [str(problem) for problem in check_dataset(root).problems]

    return problems


def put(name: str, place: object, value: object) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        file[name][place] = value

    return edit


def put_anew(name: str, values: np.ndarray) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        del file[name]
        file[name] = values

    return edit


def rise(file: h5py.File) -> None:
    """Let the energy grow in a trajectory without sources."""
    assert "sources" not in json.loads(file["slimwave/parameters"].asstr()[1])
    energy = file["slimwave/energy"]
    energy[1, -1] = energy[1, -2] + 0.01 * energy[1].max()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (put("t0_fields/gamma", (0, 3, 3), -0.5), "trajectory 0: damping: expected [0, 2], got [-0.5"),
        (put("t0_fields/gamma", (0, 3, 3), 9.0), "trajectory 0: damping: expected [0, 2], got ["),
        (put("t0_fields/gamma", (0, 3, 3), np.nan), "trajectory 0: values of gamma: expected finite, got 1"),
        (put("scalars/source0", (0, 3), np.inf), "trajectory 0: values of source0: expected finite, got 1"),
        (put("scalars/source0", (1, 3), 7.0), "trajectory 1: source0 differs from the parameters"),
        (put("scalars/source1_x", 1, 0.9), "trajectory 1: source1_x differs from the parameters"),
        (put("slimwave/parameters", 0, "[]"), "trajectory 0: parameters not understood"),
        (put("slimwave/parameters", 0, '{"sources": [{"signal": 1}]}'), "parameters not understood"),
        (rise, "trajectory 1: energy of the solution rises without a source: expected at most 0.1%"),
        (put("slimwave/walls", (0, 0), -1.0), "u on the Dirichlet wall left"),
        (
            lambda file: file["boundary_conditions/x_open"].attrs.__setitem__("bc_type", "ABSORBING"),
            "attribute bc_type of boundary_conditions/x_open: expected 'OPEN', got 'ABSORBING'",
        ),
        (lambda file: file.__delitem__("boundary_conditions/x_open"), "boundary_conditions/x_open"),
        (
            lambda file: file.copy("boundary_conditions/x_open", "boundary_conditions/y_open"),
            "group boundary_conditions/y_open: expected none",
        ),
        (
            lambda file: file["scalars/source0"].attrs.__setitem__("time_varying", False),
            "attribute time_varying of scalars/source0: expected True, got False",
        ),
        (
            lambda file: file["t0_fields"].attrs.__setitem__("field_names", ["u", "v", "c"]),
            "attribute field_names of t0_fields: expected ['u', 'v', 'c', 'gamma']",
        ),
        (
            lambda file: file.__delitem__("t0_fields/gamma"),
            "damping differs from the manifest: expected True",
        ),
        (
            lambda file: file.__delitem__("scalars/source1"),
            "number of sources differs from the manifest: expected 2, got 1",
        ),
        (lambda file: file.__delitem__("scalars/source1_width"), "missing dataset /scalars/source1_width"),
        (
            put_anew("t0_fields/gamma", np.zeros((2, 24, 19), np.float32)),
            "shape of /t0_fields/gamma: expected (2, 24",
        ),
        (
            put_anew("t0_fields/gamma", np.zeros((2, 24, 18), np.int32)),
            "type of /t0_fields/gamma: expected numpy",
        ),
        (
            put_anew("scalars/source0", np.zeros(2, np.float32)),
            "shape of /scalars/source0: expected (2, 9), got (2)",
        ),
        (
            put_anew("scalars/source0_x", np.array([b"a", b"b"])),
            "/scalars/source0_x: type |S1 is not allowed",
        ),
    ],
)
def test_planted_fault_is_named(
    damaged: Callable[[Callable[[h5py.File], object]], list[str]],
    edit: Callable[[h5py.File], object],
    message: str,
) -> None:
    found = damaged(edit)
    assert any(message in problem for problem in found), found


def test_a_shard_with_damping_is_foreign_to_a_dataset_without(
    driven: Path, pristine: Path, tmp_path: Path
) -> None:
    root = tmp_path / "mixed"
    shutil.copytree(pristine, root)
    shutil.copy(driven / TRAIN, root / TRAIN)
    content = json.loads((root / "manifest.json").read_text())
    entry = next(entry for entry in content["shards"] if entry["file"] == TRAIN)
    entry["size"] = (root / TRAIN).stat().st_size
    (root / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="damping differs from the manifest: expected False, got True"):
        load_trajectories(root, "train")


@pytest.mark.parametrize("workers", [2])
def test_the_bytes_do_not_depend_on_workers_or_shards(
    driven: Path, config: GenerateConfig, tmp_path: Path, workers: int
) -> None:
    """The same shards from two processes; the same trajectories from shards of another size."""
    generate(replace(config, output=tmp_path / "two", workers=workers))
    for path in (driven / "data").rglob("*.hdf5"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(driven)).read_bytes()
    generate(replace(config, output=tmp_path / "one", trajectories_per_shard=5))
    ours, theirs = (load_trajectories(root, "train") for root in (driven, tmp_path / "one"))
    assert torch.equal(ours.u, theirs.u)
    assert torch.equal(ours.energy, theirs.energy)
