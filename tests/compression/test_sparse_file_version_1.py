"""Sparse files of version 1 are still read, and hostile ones refused."""

import json
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from slimwave.compression.sparse_file import CompressedFileError, load_sparse
from slimwave.compression.sparse_version_1 import FORMAT

OLD = Path(__file__).parent / "sparse_version_1.safetensors"
"""Written by save_sparse of version 1, as float16 with `special` exact."""

SPECIAL = [0.0, -0.0, 1.5, -1e-45, 3e38, float("inf"), float("-inf"), float("nan")]


def check_old(state: dict[str, Tensor]) -> None:
    expected = {
        "special": torch.tensor(SPECIAL).view(2, 4),
        "rounded": torch.tensor([0.0, 0.1, 0.0, -2.5]).half().float(),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.0),
        "count": torch.tensor(3),
        "double": torch.tensor([0.0, 0.1], dtype=torch.float64),
    }
    assert list(state) == list(expected)
    for name, value in expected.items():
        assert (state[name].dtype, state[name].shape) == (value.dtype, value.shape)
        assert state[name].numpy().tobytes() == value.numpy().tobytes()


def test_every_bit_returns() -> None:
    check_old(load_sparse(OLD))


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = OLD.read_bytes()
    for length in range(len(data)):
        (tmp_path / "m").write_bytes(data[:length])
        with pytest.raises(CompressedFileError, match="truncated, or not a sparse file"):
            load_sparse(tmp_path / "m")


@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_is_found_or_harmless(tmp_path: Path, position: int, flip: int) -> None:
    """Any byte: the reader says so in its own error, or the byte was blank space in the header."""
    damaged = bytearray(OLD.read_bytes())
    damaged[position % len(damaged)] ^= flip
    (tmp_path / "m").write_bytes(damaged)
    try:
        state = load_sparse(tmp_path / "m")
    except CompressedFileError:
        return
    check_old(state)


def forge(path: Path, layout: Any, bits: bytes, version: Any = 1, **stored: Tensor) -> None:
    """Write a file whose container and checksum are right, whatever its claims."""
    text = layout if isinstance(layout, bytes) else json.dumps(layout).encode()
    stored = {"layout": deflated(text), "mask": deflated(bits)} | stored
    crc = 0
    for key in sorted(stored):
        data = stored[key].numpy().tobytes()
        crc = zlib.crc32(data, zlib.crc32(key.encode(), crc))
    header = json.dumps({"version": version, "crc32": f"{crc:08x}"})
    path.write_bytes(save(stored, metadata={FORMAT: header}))


def deflated(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(zlib.compress(data)), dtype=torch.uint8)


def planes(values: Tensor, extra: bytes = b"") -> Tensor:
    """The bytes of the values, plane by plane, as the format wants them."""
    rows = values.numpy().view(np.uint8).reshape(-1, values.element_size()).T
    streams = b"".join(zlib.compress(row.tobytes()) for row in rows)
    return torch.frombuffer(bytearray(streams + extra), dtype=torch.uint8)


ONE = planes(torch.ones(1))
W = ["w", [4], "float32"]


def test_the_forger_can_write_a_good_file(tmp_path: Path) -> None:
    forge(tmp_path / "m", [W], b"\x40", float32=ONE)
    assert load_sparse(tmp_path / "m")["w"].tolist() == [0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("layout", "bits", "stored", "message"),
    [
        ([W, W], b"\x44", {"float32": ONE}, "the name 'w' occurs twice"),
        ([["w", [2**40], "float32"]], b"", {"float32": ONE}, "claims more than 268435456 elements"),
        ([["w", [2**20, 2**20], "float32"]], b"", {"float32": ONE}, "claims more than 268435456 elements"),
        ([["w", [-4], "float32"]], b"", {"float32": ONE}, "not a layout entry"),
        ([["w", [0, 2**80], "float32"]], b"", {"float32": ONE}, "claims more than 268435456 elements"),
        ([["w", [True], "float32"]], b"", {"float32": ONE}, "not a layout entry"),
        ([["w", [1.5], "float32"]], b"", {"float32": ONE}, "not a layout entry"),
        ([["w", [1] * 65, "float32"]], b"\x80", {"float32": ONE}, "not a layout entry"),
        ([["w", [4], "pickle"]], b"", {"float32": ONE}, "not a layout entry"),
        ([["w", [4]]], b"", {"float32": ONE}, "not a layout entry"),
        ({"w": [4]}, b"", {"float32": ONE}, "the layout is not a list"),
        (b"[" * 100_000, b"", {}, "broken JSON"),
        (b"\xff\xfe", b"", {}, "broken JSON"),
        ([W], b"", {"float32": ONE}, "the mask does not have one bit"),
        ([W], b"\x41", {"float32": ONE}, "the mask does not have one bit"),
        ([W], bytes(10**6), {"float32": ONE}, "'mask' holds another amount than its 1 bytes"),
        ([W], b"\x40", {"float32": planes(torch.ones(2))}, "'float32' holds another amount than its 1 bytes"),
        ([W], b"\x40", {"float32": planes(torch.ones(0))}, "expected 1 values of float32"),
        ([W], b"\x40", {"float32": planes(torch.ones(1).half())}, "'float32' holds another amount"),
        ([W], b"\x40", {"float32": planes(torch.ones(1).double())}, "'float32' goes on after its end"),
        ([W], b"\x40", {"float32": planes(torch.ones(1), b"!")}, "'float32' goes on after its end"),
        ([W], b"\x40", {"float32": torch.ones(1)}, "'float32' is not bytes"),
        ([W], b"\x40", {"float32": ONE[None]}, "'float32' is not bytes"),
        ([W], b"\x40", {"float16": ONE}, "missing or surplus entries: float16, float32"),
        ([W], b"\x40", {"float32": ONE, "extra": torch.ones(1)}, "missing or surplus entries: extra"),
        ([["n", [2], "raw"]], b"", {"raw.n": torch.tensor(3)}, r"'n': expected shape \(2,\), got \(\)"),
        ([["n", [], "raw"]], b"", {}, r"missing or surplus entries: raw\.n"),
        ([W], b"\x40", {"float32": ONE, "mask": torch.zeros(3, dtype=torch.uint8)}, "cannot be inflated"),
        ([W], b"\x40", {"float32": ONE, "mask": torch.ones(1)}, "'mask' is not bytes"),
    ],
)
def test_hostile_claims_are_refused(
    tmp_path: Path, layout: Any, bits: bytes, stored: dict[str, Tensor], message: str
) -> None:
    forge(tmp_path / "m", layout, bits, **stored)
    with pytest.raises(CompressedFileError, match=message):
        load_sparse(tmp_path / "m")


def test_a_bomb_is_not_inflated(tmp_path: Path) -> None:
    """A layout of 64 MiB of blanks deflates to 64 KiB; the reader stops at its limit."""
    forge(tmp_path / "m", b" " * 2**26, b"")
    with pytest.raises(CompressedFileError, match="'layout' holds another amount"):
        load_sparse(tmp_path / "m")


def test_other_versions_are_refused(tmp_path: Path) -> None:
    forge(tmp_path / "m", [W], b"\x40", version=2, float32=ONE)
    with pytest.raises(CompressedFileError, match="expected version 1, got 2; update slimwave"):
        load_sparse(tmp_path / "m")


@pytest.mark.parametrize(
    ("count", "message"), [(65_000, "the name 'w64000' occurs twice"), (400_000, "expected at most 65536")]
)
def test_many_tensors_are_refused_soon(tmp_path: Path, count: int, message: str) -> None:
    """Looking for the repeated name once took a time that grew with the square of their number."""
    names = [f"w{i}" for i in range(count - 1)] + ["w64000"]
    forge(tmp_path / "m", [[name, [0], "float32"] for name in names], b"")
    start = time.process_time()
    with pytest.raises(CompressedFileError, match=message):
        load_sparse(tmp_path / "m")
    assert time.process_time() - start < 10
