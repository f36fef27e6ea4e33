"""The PQ Index against the paper: its formula, its bounds, its six properties, and its use by SAP."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from slimwave.compression.pq_index import pq_index, prune_count, retained_lower_bound

EXPONENTS = [(0.5, 1.0), (1.0, 2.0), (0.2, 1.7), (0.9, 1.0), (1.0, 1.1)]
exponents = st.sampled_from(EXPONENTS)
SLACK = 1e-12


@st.composite
def weight_vectors(draw: st.DrawFn) -> Tensor:
    """Positive weights over six orders of magnitude."""
    logarithms = draw(st.lists(st.floats(-3, 3), min_size=2, max_size=30))
    return 10.0 ** torch.tensor(logarithms, dtype=torch.float64)


def index(w: Tensor, pq: tuple[float, float]) -> float:
    return float(pq_index(w, *pq))


def exact_index(w: np.ndarray, p: float, q: float) -> float:
    """Definition 1 in 50 digits."""
    with mpmath.workdps(50):
        p_, q_, d = mpmath.mpf(p), mpmath.mpf(q), mpmath.mpf(w.size)

        def norm(s: mpmath.mpf) -> mpmath.mpf:
            return mpmath.fsum(abs(mpmath.mpf(float(x))) ** s for x in w) ** (1 / s)

        return float(1 - d ** (1 / q_ - 1 / p_) * norm(p_) / norm(q_))


@pytest.mark.parametrize(("p", "q"), [*EXPONENTS, (1e-3, 1.0), (1e-3, 20.0)])
@pytest.mark.parametrize("scale", [1e-300, 1e-8, 1.0, 1e300])
def test_equals_the_formula_in_fifty_digits(p: float, q: float, scale: float) -> None:
    w = np.random.default_rng(0).standard_normal(400) ** 3 * scale
    assert float(pq_index(torch.from_numpy(w), p, q)) == pytest.approx(exact_index(w, p, q), abs=1e-12)


@given(
    logarithms=st.lists(st.floats(-300, 300), min_size=1, max_size=40),
    zeros=st.integers(0, 5),
    pq=st.sampled_from([*EXPONENTS, (0.05, 1.0), (0.5, 20.0), (0.05, 20.0), (0.999, 1.0)]),
)
def test_equals_the_formula_over_six_hundred_orders_of_magnitude(
    logarithms: list[float], zeros: int, pq: tuple[float, float]
) -> None:
    w = np.concatenate([-(10.0 ** np.array(logarithms)), np.zeros(zeros)])
    assert float(pq_index(torch.from_numpy(w), *pq)) == pytest.approx(exact_index(w, *pq), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
def test_tiny_weights_of_any_dtype_do_not_overflow(dtype: torch.dtype) -> None:
    w = (torch.rand(1000, generator=torch.Generator().manual_seed(0)) * 1e-25).to(dtype)
    expected = exact_index(w.abs().to(torch.float64).numpy(), 1.0, 2.0)
    assert float(pq_index(w, 1.0, 2.0)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8, torch.int64, torch.complex128])
def test_every_dtype_gives_the_index_of_its_values(dtype: torch.dtype) -> None:
    w = torch.tensor([1, -100, 3, 0, 7], dtype=dtype)
    assert pq_index(w).dtype == torch.float64
    assert float(pq_index(w)) == pytest.approx(exact_index(w.abs().double().numpy(), 0.5, 1.0), abs=1e-14)


@given(weight_vectors(), exponents, st.floats(-1e200, 1e200))
def test_scale_invariance(w: Tensor, pq: tuple[float, float], scale: float) -> None:
    assume(abs(scale) > 1e-200)
    assert index(scale * w, pq) == pytest.approx(index(w, pq), abs=SLACK)


@given(weight_vectors(), exponents, st.integers(2, 5))
def test_cloning(w: Tensor, pq: tuple[float, float], copies: int) -> None:
    assert index(w.repeat(copies), pq) == pytest.approx(index(w, pq), abs=SLACK)


@given(weight_vectors(), exponents, st.floats(0.0, 1.0))
def test_robin_hood(w: Tensor, pq: tuple[float, float], share: float) -> None:
    """Moving weight from the largest to the smallest, up to the middle, never raises the index."""
    rich, poor = int(w.argmax()), int(w.argmin())
    gift = share * (w[rich] - w[poor]) / 2
    levelled = w.clone()
    levelled[rich] -= gift
    levelled[poor] += gift
    assert index(levelled, pq) <= index(w, pq) + SLACK


@given(weight_vectors(), exponents, st.floats(1e-6, 1e3))
def test_rising_tide(w: Tensor, pq: tuple[float, float], tide: float) -> None:
    """Adding the same to every weight lowers the index, strictly if the weights differ."""
    raised = index(w + tide * w.mean(), pq)
    assert raised <= index(w, pq) + SLACK
    if w.max() > 1.5 * w.min() and tide > 1e-3:
        assert raised < index(w, pq)


@given(weight_vectors(), exponents, st.integers(0, 29), st.floats(1.0, 1e3))
def test_bill_gates(w: Tensor, pq: tuple[float, float], who: int, more: float) -> None:
    """Once one weight is rich enough, making it richer raises the index."""
    who %= w.numel()
    rich = w.clone()
    rich[who] += 10 * w.sum()
    richer = rich.clone()
    richer[who] += more * w.sum()
    assert index(richer, pq) > index(rich, pq)


@given(weight_vectors(), exponents, st.integers(1, 20))
def test_babies(w: Tensor, pq: tuple[float, float], babies: int) -> None:
    """Adding zeros raises the index."""
    assert index(torch.cat([w, w.new_zeros(babies)]), pq) > index(w, pq)


@given(weight_vectors(), exponents, st.integers(0, 20))
def test_bounds(w: Tensor, pq: tuple[float, float], zeros: int) -> None:
    w = torch.cat([w, w.new_zeros(zeros)])
    assert 0.0 <= index(w, pq) <= 1.0 - w.numel() ** (1 / pq[1] - 1 / pq[0])


@pytest.mark.parametrize("pq", EXPONENTS)
def test_bounds_are_reached(pq: tuple[float, float]) -> None:
    one_hot = torch.eye(7)[3]
    assert index(torch.full((7,), -0.3), pq) == pytest.approx(0.0, abs=1e-15)
    assert index(one_hot, pq) == pytest.approx(1.0 - 7 ** (1 / pq[1] - 1 / pq[0]), abs=1e-15)


@pytest.mark.parametrize("w", [torch.empty(0), torch.zeros(5), torch.tensor(3.0), torch.tensor([-2.0])])
def test_groups_without_contrast_have_index_zero(w: Tensor) -> None:
    assert pq_index(w).shape == ()
    assert float(pq_index(w)) == 0.0


def test_groups_run_along_the_given_axes() -> None:
    w = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(pq_index(w, dim=1)[2, 3], pq_index(w[2, :, 3]))
    by_row = pq_index(w, dim=(1, 2))
    assert by_row.shape == (3,)
    assert torch.allclose(by_row, torch.stack([pq_index(row) for row in w]))
    assert pq_index(torch.empty(3, 0), dim=1).tolist() == [0.0, 0.0, 0.0]


def test_only_masked_weights_count() -> None:
    w = torch.tensor([1.0, float("nan"), 2.0, 3.0, 1e9])
    mask = torch.tensor([True, False, True, True, False])
    assert float(pq_index(w, mask=mask)) == pytest.approx(float(pq_index(torch.tensor([1.0, 2.0, 3.0]))))
    assert float(pq_index(w, mask=torch.zeros(5, dtype=torch.bool))) == 0.0


@pytest.mark.parametrize(("p", "q"), [(1.0, 1.0), (2.0, 1.0), (0.0, 1.0), (0.5, 0.9), (0.5, math.inf)])
def test_exponents_out_of_range_are_refused(p: float, q: float) -> None:
    with pytest.raises(ValueError, match="p, q: the PQ Index needs 0 < p <= 1 <= q"):
        pq_index(torch.ones(3), p, q)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite weights"):
        pq_index(torch.tensor([1.0, bad]))


def test_a_mask_of_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="mask: expected a boolean tensor"):
        pq_index(torch.ones(3), mask=torch.ones(3))


@pytest.mark.parametrize("shape", [(4,), (2, 3, 1), (3, 2)])
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    mask = torch.ones(shape, dtype=torch.bool)
    with pytest.raises(
        ValueError, match=r"mask: expected the shape \(2, 3\) of w, .*got \(.*reshape the mask"
    ):
        pq_index(torch.ones(2, 3), mask=mask)
    assert float(pq_index(torch.ones(2, 3), mask=torch.ones(2, 1, dtype=torch.bool))) == 0.0


@pytest.mark.parametrize(("p", "q"), EXPONENTS)
@given(equal=st.integers(1, 50), zeros=st.integers(0, 50))
def test_lower_bound_counts_equal_weights_exactly(p: float, q: float, equal: int, zeros: int) -> None:
    """Of k equal weights and some zeros, with η = 0, exactly k must stay: (1 − I)^{pq/(q−p)} = k/d."""
    w = torch.cat([torch.full((equal,), 0.7), torch.zeros(zeros)])
    bound = retained_lower_bound(pq_index(w, p, q), torch.tensor(w.numel()), p, q, eta=0.0)
    assert int(bound) == equal


@given(weight_vectors(), exponents)
def test_lower_bound_keeps_the_norm(w: Tensor, pq: tuple[float, float]) -> None:
    """Theorem 2: the largest r weights with ‖rest‖_p^p ≤ η ‖w_r‖_p^p number at least m, for any η ≥ 0."""
    p, q = pq
    powers = w.sort(descending=True).values.pow(p)
    retained = powers.cumsum(0)
    for r in range(1, w.numel() + 1):
        eta = float((powers.sum() - retained[r - 1]).clamp(min=0) / retained[r - 1])
        assert int(retained_lower_bound(pq_index(w, p, q), torch.tensor(w.numel()), p, q, eta)) <= r


@pytest.mark.parametrize(
    ("d", "m", "gamma", "beta", "c"),
    [
        (100, 71, 1.0, 0.9, 29),
        (100, 0, 1.0, 0.29, 29),
        (10, 1, 1.0, 0.9, 9),
        (7, 7, 5.0, 1.0, 0),
        (7, 0, 3.0, 1.0, 7),
    ],
)
def test_prune_count(d: int, m: int, gamma: float, beta: float, c: int) -> None:
    """The count is ⌊d · min(γ (1 − m/d), β)⌋, unspoilt by rounding (100 · 0.29 < 29 in binary)."""
    assert int(prune_count(torch.tensor(d), torch.tensor(m), gamma, beta)) == c
