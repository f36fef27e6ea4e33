"""Small files for pruned networks: which entries are not zero, and their values.

A state dict becomes one flat blob without pickle.  In a network of a few thousand weights whatever comes once
per tensor weighs as much as the weights, so everything is in columns over all tensors:

| bytes       | what                                                                                        |
|-------------|---------------------------------------------------------------------------------------------|
| 4           | `slim`                                                                                      |
| 1           | the version, 2                                                                              |
| 4           | CRC-32 of the body, little-endian                                                           |
| 1 to 9      | length of the body (a number; see `sparse_bytes`)                                           |
| body: rest  | layout, deflated: names, shapes, kinds, how many items are stored (`sparse_layout`)         |
|             | for every kind that has stored items, in the order of `sparse_kinds`: the stored items of   |
|             | all its tensors, in planes (`sparse_planes`)                                                |
|             | mask: which items are stored (`sparse_masks`)                                               |

No part says how long it is: the layout and deflated planes know their end, the layout says how many items
there are, and the mask goes on to the end.

With float32 every bit returns as it was: −0.0, infinities and NaN are stored as values.  With float16 weights
are rounded to 11 bits; they return as float32, values below 3e-8 as zero.

Version 1, a safetensors file, is still read (`sparse_version_1`).
"""

import os
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from slimwave.compression.sparse_bytes import CompressedFileError as CompressedFileError
from slimwave.compression.sparse_bytes import Cursor, number
from slimwave.compression.sparse_kinds import KINDS, Items, from_items, kind_of, to_items
from slimwave.compression.sparse_layout import Entry, read_layout, write_layout
from slimwave.compression.sparse_masks import Mask, read_masks, write_masks
from slimwave.compression.sparse_planes import read_planes, write_planes
from slimwave.compression.sparse_version_1 import read_version_1

MAGIC = b"slim"
VERSION = 2
MAX_ELEMENTS = 2**28


def save_sparse(
    path: str | Path,
    model: nn.Module | Mapping[str, Tensor],
    dtype: str = "float32",
    *,
    exact: Collection[str] = (),
) -> None:
    """Write a model's state, or a state dict, without its zeros; the file appears whole or not at all.

    Parameters
    ----------
    path
        The file to write, by custom `….slim`; an existing one is replaced.
    model
        A module or a state dict.  A module's buffers are always kept exact.
    dtype
        "float32" (lossless) or "float16" (float32 tensors are rounded).
    exact
        Names that keep float32 even if `dtype` is "float16".

    Raises
    ------
    ValueError
        Unknown dtype, a value too large for float16, an entry that is not a tensor or of a type without a
        kind, an unknown name in `exact`.
    OSError
        The file cannot be written.
    """
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype: expected 'float32' or 'float16', got {dtype!r}")
    state, exact = _state_and_exact(model, exact)
    kinds = {
        name: kind_of(name, t, rounded=dtype == "float16" and name not in exact) for name, t in state.items()
    }
    body = _body(state, kinds)
    checksum = zlib.crc32(body).to_bytes(4, "little")
    _write_whole(Path(path), MAGIC + bytes([VERSION]) + checksum + number(len(body)) + body)


def load_sparse(path: str | Path, *, max_elements: int = MAX_ELEMENTS) -> dict[str, Tensor]:
    """Read the state dict that `save_sparse` wrote, whatever the file is called.

    A small file may claim a large model of zeros; a claim of more than `max_elements` elements in all is
    not believed, and no more than a few times the claim is allocated.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    CompressedFileError
        The file is truncated, foreign, damaged, of a later version, or its claims contradict each other.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; save_sparse writes one")
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                return read_version_1(path, max_elements)
            return _read_body(_checked_body(file.read()), max_elements)
    except CompressedFileError as error:
        raise CompressedFileError(f"{path}: {error}") from None


def _state_and_exact(
    model: nn.Module | Mapping[str, Tensor], exact: Collection[str]
) -> tuple[dict[str, Tensor], set[str]]:
    state = model.state_dict() if isinstance(model, nn.Module) else model
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name}: expected a tensor, got {type(value).__name__}")
    if unknown := sorted(set(exact) - set(state)):
        raise ValueError(f"exact: {unknown[0]!r} is not in the state; it holds {', '.join(state)}")
    buffers = {name for name, _ in model.named_buffers()} if isinstance(model, nn.Module) else set()
    return {name: value.detach().cpu() for name, value in state.items()}, set(exact) | buffers


def _body(state: Mapping[str, Tensor], kinds: Mapping[str, str]) -> bytes:
    entries: list[Entry] = []
    masks: list[Mask] = []
    stored: dict[str, list[Items]] = {kind: [] for kind in KINDS}
    for name, tensor in state.items():
        items = to_items(name, tensor, kinds[name])
        masks.append(items != 0)
        stored[kinds[name]].append(items[masks[-1]])
        entries.append(Entry(name, tuple(tensor.shape), kinds[name], len(stored[kinds[name]][-1])))
    planes = [write_planes(np.concatenate(pieces)) for pieces in stored.values() if any(map(len, pieces))]
    return b"".join([write_layout(entries), *planes, write_masks(masks)])


def _write_whole(path: Path, data: bytes) -> None:
    """Write under another name, then rename: a reader never sees half a file."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _checked_body(data: bytes) -> bytes:
    """Check version, length and checksum of what follows the magic bytes; return the body."""
    cursor = Cursor(data, "truncated")
    (version,) = cursor.take(1)
    if version != VERSION:
        raise CompressedFileError(
            f"expected version 1 or {VERSION}, got {version}; update slimwave to read it"
        )
    checksum = int.from_bytes(cursor.take(4), "little")
    length = cursor.number()
    body = data[cursor.at :]
    if len(body) != length:
        fault = "truncated" if len(body) < length else "damaged"
        raise CompressedFileError(f"{fault}: expected {length} bytes of body, got {len(body)}")
    if zlib.crc32(body) != checksum:
        raise CompressedFileError("damaged: the checksum of its body differs from the recorded one")
    return body


def _read_body(body: bytes, max_elements: int) -> dict[str, Tensor]:
    cursor = Cursor(body, "values")
    entries = read_layout(cursor, max_elements)
    counts = {kind: sum(e.stored for e in entries if e.kind == kind) for kind in KINDS}
    stored = {kind: read_planes(cursor, n, KINDS[kind].width) for kind, n in counts.items() if n}
    masks = read_masks(body[cursor.at :], [(e.items, e.stored) for e in entries])
    return {e.name: _tensor(e, mask, stored) for e, mask in zip(entries, masks, strict=True)}


def _tensor(entry: Entry, mask: Mask, stored: dict[str, Items]) -> Tensor:
    """Return a tensor of the next stored items of its kind, and take these away."""
    items = np.zeros(entry.items, f"u{KINDS[entry.kind].width}")
    if entry.stored:
        items[mask], stored[entry.kind] = np.split(stored[entry.kind], [entry.stored])
    return from_items(items, entry.kind, entry.shape)
