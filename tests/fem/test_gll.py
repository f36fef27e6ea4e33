"""GLL quadrature and Lagrange polynomials against exact integrals and derivatives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import Polynomial

from slimwave.fem.gll import differentiation_matrix, gll_nodes, lagrange, lagrange_slopes

orders = st.integers(1, 12)


@given(orders, st.data())
def test_quadrature_is_exact_to_degree_2p_minus_1(order, data):
    """∫₀¹ x^k dx = 1 / (k + 1)."""
    degree = data.draw(st.integers(0, 2 * order - 1))
    nodes, weights = gll_nodes(order)
    assert weights @ nodes**degree == pytest.approx(1.0 / (degree + 1), rel=1e-13)


def test_quadrature_of_degree_2p_is_not_exact():
    nodes, weights = gll_nodes(4)
    assert abs(weights @ nodes**8 - 1 / 9) > 1e-6


@given(orders)
def test_nodes_are_symmetric_and_include_the_ends(order):
    nodes, weights = gll_nodes(order)
    assert nodes[0] == 0.0 and nodes[-1] == 1.0
    assert np.all(np.diff(nodes) > 0) and np.all(weights > 0)
    assert np.allclose(nodes, 1.0 - nodes[::-1], rtol=0, atol=1e-15)


@given(orders, st.integers(0, 2**32 - 1))
def test_interpolation_and_slopes_are_exact_for_polynomials_of_degree_p(order, seed):
    rng = np.random.default_rng(seed)
    polynomial = Polynomial(rng.uniform(-1, 1, order + 1))
    nodes, _ = gll_nodes(order)
    x = rng.uniform(0, 1, 7)
    assert np.allclose(polynomial(nodes) @ lagrange(nodes, x), polynomial(x), atol=1e-11)
    assert np.allclose(polynomial(nodes) @ lagrange_slopes(nodes, x), polynomial.deriv()(x), atol=1e-9)
    assert np.allclose(
        differentiation_matrix(nodes) @ polynomial(nodes), polynomial.deriv()(nodes), atol=1e-9
    )


@given(orders)
def test_lagrange_polynomials_are_exactly_zero_and_one_at_the_nodes(order):
    nodes, _ = gll_nodes(order)
    assert np.array_equal(lagrange(nodes, nodes), np.eye(order + 1))


@pytest.mark.parametrize("order", [0, -1, 2.5, 4.0, "4"])
def test_order_below_one_or_fractional_is_refused(order):
    with pytest.raises(ValueError, match=r"order: expected an integer of at least 1, got"):
        gll_nodes(order)
