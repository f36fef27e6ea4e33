"""Checkpoints: weights as safetensors, everything else as JSON, nothing pickled.

A model folder holds

``model.json``
    format version, the network's configuration and the task it is made for
``model.safetensors``
    the weights; the best ones on validation data so far
``training.safetensors``
    only beside an unfinished or finished training: the newest weights, the optimiser's moments and the
    position

Files are written durably and read with suspicion: names, shapes and types are compared with the network
before a weight is used, and a difference is told by name.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from slimwave.data.durable import write_bytes, write_text
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.networks import build_network, network_skeleton
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.task import WaveTask

FORMAT = "slimwave-model"
VERSION = 1
DESCRIPTION = "model.json"
WEIGHTS = "model.safetensors"
POSITION = "position"
LISTED = 4


class CheckpointError(ValueError):
    """A checkpoint that is damaged, of another format, or of another network."""


def save_model(folder: Path, model: Surrogate) -> None:
    """Write the description and the weights of a model into a folder, durably."""
    description = {
        "format": FORMAT,
        "version": VERSION,
        "network": asdict(model.config),
        "task": model.task.to_json(),
    }
    write_text(folder / DESCRIPTION, json.dumps(description, indent=2) + "\n")
    save_tensors(folder / WEIGHTS, model.state_dict())


def load_model(folder: Path | str) -> Surrogate:
    """Rebuild the model of a folder, on the CPU and in evaluation mode.

    Raises
    ------
    FileNotFoundError
        If the folder holds no model.
    CheckpointError
        If a file is damaged, of another version, or does not fit the network it describes.
    """
    folder = Path(folder)
    config, task = _read_description(folder / DESCRIPTION)
    weights = load_tensors(folder / WEIGHTS)
    skeleton = _build(network_skeleton, config, task, folder)
    require_same_tensors(skeleton.state_dict(), weights, str(folder / WEIGHTS))
    model = _build(build_network, config, task, folder)
    model.load_state_dict(weights)
    return model.eval()


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of a model's weights: two folders hold the same model where it is the same."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def load_weights(model: Surrogate, path: Path) -> None:
    """Load a file of weights into a model of the same network.

    Raises
    ------
    CheckpointError
        With the names and shapes that differ, if the file is of another network.
    """
    weights = load_tensors(path)
    require_same_tensors(model.state_dict(), weights, str(path))
    model.load_state_dict(weights)


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors as one safetensors file, durably."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(plain, metadata=dict(metadata) if metadata else None))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, see :func:`read_tensors`."""
    return read_tensors(path)[0]


def require_same_tensors(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], source: str) -> None:
    """Compare names, shapes and types.

    Raises
    ------
    CheckpointError
        Listing what is missing, what is unexpected and what has another shape or type.
    """
    parts = [
        _listed("missing", [name for name in expected if name not in found]),
        _listed("unexpected", [name for name in found if name not in expected]),
        _listed("different", [_mismatch(n, expected[n], found[n]) for n in expected if n in found]),
    ]
    if any(parts):
        raise CheckpointError(
            f"{source} is a checkpoint of another network: {'; '.join(filter(None, parts))}; "
            "use the model.json written with it, or train anew"
        )


def _mismatch(name: str, expected: Tensor, found: Tensor) -> str:
    if expected.shape == found.shape and expected.dtype == found.dtype:
        return ""
    return f"{name} expected {_shape(expected)}, got {_shape(found)}"


def _shape(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _listed(kind: str, names: list[str]) -> str:
    names = [name for name in names if name]
    if not names:
        return ""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{kind} {', '.join(names[:LISTED])}{more}"


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a safetensors file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If it is damaged or holds NaN or infinity.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; expected a checkpoint written by training or pruning"
        )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file ({error}); restore it or train anew"
        ) from error
    broken = [name for name, tensor in tensors.items() if not _finite(tensor)]
    if broken:
        raise CheckpointError(f"{path} holds NaN or infinity in {', '.join(broken[:LISTED])}; train anew")
    return tensors, metadata


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _read_description(path: Path) -> tuple[NetworkConfig, WaveTask]:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} holds no model: expected {DESCRIPTION} in it; {_instead_of(path.parent)}"
        )
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        if description["format"] != FORMAT or description["version"] != VERSION:
            raise CheckpointError(
                f"{path}: expected {FORMAT} version {VERSION}, got {description['format']} "
                f"version {description['version']}; use the slimwave that wrote it"
            )
        return _network_config(description["network"]), WaveTask.from_json(description["task"])
    except CheckpointError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is damaged: {type(error).__name__}: {error}; restore it or train anew"
        ) from error


def _instead_of(folder: Path) -> str:
    """Say which folder to give, also where this one holds those of several seeds."""
    seeds = sorted(path.parent.name for path in folder.glob(f"seed_*/{DESCRIPTION}"))
    if seeds:
        return f"it holds a training of several seeds: give one of them, such as {folder / seeds[0]}"
    return "give the folder of a training or pruning"


def _network_config(values: dict[str, Any]) -> NetworkConfig:
    kinds = {field.name: field.type for field in fields(NetworkConfig)}
    for name, value in values.items():
        if int in get_args(kinds[name]) and type(value) not in get_args(kinds[name]):
            raise TypeError(f"network.{name} must be a number or null, got {value!r}")
    return NetworkConfig(**values)


def _build(
    build: Callable[[NetworkConfig, WaveTask], Surrogate], config: NetworkConfig, task: WaveTask, folder: Path
) -> Surrogate:
    try:
        return build(config, task)
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder / DESCRIPTION} describes no valid network: {error}") from error


@dataclass(frozen=True)
class TrainingPosition:
    """Where a training stands.

    Attributes
    ----------
    step
        Optimiser steps done.
    best_error, best_step
        Smallest validation rollout error so far, and where.
    cpu_seconds
        Process time spent so far, of the leading process.
    processes
        How many processes train together.
    """

    step: int = 0
    best_error: float | None = None
    best_step: int = 0
    cpu_seconds: float = 0.0
    processes: int = 1


def save_training(path: Path, tensors: Mapping[str, Tensor], position: TrainingPosition) -> None:
    """Write weights, moments and position as ONE file, so that they can never disagree."""
    save_tensors(path, tensors, {POSITION: json.dumps(asdict(position))})


def load_training(path: Path) -> tuple[dict[str, Tensor], TrainingPosition]:
    """Read what :func:`save_training` wrote.

    Raises
    ------
    CheckpointError
        If the file is damaged or has no position.
    """
    tensors, metadata = read_tensors(path)
    try:
        return tensors, TrainingPosition(**json.loads(metadata[POSITION]))
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path} holds no training position; train anew with --overwrite") from error
