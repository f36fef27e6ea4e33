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

`slimwave.compression.rounds` runs this loop, with rules of when to stop.  The paper's hypothesis is that I
falls while pruning regularises, rises where compressibility is used up and falls again as the model
collapses; the records show it.
"""

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from slimwave.compression.masking import MaskedModel
from slimwave.compression.pq_index import check_exponents, pq_index, retained_lower_bound
from slimwave.compression.records import GroupRecord, PruneRecord
from slimwave.compression.schedules import make_schedule
from slimwave.compression.scopes import make_scope

REFERENCE = "@reference."  # no parameter's name begins like this


class PruningWarning(UserWarning):
    """A round of pruning asked for more than can be given, or took all that a tensor had."""


class SAPPruner(MaskedModel):
    """Masks over a model's weights, pruned round by round as the PQ Index says.

    The masks are nested from round to round and hold on the device of their parameter.

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
        "global", "layer" or "neuron": which weights are measured and compete together; "term" or "channel":
        whole rank-one terms of one-way layers, or whole output channels of dense layers.
    include, exclude
        One shell-style pattern of the names of layers or weights, or a list of them.
    schedule
        "sap"; or, to compare, "lottery" (a fixed share each round) or "oneshot" (the same, by the magnitudes
        that the model had when it was first pruned).
    rate
        The fixed share of "lottery" and "oneshot", 0 < P < 1.

    Raises
    ------
    ValueError
        A setting outside its range, an unknown scope or schedule, nothing to prune.
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
        schedule: str = "sap",
        rate: float = 0.2,
    ) -> None:
        check_exponents(p, q)
        if not 0.0 <= eta < float("inf"):
            raise ValueError(f"eta: expected a finite number of at least 0, got {eta}")
        self.p, self.q, self.eta = p, q, eta
        self.schedule = make_schedule(schedule, gamma=gamma, beta=beta, rate=rate)
        self.scope = make_scope(scope, model, include, exclude)
        self._reference: dict[str, Tensor] = {}
        super().__init__(model, self.scope.names)

    def measure(self) -> PruneRecord:
        """Return the record of a pruning that removes nothing: the PQ Index and the bound as they are.

        Raises
        ------
        ValueError
            If an unpruned weight is NaN or infinite.
        """
        kept = self.scope.gather(self.masks)
        groups = []
        for block, size in self._sizes().items():
            index, lower_bound = self._index_and_bound(size, kept[block])
            nothing = torch.zeros_like(lower_bound)
            groups.append(GroupRecord.of(block, index, lower_bound, nothing, kept[block]))
        return self._record(groups)

    def prune_step(self) -> PruneRecord:
        """Measure the weights, prune the computed number of smallest members, and apply the masks.

        Among equal sizes the earlier member goes first, so that exactly c are pruned.  A group is never
        emptied: if c = d, one member stays and a `PruningWarning` says so.  Another names the tensors of
        which nothing is left, which happens where they compete with others and may cut the network.

        Raises
        ------
        ValueError
            If an unpruned weight is NaN or infinite; the masks stay as they were.
        """
        kept_before = self.scope.gather(self.masks)
        sizes = self._sizes()
        if self.schedule.by_first_model and not self._reference:
            self._reference = sizes
        ranking = self._reference or sizes
        survivors: dict[str, Tensor] = {}
        groups = []
        for block, size in sizes.items():
            kept = kept_before[block]
            index, lower_bound = self._index_and_bound(size, kept)
            count = self._count(block, kept.sum(dim=1), lower_bound)
            survivors[block] = _largest(ranking[block].to(size.device), kept, count)
            groups.append(GroupRecord.of(block, index, lower_bound, count, kept))
        before, self._masks = self.masks, self.scope.scatter(survivors, self.masks)
        self.apply()
        record = self._record(groups)
        _warn_of_emptied([name for name in record.emptied if bool(before[name].any())])
        return record

    def _sizes(self) -> dict[str, Tensor]:
        """Return the sizes of all members; pruned weights count as zero."""
        masks = self.masks
        weights = {name: _finite(name, w.detach(), masks[name]) for name, w in self.weights().items()}
        return self.scope.measure(weights)

    def _index_and_bound(self, size: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        index = pq_index(size, self.p, self.q, mask=kept, dim=1)
        return index, retained_lower_bound(index, kept.sum(dim=1), self.p, self.q, self.eta)

    def _count(self, block: str, d: Tensor, lower_bound: Tensor) -> Tensor:
        count = self.schedule.count(d, lower_bound)
        if not bool(((count >= d) & (d > 0)).any()):
            return count
        warnings.warn(
            f"pruning asked for all {int(d.max())} {self.scope.unit} of a group in {block or 'the model'!r}; "
            "one is kept. Lower beta or gamma.",
            PruningWarning,
            stacklevel=3,
        )
        return count.minimum((d - 1).clamp(min=0))

    def _record(self, groups: Sequence[GroupRecord]) -> PruneRecord:
        return PruneRecord(
            unit=self.scope.unit,
            d=sum(g.d for g in groups),
            pq_index=sum(g.pq_index for g in groups) / len(groups),
            lower_bound=sum(g.lower_bound for g in groups),
            pruned=sum(g.pruned for g in groups),
            kept=sum(g.kept for g in groups),
            total=sum(kept.numel() for kept in self.scope.gather(self.masks).values()),
            weights_kept=self.kept,
            weights_total=self.total,
            groups=tuple(groups),
            emptied=tuple(name for name, mask in self.masks.items() if not bool(mask.any())),
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of the masks (and of one-shot's first sizes), fit for safetensors."""
        reference = {REFERENCE + block: size.clone() for block, size in self._reference.items()}
        return super().state_dict() | reference

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over the masks of `state_dict()` and apply them.

        Raises
        ------
        ValueError
            If they are of another model, or of another scope: other names or shapes, or not boolean.
        """
        masks = {name: t for name, t in state.items() if not name.startswith(REFERENCE)}
        reference = {name.removeprefix(REFERENCE): t for name, t in state.items() if name not in masks}
        pruned = not all(bool(mask.all()) for mask in masks.values())
        if self.schedule.by_first_model and pruned and not reference:
            raise ValueError("masks: they were not made one-shot; the sizes in the first model are missing")
        super().load_state_dict(masks)
        self._reference = {block: size.clone() for block, size in reference.items()}


def _warn_of_emptied(names: Sequence[str]) -> None:
    if names:
        warnings.warn(
            f"pruning left no weight in {', '.join(names)}: nothing passes there any more. Exclude these "
            "layers, lower eta, gamma or beta, or use scope 'layer', which leaves every tensor one weight.",
            PruningWarning,
            stacklevel=3,
        )


def _largest(size: Tensor, kept: Tensor, count: Tensor) -> Tensor:
    """Return `kept` less the `count` smallest of each row, the earlier first among equals."""
    order = torch.where(kept, size, torch.inf).argsort(dim=1, stable=True)
    return kept & (order.argsort(dim=1) >= count[:, None])


def _finite(name: str, weight: Tensor, mask: Tensor) -> Tensor:
    if not bool(torch.isfinite(weight[mask]).all()):
        raise ValueError(f"{name} holds NaN or infinity; pruning needs finite weights (retrain first)")
    return torch.where(mask, weight, 0.0)
