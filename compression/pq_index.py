"""The PQ Index: how compressible a vector of weights is (Diao et al., ICLR 2023, arXiv 2302.05601).

For d weights w and 0 < p ≤ 1 ≤ q, p < q (Definition 1),

    I_{p,q}(w) = 1 − d^{1/q − 1/p} ‖w‖_p / ‖w‖_q   ∈ [0, 1 − d^{1/q − 1/p}].

It is 0 when all weights are equally large and reaches the upper bound when one weight holds everything.  It
has the six properties expected of a measure of sparsity: scale invariance, cloning, Robin Hood, rising tide,
Bill Gates and babies.  It also says how many weights must be kept (Theorem 2): if the pruned weights may hold
at most η times the Σ|w|^p of the kept ones, at least m of the d must stay.  `retained_lower_bound` gives m,
`prune_count` the number that SAP removes (Algorithm 1).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

SLACK = 1e-6  # of one weight: a count that is whole in exact arithmetic must not be moved by rounding


def check_exponents(p: float, q: float) -> None:
    """Refuse exponents outside 0 < p ≤ 1 ≤ q < ∞, p < q."""
    if not (0.0 < p <= 1.0 <= q < float("inf") and p < q):
        raise ValueError(f"p, q: the PQ Index needs 0 < p <= 1 <= q < inf and p < q, got p={p}, q={q}")


def pq_index(
    w: Tensor,
    p: float = 0.5,
    q: float = 1.0,
    mask: Tensor | None = None,
    dim: int | Sequence[int] | None = None,
) -> Tensor:
    """Return the PQ Index of `w` in float64.

    Computed as 1 − M_p/M_q with the power means M_s = (mean |w|^s)^{1/s} of the weights divided by the
    largest, so that neither tiny nor huge weights overflow.  Groups with no weight, with one weight, or with
    zeros alone have index 0.

    It is right to 1e-12 for p ≥ 1e-3.  Below, the root 1/p magnifies rounding: errors are about 2e-16/p, some
    2e-10 for p = 1e-6.

    Parameters
    ----------
    w
        Weights of any shape, real or complex.
    p, q
        Exponents, 0 < p ≤ 1 ≤ q, p < q.
    mask
        Boolean, broadcastable to `w`: only weights where it is true count, in d too; the others may be
        anything, NaN included.  All weights by default.
    dim
        Axes along which one group runs; by default all of `w` is one group.

    Returns
    -------
    Tensor
        The index per group: `w`'s shape without the axes `dim`; zero-dimensional if `dim` is None.

    Raises
    ------
    ValueError
        Exponents outside their range, a weight that counts and is not finite, a mask that is not boolean, or
        has another shape.
    """
    check_exponents(p, q)
    kept = _groups(_broadcast_mask(w, mask), dim)
    values = _groups(w.to(torch.complex128 if w.is_complex() else torch.float64), dim)
    magnitude = torch.where(kept, values.abs(), 0.0)
    if not bool(torch.isfinite(magnitude).all()):
        raise ValueError("w: the PQ Index needs finite weights, got NaN or infinity")
    if magnitude.shape[-1] == 0:
        return magnitude.sum(dim=-1)
    size = kept.sum(dim=-1).clamp(min=1).to(torch.float64)
    largest = magnitude.amax(dim=-1)
    scaled = magnitude / torch.where(largest > 0, largest, 1.0)[..., None]
    mean_p, mean_q = ((scaled.pow(s).sum(dim=-1) / size).pow(1.0 / s) for s in (p, q))
    index = 1.0 - mean_p / torch.where(largest > 0, mean_q, 1.0)
    upper_bound = 1.0 - size.pow(1.0 / q - 1.0 / p)
    return torch.where(largest > 0, index.clamp(min=0.0).minimum(upper_bound), 0.0)


def _groups(x: Tensor, dim: int | Sequence[int] | None) -> Tensor:
    """Gather the axes `dim` of `x` into one last axis."""
    if dim is None:
        return x.flatten()
    axes = (dim,) if isinstance(dim, int) else tuple(dim)
    last = range(-len(axes), 0)
    return x.movedim(axes, tuple(last)).flatten(-len(axes))


def _broadcast_mask(w: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return torch.ones((), dtype=torch.bool, device=w.device).expand_as(w)
    if mask.dtype != torch.bool:
        raise ValueError(f"mask: expected a boolean tensor, got {mask.dtype}")
    try:
        return mask.to(w.device).expand_as(w)
    except RuntimeError:
        raise ValueError(
            f"mask: expected the shape {tuple(w.shape)} of w, or one that broadcasts to it, got "
            f"{tuple(mask.shape)}; transpose or reshape the mask"
        ) from None


def retained_lower_bound(index: Tensor, d: Tensor, p: float, q: float, eta: float) -> Tensor:
    """Return m = ⌈d (1+η)^{−q/(q−p)} (1−I)^{pq/(q−p)}⌉, the weights that must remain (Theorem 2).

    `index` and `d` have one entry per group; `eta` ≥ 0 bounds Σ|w|^p of the pruned over that of the kept.
    """
    share = (1.0 + eta) ** (-q / (q - p)) * (1.0 - index).pow(p * q / (q - p))
    return torch.ceil(d * share - SLACK).to(torch.int64)


def prune_count(d: Tensor, lower_bound: Tensor, gamma: float, beta: float) -> Tensor:
    """Return c = ⌊d · min(γ (1 − m/d), β)⌋, the number of weights that SAP removes (Algorithm 1)."""
    wanted = torch.minimum(gamma * (d - lower_bound).to(torch.float64), beta * d.to(torch.float64))
    return torch.floor(wanted + SLACK).to(torch.int64)
