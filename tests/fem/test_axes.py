"""Fields that are evaluated axis by axis: equal to their values point by point, and taken by the solvers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimwave.fem.batches import WaveBatch
from slimwave.fem.damping import SpongeDamping, draw_random_damping
from slimwave.fem.fields import OnAxes, values_on_axes
from slimwave.fem.media import draw_faulted_medium, draw_gradient_medium, draw_smooth_random_medium
from slimwave.fem.meshes import disk, rectangle
from slimwave.fem.solver import WaveSolver
from slimwave.fem.sources import draw_gaussian_pulses
from slimwave.fem.space import GLLSpace

DRAWS = {
    "smooth medium": lambda rng: draw_smooth_random_medium(rng, correlation_length=rng.uniform(0.02, 0.5)),
    "random damping": lambda rng: draw_random_damping(rng, correlation_length=0.2, strength=3.0),
    "pulses": draw_gaussian_pulses,
    "faults": draw_faulted_medium,
    "gradient": draw_gradient_medium,
    "sponge": lambda rng: SpongeDamping(rng.uniform(1, 2), 0.3),
}
SEPARABLE = ("smooth medium", "random damping", "pulses")


@pytest.mark.parametrize("name", DRAWS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), nx=st.integers(1, 40), ny=st.integers(1, 40))
def test_values_on_axes_are_those_at_the_points(name, seed, nx, ny):
    rng = np.random.default_rng(seed)
    field, x, y = DRAWS[name](rng), rng.uniform(0, 1, nx), rng.uniform(0, 1, ny)
    expected = field(*np.meshgrid(x, y, indexing="ij"))
    found = values_on_axes(field, x, y)
    assert found.shape == (nx, ny) and np.abs(found - expected).max() <= 1e-12
    assert isinstance(field, OnAxes) == (name in SEPARABLE)


class Counted:
    """A function of (x, y) that may be asked for axes only, or for points only."""

    def __init__(self, field, *, axes):
        self.field, self.axes, self.calls = field, axes, 0
        if axes:
            self.on_axes = self._on_axes

    def __call__(self, x, y):
        assert not self.axes, "points were asked for"
        self.calls += 1
        return self.field(x, y)

    def _on_axes(self, x, y):
        self.calls += 1
        return values_on_axes(self.field, x, y)


@pytest.mark.parametrize("axes", [True, False])
def test_solvers_on_tensor_grids_ask_for_axes_where_a_field_offers_them(axes):
    """For speed, damping and initial fields, by one wave and by batches."""
    rng = np.random.default_rng(0)
    speed, damping, u0, v0 = (
        Counted(DRAWS[name](rng), axes=axes)
        for name in ("smooth medium", "random damping", "pulses", "gradient")
    )
    space = GLLSpace(rectangle(elements=(3, 4)), 3)
    asked = {"times": [0.1], "grid": (5, 5)}
    WaveSolver(space, wave_speed=speed, damping=damping).run(u0, v0, **asked)
    assert [field.calls for field in (speed, damping, u0, v0)] == [1, 1, 1, 1]
    found = WaveBatch(space, [speed, speed]).run(u0, v0, **asked)
    plain = WaveBatch(space, speed.field).run(u0.field, v0.field, **asked)
    assert np.abs(found.u[1] - plain.u[0]).max() <= 1e-13


def test_other_meshes_and_matched_layers_take_points():
    medium = Counted(draw_smooth_random_medium(np.random.default_rng(0)), axes=False)
    medium.on_axes = None
    WaveSolver(disk(0.5, elements=2), wave_speed=medium)
    WaveSolver(rectangle(elements=(7, 7)), wave_speed=medium, boundaries="pml")
    assert medium.calls == 2


def test_axes_give_one_value_for_each_pair():
    class Wrong:
        def __call__(self, x, _):
            return x

        def on_axes(self, x, _):
            return x

    message = r"expected values of shape \(\d+, \d+\) on these axes, but Wrong returned shape \(\d+,\)"
    with pytest.raises(ValueError, match=message):
        WaveSolver(rectangle(elements=(2, 3)), wave_speed=Wrong())
    with pytest.raises(ValueError, match=message):
        values_on_axes(Wrong(), np.zeros(3), np.zeros(4))
