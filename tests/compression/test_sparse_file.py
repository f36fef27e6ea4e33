"""Sparse files: every bit returns, small, and no damaged or hostile file gets through."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save, save_file
from torch import Tensor, nn

from slimwave.compression.formats import make_conv
from slimwave.compression.sparse_file import FORMAT, CompressedFileError, load_sparse, save_sparse
from slimwave.compression.sparse_layout import Entry

SPECIAL = [0.0, -0.0, 1.5, -1e-45, 3e38, float("inf"), float("-inf"), float("nan")]


def same_bits(a: Tensor, b: Tensor) -> bool:
    return (
        a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.contiguous().numpy().tobytes()
    )


def one_way_cnn(width: int = 24, rank: int = 16, depth: int = 8, kernel: int = 5) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [make_conv("cp", 3, width, kernel, rank=rank)]
    layers += [make_conv("cp", width, width, kernel, rank=rank) for _ in range(depth)]
    return nn.Sequential(*layers, make_conv("cp", width, 2, kernel, rank=rank))


def prune(model: nn.Module, sparsity: float) -> None:
    """Set the smallest magnitudes of all weights (not biases) to zero."""
    weights = [p for p in model.parameters() if p.dim() > 1]
    magnitudes = torch.cat([w.detach().abs().flatten() for w in weights])
    threshold = magnitudes.kthvalue(int(sparsity * magnitudes.numel())).values
    with torch.no_grad():
        for w in weights:
            w.masked_fill_(w.abs() <= threshold, 0.0)


@st.composite
def state_dicts(draw: st.DrawFn) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    names = draw(st.lists(st.text(max_size=8), unique=True, max_size=5))
    for name in names:
        shape = draw(st.lists(st.integers(0, 4), max_size=4))
        size = int(np.prod(shape, dtype=int))
        values = draw(st.lists(st.sampled_from(SPECIAL) | st.floats(width=32), min_size=size, max_size=size))
        dtype = draw(st.sampled_from([torch.float32] * 4 + [torch.float64, torch.complex64, torch.bfloat16]))
        state[name] = torch.tensor(values, dtype=torch.float64).to(dtype).view(shape)
    return state


@given(state=state_dicts())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_float32_files_return_every_bit(tmp_path: Path, state: dict[str, Tensor]) -> None:
    """Negative zeros, infinities, NaN and subnormals, any shape and name; other types as they are."""
    path = tmp_path / "state.safetensors"
    save_sparse(path, state)
    loaded = load_sparse(path)
    assert list(loaded) == list(state)
    for name, value in state.items():
        assert loaded[name].shape == value.shape
        assert loaded[name].dtype == value.dtype
        assert torch.equal(_bits(loaded[name]), _bits(value))


def _bits(t: Tensor) -> Tensor:
    return t.contiguous().flatten().view(torch.uint8) if t.numel() else t.flatten()


def test_a_model_returns_whole(tmp_path: Path) -> None:
    model = nn.Sequential(one_way_cnn(), nn.BatchNorm2d(2)).to(memory_format=torch.channels_last)
    prune(model, 0.9)
    save_sparse(tmp_path / "m", model)
    other = nn.Sequential(one_way_cnn(), nn.BatchNorm2d(2))
    other.load_state_dict(load_sparse(tmp_path / "m"))
    assert all(
        same_bits(a, b) for a, b in zip(other.state_dict().values(), model.state_dict().values(), strict=True)
    )


def test_float16_rounds_weights_and_keeps_buffers(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    model[1].running_mean.fill_(1 / 3)
    save_sparse(tmp_path / "m", model, dtype="float16", exact=["0.bias"])
    loaded = load_sparse(tmp_path / "m")
    for name, value in model.state_dict().items():
        rounded = value.half().float() if name in ("0.weight", "1.weight", "1.bias") else value
        assert same_bits(loaded[name], rounded)


def test_float16_keeps_infinities_and_refuses_to_make_them(tmp_path: Path) -> None:
    save_sparse(tmp_path / "m", {"w": torch.tensor(SPECIAL[5:])}, dtype="float16")
    assert load_sparse(tmp_path / "m")["w"].tolist()[:2] == [float("inf"), float("-inf")]
    with pytest.raises(ValueError, match=r"w: 7e\+04 does not fit float16 \(at most 65504\)"):
        save_sparse(tmp_path / "m", {"w": torch.tensor([1.0, 7e4])}, dtype="float16")


def test_the_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    model = one_way_cnn()
    prune(model, 0.9)
    for name in ("a", "b"):
        save_sparse(tmp_path / name, model)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize(
    ("dtype", "sparsity", "factor"),
    [("float32", 0.9, 7.4), ("float32", 0.95, 11.7), ("float16", 0.9, 14.0), ("float16", 0.95, 25.0)],
)
def test_pruned_one_way_networks_shrink(tmp_path: Path, dtype: str, sparsity: float, factor: float) -> None:
    """A network of 23 thousand weights, against its dense float32 safetensors file; biases stay whole."""
    model = one_way_cnn(width=32, rank=32, kernel=7)
    prune(model, sparsity)
    save_file(model.state_dict(), tmp_path / "dense")
    save_sparse(tmp_path / "sparse", model, dtype)
    assert (tmp_path / "dense").stat().st_size / (tmp_path / "sparse").stat().st_size >= factor


@pytest.mark.parametrize(
    ("state", "arguments", "message"),
    [
        ({"w": torch.ones(2)}, {"dtype": "int8"}, "dtype: expected 'float32' or 'float16', got 'int8'"),
        ({"w": [1.0]}, {}, "w: expected a tensor, got list"),
        ({"w": torch.ones(2)}, {"exact": ["v"]}, "exact: 'v' is not in the state; it holds w"),
    ],
)
def test_bad_arguments_are_refused(
    tmp_path: Path, state: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        save_sparse(tmp_path / "m", state, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m"
    save_sparse(path, {"w": torch.ones(2)})

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_sparse(path, {"w": torch.zeros(2)})
    assert load_sparse(path)["w"].tolist() == [1.0, 1.0]
    assert list(tmp_path.iterdir()) == [path]


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: no such file; save_sparse writes one"):
        load_sparse(tmp_path / "nowhere")


@pytest.fixture(scope="module")
def good_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "m"
    save_sparse(path, {"w": torch.tensor([0.0, 2.0, 0.0, -1.0]), "n": torch.tensor(3)})
    return path.read_bytes()


@given(cut=st.integers(0, 10_000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_truncated_files_are_refused(tmp_path: Path, good_bytes: bytes, cut: int) -> None:
    path = tmp_path / "m"
    path.write_bytes(good_bytes[: cut % len(good_bytes)])
    with pytest.raises(CompressedFileError, match="truncated, or not a safetensors file"):
        load_sparse(path)


@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_is_found_or_harmless(
    tmp_path: Path, good_bytes: bytes, position: int, flip: int
) -> None:
    """Any byte: the reader says so in its own error, or the byte was blank space in the header."""
    damaged = bytearray(good_bytes)
    damaged[position % len(damaged)] ^= flip
    path = tmp_path / "m"
    path.write_bytes(damaged)
    try:
        state = load_sparse(path)
    except CompressedFileError:
        return
    assert state["w"].tolist() == [0.0, 2.0, 0.0, -1.0]
    assert state["n"].item() == 3


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m"
    save_file({"w": torch.ones(2)}, path)
    with pytest.raises(CompressedFileError, match="not a sparse file"):
        load_sparse(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(CompressedFileError, match="not a safetensors file"):
        load_sparse(path)


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


def test_the_limit_of_elements_is_the_readers(tmp_path: Path) -> None:
    save_sparse(tmp_path / "m", {"w": torch.zeros(1000)})
    with pytest.raises(CompressedFileError, match="claims more than 999 elements; raise max_elements"):
        load_sparse(tmp_path / "m", max_elements=999)
    assert load_sparse(tmp_path / "m", max_elements=1000)["w"].shape == (1000,)


def test_the_container_is_plain_safetensors(tmp_path: Path) -> None:
    save_sparse(tmp_path / "m", {"w": torch.tensor([0.0, 2.0]), "n": torch.tensor(3)})
    with safe_open(tmp_path / "m", framework="np") as file:
        assert sorted(file.keys()) == ["float32", "layout", "mask", "raw.n"]
        layout = json.loads(zlib.decompress(file.get_tensor("layout").tobytes()))
    assert [Entry(*entry).kind for entry in layout] == ["float32", "raw"]
