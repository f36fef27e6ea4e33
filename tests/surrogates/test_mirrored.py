"""Mirrored kernels: every format gives the kernel it should, its exact transpose, and known stencils."""

import itertools
import math
from contextlib import nullcontext
from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from slimwave.compression.axis_filters import as_convolutions
from slimwave.compression.choices import FORMATS, RANKED_FORMATS
from slimwave.compression.formats import make_conv
from slimwave.surrogates.mirrored import MirroredConv, Parity, _runs_as_filter, convolve, transpose
from slimwave.surrogates.planting import fade, plant, silence
from slimwave.surrogates.stencils import staggered_average, staggered_derivative

PARITIES: tuple[Parity, ...] = ("derivative", "average", "node")


def quadrant(conv: str, in_channels: int = 3, out_channels: int = 4, *, bias: bool = False) -> nn.Module:
    torch.manual_seed(0)
    rank = 4 if conv in RANKED_FORMATS else None
    return make_conv(conv, in_channels, out_channels, (5, 3), rank=rank, bias=bias).double()


def mirrored_kernel(kernel: torch.Tensor, parity: Parity) -> torch.Tensor:
    """Fill all quadrants tap by tap."""
    k, a = kernel.shape[2:]
    first = 0 if parity == "node" else 1
    full = kernel.new_zeros(*kernel.shape[:2], 2 * k - (1 - first), 2 * a - 1)
    for m in range(k):
        for n in range(a):
            for across in (a - 1 + n, a - 1 - n):
                full[:, :, k - 1 + first + m, across] = kernel[:, :, m, n]
                full[:, :, k - 1 - m, across] = kernel[:, :, m, n] * (-1 if parity == "derivative" else 1)
    return full


@pytest.mark.parametrize("parity", PARITIES)
@pytest.mark.parametrize("conv", FORMATS)
def test_every_format_applies_its_mirrored_kernel_and_the_exact_transpose(conv: str, parity: Parity) -> None:
    layer = MirroredConv(quadrant(conv), parity)
    kernel = mirrored_kernel(layer.quadrant.kernel().detach(), parity)  # type: ignore[operator]
    field = torch.randn(2, 3, 19, 19, dtype=torch.float64)
    for turned in (False, True):
        full = kernel.transpose(2, 3) if turned else kernel
        strain = F.conv2d(field, full)
        assert torch.allclose(layer(field, turned=turned), strain, atol=1e-12)
        cut_x, cut_y = (side - 1 for side in full.shape[2:])
        back = F.conv_transpose2d(strain, full)[..., cut_x:-cut_x, cut_y:-cut_y]
        assert torch.allclose(convolve(strain, transpose(layer.factors(turned=turned))), back, atol=1e-12)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("conv", RANKED_FORMATS)
def test_compiled_filters_agree_with_convolutions_in_value_and_gradients(conv: str, turned: bool) -> None:
    """In single precision on one thread chains run their filters as compiled loops."""
    layer = MirroredConv(quadrant(conv).float(), "derivative")
    field = torch.randn(2, 3, 19, 19, requires_grad=True)
    told = []
    for convolutions in (False, True):
        with as_convolutions() if convolutions else nullcontext():
            result = layer(field, turned=turned)
            gradients = torch.autograd.grad(result.square().sum(), [field, *layer.parameters()])
        told.append((result.detach(), *gradients))
    assert any(_runs_as_filter(factor) for factor in layer.factors()) == (conv == "cp")
    for found, expected in zip(*told, strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("conv", FORMATS)
def test_a_planted_kernel_is_the_one_of_the_first_channels(conv: str) -> None:
    layer = quadrant(conv)
    before = layer.kernel().detach().clone()  # type: ignore[operator]
    along, across = torch.arange(1.0, 6.0), torch.tensor([1.0, -2.0, 0.5])
    plant(layer, along, across)
    kernel = layer.kernel().detach()  # type: ignore[operator]
    assert torch.allclose(kernel[0, 0], torch.outer(along, across).double(), atol=1e-12)
    assert kernel[0, 1:].abs().max() == 0
    assert kernel[1:].abs().min() > 0 or conv in ("cp", "separable", "depthwise", "tucker")
    fade(layer, 0.0)
    faded = layer.kernel().detach()  # type: ignore[operator]
    assert torch.equal(faded[0], kernel[0])
    assert faded[1:].abs().max() == 0 < before[1:].abs().max()


@pytest.mark.parametrize("conv", FORMATS)
def test_a_silenced_layer_returns_zero_and_can_still_learn(conv: str) -> None:
    layer = quadrant(conv, bias=True)
    silence(layer)
    output = layer(torch.randn(1, 3, 9, 9, dtype=torch.float64))
    assert output.abs().max() == 0
    (output - 1).square().sum().backward()  # type: ignore[no-untyped-call]
    assert max(float(p.grad.abs().max()) for p in layer.parameters() if p.grad is not None) > 0


def test_stencils_are_those_of_the_literature() -> None:
    """Orders 4 and 6 as in Fornberg (1988), table 2."""
    assert staggered_derivative(1).tolist() == [1.0]
    for found, expected in (
        (staggered_derivative(2), ("9/8", "-1/24")),
        (staggered_derivative(3), ("75/64", "-25/384", "3/640")),
        (staggered_average(2), ("9/16", "-1/16")),
        (staggered_average(3), ("75/128", "-25/256", "3/256")),
    ):
        assert found == pytest.approx([float(Fraction(value)) for value in expected], abs=1e-14)


@pytest.mark.parametrize("pairs", [*range(1, 16), 21, 33, 65])
def test_stencils_of_any_length_are_exact(pairs: int) -> None:
    """Exact in the powers that they must be exact in: taps times distances summed in fractions."""
    distances = [Fraction(2 * m - 1, 2) for m in range(1, pairs + 1)]
    for taps, first_power in ((staggered_derivative(pairs), 1), (staggered_average(pairs), 0)):
        weights = [Fraction(float(tap)) for tap in taps]
        for power in range(first_power, first_power + 2 * pairs, 2):
            terms = [2 * w * x**power for w, x in zip(weights, distances, strict=True)]
            expected = 1 if power == first_power else 0
            assert abs(float(sum(terms)) - expected) < 1e-13 * float(sum(map(abs, terms)))


def test_the_derivative_s_taps_are_those_of_the_closed_form_and_their_response_grows_towards_pi() -> None:
    """d_m = (−1)^(m+1) ((2r−1)!!)² / (2^(2r−2) (r+m−1)! (r−m)! (2m−1)²); 2 Σ |d| is that at Nyquist."""
    responses = []
    for r in range(1, 66):
        odd = math.prod(range(1, 2 * r, 2))
        exact = [
            Fraction((-1) ** (m + 1) * odd**2, 2 ** (2 * r - 2) * (2 * m - 1) ** 2)
            / (math.factorial(r + m - 1) * math.factorial(r - m))
            for m in range(1, r + 1)
        ]
        found = staggered_derivative(r)
        assert found == pytest.approx([float(tap) for tap in exact], rel=1e-13, abs=0)
        responses.append(2 * float(abs(found).sum()))
    assert all(less < more for less, more in itertools.pairwise([*responses, math.pi]))
