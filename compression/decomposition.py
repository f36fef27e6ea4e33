"""Compression a posteriori: the kernels of a TRAINED dense network, approximated by factors.

The baseline that compression a priori is held against: train a dense network, decompose each kernel by CP
(alternating least squares) or Tucker (higher-order orthogonal iteration), and fine-tune.  The layers are the
same as those of :func:`slimwave.compression.rewriting.compress`, with as many parameters at equal rank.

    small = decompose(trained, "cp", rank=16)       # then train `small` as any network

Needs tensorly, from the extra `slimwave[decompose]`.

Sources: Lebedev et al., ICLR 2015 (CP); Kim et al., ICLR 2016 (Tucker).
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from slimwave.compression.cp import CPConv
from slimwave.compression.factored import Conv, FactoredConv, fill
from slimwave.compression.ranks import Rank
from slimwave.compression.rewriting import called, chosen_layers, copy_bias, make_in_place_of, replace_modules
from slimwave.compression.tucker import TuckerConv

DECOMPOSED = ("cp", "tucker")
CP_STARTS = 3
ITERATIONS = 200

Array = NDArray[np.float64]


def decompose(
    model: nn.Module,
    format: str = "cp",
    *,
    rank: Rank,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    seed: int = 0,
) -> nn.Module:
    """Return a copy of a trained `model` whose convolutions are approximated in another format.

    1×1 kernels and layers that are compressed already stay, biases are taken over, as in `compress`.

    Parameters
    ----------
    format
        "cp" or "tucker".
    rank
        A number of terms in every layer, a share of the channels such as 0.5, or a ratio such as "8x"; see
        :mod:`slimwave.compression.ranks`.
    include, exclude
        Shell-style patterns of layer names; by default every convolution over 2 or 3 axes.
    seed
        Of the starts of CP's iteration; the best of three is taken.

    Raises
    ------
    ImportError
        If tensorly is missing.
    ValueError
        Another format, a kernel that is not finite, and what `compress` refuses.
    """
    if format not in DECOMPOSED:
        raise ValueError(f"format: expected one of {', '.join(DECOMPOSED)}, got {format!r}")
    _tensorly()
    model = copy.deepcopy(model)
    layers = chosen_layers(model, include, exclude)
    smaller: dict[nn.Module, nn.Module] = {
        layer: _approximation(name, layer, format, rank, seed) for name, layer in layers.items()
    }
    return replace_modules(model, smaller)


def _tensorly() -> Any:
    try:
        from tensorly import decomposition
    except ImportError as error:
        raise ImportError(
            "decomposing a trained network needs tensorly: pip install 'slimwave[decompose]'"
        ) from error
    return decomposition


@torch.no_grad()
def _approximation(name: str, layer: Conv, format: str, rank: Rank, seed: int) -> FactoredConv:
    new = make_in_place_of(name, layer, format, rank)
    kernel = layer.weight.detach().to("cpu", torch.float64).numpy()
    if not np.isfinite(kernel).all():
        raise ValueError(f"{called(name)} holds NaN or infinity; decompose a network that was trained well")
    if not kernel.any():
        new.reset_parameters(kernel_std=0.0)
    elif isinstance(new, CPConv):
        _fit_cp(new, kernel, seed)
    elif isinstance(new, TuckerConv):
        _fit_tucker(new, kernel)
    copy_bias(layer, new)
    return new


def _fit_cp(layer: CPConv, kernel: Array, seed: int) -> None:
    """Fit the terms by alternating least squares, each term's length spread evenly over its vectors."""
    fits = [_cp_factors(kernel, layer.rank, seed + start) for start in range(CP_STARTS)]
    factors = min(fits, key=lambda fit: _cp_error(kernel, fit))
    lengths = [np.linalg.norm(f, axis=0) for f in factors]
    even = np.prod(lengths, axis=0) ** (1 / len(factors))
    outer, inner, *filters = (
        torch.from_numpy((even / np.where(n > 0, n, 1) * f).T) for f, n in zip(factors, lengths, strict=True)
    )
    layer.set_term_vectors([inner, *filters, outer])


def _cp_factors(kernel: Array, rank: int, seed: int) -> list[Array]:
    """Return the factors of C_out, C_in and the axes, `(side, R)` each."""
    weights, factors = _tensorly().parafac(
        kernel, rank, init="random", random_state=seed, n_iter_max=ITERATIONS, tol=1e-7
    )
    return [factors[0] * weights, *factors[1:]]


def _cp_error(kernel: Array, factors: Sequence[Array]) -> float:
    composed = factors[0]
    for f in factors[1:]:
        composed = composed[..., None, :] * f
    return float(np.linalg.norm(composed.sum(axis=-1) - kernel))


def _fit_tucker(layer: TuckerConv, kernel: Array) -> None:
    """Project on the channels' subspaces; vectors of all three factors are equally long on average."""
    inner, outer = layer.inner_channels(layer.shape, layer.rank)
    (core, (left, right)), _ = _tensorly().partial_tucker(
        kernel, rank=[outer, inner], modes=[0, 1], n_iter_max=ITERATIONS
    )
    length = (np.linalg.norm(core) / math.sqrt(inner * outer)) ** (1 / 3)
    for weight, values in (
        (layer.mix_in.weight, length * right.T),
        (layer.core.weight, core / length**2),
        (layer.mix_out.weight, length * left),
    ):
        fill(weight, _tensor(values))


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))
