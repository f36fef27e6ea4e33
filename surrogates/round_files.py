"""The file of a finished pruning round: its weights, its masks and its record, as one.

``rounds/round_NN.safetensors`` below the run folder; an interrupted pruning goes on after the last of them,
and any of them can be loaded as a model.
"""

import json
from pathlib import Path

from torch import Tensor

from slimwave.compression.rounds import RoundRecord
from slimwave.compression.sap import SAPPruner
from slimwave.surrogates.checkpoints import (
    CheckpointError,
    load_model,
    read_tensors,
    require_same_tensors,
    save_tensors,
)
from slimwave.surrogates.surrogate import Surrogate

ROUNDS = "rounds"
RECORD = "record"


def round_file(folder: Path, number: int) -> Path:
    """Path of a round's file below a run folder."""
    return folder / ROUNDS / f"round_{number:02d}.safetensors"


def save_round(path: Path, model: Surrogate, pruner: SAPPruner, record: RoundRecord) -> None:
    """Write a finished round durably."""
    masks = {f"masks.{name}": mask for name, mask in pruner.state_dict().items()}
    weights = {f"weights.{name}": value for name, value in model.state_dict().items()}
    save_tensors(path, weights | masks, {RECORD: json.dumps(record.to_dict())})


def restore_round(path: Path, model: Surrogate, pruner: SAPPruner | None = None) -> RoundRecord:
    """Put a round's weights, and its masks, into a model and its pruner; return the record.

    Raises
    ------
    FileNotFoundError
        If there is no such round.
    CheckpointError
        If the file is damaged, holds no round, or is of another network.
    """
    record, weights, masks = _read(path)
    require_same_tensors(model.state_dict(), weights, str(path))
    model.load_state_dict(weights)
    if pruner is not None:
        pruner.load_state_dict(masks)
    return record


def load_round(folder: Path, number: int) -> Surrogate:
    """Load the model as a round of a finished pruning left it; round 0 is the one before any pruning.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished pruning, or no such round.
    CheckpointError
        If a file is damaged, or of another network.
    """
    model = load_model(folder)
    restore_round(round_file(folder, number), model)
    return model


def _read(path: Path) -> tuple[RoundRecord, dict[str, Tensor], dict[str, Tensor]]:
    tensors, metadata = read_tensors(path)
    groups: dict[str, dict[str, Tensor]] = {"weights": {}, "masks": {}}
    try:
        record = RoundRecord(**json.loads(metadata[RECORD]))
        for key, tensor in tensors.items():
            group, name = key.split(".", 1)
            groups[group][name] = tensor
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path} holds no pruning round; prune anew with --overwrite") from error
    return record, groups["weights"], groups["masks"]
