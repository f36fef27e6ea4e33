"""Random media and pulses: range, determinism, statistics, and what the walls demand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimwave.fem.boundaries import SIDES, wall_signs
from slimwave.fem.media import (
    FaultedMedium,
    GradientMedium,
    LayeredMedium,
    SmoothRandomMedium,
    draw_faulted_medium,
    draw_gradient_medium,
    draw_inclusion_medium,
    draw_layered_medium,
    draw_smooth_random_medium,
)
from slimwave.fem.sources import GaussianPulses, draw_gaussian_pulses

DRAWS = [
    draw_smooth_random_medium,
    draw_layered_medium,
    draw_inclusion_medium,
    draw_faulted_medium,
    draw_gradient_medium,
]
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("draw", DRAWS)
@settings(max_examples=40, deadline=None)
@given(seed=seeds, low=st.floats(0.01, 10), ratio=st.floats(1, 50))
def test_speeds_stay_in_their_range(draw, seed, low, ratio):
    medium = draw(np.random.default_rng(seed), min_speed=low, max_speed=low * ratio)
    speed = medium(*np.random.default_rng(0).uniform(-0.5, 1.5, (2, 300)))
    slack = 1e-12 * low * ratio
    assert low - slack <= speed.min() and speed.max() <= low * ratio + slack


@pytest.mark.parametrize("draw", [*DRAWS, draw_gaussian_pulses])
def test_a_seed_gives_one_scene(draw):
    x, y = np.random.default_rng(0).uniform(0, 1, (2, 50))
    same, again, other = (draw(np.random.default_rng(seed))(x, y) for seed in (5, 5, 6))
    assert np.array_equal(same, again) and not np.allclose(same, other)


@pytest.mark.parametrize("draw", [*DRAWS, draw_gaussian_pulses])
def test_scenes_are_vectorised(draw):
    scene = draw(np.random.default_rng(1))
    x, y = np.random.default_rng(0).uniform(0, 1, (2, 3, 4))
    values = scene(x, y)
    assert values.shape == (3, 4) and values.dtype == np.float64
    assert values[2, 1] == pytest.approx(float(scene(x[2, 1], y[2, 1])), rel=1e-14)


def test_smooth_media_have_the_correlation_that_was_asked_for():
    """E[g(0) g(r)] = exp(−r² / 2ℓ²) for the Gaussian field g behind the medium, over 4000 draws."""
    length, distance = 0.2, np.array([0.0, 0.1, 0.2, 0.4])
    fields = []
    for seed in range(4000):
        medium = draw_smooth_random_medium(np.random.default_rng(seed), correlation_length=length)
        share = medium(0.3 + distance, 0.6 + 0 * distance) - medium.min_speed
        fields.append(np.arctanh(2 * share - 1) / np.sqrt(2 / np.pi))
    fields = np.array(fields)
    assert (fields * fields[:, :1]).mean(axis=0) == pytest.approx(
        np.exp(-(distance**2) / 2 / length**2), abs=0.06
    )


def test_layers_take_their_speeds_and_dip():
    medium = LayeredMedium(np.array([1.0, 3.0, 2.0]), np.array([0.3, 0.6]), dip=0.2, interface_width=0.005)
    assert medium([0.0, 0.0, 0.0], [0.1, 0.45, 0.9]) == pytest.approx([1.0, 3.0, 2.0], abs=1e-6)
    assert medium(0.5, 0.4) == pytest.approx(2.0, abs=1e-6)


def test_every_drawn_layer_has_at_least_half_its_share():
    for seed in range(50):
        medium = draw_layered_medium(np.random.default_rng(seed), height=2.0, width=3.0, max_dip=0.0)
        edges = np.concatenate([[0.0], medium.depths, [2.0]])
        assert np.diff(edges).min() >= 0.5 * 2.0 / len(medium.speeds) - 1e-12


def test_inclusions_cover_the_background():
    medium = draw_inclusion_medium(np.random.default_rng(2), inclusions=(1, 1), interface_width=1e-3)
    assert medium(*medium.centres[0]) == pytest.approx(medium.speeds[0], rel=1e-9)
    assert medium(9.0, 9.0) == pytest.approx(medium.background, rel=1e-9)


def test_a_fault_throws_the_layers_on_its_right():
    layers = LayeredMedium(np.array([1.0, 3.0]), np.array([0.5]), dip=0.0, interface_width=0.002)
    medium = FaultedMedium(layers, np.array([0.4]), np.array([np.pi / 2]), np.array([0.2]), 0.002)
    assert medium([0.3, 0.5], [0.6, 0.6]) == pytest.approx([3.0, 1.0], abs=1e-6)
    assert medium([0.3, 0.5], [0.8, 0.8]) == pytest.approx([3.0, 3.0], abs=1e-6)


def test_faults_cut_those_before_them():
    """Two upright faults, each of throw 0.1: the layers step up twice."""
    layers = LayeredMedium(np.array([1.0, 3.0]), np.array([0.5]), dip=0.0, interface_width=0.001)
    right = np.full(2, np.pi / 2)
    medium = FaultedMedium(layers, np.array([0.3, 0.6]), right, np.array([0.1, 0.1]), 0.001)
    heights = np.linspace(0, 1, 1001)
    interface = [heights[medium(x, heights) > 2.0].min() for x in (0.1, 0.45, 0.9)]
    assert interface == pytest.approx([0.5, 0.6, 0.7], abs=2e-3)


def test_a_gradient_spans_its_range_over_the_domain():
    medium = draw_gradient_medium(np.random.default_rng(4), min_speed=1.0, max_speed=3.0, width=2.0)
    x, y = np.meshgrid([0.0, 2.0], [0.0, 1.0])
    corners = medium(x, y)
    assert corners.min() == pytest.approx(1.0) and corners.max() == pytest.approx(3.0)
    assert medium(1.0, 0.5) == pytest.approx(2.0)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0), (1.0, np.inf), (np.nan, 1.0)])
def test_bad_ranges_of_speed_are_refused(draw, low, high):
    with pytest.raises(ValueError, match="min_speed, max_speed: expected 0 < min_speed <= max_speed"):
        draw(np.random.default_rng(0), min_speed=low, max_speed=high)


def test_bad_media_are_refused():
    with pytest.raises(ValueError, match="correlation_length: expected a positive number, got 0"):
        draw_smooth_random_medium(np.random.default_rng(0), correlation_length=0.0)
    with pytest.raises(ValueError, match="interface_width: expected a positive number, got -1"):
        draw_layered_medium(np.random.default_rng(0), interface_width=-1.0)
    with pytest.raises(ValueError, match="interface_width: expected a positive number"):
        draw_inclusion_medium(np.random.default_rng(0), interface_width=0.0)
    with pytest.raises(ValueError, match="depths: expected 1 increasing heights"):
        LayeredMedium(np.array([1.0, 2.0]), np.array([0.5, 0.2]), 0.0, 0.01)
    layers = LayeredMedium(np.array([1.0, 3.0]), np.array([0.5]), 0.0, 0.01)
    with pytest.raises(
        ValueError, match=r"positions, angles, throws: expected one of each .* got 1, 2 and 1"
    ):
        FaultedMedium(layers, np.ones(1), np.ones(2), np.ones(1), 0.01)
    with pytest.raises(ValueError, match="angles: expected radians between 0 and pi"):
        FaultedMedium(layers, np.ones(1), np.zeros(1), np.ones(1), 0.01)
    with pytest.raises(ValueError, match="length: expected a positive number, got 0"):
        GradientMedium(1.0, 2.0, 0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="min_speed"):
        SmoothRandomMedium(np.ones((1, 2)), np.ones(1), -1.0, 1.0)


walls = st.fixed_dictionaries({side: st.sampled_from(["dirichlet", "neumann"]) for side in SIDES})


@given(seed=seeds, boundaries=walls, width=st.floats(0.8, 3), height=st.floats(0.8, 3))
def test_pulses_obey_every_combination_of_walls(seed, boundaries, width, height):
    """U = 0 on Dirichlet walls and ∂u/∂n = 0 (centred differences) on Neumann walls."""
    pulses = draw_gaussian_pulses(
        np.random.default_rng(seed), boundaries=boundaries, width=width, height=height, margin=0.5
    )
    s, step = np.linspace(0, 1, 21), 1e-4
    places = {
        "left": (0.0, s * height, 1, 0),
        "right": (width, s * height, 1, 0),
        "bottom": (s * width, 0.0, 0, 1),
        "top": (s * width, height, 0, 1),
    }
    for side, (x, y, nx, ny) in places.items():
        x, y = np.broadcast_arrays(x, y)
        before, after = pulses(x - step * nx, y - step * ny), pulses(x + step * nx, y + step * ny)
        broken = pulses(x, y) if boundaries[side] == "dirichlet" else (after - before) / step
        assert np.abs(broken).max() < 1e-8


@pytest.mark.parametrize("condition", ["dirichlet", "neumann"])
def test_the_widest_pulses_obey_the_walls_too(condition):
    """At a width of a quarter of the side, the second images count."""
    pulse = GaussianPulses(
        np.array([[0.9, 0.8]]), np.array([0.25]), np.array([1.0]), signs=wall_signs(condition)
    )
    y, step = np.linspace(0, 1, 21), 1e-4
    for wall in (0.0, 1.0):
        slope = (pulse(0 * y + wall + step, y) - pulse(0 * y + wall - step, y)) / step
        broken = pulse(0 * y + wall, y) if condition == "dirichlet" else slope
        assert np.abs(broken).max() < 1e-8


@given(seed=seeds, margin=st.floats(0, 3))
def test_drawn_pulses_respect_their_ranges(seed, margin):
    pulses = draw_gaussian_pulses(np.random.default_rng(seed), margin=margin, width=2.0)
    assert 1 <= len(pulses.widths) <= 3
    assert np.all((pulses.widths >= 0.06) & (pulses.widths <= 0.10))
    assert np.all((np.abs(pulses.amplitudes) >= 0.5) & (np.abs(pulses.amplitudes) <= 1.0))
    walls_at = np.array([2.0, 1.0])
    nearest = np.minimum(pulses.centres, walls_at - pulses.centres).min(axis=1)
    assert np.all(nearest >= margin * pulses.widths - 1e-12)


def test_both_signs_of_amplitude_occur():
    drawn = np.concatenate([draw_gaussian_pulses(np.random.default_rng(k)).amplitudes for k in range(30)])
    assert (drawn > 0).any() and (drawn < 0).any()


def test_signs_of_walls_follow_the_order_of_sides():
    mixed = {"left": "neumann", "right": "dirichlet", "bottom": "dirichlet", "top": "neumann"}
    assert wall_signs(mixed) == (1.0, -1.0, -1.0, 1.0)
    assert wall_signs(mixed | {"top": "absorbing"}) == (1.0, -1.0, -1.0, 0.0)
    with pytest.raises(
        ValueError, match=r"boundaries\['left'\]: unknown condition 'pml'; choose one of dirich"
    ):
        wall_signs("pml")


def test_bad_pulses_are_refused():
    with pytest.raises(
        ValueError, match=r"pulse_width: a pulse of width 0\.3 kept 2 widths from every wall does not fit"
    ):
        draw_gaussian_pulses(np.random.default_rng(0), pulse_width=(0.1, 0.3))
    with pytest.raises(ValueError, match=r"widths: expected 0 < width <= 0\.25"):
        GaussianPulses(np.array([[0.5, 0.5]]), np.array([0.0]), np.array([1.0]))
    with pytest.raises(ValueError, match="centres: expected points in"):
        GaussianPulses(np.array([[0.5, 1.5]]), np.array([0.1]), np.array([1.0]))
