"""Metrics against closed forms, against The Well's own code, and on forecasts that have blown up."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slimwave.surrogates.metrics import (
    correlation,
    energy,
    energy_drift,
    energy_error,
    errors_by_place,
    maximum_error,
    relative_l2,
    valid_time,
    vrmse,
    window_mean,
)


def test_relative_l2_of_a_scaled_field_is_the_scale_s_distance_from_one() -> None:
    field = torch.randn(3, 5, 8, 9, dtype=torch.float64)
    scales = torch.tensor([0.5, 1.0, 2.5], dtype=torch.float64)[:, None, None, None]
    errors = relative_l2(scales * field, field)
    assert errors.shape == (3, 5)
    assert torch.allclose(errors, (scales[..., 0, 0] - 1).abs().expand(3, 5))


def test_errors_of_a_blown_up_forecast_are_infinite_never_nan() -> None:
    field = torch.ones(1, 4, 4)
    for value in (math.nan, math.inf):
        broken = torch.full_like(field, value)
        assert relative_l2(broken, field).item() == math.inf
        assert vrmse(broken, field).item() == math.inf
        assert maximum_error(broken, field).item() == math.inf
        assert [error.item() for error in errors_by_place(broken, field)] == [math.inf, math.inf]
        assert correlation(broken, field).item() == 0
        assert energy_drift(torch.tensor([1.0, value])).item() == math.inf


def test_relative_l2_at_a_vanishing_reference() -> None:
    rest = torch.zeros(1, 4, 4)
    assert relative_l2(rest, rest).item() == 0
    assert relative_l2(rest + 1, rest).item() == math.inf


def test_vrmse_of_the_mean_is_one() -> None:
    """Up to the unbiased variance, predicting the mean everywhere scores 1."""
    field = torch.randn(2, 64, 64, dtype=torch.float64)
    mean = field.mean(dim=(-2, -1), keepdim=True).expand_as(field)
    assert torch.allclose(vrmse(mean, field), torch.ones(2, dtype=torch.float64), atol=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_vrmse_equals_the_well_s() -> None:
    spatial = pytest.importorskip("the_well.benchmark.metrics.spatial")
    prediction, reference = torch.randn(2, 3, 12, 10)

    class Meta:
        n_spatial_dims = 2

    theirs = spatial.VRMSE.eval(prediction[..., None], reference[..., None], Meta())[..., 0]
    assert torch.allclose(vrmse(prediction, reference), theirs, rtol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_correlation_and_maximum_error_equal_the_well_s() -> None:
    """Up to The Well's mix of a biased covariance with unbiased deviations, a factor of (n − 1) / n."""
    spatial = pytest.importorskip("the_well.benchmark.metrics.spatial")
    prediction, reference = torch.randn(2, 3, 12, 10, dtype=torch.float64)

    class Meta:
        n_spatial_dims = 2

    arguments = prediction[..., None], reference[..., None], Meta()
    theirs = spatial.PearsonR.eval(*arguments, eps=0.0)[..., 0]
    assert torch.allclose(correlation(prediction, reference), theirs * 120 / 119)
    largest = spatial.LInfinity.eval(*arguments)[..., 0] / reference.abs().amax((-2, -1))
    assert torch.allclose(maximum_error(prediction, reference), largest)


def test_correlation_forgets_scale_and_offset_at_any_amplitude() -> None:
    field = torch.randn(4, 9, 7)
    scales = torch.tensor([1e-30, 1e-3, 1.0, 1e30])[:, None, None]
    assert torch.allclose(correlation(scales * (field + 0.5), field), torch.ones(4), atol=1e-5)
    assert torch.allclose(correlation(-field, field), -torch.ones(4))
    assert correlation(torch.ones(3, 9, 7), field[:3]).tolist() == [0.0, 0.0, 0.0]


@given(st.integers(3, 20), st.integers(3, 20), st.integers(0, 2**31))
def test_errors_at_walls_and_inside_make_up_the_relative_error(nx: int, ny: int, seed: int) -> None:
    prediction, reference = torch.randn(
        2, nx, ny, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    at_walls, inside = errors_by_place(prediction, reference)
    deep = min(4, (min(nx, ny) - 1) // 2)
    share = (nx - 2 * deep) * (ny - 2 * deep) / (nx * ny)
    assert 0 < share < 1
    together = (1 - share) * at_walls**2 + share * inside**2
    assert together.sqrt().item() == pytest.approx(relative_l2(prediction, reference).item())


def test_an_error_at_one_place_is_seen_there_alone() -> None:
    reference = torch.ones(20, 16)
    for node, expected in (((0, 8), (True, False)), ((10, 12), (True, False)), ((10, 11), (False, True))):
        prediction = reference.clone()
        prediction[node] = 2.0
        found = errors_by_place(prediction, reference)
        assert tuple(error.item() > 0 for error in found) == expected


def test_window_mean_counts_steps_from_one_and_includes_both_ends() -> None:
    steps = torch.arange(1.0, 31.0).expand(2, 30)
    assert window_mean(steps, 6, 12).tolist() == [9.0, 9.0]
    assert window_mean(steps, 13, 30).tolist() == [21.5, 21.5]


def test_energy_drift_is_relative_to_the_start() -> None:
    assert energy_drift(torch.tensor([[2.0, 3.0, 1.0], [0.0, 0.0, 0.0]])).tolist() == [
        [0.5, -0.5],
        [0.0, 0.0],
    ]


def test_energy_error_is_the_distance_from_the_reference_at_each_step() -> None:
    """A reference that loses energy through open sides is followed, not its start."""
    reference = torch.tensor([[2.0, 1.0, 0.5], [0.0, 0.0, 0.0]])
    forecast = torch.tensor([[2.0, 1.2, 0.1], [0.0, 0.0, math.nan]])
    found = energy_error(forecast, reference)
    assert found[0].tolist() == pytest.approx([0.1, 0.2])
    assert found[1].tolist() == [0.0, math.inf]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.01, 0.99))
def test_valid_time_counts_the_steps_before_the_first_failure(errors: list[float], threshold: float) -> None:
    failures = [step for step, error in enumerate(errors) if error > threshold]
    expected = failures[0] if failures else len(errors)
    found = valid_time(torch.tensor(errors, dtype=torch.float64), 0.5, threshold)
    assert found.item() == 0.5 * expected


def test_valid_time_ends_at_an_infinite_error_and_never_resumes() -> None:
    errors = torch.tensor([[0.1, math.inf, 0.1], [0.1, 0.1, 0.1]])
    assert valid_time(errors, 0.02, 0.2).tolist() == pytest.approx([0.02, 0.06])


def standing_wave(nodes: int) -> tuple[torch.Tensor, torch.Tensor, tuple[float, float]]:
    """The mode u = sin πx sin πy on the unit square at rest, c = 2: E = ½ c² ∫|∇u|² = π²."""
    x = torch.linspace(0, 1, nodes, dtype=torch.float64)
    u = torch.sin(math.pi * x)[:, None] * torch.sin(math.pi * x)[None, :]
    step = 1 / (nodes - 1)
    return torch.stack([u, torch.zeros_like(u)]), torch.full_like(u, 2.0), (step, step)


def test_energy_converges_at_second_order() -> None:
    errors = []
    for nodes in (17, 33, 65):
        state, wave_speed, spacing = standing_wave(nodes)
        errors.append(abs(energy(state, wave_speed, spacing).item() - math.pi**2))
    rates = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert all(1.95 < rate < 2.05 for rate in rates)


def test_kinetic_energy_of_a_constant_velocity_is_exact() -> None:
    """V = 3 on [0, 1] × [0, 2]: E = ½ · 9 · 2; the trapezoidal rule is exact for constants."""
    state = torch.zeros(4, 2, 11, 9, dtype=torch.float64)
    state[:, 1] = 3.0
    found = energy(state, torch.ones(11, 9, dtype=torch.float64), (0.1, 0.25))
    assert torch.allclose(found, torch.full((4,), 9.0, dtype=torch.float64))
