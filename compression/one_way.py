"""One-way convolutions: a kernel written as a sum of R terms, each a product of vectors.

`CPConv` and `SeparableConv` differ in one thing only: whether the channels are mixed alone, or together with
the first and the last axis.  Both run as chains of cheap convolutions; the dense kernel is never formed.

Source: one-way ("a priori" compressed) filters of arXiv 2304.04964.
"""

import copy
import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from slimwave.compression.factored import FactoredConv, directions, equal_lengths, fill
from slimwave.compression.shapes import ConvShape


class OneWayConv(FactoredConv):
    """K = Σ_r A_r ⊗ f_r ⊗ … ⊗ B_r, applied as B (C_in → R), a filter per axis and term, A (R → C_out).

    The first factors have no bias, so padding each axis in its own filter pads as the dense layer does.
    """

    @classmethod
    @abstractmethod
    def _axes_of(cls, axes: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Return the axes that B filters, those with a filter per term, and those that A filters."""

    @classmethod
    def _sides(cls, shape: ConvShape) -> tuple[int, ...]:
        """Return the lengths of a term's vectors: B's, the filters', A's."""
        first, middle, last = cls._axes_of(shape.axes)
        kernel = shape.kernel_size
        return (
            shape.in_channels * math.prod(kernel[j] for j in first),
            *(kernel[j] for j in middle),
            shape.out_channels * math.prod(kernel[j] for j in last),
        )

    @classmethod
    def full_rank(cls, shape: ConvShape) -> int:
        """Return ∏ s / max s over the lengths s of a term's vectors: enough to write every kernel."""
        sides = cls._sides(shape)
        return math.prod(sides) // max(sides)

    @classmethod
    def weight_count(cls, shape: ConvShape, rank: int = 0) -> int:
        """Return R Σ s over the lengths s of a term's vectors."""
        return rank * sum(cls._sides(shape))

    @classmethod
    def mac_count(cls, shape: ConvShape, rank: int, grid: Sequence[int]) -> int:
        """Return R Σ s N_s: every vector at the nodes N_s that its stage leaves."""
        first, middle, _ = cls._axes_of(shape.axes)
        nodes = shape.nodes_after_axes(grid)
        done = (len(first), *(j + 1 for j in middle), shape.axes)
        return rank * sum(s * nodes[n] for s, n in zip(cls._sides(shape), done, strict=True))

    def _build(self, rank: int) -> None:
        first, middle, last = self._axes_of(self.shape.axes)
        self.rank = rank
        self.mix_in = self._stage(self.shape.in_channels, rank, first)
        self.axis_filters = nn.ModuleList(self._stage(rank, rank, (j,), filters=True) for j in middle)
        self.mix_out = self._stage(rank, self.shape.out_channels, last, bias=self.shape.bias)

    def _reset_factors(self, product: float) -> None:
        """Var K = R (product of a term's lengths)² / (C_out C_in ∏ k_j)."""
        sides = self._sides(self.shape)
        length, outer_length = equal_lengths(product / math.sqrt(self.rank), len(sides))
        lengths = [length] * (len(sides) - 1) + [outer_length]
        self.set_term_vectors([n * directions(self.rank, s) for n, s in zip(lengths, sides, strict=True)])

    def forward(self, x: Tensor) -> Tensor:
        """Apply the factors in turn to `x: (batch, C_in, *grid)`."""
        x = self.mix_in(x)
        for axis_filter in self.axis_filters:
            x = axis_filter(x)
        return self.mix_out(x)

    def kernel(self) -> Tensor:
        """Return the composed dense kernel K, `(C_out, C_in, k_1, …, k_n)`."""
        terms, *filters = self._stacked()
        for f in filters:
            terms = terms * f
        return torch.einsum("or...,ri...->oi...", self.mix_out.weight, terms)

    @property
    def bias_vector(self) -> Tensor | None:
        """The bias of the output channels."""
        return self.mix_out.bias

    def term_vectors(self) -> list[Tensor]:
        """Return the vectors of every term, one `(R, s)` per factor: B, the axis filters, A."""
        return [w.flatten(1) for w in (*self._stacked(), self.mix_out.weight.transpose(0, 1))]

    @torch.no_grad()
    def set_term_vectors(self, vectors: Sequence[Tensor]) -> None:
        """Overwrite the vectors of every term, in the order of `term_vectors`."""
        for weight, values in zip(self._stacked(), vectors[:-1], strict=True):
            fill(weight, values)
        weight = self.mix_out.weight.transpose(0, 1)
        weight.copy_(vectors[-1].reshape(weight.shape))

    def term_norms(self) -> Tensor:
        """Return the size of every term, ‖A_r‖ ‖B_r‖ ∏ ‖f_r‖: the norm of what it adds to the kernel."""
        norms = [vectors.to(torch.float64).norm(dim=1) for vectors in self.term_vectors()]
        return torch.stack(norms).prod(dim=0)

    def term_axes(self) -> list[tuple[str, int]]:
        """Return the name of every factor's weight and the axis of it that counts the terms."""
        filters = [f"axis_filters.{j}.weight" for j in range(len(self.axis_filters))]
        return [("mix_in.weight", 0), *((name, 0) for name in filters), ("mix_out.weight", 1)]

    def with_terms(self, terms: Tensor, rank: int) -> "OneWayConv":
        """Return a copy that holds the terms `terms` (indices) of this layer and zero terms up to `rank`."""
        layer = copy.deepcopy(self)
        layer._build(rank)
        layer.to(self.mix_in.weight)
        layer.train(self.training)
        with torch.no_grad():
            for new, old in zip(layer._stacked(), self._stacked(), strict=True):
                new.zero_()[: len(terms)] = old[terms]
            layer.mix_out.weight.zero_()[:, : len(terms)] = self.mix_out.weight[:, terms]
            if layer.bias_vector is not None and self.bias_vector is not None:
                layer.bias_vector.copy_(self.bias_vector)
        return layer

    def _stacked(self) -> list[Tensor]:
        """Return the weights whose first axis counts the terms."""
        return [self.mix_in.weight, *(cast("Tensor", f.weight) for f in self.axis_filters)]

    def extra_repr(self) -> str:
        """Add the rank."""
        return f"{super().extra_repr()}, rank={self.rank}"
