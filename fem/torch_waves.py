"""A batch of waves by torch, on a GPU or any other of its devices.

The operator of `line_kernels` in torch's own terms: along each axis the fields are seen as lines of p + 1
nodes, multiplied with the matrix D of derivatives, the weights and Dᵀ, and the ends of neighbours are added:

    L u = M⁻¹ (Σ Dᵀ Gx D u + Σ Dᵀ Gy D u).

Fields are tensors (batch, nx, ny). Time is stepped as in `stepping`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from slimwave.fem.gll import Array, differentiation_matrix, gll_nodes
from slimwave.fem.marching import Leg, Plan
from slimwave.fem.recording import Quantity
from slimwave.fem.sampling import axis_matrix
from slimwave.fem.stepping import Scheme
from slimwave.fem.structured import TensorGrid

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


class TorchWaves:
    """Waves under way, see `batches.Waves`.

    Parameters
    ----------
    grid
        The nodes.
    factors
        From `operators.tensor_factors`.
    scheme, plan
        How and to where time is stepped.
    u, v
        Initial fields, shape (batch, nx, ny) on the nodes.
    sampled
        Coordinates (x, y) of the grid of the output.
    dtype, device
        "float32" or "float64", and torch's name of the device.

    Raises
    ------
    ValueError
        For a device that torch does not have.
    """

    def __init__(
        self,
        grid: TensorGrid,
        factors: tuple[Array, Array, Array],
        scheme: Scheme,
        u: Array,
        v: Array,
        plan: Plan,
        sampled: tuple[Array, Array],
        *,
        dtype: str,
        device: str,
    ):
        _check_device(device)
        kind = {"dtype": getattr(torch, dtype), "device": device}
        self._operator = TorchOperator(grid.x.order, factors, kind)
        self._scheme, self._legs, self._step = scheme, plan.legs, 0.0
        self._u = torch.as_tensor(u.copy(), **kind)
        self._v: Tensor | None = torch.as_tensor(v.copy(), **kind)
        self._old, self._ahead = self._u, self._u
        self._mass = torch.as_tensor(grid.mass, device=device)
        self._sample_x = torch.as_tensor(axis_matrix(grid.x, sampled[0]), **kind)
        self._sample_y = torch.as_tensor(axis_matrix(grid.y, sampled[1]).T.copy(), **kind)

    @torch.inference_mode()
    def run(
        self,
        record: Sequence[Quantity],
        found: dict[Quantity, NDArray[Any]],
        progress: Callable[[int, int], None],
    ) -> None:
        """See `batches.Waves`."""
        for number, leg in enumerate(self._legs):
            self._advance(leg)
            if "u" in record:
                found["u"][:, number] = self._sample(self._u)
            if "v" in record:
                found["v"][:, number] = self._sample(self._velocity())
            if "energy" in record:
                found["energy"][:, number] = self._energies()
            progress((number + 1) * len(self._u), len(self._legs) * len(self._u))

    def _advance(self, leg: Leg) -> None:
        """Go to the next output time."""
        if leg.steps:
            if leg.step != self._step:
                self._begin(leg.step)
            for _ in range(leg.steps):
                self._old, self._u = self._u, self._ahead
                self._ahead = self._next(self._u, self._old)
            self._v = None

    def _sample(self, field: Tensor) -> NDArray[Any]:
        """Values on the grid of the output."""
        return np.asarray((self._sample_x @ field @ self._sample_y).cpu())

    def _velocity(self) -> Tensor:
        """Return u_t at the present time; computed once, and only if it is asked for."""
        if self._v is None:
            difference = (self._ahead - self._old) / (2.0 * self._step)
            self._v = self._polynomial(self._scheme.inverse_sine, difference)
        return self._v

    def _begin(self, step: float) -> None:
        """Start from u and v with a time step."""
        v, self._step, scheme = self._velocity(), step, self._scheme
        past = self._polynomial(scheme.cosine, self._u) - step * self._polynomial(scheme.sine, v)
        self._old, self._ahead = past, self._next(self._u, past)

    def _next(self, u: Tensor, old: Tensor) -> Tensor:
        """The field one step after u."""
        inner = u - self._step**2 / 12 * self._operator(u) if self._scheme.order == 4 else u
        return 2.0 * u - old - self._step**2 * self._operator(inner)

    def _polynomial(self, coefficients: tuple[float, ...], x: Tensor) -> Tensor:
        """Σ_k coefficients[k] (Δt² L)^k x by Horner's rule."""
        total = coefficients[-1] * x
        for coefficient in reversed(coefficients[:-1]):
            total = coefficient * x + self._step**2 * self._operator(total)
        return total

    def _energies(self) -> Array:
        """½ (vᵀMv + uᵀKu) of each wave, summed in float64."""
        fields = self._u, self._velocity(), self._operator(self._u)
        u, v, force = (field.double() for field in fields)
        return np.asarray(0.5 * (self._mass * (v * v + u * force)).sum(dim=(1, 2)).cpu())


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device: torch cannot use {device!r} here ({str(error).splitlines()[0]})") from None
