"""What a pruning did: the paper's d, I, m and c, over all groups and for each."""

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class GroupRecord:
    """One block of groups in one round: the whole model (global), a layer, or a layer's neurons.

    `d` members (weights, terms or channels) were unpruned before, of which at least `lower_bound` (m) had to
    stay; `pruned` (c) went and `kept` remain.  Where the block holds several groups, counts are sums and
    `pq_index` is their mean.
    """

    name: str
    d: int
    pq_index: float
    lower_bound: int
    pruned: int
    kept: int

    @classmethod
    def of(cls, name: str, index: Tensor, lower_bound: Tensor, count: Tensor, kept: Tensor) -> "GroupRecord":
        """Sum up a block: per group an index, a bound and a count; `kept` is `(groups, members)`."""
        occupied = index[kept.any(dim=1)]
        d, pruned = int(kept.sum()), int(count.sum())
        return cls(
            name=name,
            d=d,
            pq_index=float(occupied.mean()) if occupied.numel() else 0.0,
            lower_bound=int(lower_bound.sum()),
            pruned=pruned,
            kept=d - pruned,
        )


@dataclass(frozen=True)
class PruneRecord:
    """One pruning: d, I, m, c and kept over all groups, of `total` members in the model.

    `unit` says what the members are, "weights", "terms" or "channels"; `weights_kept` of `weights_total`
    counts weights in any case.  `pq_index` is the mean over `groups`; `emptied` names the tensors that have
    no weight left.
    """

    unit: str
    d: int
    pq_index: float
    lower_bound: int
    pruned: int
    kept: int
    total: int
    weights_kept: int
    weights_total: int
    groups: tuple[GroupRecord, ...]
    emptied: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain types, for a line of JSON."""
        return asdict(self)
