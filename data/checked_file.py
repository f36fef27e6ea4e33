"""Access to the parts of a guarded HDF5 file, each checked for presence, shape and type before it is read."""

from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np

from slimwave.data.shards import REGENERATE, DatasetError


class CheckedFile:
    """Checked access to the parts of one file; every failure names file and part."""

    def __init__(self, file: h5py.File, path: Path, remedy: str = REGENERATE) -> None:
        self.file, self.path, self.remedy = file, path, remedy

    def refuse(self, what: str, expected: object = "", got: object = "") -> NoReturn:
        """Raise the error for a part that is not as it should be."""
        raise DatasetError(self.path, what, expected, got, self.remedy)

    def attribute(self, group: str, name: str, kind: type) -> Any:
        """Return an attribute of the given type."""
        if group not in self.file or name not in self.file[group].attrs:
            self.refuse(f"missing attribute {name} of {group}")
        value = self.file[group].attrs[name]
        value = value.item() if isinstance(value, np.generic) else value
        if not isinstance(value, kind):
            self.refuse(f"attribute {name} of {group}", kind.__name__, repr(value))
        return value

    def data(self, name: str, shape: tuple[int | None, ...], kind: str) -> h5py.Dataset:
        """Return a dataset of the given shape (None: any length) and numpy kind, unread."""
        data = self.file.get(name)
        if not isinstance(data, h5py.Dataset):
            self.refuse(f"missing dataset /{name}")
        fits = len(data.shape) == len(shape) and all(
            want in (None, got) and got > 0 for want, got in zip(shape, data.shape, strict=True)
        )
        if not fits:
            self.refuse(f"shape of /{name}", _shape(shape), _shape(data.shape))
        if data.dtype.kind != kind:
            self.refuse(f"type of /{name}", f"numpy kind '{kind}'", data.dtype)
        return data


def _shape(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if length is None else str(length) for length in shape) + ")"
