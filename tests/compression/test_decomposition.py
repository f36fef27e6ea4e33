"""Decomposing trained networks: as good as theory says, the layers of a priori, ready to be trained on."""

import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from slimwave.compression.counting import count_parameters
from slimwave.compression.decomposition import decompose
from slimwave.compression.formats import make_conv
from slimwave.compression.rewriting import compress


def relative_error(layer: nn.Module, kernel: Tensor) -> float:
    return float((layer.kernel().detach() - kernel).norm() / kernel.norm())


def layer_with(kernel: Tensor) -> nn.Module:
    conv = nn.Conv2d if kernel.dim() == 4 else nn.Conv3d
    layer = conv(kernel.shape[1], kernel.shape[0], kernel.shape[2:], dtype=kernel.dtype)
    with torch.no_grad():
        layer.weight.copy_(kernel)
    return layer


@pytest.mark.parametrize("axes", [2, 3])
def test_a_kernel_of_few_terms_is_found_again(axes: int) -> None:
    torch.manual_seed(0)
    source = make_conv("cp", 6, 8, 3, rank=4, axes=axes).double()
    source.set_term_vectors([torch.randn_like(vectors) for vectors in source.term_vectors()])
    kernel = source.kernel().detach()
    dense = layer_with(kernel)
    found = decompose(dense, "cp", rank=4)
    assert relative_error(found, kernel) < 1e-4
    assert torch.equal(found.bias_vector, dense.bias)
    lengths = torch.stack([vectors.norm(dim=1) for vectors in found.term_vectors()])
    assert torch.allclose(lengths, lengths[:1].expand_as(lengths))


@pytest.mark.parametrize("rank", [2, 5, 9])
def test_tucker_is_as_good_as_the_singular_values_allow(rank: int) -> None:
    """Between the tail of either unfolding (Eckart–Young) and the root of the sum of both squared (HOSVD)."""
    kernel = torch.randn(9, 7, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    unfoldings = kernel.flatten(1), kernel.transpose(0, 1).flatten(1)
    tails = [np.linalg.svd(m.numpy(), compute_uv=False)[rank:] for m in unfoldings]
    squares = [float((tail**2).sum()) for tail in tails]
    layer = decompose(layer_with(kernel), "tucker", rank=rank)
    error = float((layer.kernel() - kernel).detach().square().sum())
    assert max(squares) - 1e-9 <= error <= sum(squares) + 1e-9


def test_more_terms_fit_better() -> None:
    kernel = torch.randn(6, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    errors = [relative_error(decompose(layer_with(kernel), rank=r), kernel) for r in (2, 6, 18, 54)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.01


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, padding=2, padding_mode="circular"),
        nn.GELU(),
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 3, 3),
    )


@pytest.mark.parametrize(("format", "rank"), [("cp", 4), ("cp", "4x"), ("tucker", 0.5)])
def test_the_layers_are_those_of_a_network_compressed_a_priori(format: str, rank: Any) -> None:
    before, after = compress(network(), format, rank=rank), decompose(network(), format, rank=rank)
    assert count_parameters(before) == count_parameters(after)
    assert [type(m) for m in before.modules()] == [type(m) for m in after.modules()]
    x = torch.randn(2, 3, 12, 12)
    loss = (after(x) - x[:, :, 1:-1, 1:-1]).square().mean()
    loss.backward()
    with torch.no_grad():
        for p in after.parameters():
            p -= 0.05 * p.grad
        assert float((after(x) - x[:, :, 1:-1, 1:-1]).square().mean()) < float(loss)


def test_the_same_seed_gives_the_same_factors() -> None:
    first, again, other = (decompose(network(), rank=4, seed=s).state_dict() for s in (0, 0, 5))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["0.mix_in.weight"], other["0.mix_in.weight"])


def test_a_kernel_of_zeros_stays_zero() -> None:
    dense = nn.Conv2d(4, 4, 3)
    nn.init.zeros_(dense.weight)
    assert not bool(decompose(dense, rank=3).kernel().any())


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (network(), {"format": "outer"}, "format: expected one of cp, tucker, got 'outer'"),
        (network(), {"rank": 0}, "^0: rank: expected a whole number of at least 1"),
        (network(), {"rank": 400}, r"^0: rank: expected 1 to 75 \(the full rank"),
        (nn.Sequential(nn.ConvTranspose2d(3, 3, 3)), {}, "^0: a transposed convolution"),
        (nn.Linear(3, 3), {}, "found no convolution over 2 or 3 axes"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(
    model: nn.Module, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        decompose(model, **({"rank": 4} | arguments))


def test_a_kernel_that_is_not_finite_is_refused() -> None:
    model = network()
    with torch.no_grad():
        model[3].weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="3 holds NaN or infinity"):
        decompose(model, rank=4)


def test_without_tensorly_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorly", None)
    with pytest.raises(ImportError, match=r"pip install 'slimwave\[decompose\]'"):
        decompose(network(), rank=4)


def test_one_pattern_may_be_a_plain_string() -> None:
    """Not a list of letters."""
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 3)))
    small = decompose(model, "tucker", rank=2, include="1.0")
    assert [type(m).__name__ for m in (small[0], small[1][0], small[1][1])] == [
        "Conv2d",
        "TuckerConv",
        "Conv2d",
    ]
    small = decompose(model, "tucker", rank=2, exclude="1.*")
    assert [type(m).__name__ for m in (small[0], small[1][0])] == ["TuckerConv", "Conv2d"]
