"""Sparse files of version 1, which `save_sparse` wrote first: a reader, nothing else.

A safetensors file with four flat entries at most:

- `layout` (bytes): JSON `[[name, shape, kind], …]`, deflated, with kind "float32", "float16" or "raw";
- `mask` (bytes): one bit per entry of all float tensors in the order of the layout, set where the entry is
  not +0.0, packed (numpy.packbits) and deflated;
- `float32`, `float16` (bytes): the values of the set bits in the same order, little-endian; first the lowest
  byte of every value, then the next, each of these planes deflated;
- `raw.<name>`: a tensor of any other type (an integer counter, say), as it is.

The file's metadata hold one key, `slimwave-sparse`, with the version and a CRC-32 of the entries.
"""

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from slimwave.compression.sparse_bytes import CompressedFileError
from slimwave.compression.sparse_layout import MAX_AXES, MAX_TENSORS, check_claims

FORMAT = "slimwave-sparse"
VERSION = 1
MAX_LAYOUT_BYTES = 2**24
KINDS = ("float32", "float16", "raw")


class Entry(NamedTuple):
    """One tensor; `kind` says where its values are: "float32" or "float16", or "raw" if stored as it is."""

    name: str
    shape: tuple[int, ...]
    kind: str

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def read_version_1(path: Path, max_elements: int) -> dict[str, Tensor]:
    """Read a state dict; refuse whatever is not a file of version 1."""
    return _decode(_read_stored(path), max_elements)


def _read_stored(path: Path) -> dict[str, Tensor]:
    """Read the container; check format, version and checksum."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            stored = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CompressedFileError(f"truncated, or not a sparse file ({error})") from None
    if FORMAT not in metadata:
        raise CompressedFileError(f"not a sparse file (no {FORMAT!r} in its metadata); use save_sparse")
    header = _read_json(metadata[FORMAT])
    version = header.get("version") if isinstance(header, dict) else None
    if version != VERSION:
        raise CompressedFileError(f"expected version {VERSION}, got {version!r}; update slimwave to read it")
    if header.get("crc32") != _checksum(stored):
        raise CompressedFileError("damaged: the checksum of its entries differs from the recorded one")
    return stored


def _inflated(stored: Mapping[str, Tensor], key: str, limit: int, pieces: int = 1) -> list[bytes]:
    """Inflate the streams of an entry, refusing to produce more than `limit` bytes from each."""
    blob = stored[key]
    if blob.dtype != torch.uint8 or blob.dim() != 1:
        raise CompressedFileError(f"the entry {key!r} is not bytes")
    rest = blob.numpy().tobytes()
    inflated = []
    for _ in range(pieces):
        inflater = zlib.decompressobj()
        try:
            inflated.append(inflater.decompress(rest, limit + 1))
        except zlib.error as error:
            raise CompressedFileError(f"the entry {key!r} cannot be inflated ({error})") from None
        rest = inflater.unused_data
        if len(inflated[-1]) > limit or not inflater.eof:
            raise CompressedFileError(f"the entry {key!r} holds another amount than its {limit} bytes")
    if rest:
        raise CompressedFileError(f"the entry {key!r} goes on after its end")
    return inflated


def _decode(stored: Mapping[str, Tensor], max_elements: int) -> dict[str, Tensor]:
    if missing := {"layout", "mask"} - set(stored):
        raise CompressedFileError(f"missing entries: {', '.join(sorted(missing))}")
    (text,) = _inflated(stored, "layout", MAX_LAYOUT_BYTES)
    layout = _read_layout(text, max_elements)
    _check_keys(layout, stored)
    masks = _split_mask([entry for entry in layout if entry.kind != "raw"], stored)
    values = {
        kind: _values(kind, sum(int(masks[e.name].sum()) for e in layout if e.kind == kind), stored)
        for kind in {entry.kind for entry in layout if entry.kind != "raw"}
    }
    state: dict[str, Tensor] = {}
    for entry in layout:
        if entry.kind == "raw":
            state[entry.name] = _raw(entry, stored)
            continue
        mask = masks[entry.name]
        dense = np.zeros(entry.size, dtype=np.float32)
        dense[mask], values[entry.kind] = np.split(values[entry.kind], [int(mask.sum())])
        state[entry.name] = torch.from_numpy(dense).view(entry.shape)
    return state


def _check_keys(layout: Sequence[Entry], stored: Mapping[str, Tensor]) -> None:
    expected = {f"raw.{entry.name}" if entry.kind == "raw" else entry.kind for entry in layout}
    if odd := sorted((expected | {"layout", "mask"}).symmetric_difference(stored)):
        raise CompressedFileError(f"missing or surplus entries: {', '.join(odd[:4])}")


def _split_mask(packed: Sequence[Entry], stored: Mapping[str, Tensor]) -> dict[str, NDArray[np.bool_]]:
    size = sum(entry.size for entry in packed)
    (data,) = _inflated(stored, "mask", math.ceil(size / 8))
    packed_bits = np.frombuffer(data, dtype=np.uint8)
    if len(data) != math.ceil(size / 8) or np.any(np.unpackbits(packed_bits[size // 8 :])[size % 8 :]):
        raise CompressedFileError(f"the mask does not have one bit for each of the {size} elements")
    bits = np.unpackbits(packed_bits, count=size).view(np.bool_)
    ends = np.cumsum([entry.size for entry in packed], dtype=np.int64)
    return {
        entry.name: piece for entry, piece in zip(packed, np.split(bits, ends)[: len(packed)], strict=True)
    }


def _values(kind: str, count: int, stored: Mapping[str, Tensor]) -> NDArray[np.float32]:
    """Return the `count` values of one kind, one for each bit set in its masks."""
    dtype = np.dtype(kind).newbyteorder("<")
    planes = _inflated(stored, kind, count, pieces=dtype.itemsize)
    if any(len(plane) != count for plane in planes):
        raise CompressedFileError(f"expected {count} values of {kind}, one for each bit set in the mask")
    rows = np.frombuffer(b"".join(planes), dtype=np.uint8).reshape(dtype.itemsize, count)
    return np.ascontiguousarray(rows.T).view(dtype).ravel().astype(np.float32)


def _raw(entry: Entry, stored: Mapping[str, Tensor]) -> Tensor:
    tensor = stored[f"raw.{entry.name}"]
    if tuple(tensor.shape) != entry.shape:
        raise CompressedFileError(f"{entry.name!r}: expected shape {entry.shape}, got {tuple(tensor.shape)}")
    return tensor


def _checksum(stored: Mapping[str, Tensor]) -> str:
    crc = 0
    for key in sorted(stored):
        flat = stored[key].contiguous().flatten()
        data = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
        crc = zlib.crc32(data, zlib.crc32(key.encode(), crc))
    return f"{crc:08x}"


def _read_layout(text: bytes, max_elements: int) -> list[Entry]:
    layout = _read_json(text)
    if not isinstance(layout, list):
        raise CompressedFileError("the layout is not a list")
    if len(layout) > MAX_TENSORS:
        raise CompressedFileError(f"the layout has {len(layout)} tensors, expected at most {MAX_TENSORS}")
    entries = [_checked(item) for item in layout]
    check_claims([e.name for e in entries], [e.shape for e in entries], max_elements)
    return entries


def _read_json(text: str | bytes) -> Any:
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
