"""Checkpoints return bit by bit, and damaged, hostile or foreign files are refused in words."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from slimwave.surrogates.checkpoints import (
    CheckpointError,
    TrainingPosition,
    load_model,
    load_tensors,
    load_training,
    load_weights,
    save_model,
    save_training,
)
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.networks import build_network
from slimwave.surrogates.task import WaveTask
from slimwave.surrogates.training import TrainResult

TASK = WaveTask(0.05, (0.0625, 0.0625), 2.0, (0.2, 1.5), (0.08, 0.7), 1.5, 0.3)


@pytest.fixture
def folder(trained: TrainResult, tmp_path: Path) -> Path:
    """A copy of the trained model's folder, to be damaged."""
    return Path(shutil.copytree(trained.folder, tmp_path / "model"))


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "config",
    [
        NetworkConfig(width=6, depth=2, kernel_size=5),
        NetworkConfig(width=6, depth=3, kernel_size=3, conv="cp", rank=4, activation="gelu"),
    ],
    ids=["dense", "cp"],
)
def test_a_model_returns_bit_by_bit_with_its_task(config: NetworkConfig, tmp_path: Path) -> None:
    model = build_network(config, TASK).eval()
    save_model(tmp_path, model)
    again = load_model(tmp_path)
    assert (again.config, again.task, again.training) == (config.resolved(), TASK, False)
    state, wave_speed = torch.randn(2, 2, 14, 13), 1 + torch.rand(2, 1, 14, 13)
    walls = torch.tensor([[-1.0, 1.0, -1.0, 1.0]]).expand(2, 4)
    assert torch.equal(model(state, wave_speed, walls), again(state, wave_speed, walls))


def test_no_file_is_a_pickle(trained: TrainResult) -> None:
    suffixes = {path.suffix for path in trained.folder.iterdir()}
    assert suffixes == {".safetensors", ".json", ".jsonl", ".yaml"}


def test_a_checkpoint_of_another_network_is_told_by_names_and_shapes(folder: Path, tmp_path: Path) -> None:
    other = build_network(NetworkConfig(width=5, depth=3, kernel_size=3), TASK)
    save_model(tmp_path, other)
    shutil.copy(tmp_path / "model.safetensors", folder / "model.safetensors")
    expected = (
        r"another network: unexpected blocks\.1\.weight; "
        r"different lift\.weight expected \(4, 2, 3, 3\) float32, got \(5, 2, 3, 3\) float32"
    )
    with pytest.raises(CheckpointError, match=expected):
        load_model(folder)
    with pytest.raises(CheckpointError, match=r"different lift\.weight"):
        load_weights(
            build_network(NetworkConfig(width=4, depth=3, kernel_size=3), TASK), folder / "model.safetensors"
        )


def test_dense_and_one_way_checkpoints_are_not_confused(folder: Path, tmp_path: Path) -> None:
    save_model(
        tmp_path, build_network(NetworkConfig(width=4, depth=2, kernel_size=3, conv="cp", rank=2), TASK)
    )
    shutil.copy(tmp_path / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=r"missing lift\.weight.*; unexpected .*mix_in\.weight.* and \d+ more"
    ):
        load_model(folder)


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_truncated_weights_are_refused(folder: Path, keep: float) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged or not a safetensors file"):
        load_model(folder)


def test_a_header_that_claims_terabytes_is_refused(folder: Path) -> None:
    header = b'{"x":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match="damaged"):
        load_model(folder)


def test_a_pickle_is_not_opened(folder: Path) -> None:
    torch.save({"x": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="damaged or not a safetensors file"):
        load_model(folder)


def test_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    tensors = load_tensors(folder / "model.safetensors")
    tensors["head.weight"][0] = torch.nan
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"NaN or infinity in head\.weight"):
        load_model(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 99}, r"expected slimwave-model version 1, got slimwave-model version 99"),
        ({"format": "other"}, r"got other version 1"),
        ({"network": {"width": 4, "colour": "red"}}, r"is damaged: KeyError: 'colour'"),
        ({"network": {"width": "4"}}, r"network\.width must be a number or null, got '4'"),
        ({"network": {"width": 0}}, r"--network\.width: expected a value of at least 1"),
        ({"network": {"name": "resnet"}}, r"no network is called 'resnet'"),
        ({"network": {"conv": "magic"}}, r"--network\.conv: expected one of dense, .*'magic'"),
        ({"network": ["width"]}, r"is damaged"),
        ({"task": {"macro_step": 0.1}}, r"is damaged: TypeError"),
        ({"task": None}, r"is damaged"),
    ],
)
def test_a_damaged_description_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_model(folder)


def test_a_description_of_a_giant_network_allocates_nothing(folder: Path) -> None:
    edit(folder, network={"width": 9999, "depth": 2, "kernel_size": 3})
    with pytest.raises(CheckpointError, match=r"at most 1e\+08 parameters, got one .* 1\.1e\+09"):
        load_model(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"format": "slimwave-model"}'])
def test_a_broken_json_is_refused(folder: Path, content: str) -> None:
    (folder / "model.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"model\.json is damaged"):
        load_model(folder)


def test_a_folder_without_a_model_is_told(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no model: expected model\.json"):
        load_model(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_model(folder)


def test_a_training_position_returns(tmp_path: Path) -> None:
    tensors = {"weights.a": torch.randn(3), "moments.0.step": torch.tensor(2.0)}
    position = TrainingPosition(step=7, best_error=0.25, best_step=4, cpu_seconds=1.5)
    save_training(tmp_path / "training.safetensors", tensors, position)
    again, found = load_training(tmp_path / "training.safetensors")
    assert found == position
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)


def test_a_file_without_a_position_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "training.safetensors")
    with pytest.raises(CheckpointError, match="holds no training position"):
        load_training(tmp_path / "training.safetensors")
