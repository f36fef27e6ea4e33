"""Checkpoints inside a long run: what was reached is on disk, and the run goes on bit by bit the same.

>>> Checkpoint("long.npz", steps=50_000).steps
50000
"""

import hashlib
import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1


class CheckpointMismatchError(ValueError):
    """A checkpoint that cannot be read or belongs to another run."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a run keeps its checkpoint, and how often it writes one.

    A run that finds the file continues from it; the file stays when the run is done.

    Parameters
    ----------
    path
        An .npz file; its folder must exist.
    steps
        Time steps between two checkpoints.
    """

    path: str | os.PathLike[str]
    steps: int = 10_000

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps: expected a positive number of time steps, got {self.steps}")
        if not Path(self.path).parent.is_dir():
            raise FileNotFoundError(f"checkpoint: the folder {Path(self.path).parent} does not exist")

    def write(self, arrays: Mapping[str, NDArray[Any]], fingerprint: str) -> None:
        """Replace the file in one step: at any moment it holds a whole checkpoint, the old or the new."""
        path = Path(self.path)
        part = path.with_name(f".{path.name}.part")
        with part.open("wb") as file:
            np.savez(file, allow_pickle=False, **_with_header(arrays, fingerprint))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def read(self, fingerprint: str) -> dict[str, NDArray[Any]] | None:
        """Return what was written last, or None where there is no file.

        Raises
        ------
        CheckpointMismatchError
            For a file that is damaged or was written by a run with other settings.
        """
        path = Path(self.path)
        if not path.exists():
            return None
        try:
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise CheckpointMismatchError(
                f"checkpoint: {path} is not readable ({error}); delete it"
            ) from error
        header = str(arrays.pop("header", ""))
        if header != f"{FORMAT} {fingerprint}":
            raise CheckpointMismatchError(
                f"checkpoint: {path} was written by a run with other settings or another version; delete it, "
                "or give this run a file of its own"
            )
        return arrays


@dataclass(frozen=True)
class Keeper:
    """A checkpoint of one run, known by its fingerprint."""

    checkpoint: Checkpoint
    mark: str

    def write(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """See `Checkpoint.write`."""
        self.checkpoint.write(arrays, self.mark)

    def read(self) -> dict[str, NDArray[Any]] | None:
        """See `Checkpoint.read`."""
        return self.checkpoint.read(self.mark)


def fingerprint(parts: Iterable[object]) -> str:
    """SHA-256 over arrays (type, shape, bytes) and everything else by its text."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()


def _with_header(arrays: Mapping[str, NDArray[Any]], fingerprint: str) -> dict[str, NDArray[Any]]:
    return {**arrays, "header": np.array(f"{FORMAT} {fingerprint}")}
