"""Sparse files: every bit returns, and pruned networks become small."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from slimwave.compression.formats import make_conv
from slimwave.compression.sparse_file import load_sparse, save_sparse
from slimwave.compression.sparse_kinds import KINDS, from_items
from slimwave.compression.sparse_masks import low_bits, read_masks, write_masks

SPECIAL = [0.0, -0.0, 1.5, -1e-45, 3e38, float("inf"), float("-inf"), float("nan")]
NAMES = ["w", "", "0.mix_in.weight", "12.mix_in.weight", "3.mix_in.weight", "a.007", "1234567890123", "٣.ü"]


def bits(tensor: Tensor) -> bytes:
    flat = tensor.detach().resolve_conj().contiguous().flatten()
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def check_same(loaded: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """The same names in the same order, the same types and shapes, the same bits."""
    assert list(loaded) == list(state)
    for name, value in state.items():
        assert (loaded[name].dtype, loaded[name].shape) == (value.dtype, value.shape)
        assert bits(loaded[name]) == bits(value)


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
def tensors(draw: st.DrawFn) -> Tensor:
    """Any bit pattern of any type (NaN of every payload, signalling ones too), any share of zeros."""
    kind = draw(st.sampled_from(sorted(set(KINDS) - {"rounded"})))
    shape = tuple(draw(st.lists(st.integers(0, 12), max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = KINDS[kind].count(int(np.prod(shape, dtype=int)))
    items = rng.integers(0, 256, (size, KINDS[kind].width), dtype=np.uint8).view(f"u{KINDS[kind].width}")
    kept = rng.random(size) < draw(st.sampled_from([0.0, 0.05, 0.3, 0.5, 0.7, 0.95, 1.0]))
    return from_items(items.ravel() * kept.astype(items.dtype), kind, shape)


@given(state=st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), tensors(), max_size=6))
@example(state={"specials": torch.tensor(SPECIAL), "scalar": torch.tensor(-0.0), "empty": torch.zeros(0, 3)})
@example(state={"nan": torch.tensor([0x7F800001, -1, 0x7FC00001], dtype=torch.int32).view(torch.float32)})
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_bit_returns(tmp_path: Path, state: dict[str, Tensor]) -> None:
    state = {name.replace("\0", "0"): value for name, value in state.items()}
    save_sparse(tmp_path / "state.slim", state)
    check_same(load_sparse(tmp_path / "state.slim"), state)


@given(
    masks=st.lists(
        st.tuples(st.integers(0, 400), st.floats(0, 1), st.integers(0, 2**32)).map(
            lambda t: np.random.default_rng(t[2]).random(t[0]) < t[1]
        ),
        max_size=5,
    )
)
def test_masks_return(masks: list[np.ndarray[Any, np.dtype[np.bool_]]]) -> None:
    loaded = read_masks(write_masks(masks), [(mask.size, int(mask.sum())) for mask in masks])
    assert all(np.array_equal(a, b) for a, b in zip(loaded, masks, strict=True))


@pytest.mark.parametrize("share", [0.5, 0.3, 0.1, 0.05, 0.01])
def test_masks_are_close_to_their_entropy(share: float) -> None:
    mask = np.random.default_rng(0).random(200_000) < share
    p = mask.mean()
    entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p)) * mask.size / 8
    assert len(write_masks([mask])) < (1.15 if share == 0.3 else 1.02) * entropy


@given(items=st.integers(1, 2**20), share=st.floats(1e-5, 0.5))
def test_the_number_of_low_bits_is_the_best(items: int, share: float) -> None:
    """No other number would shorten the code of geometric gaps by more than a percent."""
    rare = max(int(share * items), 1)
    q = 1 - rare / items

    def length(r: int) -> float:
        return 1 + r + q ** (2**r) / (1 - q ** (2**r)) if rare < items else 1 + r

    assert length(low_bits(items, rare)) <= 1.01 * min(length(r) for r in range(22))


def test_a_model_returns_whole(tmp_path: Path) -> None:
    model = nn.Sequential(one_way_cnn(), nn.BatchNorm2d(2)).to(memory_format=torch.channels_last)
    prune(model, 0.9)
    save_sparse(tmp_path / "m", model)
    other = nn.Sequential(one_way_cnn(), nn.BatchNorm2d(2))
    other.load_state_dict(load_sparse(tmp_path / "m"))
    check_same(other.state_dict(), model.state_dict())


def test_the_name_of_the_file_does_not_matter(tmp_path: Path) -> None:
    for name in ("m.slim", "m.safetensors", "m"):
        save_sparse(tmp_path / name, {"w": torch.ones(2)})
        assert load_sparse(tmp_path / name)["w"].tolist() == [1.0, 1.0]


def test_views_are_stored_as_they_look(tmp_path: Path) -> None:
    state = {
        "t": torch.arange(6.0).view(2, 3).T,
        "broadcast": torch.ones(1).expand(4),
        "conjugate": torch.tensor([1 + 2j]).conj(),
        "negative": torch.tensor([1 + 2j]).conj().imag,
    }
    save_sparse(tmp_path / "m", state)
    loaded = load_sparse(tmp_path / "m")
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_float16_rounds_weights_and_keeps_buffers(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    model[1].running_mean.fill_(1 / 3)
    save_sparse(tmp_path / "m", model, dtype="float16", exact=["0.bias"])
    loaded = load_sparse(tmp_path / "m")
    for name, value in model.state_dict().items():
        rounded = value.half().float() if name in ("0.weight", "1.weight", "1.bias") else value
        assert bits(loaded[name]) == bits(rounded)


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


@pytest.mark.parametrize("size", [(16, 12, 6, 5), (32, 32, 8, 7)], ids=["3.8k", "23k"])
@pytest.mark.parametrize(
    ("dtype", "sparsity", "factor"),
    [("float32", 0.9, 7.4), ("float32", 0.95, 11.7), ("float16", 0.9, 14.0), ("float16", 0.95, 25.0)],
)
def test_pruned_one_way_networks_shrink(
    tmp_path: Path, size: tuple[int, int, int, int], dtype: str, sparsity: float, factor: float
) -> None:
    """From 3.8 thousand parameters on, against the dense float32 safetensors file; biases stay whole."""
    model = one_way_cnn(*size)
    prune(model, sparsity)
    save_file(model.state_dict(), tmp_path / "dense")
    save_sparse(tmp_path / "sparse", model, dtype)
    assert (tmp_path / "dense").stat().st_size / (tmp_path / "sparse").stat().st_size >= factor


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"rounded"}))
def test_zeros_of_every_type_take_no_space(tmp_path: Path, kind: str) -> None:
    save_sparse(tmp_path / "m", {"w": torch.zeros(10_000, dtype=KINDS[kind].dtype)})
    assert (tmp_path / "m").stat().st_size < 40


def test_repeated_names_and_shapes_take_no_space(tmp_path: Path) -> None:
    """Twenty more blocks of five tensors: less than two bytes each, besides their values."""
    sizes = []
    for depth in (10, 30):
        state = {
            name: torch.zeros_like(value) for name, value in one_way_cnn(depth=depth).state_dict().items()
        }
        save_sparse(tmp_path / "m", state)
        sizes.append((tmp_path / "m").stat().st_size)
    assert sizes[1] - sizes[0] < 40


@pytest.mark.parametrize(
    ("state", "arguments", "message"),
    [
        ({"w": torch.ones(2)}, {"dtype": "int8"}, "dtype: expected 'float32' or 'float16', got 'int8'"),
        ({"w": [1.0]}, {}, "w: expected a tensor, got list"),
        ({"w": torch.ones(2)}, {"exact": ["v"]}, "exact: 'v' is not in the state; it holds w"),
        (
            {"w": torch.ones(2).to(torch.float8_e5m2fnuz)},
            {},
            r"w: expected one of float32, float64, .*, got torch.float8_e5m2fnuz; convert it",
        ),
        (
            {"a\0b": torch.ones(2)},
            {},
            r"'a\\x00b': expected a name without NUL characters; rename the tensor",
        ),
    ],
)
def test_bad_arguments_are_refused(
    tmp_path: Path, state: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        save_sparse(tmp_path / "m", state, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slimwave.compression.sparse_layout.MAX_TENSORS", 2)
    with pytest.raises(ValueError, match=r"expected at most 2 tensors .*, got 3 .*; split the state"):
        save_sparse(tmp_path / "m", {name: torch.ones(1) for name in "abc"})


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
