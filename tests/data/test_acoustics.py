"""The Well's acoustic layout, written here as its files are, is read as waves of our equation."""

import math
import shlex
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from the_well.data import WellDataset
from torch.utils.data import DataLoader

from slimwave.cli import main
from slimwave.data.info import SplitInfo
from slimwave.data.shards import DatasetError
from slimwave.data.windows import WaveWindows, dataset_info, load_trajectories
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.networks import build_network
from slimwave.surrogates.task import WaveTask

NX, NY, STEPS, STEP, MODULUS = 40, 30, 6, 0.02, 4.0
FILE = "data/train/acoustic_scattering_test_chunk_0.hdf5"


def cosine_mode(density: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return p, w and p_t of p = cos(πx/2) cos(πy) cos(ωt) between walls at x = ±1 and y = ±1, ω = c |k|."""
    x, y = ((np.arange(n) + 0.5) * 2 / n - 1 for n in (NX, NY))
    t = STEP * np.arange(STEPS)[:, None, None]
    kx, ky = math.pi, math.pi  # cos(π(x + 1)) has zero slope at both walls
    omega = math.sqrt(MODULUS / density) * math.hypot(kx, ky)
    x, y = x[:, None] + 1, y[None, :] + 1
    pressure = np.cos(kx * x) * np.cos(ky * y) * np.cos(omega * t)
    along_x = kx / (density * omega) * np.sin(kx * x) * np.cos(ky * y) * np.sin(omega * t)
    along_y = ky / (density * omega) * np.cos(kx * x) * np.sin(ky * y) * np.sin(omega * t)
    rate = -omega * np.cos(kx * x) * np.cos(ky * y) * np.sin(omega * t)
    return pressure, np.stack([along_x, along_y], axis=-1), rate


def put(
    group: h5py.Group, name: str, values: np.ndarray, *, sample: bool, time: bool, field: bool = False
) -> None:
    data = group.create_dataset(name, data=values.astype(np.float32))
    data.attrs["sample_varying"], data.attrs["time_varying"] = sample, time
    if field:
        data.attrs["dim_varying"] = [True, True]


def write(path: Path, densities: list[float]) -> None:
    """One chunk as The Well writes it: reflecting in x, open in y."""
    path.parent.mkdir(parents=True, exist_ok=True)
    modes = [cosine_mode(density) for density in densities]
    with h5py.File(path, "w") as file:
        file.attrs.update({"dataset_name": "acoustic_scattering_test", "grid_type": "cartesian"})
        file.attrs.update({"n_spatial_dims": 2, "n_trajectories": len(densities)})
        file.attrs.create("simulation_parameters", [], shape=(0,), dtype=h5py.string_dtype())
        dimensions = file.create_group("dimensions")
        dimensions.attrs["spatial_dims"] = ["x", "y"]
        put(dimensions, "time", STEP * np.arange(STEPS), sample=False, time=True)
        for axis, n in (("x", NX), ("y", NY)):
            put(dimensions, axis, (np.arange(n) + 0.5) * 2 / n - 1, sample=False, time=False)
        for axis, kind, n in (("x", "WALL", NX), ("y", "OPEN", NY)):
            group = file.create_group(f"boundary_conditions/{axis}_{kind.lower()}")
            group.attrs.update({"associated_dims": [axis], "associated_fields": [], "bc_type": kind})
            group.attrs.update({"sample_varying": False, "time_varying": False})
            group["mask"] = np.isin(np.arange(n), (0, n - 1))
        file.create_group("scalars").attrs.create("field_names", [], shape=(0,), dtype=h5py.string_dtype())
        t0, t1, t2 = (file.create_group(f"t{order}_fields") for order in range(3))
        t0.attrs["field_names"] = ["density", "pressure", "speed_of_sound"]
        t1.attrs["field_names"] = ["velocity"]
        t2.attrs.create("field_names", [], shape=(0,), dtype=h5py.string_dtype())
        constant = np.ones((len(densities), NX, NY)) * np.array(densities)[:, None, None]
        put(t0, "density", constant, sample=True, time=False, field=True)
        put(t0, "speed_of_sound", np.sqrt(MODULUS / constant), sample=True, time=False, field=True)
        put(t0, "pressure", np.stack([mode[0] for mode in modes]), sample=True, time=True, field=True)
        put(t1, "velocity", np.stack([mode[1] for mode in modes]), sample=True, time=True, field=True)


@pytest.fixture
def acoustic(tmp_path: Path) -> Path:
    write(tmp_path / FILE, [1.0, 2.0])
    write(tmp_path / "data/train/acoustic_scattering_test_chunk_1.hdf5", [4.0])
    write(tmp_path / "data/valid/acoustic_scattering_test_chunk_2.hdf5", [3.0])
    write(tmp_path / "data/test/acoustic_scattering_test_chunk_3.hdf5", [1.5, 2.5])
    return tmp_path


@pytest.mark.parametrize("in_memory", [True, False])
def test_pressure_and_its_rate(acoustic: Path, in_memory: bool) -> None:
    """The rate comes from the velocities' divergence, to second order; exact is −ω … sin(ωt)."""
    windows = WaveWindows(acoustic, "train", horizon=2, history=2, in_memory=in_memory)
    assert len(windows) == 3 * 3
    for index in range(len(windows)):
        trajectory, start = divmod(index, 3)
        density = (1.0, 2.0, 4.0)[trajectory]
        pressure, _, rate = cosine_mode(density)
        window = windows[index]
        states = torch.cat([window["past"], window["state"][None], window["targets"]]).numpy()
        np.testing.assert_allclose(states[:, 0], pressure[start : start + 4], atol=1e-6)
        gap = np.abs(states[:, 1] - rate[start : start + 4])
        assert gap[:, 1:-1, 1:-1].max() < 1e-2 * np.abs(rate).max()
        assert gap.max() < 4e-2 * np.abs(rate).max()
        torch.testing.assert_close(
            window["wave_speed"], torch.full((1, NX, NY), math.sqrt(MODULUS / density))
        )
        assert window["walls"].tolist() == [1.0, 1.0, 0.0, 0.0]


def test_the_wells_own_loader_reads_the_same(acoustic: Path) -> None:
    """The file of this test is one of The Well's: its package opens it, and finds the same pressure."""
    theirs = WellDataset(path=str(acoustic), well_split_name="train", n_steps_output=2)
    ours = WaveWindows(acoustic, "train", horizon=2)
    assert len(theirs) == len(ours)
    for index in (0, 5, len(ours) - 1):
        sample, window = theirs[index], ours[index]
        assert torch.equal(sample["input_fields"][0, ..., 0], window["state"][0])
        assert torch.equal(sample["output_fields"][..., 0], window["targets"][:, 0])
        assert torch.equal(sample["constant_fields"][..., 1], window["wave_speed"][0])


def test_info(acoustic: Path) -> None:
    info = dataset_info(acoustic)
    assert info.splits == {
        "train": SplitInfo(3, STEPS),
        "valid": SplitInfo(1, STEPS),
        "test": SplitInfo(2, STEPS),
    }
    assert (info.damped, info.driven, info.absorbing) == (False, False, True)
    np.testing.assert_allclose(info.axes[1], (np.arange(NY) + 0.5) * 2 / NY - 1, atol=1e-6)
    assert info.grid == (NX, NY)
    assert info.spacing == pytest.approx((2 / NX, 2 / NY), rel=1e-6)
    assert info.macro_step == pytest.approx(STEP, rel=1e-6)
    assert info.max_speed == pytest.approx(2.0)
    pressure = np.stack([cosine_mode(density)[0] for density in (1.0, 2.0, 4.0)])
    assert info.stats["rms"]["u"] == pytest.approx(np.sqrt((pressure**2).mean()), rel=1e-6)
    assert info.stats["std_delta"]["u"] == pytest.approx(np.diff(pressure, axis=1).std(), rel=1e-5)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_batches_from_worker_processes(acoustic: Path) -> None:
    windows = WaveWindows(acoustic, "train", normalise="rms")
    windows[0]
    batches = DataLoader(windows, batch_size=5, num_workers=2, multiprocessing_context="fork")
    states = torch.cat([batch["state"] for batch in batches])
    assert torch.equal(states, torch.stack([windows[i]["state"] for i in range(len(windows))]))


def test_a_surrogate_trains_on_it(acoustic: Path) -> None:
    """A few updates on one batch lower the loss."""
    windows = WaveWindows(acoustic, "train")
    batch = next(iter(DataLoader(windows, batch_size=len(windows))))
    torch.manual_seed(0)
    model = build_network(NetworkConfig(width=4, depth=1), WaveTask.of_windows(windows))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        forecast = model(batch["state"], batch["wave_speed"], batch["walls"])
        loss = ((forecast - batch["targets"][:, 0]) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def edit(change: Callable[[h5py.File], object]) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        with h5py.File(root / FILE, "r+") as file:
            change(file)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            edit(lambda f: f.__delitem__("t1_fields/velocity")),
            "missing dataset /t1_fields/velocity; use files of",
        ),
        (
            edit(lambda f: f.attrs.update(dataset_name="wave2d")),
            "dataset_name of /: expected acoustic_scattering_…, got",
        ),
        (
            edit(lambda f: f["t0_fields/density"].__setitem__((0, 3, 4), 9.0)),
            "bulk modulus of trajectory 0: expected one",
        ),
        (
            edit(lambda f: f["dimensions/x"].__setitem__(3, 5.0)),
            "/dimensions/x: expected even, increasing steps",
        ),
        (
            edit(lambda f: f["boundary_conditions/x_wall"].attrs.update(bc_type="PERIODIC")),
            "boundary condition at an end of x: expected WALL or OPEN, got PERIODIC",
        ),
        (
            edit(lambda f: f["t0_fields"].__setitem__("pressure2", h5py.ExternalLink("x.hdf5", "/"))),
            "ExternalLink is not allowed",
        ),
        (lambda root: (root / FILE).write_bytes(b"text"), "not an HDF5 file"),
    ],
)
def test_other_files_are_refused(acoustic: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(acoustic)
    with pytest.raises(DatasetError, match=message):
        WaveWindows(acoustic, "train")[0]


def test_unknown_split(acoustic: Path) -> None:
    with pytest.raises(ValueError, match="unknown split 'ood'; choose one of test, train, valid"):
        WaveWindows(acoustic, "ood")


def test_a_folder_without_splits_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "data/all/acoustic_scattering_test.hdf5", [1.0])
    with pytest.raises(ValueError, match="/data: expected a folder for each split, such as train"):
        dataset_info(tmp_path)


def test_whole_trajectories(acoustic: Path) -> None:
    """The energy on the grid is that of the mode: ω² · area / 8 at all times."""
    data = load_trajectories(acoustic, "train", limit=2, snapshots=5)
    windows = WaveWindows(acoustic, "train", horizon=4)
    for row, density in enumerate((1.0, 2.0)):
        window = windows[2 * row]
        assert torch.equal(data.u[row, 1:], window["targets"][:, 0])
        assert torch.equal(data.v[row, 0], window["state"][1])
        assert torch.equal(data.c[row], window["wave_speed"][0])
        omega = math.sqrt(MODULUS / density) * math.hypot(math.pi, math.pi)
        np.testing.assert_allclose(data.energy[row], omega**2 / 2, rtol=2e-2)
    np.testing.assert_allclose(data.x, (np.arange(NX) + 0.5) * 2 / NX - 1, atol=1e-6)
    np.testing.assert_allclose(data.times, STEP * np.arange(5), rtol=1e-6)


TINY = (
    "--fit.steps 20 --fit.batch_size 2 --fit.unroll 2 --fit.warmup 2 --network.width 4 --network.depth 1 "
    "--validation.steps 4 --validation.every 10 --device cpu"
)


def test_train_rollout_compare_and_show_from_the_command_line(
    acoustic: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a dataset of slimwave's own; only what needs a manifest or the solver's scenarios is refused."""
    runs = tmp_path_factory.mktemp("runs")
    data, model = f"--data {acoustic}", f"{runs}/model"
    compare = f"compare {data} --models '{{small: {model}}}' --latency_steps 2"
    commands = [
        f"train {data} --output {model} {TINY}",
        f"rollout --model {model} {data} --trajectory 1 --steps 5 --output {runs}/rollout --animation false",
        f"{compare} --coarse_elements [] --output {runs}/compare",
        f"show {acoustic} --output {runs}/show --snapshots 2",
    ]
    for command in commands:
        assert main(shlex.split(command)) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert "best at step" in printed
    assert "relative L2 error of u" in printed
    assert "| small" in printed
    assert main(shlex.split(f"{compare} --coarse_elements 4 --output {runs}/coarse")) == 1
    assert "--coarse_elements" in capsys.readouterr().err
    for command in (f"check {acoustic}", f"export {acoustic} --output {runs}/export"):
        assert main(shlex.split(command)) == 1
        assert "expected manifest.json in it" in capsys.readouterr().err
