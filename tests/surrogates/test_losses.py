"""Losses against closed forms: what each term weighs, what it forgets, and slopes that stay finite."""

import math

import pytest
import torch

from slimwave.surrogates.losses import (
    LossTerms,
    energy_loss,
    gradient_loss,
    loss_terms,
    relative_loss,
    weighted_sum,
)

SPACING = (0.1, 0.2)


def test_loss_weighs_u_and_v_by_their_scales_and_forgets_the_amplitude() -> None:
    """An error of ε σ in one of the two channels of a target of size r costs ε / (√2 r)."""
    scale = torch.tensor([0.2, 3.0]).reshape(1, 2, 1, 1)
    target = torch.randn(2, 1, 2, 6, 6) * scale
    size = (target / scale).square().mean(dim=(1, 2, 3, 4)).sqrt()
    expected = float((0.01 / math.sqrt(2) / size).mean())
    for channel in (0, 1):
        forecast = target.clone()
        forecast[:, :, channel] += 0.01 * scale[0, channel]
        for amplitude in (1, 50):
            loss = relative_loss(amplitude * forecast, amplitude * target, scale)
            assert loss.item() == pytest.approx(expected, rel=1e-3)


def test_energy_loss_of_a_scaled_forecast_is_the_change_of_its_square() -> None:
    """E((1 + ε) s) = (1 + ε)² E(s), at any amplitude, in a varying medium."""
    targets = torch.randn(3, 1, 2, 8, 6, dtype=torch.float64).expand(3, 2, 2, 8, 6)
    wave_speed = 1 + torch.rand(3, 1, 8, 6, dtype=torch.float64)
    for factor, amplitude in ((1.1, 1.0), (0.8, 40.0)):
        loss = energy_loss(factor * amplitude * targets, amplitude * targets, wave_speed, SPACING)
        assert loss.item() == pytest.approx(abs(factor**2 - 1))


def test_energy_loss_does_not_see_where_the_energy_is() -> None:
    targets = torch.randn(2, 1, 2, 8, 6, dtype=torch.float64)
    wave_speed = torch.full((2, 1, 8, 6), 1.5, dtype=torch.float64)
    assert energy_loss(targets.flip(-1), targets, wave_speed, SPACING).item() == pytest.approx(0, abs=1e-12)


def test_gradient_loss_weighs_an_error_by_its_wavenumber() -> None:
    """On a slope of 1 per unit of length, an error sin kx costs its root mean square slope."""
    x = 0.1 * torch.arange(400, dtype=torch.float64)[:, None].expand(400, 3)
    targets = torch.zeros(1, 1, 2, 400, 3, dtype=torch.float64)
    targets[:, :, 0] = x
    scale = torch.ones(1, 2, 1, 1, dtype=torch.float64)
    costs = []
    for k in (0.5, 1.0):
        forecast = targets.clone()
        forecast[:, :, 0] += 0.01 * torch.sin(k * x)
        costs.append(gradient_loss(forecast, targets, scale, SPACING).item())
        assert costs[-1] == pytest.approx(0.01 * k / math.sqrt(2), rel=0.02)
    assert gradient_loss(targets + 5, targets, scale, SPACING).item() < 1e-5


def test_terms_that_are_not_asked_for_are_left_out_and_the_rest_add_up() -> None:
    forecast, targets = torch.randn(2, 2, 3, 2, 8, 6)
    wave_speed, scale = torch.ones(2, 1, 8, 6), torch.tensor([0.5, 2.0]).reshape(1, 2, 1, 1)

    def terms(energy: bool, gradient: bool) -> LossTerms:
        return loss_terms(
            forecast, targets, wave_speed, scale, SPACING, with_energy=energy, with_gradient=gradient
        )

    assert terms(False, False) == (relative_loss(forecast, targets, scale), None, None)
    assert terms(True, False).gradient is terms(False, True).energy is None
    state, energy, gradient = (term.item() for term in terms(True, True) if term is not None)
    total = weighted_sum(terms(True, True), 0.5, 0.25).item()
    assert total == pytest.approx(state + 0.5 * energy + 0.25 * gradient)


def test_losses_have_a_finite_slope_at_a_perfect_forecast_and_at_rest() -> None:
    scale, wave_speed = torch.ones(1, 2, 1, 1), torch.ones(1, 1, 6, 6)
    for target in (torch.randn(1, 1, 2, 6, 6), torch.zeros(1, 1, 2, 6, 6)):
        forecast = target.clone().requires_grad_()
        terms = loss_terms(forecast, target, wave_speed, scale, SPACING, with_energy=True, with_gradient=True)
        weighted_sum(terms, 1.0, 1.0).backward()  # type: ignore[no-untyped-call]
        assert forecast.grad is not None
        assert bool(torch.isfinite(forecast.grad).all())
