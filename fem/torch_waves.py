"""A batch of waves by torch, on a GPU or any other of its devices; see `stepping` and `driven`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from slimwave.fem.drives import Drive, waves_alike
from slimwave.fem.gll import Array
from slimwave.fem.plans import Plan
from slimwave.fem.recording import Quantity
from slimwave.fem.sampling import axis_matrix
from slimwave.fem.stepping import Scheme
from slimwave.fem.structured import TensorGrid
from slimwave.fem.torch_driven import TorchDriven
from slimwave.fem.torch_operator import TorchOperator

Tensor = torch.Tensor


class TorchFree:
    """Free waves under way, see `stepping`.

    Parameters
    ----------
    operator, scheme
        L, and how time is stepped.
    u, v
        Initial fields, shape (batch, nx, ny).
    plan
        To which output times.
    """

    def __init__(self, operator: TorchOperator, scheme: Scheme, u: Tensor, v: Tensor, plan: Plan):
        self._operator, self._scheme, self._legs, self._step = operator, scheme, iter(plan.legs), 0.0
        self.time_step = max(leg.step for leg in plan.legs)
        self.n_steps = sum(leg.steps for leg in plan.legs)
        self.u, self._v = u, v
        self._old, self._ahead, self._knows_v = u, u, True

    def advance(self) -> None:
        """Go to the next output time."""
        leg = next(self._legs)
        if not leg.steps:
            return
        if leg.step != self._step:
            self._begin(leg.step)
        for _ in range(leg.steps):
            self._old, self.u = self.u, self._ahead
            self._ahead = self._next(self.u, self._old)
        self._knows_v = False

    @property
    def v(self) -> Tensor:
        """u_t there; computed once, and only if it is asked for."""
        if not self._knows_v:
            difference = (self._ahead - self._old) / (2.0 * self._step)
            self._v, self._knows_v = self._polynomial(self._scheme.inverse_sine, difference), True
        return self._v

    def _begin(self, step: float) -> None:
        """Start from u and v with a time step."""
        v, self._step, scheme = self.v, step, self._scheme
        past = self._polynomial(scheme.cosine, self.u) - step * self._polynomial(scheme.sine, v)
        self._old, self._ahead = past, self._next(self.u, past)

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


class TorchWaves:
    """Waves under way, see `batch_waves.Waves`; waves that are stepped alike go together.

    Parameters
    ----------
    grid
        The nodes.
    factors
        From `operators.tensor_factors`.
    scheme, plan
        How and to where time is stepped.
    drives
        What is added to each wave.
    u, v
        Initial fields at the nodes, shape (batch, n_nodes).
    sampled
        Coordinates (x, y) of the grid of the output.
    dtype, device
        "float32" or "float64", and torch's name of the device.

    Raises
    ------
    ValueError
        For a device that torch does not have.
    """

    @torch.inference_mode()
    def __init__(
        self,
        grid: TensorGrid,
        factors: tuple[Array, Array, Array],
        scheme: Scheme,
        drives: Sequence[Drive],
        u: Array,
        v: Array,
        plan: Plan,
        sampled: tuple[Array, Array],
        *,
        dtype: str,
        device: str,
    ):
        _check_device(device)
        kind: dict[str, Any] = {"dtype": getattr(torch, dtype), "device": device}
        self._outputs, self._groups = len(plan.times), []
        self.time_steps, self.step_counts = np.zeros(len(u)), np.zeros(len(u), np.int64)
        for driven, group in waves_alike(drives):
            along_x, along_y, mass = (factor[group] if len(factor) > 1 else factor for factor in factors)
            operator = TorchOperator(grid.x.order, (along_x, along_y, mass), kind)
            start, slope = (torch.as_tensor(field[group][:, grid.numbers], **kind) for field in (u, v))
            march: TorchFree | TorchDriven
            if driven:
                own = [drives[k] for k in group]
                march = TorchDriven(operator, scheme, own, grid, start, slope, plan)
            else:
                march = TorchFree(operator, scheme, start, slope, plan)
            self.time_steps[group], self.step_counts[group] = march.time_step, march.n_steps
            self._groups.append((group, operator, march))
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
        """See `batch_waves.Waves`."""
        length = len(self.time_steps)
        for number in range(self._outputs):
            for group, operator, march in self._groups:
                march.advance()
                if "u" in record:
                    found["u"][group, number] = self._sample(march.u)
                if "v" in record:
                    found["v"][group, number] = self._sample(march.v)
                if "energy" in record:
                    found["energy"][group, number] = self._energies(march.u, march.v, operator(march.u))
            progress((number + 1) * length, self._outputs * length)

    def _sample(self, field: Tensor) -> NDArray[Any]:
        """Values on the grid of the output."""
        return np.asarray((self._sample_x @ field @ self._sample_y).cpu())

    def _energies(self, *fields: Tensor) -> Array:
        """½ (vᵀMv + uᵀKu) of each wave from u, v and L u, summed in float64."""
        u, v, force = (field.double() for field in fields)
        return np.asarray(0.5 * (self._mass * (v * v + u * force)).sum(dim=(1, 2)).cpu())


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device: torch cannot use {device!r} here ({str(error).splitlines()[0]})") from None
