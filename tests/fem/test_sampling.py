"""Sampling on uniform grids: exact for the element's polynomials, on any tensor grid, one state or many."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial.polynomial import polygrid2d, polyval2d

from slimwave.fem.meshes import disk, rectangle
from slimwave.fem.space import GLLSpace


@settings(max_examples=40, deadline=None)
@given(
    elements=st.tuples(st.integers(1, 9), st.integers(1, 40)),
    order=st.integers(1, 6),
    grid=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 99),
)
def test_polynomials_of_the_elements_degree_are_met_on_any_grid(elements, order, grid, dtype, seed):
    rng = np.random.default_rng(seed)
    space = GLLSpace(rectangle(1.3, 0.7, elements), order)
    polynomials = rng.standard_normal((3, order + 1, order + 1))
    x, y = space.grid.x.nodes, space.grid.y.nodes
    states = space.grid.layout.pack(np.stack([polygrid2d(x, y, c) for c in polynomials]).astype(dtype))
    sampler = space.sampler(*grid)
    expected = np.stack([polygrid2d(sampler.x, sampler.y, c) for c in polynomials])
    found = sampler.sample(states)
    assert found.dtype == dtype and found.shape == (3, *grid)
    tolerance = 50 * (order + 1) * np.finfo(dtype).eps * np.abs(expected).max()
    assert np.abs(found - expected).max() <= tolerance
    assert np.array_equal(sampler.sample(states[1]), found[1])
    out = np.full((3, *grid), np.nan, dtype)
    sampler.sample(states, out)
    assert np.array_equal(out, found)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_states_on_any_mesh_are_sampled_like_one(dtype):
    space = GLLSpace(disk(0.8, elements=3), 2)
    sampler = space.sampler(9, 11)
    coefficients = np.random.default_rng(0).standard_normal((2, 2, 2))
    states = np.stack([polyval2d(*space.points, c) for c in coefficients]).astype(dtype)
    out = np.empty((2, 9, 11), dtype)
    found = sampler.sample(states, out)
    assert np.array_equal(found, out) and np.array_equal(sampler.sample(states[1]), out[1])
    expected = np.stack([polygrid2d(sampler.x, sampler.y, c) for c in coefficients])
    assert np.abs(found - expected)[:, sampler.inside].max() < 1e-2
    assert not found[:, ~sampler.inside].any()
