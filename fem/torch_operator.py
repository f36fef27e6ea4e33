"""L = M⁻¹K of a batch of media in torch's own terms.

Along each axis the fields are seen as lines of p + 1 nodes, multiplied with the matrix D of derivatives, the
weights and Dᵀ (see `line_kernels`), and the ends of neighbours are added:

    L u = M⁻¹ (Σ Dᵀ Gx D u + Σ Dᵀ Gy D u).
"""

from typing import Any

import torch

from slimwave.fem.gll import Array, differentiation_matrix, gll_nodes

Tensor = torch.Tensor


class TorchOperator:
    """L on tensors (batch, nx, ny).

    Parameters
    ----------
    order
        p.
    factors
        From `operators.tensor_factors`.
    kind
        Type and device of the tensors, as arguments of `torch.as_tensor`.
    """

    def __init__(self, order: int, factors: tuple[Array, Array, Array], kind: dict[str, Any]):
        self.order = order
        self._along_x, self._along_y, self._inverse_mass = (
            torch.as_tensor(f.copy(), **kind) for f in factors
        )
        self._matrix = torch.as_tensor(differentiation_matrix(gll_nodes(order)[0]), **kind)

    def __call__(self, u: Tensor) -> Tensor:
        """L u."""
        p, matrix = self.order, self._matrix
        columns = u.unfold(1, p + 1, p).transpose(2, 3)  # (batch, elements x, p + 1, ny)
        columns = matrix.T @ (self._along_x * (matrix @ columns))
        rows = u.unfold(2, p + 1, p)  # (batch, nx, elements y, p + 1)
        rows = (self._along_y * (rows @ matrix.T)) @ matrix
        total = torch.zeros_like(u)
        total[:, :-1] += columns[:, :, :p].flatten(1, 2)
        total[:, p::p] += columns[:, :, p]
        total[:, :, :-1] += rows[..., :p].flatten(2, 3)
        total[:, :, p::p] += rows[..., p]
        return self._inverse_mass * total
