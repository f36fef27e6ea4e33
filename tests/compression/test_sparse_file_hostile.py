"""Sparse files that are truncated, damaged or forged: refused by one error, soon, in bounded memory."""

import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from slimwave.compression.sparse_bytes import deflate, number
from slimwave.compression.sparse_file import CompressedFileError, load_sparse, save_sparse
from slimwave.compression.sparse_layout import DICTIONARY


@pytest.fixture(scope="module")
def good_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "m"
    torch.manual_seed(0)
    state = {f"{i}.weight": torch.randn(6, 5) * (torch.rand(6, 5) > 0.8) for i in range(3)}
    save_sparse(path, {**state, "same": torch.full((40,), 1.5), "n": torch.tensor(3)})
    return path.read_bytes()


def test_every_truncation_is_refused(tmp_path: Path, good_bytes: bytes) -> None:
    for length in range(len(good_bytes)):
        (tmp_path / "m").write_bytes(good_bytes[:length])
        with pytest.raises(CompressedFileError, match="truncated"):
            load_sparse(tmp_path / "m")


def test_surplus_bytes_are_refused(tmp_path: Path, good_bytes: bytes) -> None:
    (tmp_path / "m").write_bytes(good_bytes + b"\0")
    with pytest.raises(CompressedFileError, match=r"damaged: expected \d+ bytes of body, got \d+"):
        load_sparse(tmp_path / "m")


def test_every_changed_byte_is_found(tmp_path: Path, good_bytes: bytes) -> None:
    for position in range(len(good_bytes)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(good_bytes)
            damaged[position] ^= flip
            (tmp_path / "m").write_bytes(damaged)
            with pytest.raises(CompressedFileError):
                load_sparse(tmp_path / "m")


def forge(path: Path, body: bytes, version: int = 2) -> None:
    """Write a file whose length and checksum are right, whatever its claims."""
    checksum = zlib.crc32(body).to_bytes(4, "little")
    path.write_bytes(b"slim" + bytes([version]) + checksum + number(len(body)) + body)


@given(changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changed_bytes_with_a_right_checksum_do_no_harm(
    tmp_path: Path, good_bytes: bytes, changes: list[tuple[int, int]]
) -> None:
    body = bytearray(good_bytes[11:])
    assert zlib.crc32(body).to_bytes(4, "little") == good_bytes[5:9]
    for position, value in changes:
        body[position % len(body)] = value
    survives(tmp_path / "m", bytes(body))


@given(layout=st.binary(max_size=60), rest=st.binary(max_size=40))
@example(layout=b"\1\0\0\0\0\1\4\2", rest=b"\0\x01\x02\x03\x04\x40")
@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_layout_does_no_harm(tmp_path: Path, layout: bytes, rest: bytes) -> None:
    survives(tmp_path / "m", deflate(layout, DICTIONARY) + rest)


def survives(path: Path, body: bytes) -> None:
    """Read a forged file: a state, or the one error; never more elements than allowed."""
    forge(path, body)
    try:
        state = load_sparse(path, max_elements=10_000)
    except CompressedFileError:
        return
    assert sum(tensor.numel() for tensor in state.values()) <= 10_000


def layout(
    *tensors: tuple[str, tuple[int, ...], int, int],
    count: int | None = None,
    numbers: list[int] | None = None,
) -> bytes:
    """The columns for (name without number, shape, kind, code of the rarer count)."""
    columns = [
        [len(tensors) if count is None else count],
        numbers or [0 for _ in tensors],
        [kind for _, _, kind, _ in tensors],
        [len(shape) for _, shape, _, _ in tensors],
        [side for _, shape, _, _ in tensors for side in shape],
        [code for _, _, _, code in tensors],
    ]
    first, *rest = [b"".join(map(number, column)) for column in columns]
    return b"".join([first, *(name.encode() + b"\0\0" for name, _, _, _ in tensors), *rest])


def packed(text: bytes) -> bytes:
    return deflate(text, DICTIONARY)


W = ("w", (4,), 0, 2)
ONE = b"\0" + bytes([0, 0, 0, 0x7F])
"""The number 1 in planes: 0x3F800000, turned left by one bit."""


def test_the_forger_can_write_a_good_file(tmp_path: Path) -> None:
    """One of four items: one low bit (1), then the gap's upper part 0 in unary (1)."""
    forge(tmp_path / "m", packed(layout(W)) + ONE + b"\xc0")
    assert load_sparse(tmp_path / "m")["w"].tolist() == [0.0, 1.0, 0.0, 0.0]


CLAIMS = {
    "repeated": (packed(layout(W, W)) + ONE, "the name 'w' occurs twice"),
    "large": (packed(layout(("w", (2**40,), 0, 0))), "claims more than 268435456 elements"),
    "large product": (packed(layout(("w", (2**20, 2**20), 0, 0))), "claims more than 268435456 elements"),
    "large and empty": (packed(layout(("w", (0, 2**62), 0, 0))), "claims more than 268435456 elements"),
    "axes": (packed(layout(("w", (1,) * 65, 0, 0))), "layout: expected at most 64 axes, got 65"),
    "kind": (packed(layout(("w", (4,), 18, 0))), "layout: expected a kind below 18, got 18; update slimwave"),
    "rare": (packed(layout(("w", (4,), 0, 6))), "'w': expected at most 2 rarer items, got 3"),
    "tensors": (packed(layout(W, count=2**62)), f"expected at most 65536 tensors, got {2**62}"),
    "fewer tensors": (packed(layout(W, count=2)), "layout: "),
    "more tensors": (packed(layout(W, W, count=1)), "layout: "),
    "name": (packed(b"\1\xff\0\0"), "layout: a name is not UTF-8"),
    "no name": (packed(b"\1w"), "layout: a name has no end"),
    "negative": (packed(layout(W, numbers=[2])), "expected numbers of 0 to 999999999 in names, got -1"),
    "long number": (packed(b"\xff" * 12), "layout: expected a number of at most 9 bytes"),
    "empty layout": (packed(b""), "layout: expected 9 more bytes, got 0"),
    "layout goes on": (packed(layout(W) + b"\0"), "layout: 1 bytes follow its end"),
    "no stream": (b"\xff\xff", "values: cannot be inflated"),
    "nothing": (b"", "values: expected at most 4194304 bytes, deflated, and their end"),
    "planes": (packed(layout(W)) + b"\x10\0\0\0\x7f\xc0", "values: expected 4 planes, got 5"),
    "no planes": (packed(layout(W)), "values: expected 1 more bytes, got 0"),
    "few planes": (packed(layout(W)) + ONE[:3], "values: expected 1 more bytes, got 0"),
    "short plane": (packed(layout(W)) + b"\1" + deflate(b"") + b"\0\0\x7f\xc0", "planes of 1 bytes, got 0"),
    "long plane": (packed(layout(W)) + b"\1" + deflate(b"ab") + b"\0\0\x7f\xc0", "expected at most 1 bytes"),
    "no mask": (packed(layout(W)) + ONE, "mask: expected 1 gaps, got 0 in 0 bits"),
    "no gap": (packed(layout(W)) + ONE + b"\x80", "mask: expected 1 gaps, got 0"),
    "two gaps": (packed(layout(W)) + ONE + b"\xe0", "mask: expected 1 gaps, got 2"),
    "far gap": (packed(layout(W)) + ONE + b"\x01", "mask: a gap is longer than its 4 items"),
    "gap outside": (packed(layout(W)) + ONE + b"\x10", "mask: the gaps exceed their 4 items"),
    "long mask": (packed(layout(W)) + ONE + b"\xc0\0", "mask: expected at most 1 bytes, got 2"),
    "surplus": (packed(layout(("w", (4,), 0, 0))) + b"\0", "mask: expected 0 gaps, got 0 in 8 bits"),
}


@pytest.mark.parametrize(("body", "message"), CLAIMS.values(), ids=CLAIMS)
def test_hostile_claims_are_refused(tmp_path: Path, body: bytes, message: str) -> None:
    forge(tmp_path / "m", body)
    with pytest.raises(CompressedFileError, match=message):
        load_sparse(tmp_path / "m")


def test_other_versions_are_refused(tmp_path: Path) -> None:
    forge(tmp_path / "m", packed(layout(W)) + ONE + b"\xc0", version=3)
    with pytest.raises(CompressedFileError, match="expected version 1 or 2, got 3; update slimwave"):
        load_sparse(tmp_path / "m")


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "m")
    with pytest.raises(CompressedFileError, match="not a sparse file"):
        load_sparse(tmp_path / "m")
    for content in (b"", b"\x89HDF\r\n\x1a\n" + bytes(100), b"slim as text is, it has no version"):
        (tmp_path / "m").write_bytes(content)
        with pytest.raises(CompressedFileError):
            load_sparse(tmp_path / "m")


def test_the_limit_of_elements_is_the_readers(tmp_path: Path) -> None:
    save_sparse(tmp_path / "m", {"w": torch.zeros(1000)})
    with pytest.raises(CompressedFileError, match="claims more than 999 elements; raise max_elements"):
        load_sparse(tmp_path / "m", max_elements=999)
    assert load_sparse(tmp_path / "m", max_elements=1000)["w"].shape == (1000,)


BLANKS = bytes(2**26)
MANY = 2**16
BOMBS: dict[str, Callable[[], bytes]] = {
    "layout": lambda: packed(b"\1" + BLANKS),
    "plane": lambda: packed(layout(("w", (1000,), 0, 1))) + b"\x0f" + deflate(BLANKS) * 4,
    "mask": lambda: packed(layout(("w", (1000,), 0, 4))) + b"\0" + bytes(8) + BLANKS,
    "one name": lambda: packed(layout(*[("w", (), 0, 0)] * MANY)),
    "one name twice": lambda: packed(layout(*[(f"w{max(i, 1)}", (0,), 0, 0) for i in range(MANY)])),
    "sides": lambda: packed(layout(*[(f"w{i}", (2**62,) * 64, 0, 0) for i in range(7000)])),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_soon_and_in_little_memory(tmp_path: Path, name: str) -> None:
    """Small files that stand for much: 64 MiB of zeros, 65 thousand tensors, half a million sides."""
    forge(tmp_path / "m", BOMBS[name]())
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(CompressedFileError):
        load_sparse(tmp_path / "m", max_elements=10**6)
    seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 20
    assert peak < 2**28


def test_a_million_claimed_values_take_a_few_times_their_memory(tmp_path: Path) -> None:
    """A file of 4 kB may hold a million equal values; reading takes no more than 24 bytes for each."""
    save_sparse(tmp_path / "m", {"w": torch.ones(10**6)})
    assert (tmp_path / "m").stat().st_size < 6000
    tracemalloc.start()
    load_sparse(tmp_path / "m")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24 * 10**6
