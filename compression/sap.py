"""Sparsity-informed Adaptive Pruning, SAP (Diao et al., ICLR 2023, arXiv 2302.05601, Algorithm 1).

A round of SAP trains a model, measures the PQ Index I of its d unpruned weights, derives from I how many
must stay (m) and how many go (c), prunes the c smallest magnitudes and rewinds the others:

    initial = {name: t.clone() for name, t in model.state_dict().items()}
    pruner = SAPPruner(model, p=0.5, q=1.0, eta=0.1, gamma=1.2)
    for _ in range(rounds):
        optimizer = torch.optim.AdamW(model.parameters())
        with pruner.attach(optimizer):
            train(model, optimizer)
        record = pruner.prune_step()
        pruner.rewind(initial)

The paper's hypothesis is that I falls while pruning regularises, rises where compressibility is used up and
falls again as the model collapses; the records show it.
"""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from slimwave.compression.pq_index import check_exponents, pq_index, prune_count, retained_lower_bound
from slimwave.compression.roles import prunable_parameters
from slimwave.compression.scopes import scope_named


class PruningWarning(UserWarning):
    """A round of pruning asked for more than can be given."""


@dataclass(frozen=True)
class GroupRecord:
    """One block of groups in one round: the whole model (global), a layer, or a layer's neurons.

    `d` weights were unpruned before, of which at least `lower_bound` (m) had to stay; `pruned` (c) went and
    `kept` remain.  Where the block holds several groups, counts are sums and `pq_index` is their mean.
    """

    name: str
    d: int
    pq_index: float
    lower_bound: int
    pruned: int
    kept: int


@dataclass(frozen=True)
class PruneRecord:
    """One round of SAP: d, I, m, c and kept over all groups, of `total` prunable weights in the model.

    `pq_index` is the mean over `groups`; `emptied` names the tensors that have no weight left.
    """

    d: int
    pq_index: float
    lower_bound: int
    pruned: int
    kept: int
    total: int
    groups: tuple[GroupRecord, ...]
    emptied: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain types, for a line of JSON."""
        return asdict(self)


class SAPPruner:
    """Masks over a model's weights, pruned round by round as the PQ Index says.

    The masks are nested from round to round, hold on the device of their parameter, and are applied by
    filling with zero, never by multiplying (0 · NaN is NaN).

    Parameters
    ----------
    model
        Any module; its trainable convolution and linear weights are pruned, see `prunable_parameters`.
    p, q
        Exponents of the PQ Index, 0 < p ≤ 1 ≤ q, p < q.
    eta
        Bound η ≥ 0 on Σ|w|^p of the pruned weights over that of the kept ones; larger prunes faster.
    gamma
        Factor γ > 0 on the share that the index allows to prune.
    beta
        Largest share pruned in one round, 0 < β ≤ 1.
    scope
        "global", "layer" or "neuron": which weights are measured and compete together.
    include, exclude
        Shell-style patterns of the names of layers or weights.

    Raises
    ------
    ValueError
        A setting outside its range, an unknown scope, nothing to prune.
    """

    def __init__(
        self,
        model: nn.Module,
        p: float = 0.5,
        q: float = 1.0,
        eta: float = 0.0,
        gamma: float = 1.0,
        beta: float = 0.9,
        scope: str = "global",
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
    ) -> None:
        check_exponents(p, q)
        if not 0.0 <= eta < float("inf"):
            raise ValueError(f"eta: expected a finite number of at least 0, got {eta}")
        if not 0.0 < gamma < float("inf"):
            raise ValueError(f"gamma: expected a finite number above 0, got {gamma}")
        if not 0.0 < beta <= 1.0:
            raise ValueError(f"beta: expected a share above 0 and at most 1, got {beta}")
        self.p, self.q, self.eta, self.gamma, self.beta = p, q, eta, gamma, beta
        self.scope = scope_named(scope)
        self.model = model
        weights = prunable_parameters(model, include, exclude)
        self._masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}

    @property
    def masks(self) -> dict[str, Tensor]:
        """The masks by parameter name: true where the weight is kept, on the parameter's device."""
        for name, weight in self._weights().items():
            self._masks[name] = self._masks[name].to(weight.device)
        return self._masks

    @property
    def total(self) -> int:
        """Number of prunable weights."""
        return sum(mask.numel() for mask in self._masks.values())

    @property
    def kept(self) -> int:
        """Number of weights not pruned."""
        return sum(int(mask.sum()) for mask in self._masks.values())

    def prune_step(self) -> PruneRecord:
        """Measure the weights, prune the computed number of smallest magnitudes, and apply the masks.

        Among equal magnitudes the earlier weight goes first, so that exactly c are pruned.  A group is never
        emptied: if c = d, one weight stays and a `PruningWarning` says so.

        Raises
        ------
        ValueError
            If an unpruned weight is NaN or infinite; the masks stay as they were.
        """
        masks = self.masks
        magnitudes = {name: _magnitude(name, w, masks[name]) for name, w in self._weights().items()}
        kept_before = self.scope.gather(masks)
        survivors: dict[str, Tensor] = {}
        groups = []
        for block, magnitude in self.scope.gather(magnitudes).items():
            survivors[block], record = self._prune_block(block, magnitude, kept_before[block])
            groups.append(record)
        self._masks = self.scope.scatter(survivors, masks)
        self.apply()
        return self._record(groups)

    def _prune_block(self, name: str, magnitude: Tensor, kept: Tensor) -> tuple[Tensor, GroupRecord]:
        """Prune each row of a block `(groups, members)`; return the new mask and what was done."""
        d = kept.sum(dim=1)
        index = pq_index(magnitude, self.p, self.q, mask=kept, dim=1)
        lower_bound = retained_lower_bound(index, d, self.p, self.q, self.eta)
        count = prune_count(d, lower_bound, self.gamma, self.beta)
        if bool(((count >= d) & (d > 0)).any()):
            count = count.minimum((d - 1).clamp(min=0))
            warnings.warn(
                f"SAP asked to prune all {int(d.max())} weights of a group in {name!r}; one is kept. "
                "Lower beta or gamma.",
                PruningWarning,
                stacklevel=3,
            )
        order = torch.where(kept, magnitude, torch.inf).argsort(dim=1, stable=True)
        survivors = kept & (order.argsort(dim=1) >= count[:, None])
        occupied = index[d > 0]
        return survivors, GroupRecord(
            name=name,
            d=int(d.sum()),
            pq_index=float(occupied.mean()) if occupied.numel() else 0.0,
            lower_bound=int(lower_bound.sum()),
            pruned=int(count.sum()),
            kept=int(survivors.sum()),
        )

    def _record(self, groups: Sequence[GroupRecord]) -> PruneRecord:
        return PruneRecord(
            d=sum(g.d for g in groups),
            pq_index=sum(g.pq_index for g in groups) / len(groups),
            lower_bound=sum(g.lower_bound for g in groups),
            pruned=sum(g.pruned for g in groups),
            kept=sum(g.kept for g in groups),
            total=self.total,
            groups=tuple(groups),
            emptied=tuple(name for name, mask in self.masks.items() if not bool(mask.any())),
        )

    @torch.no_grad()
    def apply(self) -> None:
        """Set every pruned weight of the model to zero."""
        masks = self.masks
        for name, weight in self._weights().items():
            weight.masked_fill_(~masks[name], 0.0)

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Set the gradient of every pruned weight to zero; call it before clipping by the gradient's norm."""
        masks = self.masks
        for name, weight in self._weights().items():
            if weight.grad is not None:
                weight.grad.masked_fill_(~masks[name], 0.0)

    def attach(self, optimizer: torch.optim.Optimizer) -> ExitStack:
        """Keep pruned weights at zero through every step of `optimizer`.

        Momentum and weight decay would revive them, so gradients are masked before and weights after a step.
        The result is a context manager that detaches at its end; without `with`, its `close()` does.

        Raises
        ------
        ValueError
            If the optimizer trains none of the masked weights (that of another model, say).
        """
        trained = {id(w) for group in optimizer.param_groups for w in group["params"]}
        if not any(id(w) in trained for w in self._weights().values()):
            raise ValueError("optimizer: it trains none of the pruned weights; build it from this model")
        attachment = ExitStack()
        attachment.callback(optimizer.register_step_pre_hook(lambda *_: self.mask_gradients()).remove)
        attachment.callback(optimizer.register_step_post_hook(lambda *_: self.apply()).remove)
        self.apply()
        return attachment

    def rewind(self, state: Mapping[str, Tensor]) -> None:
        """Load the state dict of an earlier moment into the model, then apply the masks.

        Raises
        ------
        ValueError
            If the state is another model's, or shares its memory with this model (`state_dict()` does: clone
            it), so that there is nothing to go back to.
        """
        live = self.model.state_dict()
        expected = {name: tuple(t.shape) for name, t in live.items()}
        given = {name: tuple(t.shape) for name, t in state.items()}
        if expected != given:
            raise ValueError(f"state: not a state of this model; {_difference(expected, given)}")
        if any(state[name].data_ptr() == t.data_ptr() for name, t in live.items() if t.numel()):
            raise ValueError("state: it shares memory with the model; clone its tensors before training")
        self.model.load_state_dict(state)
        self.apply()

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of the masks, fit for safetensors."""
        return {name: mask.clone() for name, mask in self.masks.items()}

    def load_state_dict(self, masks: Mapping[str, Tensor]) -> None:
        """Take over the masks of `state_dict()` and apply them.

        Raises
        ------
        ValueError
            If they are of another model: other names or shapes, or not boolean.
        """
        expected = {name: (tuple(mask.shape), torch.bool) for name, mask in self._masks.items()}
        given = {name: (tuple(mask.shape), mask.dtype) for name, mask in masks.items()}
        if expected != given:
            raise ValueError(f"masks: not those of this model; {_difference(expected, given)}")
        self._masks = {name: masks[name].clone() for name in self._masks}
        self.apply()

    def _weights(self) -> dict[str, nn.Parameter]:
        """Look the weights up anew: moving or reloading a model may replace them."""
        return {name: self.model.get_parameter(name) for name in self._masks}


def _magnitude(name: str, weight: Tensor, mask: Tensor) -> Tensor:
    magnitude = weight.detach().abs().to(torch.float64)
    if not bool(torch.isfinite(magnitude[mask]).all()):
        raise ValueError(f"{name} holds NaN or infinity; pruning needs finite weights (retrain first)")
    return magnitude


def _difference(expected: Mapping[str, object], given: Mapping[str, object]) -> str:
    """Say in a few words where two mappings differ."""
    parts = [f"missing {name}" for name in expected if name not in given]
    parts += [f"unexpected {name}" for name in given if name not in expected]
    parts += [
        f"{name} expected {expected[name]}, got {given[name]}"
        for name in expected
        if name in given and expected[name] != given[name]
    ]
    return "; ".join(parts[:4]) + (f"; and {len(parts) - 4} more" if len(parts) > 4 else "")
