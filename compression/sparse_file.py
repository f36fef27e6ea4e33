"""Small files for pruned networks: which entries are not zero, and their values.

A state dict is written as one safetensors file with four flat entries at most, because in small networks a
header per tensor weighs more than the weights:

- `layout` (bytes): JSON `[[name, shape, kind], …]`, deflated, with kind "float32", "float16" or "raw";
- `mask` (bytes): one bit per entry of all float tensors in the order of the layout, set where the entry is
  not +0.0, packed (numpy.packbits) and deflated;
- `float32`, `float16` (bytes): the values of the set bits in the same order, little-endian; first the lowest
  byte of every value, then the next, each of these planes deflated (signs and exponents shrink, mantissas do
  not);
- `raw.<name>`: a tensor of any other type (an integer counter, say), as it is.

The file's metadata hold one key, `slimwave-sparse`, with the version and a CRC-32 of the entries.

With float32 every bit returns as it was: −0.0, infinities and NaN are kept as values.  With float16 weights
are rounded to 11 bits; they return as float32, values below 6e-8 as zero.
"""

import json
import math
import os
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from slimwave.compression.sparse_layout import (
    CompressedFileError,
    Entry,
    read_json,
    read_layout,
    write_layout,
)

FORMAT = "slimwave-sparse"
VERSION = 1
MAX_LAYOUT_BYTES = 2**24
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
        The file to write; an existing one is replaced.
    model
        A module or a state dict.  A module's buffers are always kept exact.
    dtype
        "float32" (lossless) or "float16" (float32 tensors are rounded).
    exact
        Names that keep float32 even if `dtype` is "float16".

    Raises
    ------
    ValueError
        Unknown dtype, a value too large for float16, an entry that is not a tensor, an unknown name in
        `exact`.
    OSError
        The file cannot be written.
    """
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype: expected 'float32' or 'float16', got {dtype!r}")
    state, exact = _state_and_exact(model, exact)
    layout = [Entry(name, tuple(t.shape), _kind(name, t, dtype, exact)) for name, t in state.items()]
    stored = _encode(layout, state)
    header = json.dumps({"version": VERSION, "crc32": _checksum(stored)})
    _write_whole(Path(path), save(stored, metadata={FORMAT: header}))


def load_sparse(path: str | Path, *, max_elements: int = MAX_ELEMENTS) -> dict[str, Tensor]:
    """Read the state dict that `save_sparse` wrote.

    A small file may claim a large model of zeros; a claim of more than `max_elements` elements in all is
    not believed, and nothing larger than the claim is allocated.

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
        return _decode(_read_stored(path), max_elements)
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


def _kind(name: str, tensor: Tensor, dtype: str, exact: Collection[str]) -> str:
    if tensor.dtype != torch.float32:
        return "raw"
    return "float32" if name in exact else dtype


def _encode(layout: Sequence[Entry], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    bits = [np.zeros(0, dtype=np.bool_)]
    values: dict[str, list[NDArray[Any]]] = {}
    stored: dict[str, Tensor] = {"layout": _deflated(write_layout(layout))}
    for entry in layout:
        if entry.kind == "raw":
            stored[f"raw.{entry.name}"] = state[entry.name].clone(memory_format=torch.contiguous_format)
            continue
        flat = state[entry.name].contiguous().numpy().ravel()
        nonzero = flat.view(np.uint32) != 0
        bits.append(nonzero)
        values.setdefault(entry.kind, []).append(_rounded(entry, flat[nonzero]))
    stored["mask"] = _deflated(np.packbits(np.concatenate(bits)).tobytes())
    return stored | {kind: _deflated(*_planes(np.concatenate(v))) for kind, v in values.items()}


def _rounded(entry: Entry, values: NDArray[np.float32]) -> NDArray[Any]:
    if entry.kind == "float32":
        return values
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16)
    if np.any(np.isinf(rounded) & np.isfinite(values)):
        largest = float(np.abs(values[np.isfinite(values)]).max())
        raise ValueError(
            f"{entry.name}: {largest:.3g} does not fit float16 (at most 65504); "
            "name the tensor in exact, or use float32"
        )
    return rounded


def _planes(values: NDArray[Any]) -> list[bytes]:
    """Return the lowest bytes of all values, the next lowest, and so on."""
    little = values.astype(values.dtype.newbyteorder("<"))
    return [plane.tobytes() for plane in little.view(np.uint8).reshape(-1, little.itemsize).T]


def _deflated(*pieces: bytes) -> Tensor:
    """Return the pieces deflated, one stream after the other."""
    streams = b"".join(zlib.compress(piece, 9) for piece in pieces)
    return torch.from_numpy(np.frombuffer(streams, dtype=np.uint8).copy())


def _checksum(stored: Mapping[str, Tensor]) -> str:
    crc = 0
    for key in sorted(stored):
        flat = stored[key].contiguous().flatten()
        data = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
        crc = zlib.crc32(data, zlib.crc32(key.encode(), crc))
    return f"{crc:08x}"


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


def _read_stored(path: Path) -> dict[str, Tensor]:
    """Read the container; check format, version and checksum."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            stored = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CompressedFileError(f"truncated, or not a safetensors file ({error})") from None
    if FORMAT not in metadata:
        raise CompressedFileError(f"not a sparse file (no {FORMAT!r} in its metadata); use save_sparse")
    header = read_json(metadata[FORMAT])
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
    layout = read_layout(text, max_elements)
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
