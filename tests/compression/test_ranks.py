"""A rank in its three forms: a number, a share of the channels, a ratio."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimwave.compression.choices import RANKED_FORMATS
from slimwave.compression.formats import format_class, layer_rank, make_conv
from slimwave.compression.ranks import Rank, check_rank_form
from slimwave.compression.shapes import ConvShape


@pytest.mark.parametrize(
    ("conv", "rank", "expected"),
    [
        ("cp", 16, 16),
        ("cp", 0.5, 12),
        ("cp", 1.0, 24),
        ("cp", 1, 1),
        ("cp", "8x", 31),  # 24 · 24 · 25 / 8 = 1800 = 31 · 58 + 2
        ("separable", 0.25, 6),
        ("separable", "4x", 15),  # 3600 = 15 · 240
        ("tucker", "2.5x", 14),  # 14 · 48 + 196 · 25 = 5572 <= 5760 < 15 · 48 + 225 · 25
    ],
)
def test_the_three_forms(conv: str, rank: Rank, expected: int) -> None:
    assert make_conv(conv, 24, 24, 5, rank=rank).rank == expected


@pytest.mark.parametrize("rank", [np.int64(4), np.int32(4), np.uint8(4)])
def test_numpy_s_whole_numbers_are_numbers_of_terms(rank: int) -> None:
    layer = make_conv("cp", 4, 4, 3, rank=rank)
    assert (layer.rank, type(layer.rank)) == (4, int)
    with pytest.raises(ValueError, match="at least 1"):
        check_rank_form(np.int64(0))


@given(
    conv=st.sampled_from(RANKED_FORMATS),
    channels=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    kernel=st.sampled_from([1, 3, 5]),
    ratio=st.floats(0.2, 30.0),
)
def test_a_ratio_is_reached_with_the_largest_rank_that_reaches_it(
    conv: str, channels: tuple[int, int], kernel: int, ratio: float
) -> None:
    shape = ConvShape.of(*channels, kernel)
    cls = format_class(conv)

    def reached(rank: int) -> bool:
        return cls.weight_count(shape, rank) * ratio <= shape.dense_weights

    if not reached(1):
        with pytest.raises(ValueError, match=r"rank: one term reaches a ratio of .*x at most, got '"):
            layer_rank(conv, shape, f"{ratio}x")
        return
    rank = layer_rank(conv, shape, f"{ratio}x")
    assert reached(rank)
    assert rank == cls.full_rank(shape) or not reached(rank + 1)


def test_shares_of_thin_layers_stop_at_the_full_rank() -> None:
    assert make_conv("separable", 1, 24, 3, rank=1.0).rank == 3


@pytest.mark.parametrize(
    ("rank", "message"),
    [
        (0, "rank: expected a whole number of at least 1, a share such as 0.5, or a ratio"),
        (-3, "expected a whole number of at least 1.*got -3"),
        (True, "expected a whole number of at least 1.*got True"),
        (None, "expected a whole number of at least 1.*got None"),
        (0.0, "expected a share of the channels above 0 and at most 1, got 0.0"),
        (16.0, "at most 1, got 16.0; write a number of terms as a whole number"),
        (float("nan"), "expected a share of the channels"),
        ("8", "expected a ratio such as '8x' .*got '8'"),
        ("x", "expected a ratio such as '8x'"),
        ("-2x", "expected a ratio such as '8x'"),
        ("infx", "expected a ratio such as '8x'"),
    ],
)
def test_malformed_ranks_are_refused(rank: Rank, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_rank_form(rank)


def test_the_flag_at_fault_is_named() -> None:
    with pytest.raises(ValueError, match=r"--network\.rank: expected a ratio"):
        check_rank_form("8", "--network.rank")
