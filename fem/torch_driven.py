"""Driven waves by torch: the step of `lane_steps` on tensors (batch, nx, ny)."""

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch

from slimwave.fem.driven_start import first_levels
from slimwave.fem.drives import CHUNK, Drive, Terms
from slimwave.fem.gll import Array
from slimwave.fem.lane_steps import Weights
from slimwave.fem.plans import Plan
from slimwave.fem.readings import LEVELS, Readings
from slimwave.fem.stepping import Scheme
from slimwave.fem.structured import TensorGrid
from slimwave.fem.torch_operator import TorchOperator

Tensor = torch.Tensor


class TorchDriven:
    """Driven waves under way, see `marching.DrivenMarch`.

    Parameters
    ----------
    operator, scheme
        L, and how time is stepped.
    drives
        What is added to each wave. D varies in all of them or in none.
    grid
        The nodes.
    u, v
        Fields at t = 0, shape (batch, nx, ny).
    plan
        To which output times.
    """

    def __init__(
        self,
        operator: TorchOperator,
        scheme: Scheme,
        drives: Sequence[Drive],
        grid: TensorGrid,
        u: Tensor,
        v: Tensor,
        plan: Plan,
    ):
        self.time_step, self.u, self.v = plan.one_step, u, v
        self.n_steps = round(plan.times[-1] / self.time_step)
        self._initial = plan.times[0] == 0.0
        self._readings = Readings.of_times(plan.times[int(self._initial) :], self.time_step)
        self._operator, self._order, self._like = operator, scheme.order, u
        self._count, self._reading = 0, 0
        self._last_force: Tensor | None = None
        nodes = np.empty(grid.numbers.size, np.int64)
        nodes[grid.numbers.ravel()] = np.arange(nodes.size)
        self._terms = terms = Terms(nodes, nodes.size, drives, self.time_step, self._readings.steps)
        self._set_weights(drives)
        self._places, self._columns, self._held = (
            torch.as_tensor(numbers, device=u.device) for numbers in (terms.places, terms.columns, terms.held)
        )
        flat = (np.asarray(field.flatten(1).cpu()) for field in (u, v))
        start, past = first_levels(terms, scheme.order, self._apply, *flat)
        self._levels = deque([self._field(past), self._field(start)], maxlen=LEVELS)

    def _set_weights(self, drives: Sequence[Drive]) -> None:
        """B, S, R and d, and the coefficients of the loads; see `lane_steps`."""
        terms, order = self._terms, self._order
        self._uneven = any(drive.uneven for drive in drives)
        levels = np.array([[drive.level] for drive in drives])
        nodal = weights = Weights(terms.damping, levels, self.time_step, order)
        if not self._uneven:
            weights = Weights(levels, levels, self.time_step, order)
        self._behind, self._push, self._ease, self._pull = (
            self._field(table) for table in (weights.behind, weights.push, weights.ease, weights.pull)
        )
        coefficients = nodal.coefficients(terms.places) * terms.values[:, None]
        self._coefficients = self._tensor(coefficients.T.copy())

    def advance(self) -> None:
        """Go to the next output time, where u and v are read."""
        if self._initial:
            self._initial = False
            return
        readings, number = self._readings, self._reading
        self._step(int(readings.ends[number]) - self._count)
        self.u, self.v = (self._sum(weights[number]) for weights in (readings.values, readings.slopes))
        self._reading += 1

    def _step(self, steps: int) -> None:
        for done in range(0, steps, CHUNK):
            count = min(CHUNK, steps - done)
            strengths = self._tensor(self._terms.loads_of_steps(self._count, count, self._order))
            values = self._tensor(self._terms.values_of_steps(self._count, count))
            for k in range(count):
                new = self._next(self._levels[-1], self._levels[-2], strengths[:, k], values[:, k])
                self._levels.append(new)
            self._count += count

    def _sum(self, weights: Array) -> Tensor:
        """Σ weights · fields over the last `LEVELS` times."""
        pairs = zip(weights, self._levels, strict=True)
        return torch.stack([float(weight) * level for weight, level in pairs if weight != 0.0]).sum(dim=0)

    def _next(self, u: Tensor, old: Tensor, strengths: Tensor, values: Tensor) -> Tensor:
        """The field one step after u; see `Terms` for loads and prescribed values."""
        loads, y, pulled = strengths[:, self._columns], u, None
        if self._order == 4:
            y, pulled = self._inner(u, old, loads[0], values[0])
        new = u + self._behind * (u - old) - self._push * self._operator(y)
        if pulled is not None:
            new += self._pull * pulled
        self._add(new, self._coefficients[1] * loads[1] + self._coefficients[2] * loads[2])
        return self._set(new, values[1])

    def _inner(self, u: Tensor, old: Tensor, load: Tensor, values: Tensor) -> tuple[Tensor, Tensor | None]:
        """Y, and 5 f + f⁻ where D varies."""
        step2, force = self.time_step**2, self._operator(u)
        y, pulled = u - step2 / 12 * force, None
        if self._uneven:
            y -= self._ease * ((u - old) - step2 / 2 * force)
            pulled = 5.0 * force + (self._operator(old) if self._last_force is None else self._last_force)
            self._last_force = force
        self._add(y, self._coefficients[0] * load)
        return self._set(y, values), pulled

    def _add(self, field: Tensor, loads: Tensor) -> None:
        field.view(-1).index_add_(0, self._places, loads)

    def _set(self, field: Tensor, values: Tensor) -> Tensor:
        """Set the prescribed values, in place."""
        field.view(-1)[self._held] = values
        return field

    def _apply(self, states: Array) -> Array:
        """L of states (batch, places)."""
        return np.asarray(self._operator(self._field(states)).flatten(1).cpu())

    def _tensor(self, values: Array) -> Tensor:
        return torch.as_tensor(values, dtype=self._like.dtype, device=self._like.device)

    def _field(self, values: Array) -> Tensor:
        """Tensor (batch, nx, ny) of values (batch, places), or (batch, 1, 1) of one number each."""
        shape = self._like.shape if values.shape[1] > 1 else (len(values), 1, 1)
        return self._tensor(values).reshape(shape)
