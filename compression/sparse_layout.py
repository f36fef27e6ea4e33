"""The contents of a sparse file: its tensors' names, shapes and kinds, believed only if plausible."""

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

KINDS = ("float32", "float16", "raw")
MAX_AXES = 64


class CompressedFileError(ValueError):
    """A file is not a sparse file, is damaged, or claims what it cannot hold."""


class Entry(NamedTuple):
    """One tensor; `kind` says where its values are: "float32" or "float16", or "raw" if stored as it is."""

    name: str
    shape: tuple[int, ...]
    kind: str

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def write_layout(entries: Sequence[Entry]) -> bytes:
    """Return the layout as compact JSON `[[name, shape, kind], …]`."""
    return json.dumps(entries, separators=(",", ":")).encode()


def read_layout(text: bytes, max_elements: int) -> list[Entry]:
    """Parse a layout; refuse malformed entries, repeated names and absurd sizes."""
    layout = read_json(text)
    if not isinstance(layout, list):
        raise CompressedFileError("the layout is not a list")
    entries = [_checked(item) for item in layout]
    sides = [side for entry in entries for side in entry.shape]  # 0 × 10³⁰ elements are 0, and still absurd
    if max(sum(entry.size for entry in entries), *sides, 0) > max_elements:
        raise CompressedFileError(
            f"claims more than {max_elements} elements; raise max_elements if you trust the file"
        )
    names = [entry.name for entry in entries]
    if len(set(names)) != len(names):
        raise CompressedFileError(f"the name {max(names, key=names.count)!r} occurs twice")
    return entries


def read_json(text: str | bytes) -> Any:
    """Parse JSON of unknown origin."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CompressedFileError(f"broken JSON inside ({type(error).__name__})") from None


def _checked(item: Any) -> Entry:
    match item:
        case [str(name), list(shape), str(kind)] if (
            kind in KINDS
            and len(shape) <= MAX_AXES
            and all(type(side) is int and side >= 0 for side in shape)
        ):
            return Entry(name, tuple(shape), kind)
    raise CompressedFileError(f"not a layout entry [name, shape, kind]: {str(item)[:80]}")
