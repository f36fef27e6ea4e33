"""Statistics: equal to numpy's on all values at once, from the training split alone."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from slimwave.data.moments import Moments
from slimwave.data.reading import sharded_info
from slimwave.data.windows import load_trajectories

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)
VALUES = arrays(np.float64, SHAPES, elements=st.floats(-1e3, 1e3))


@settings(deadline=None)  # the first call may compile
@given(parts=st.lists(VALUES, min_size=1, max_size=5))
def test_merged_moments_are_those_of_the_whole(parts: list[np.ndarray]) -> None:
    total = sum((Moments.of(part) for part in parts), Moments())
    whole = np.concatenate([part.ravel() for part in parts])
    assert total.count == whole.size
    assert math.isclose(total.mean, whole.mean(), rel_tol=1e-9, abs_tol=1e-9)
    assert math.isclose(total.std, whole.std(), rel_tol=1e-9, abs_tol=1e-9)
    assert math.isclose(total.rms, math.sqrt((whole**2).mean()), rel_tol=1e-9, abs_tol=1e-9)


def test_no_cancellation_far_from_zero() -> None:
    """1e9 + {0, 1, 2, 3}: the sum of squares alone would lose the variance."""
    total = Moments.of(np.array([1e9, 1e9 + 1])) + Moments.of(np.array([1e9 + 2, 1e9 + 3]))
    assert total.std == pytest.approx(math.sqrt(1.25), rel=1e-12)


def test_stats_are_those_of_the_training_split(pristine: Path) -> None:
    stats, data = sharded_info(pristine).stats, load_trajectories(pristine, "train")
    arrays_of = {name: getattr(data, name).double().numpy() for name in ("u", "v", "c")}
    for name, values in arrays_of.items():
        assert stats["mean"][name] == pytest.approx(values.mean(), rel=1e-9, abs=1e-12)
        assert stats["std"][name] == pytest.approx(values.std(), rel=1e-9)
        assert stats["rms"][name] == pytest.approx(np.sqrt((values**2).mean()), rel=1e-9)
    for name in ("u", "v"):
        change = np.diff(arrays_of[name], axis=1)
        assert stats["mean_delta"][name] == pytest.approx(change.mean(), rel=1e-9, abs=1e-12)
        assert stats["std_delta"][name] == pytest.approx(change.std(), rel=1e-9)
        assert stats["rms_delta"][name] == pytest.approx(np.sqrt((change**2).mean()), rel=1e-9)
