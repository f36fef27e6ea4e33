"""What a run writes down at its output times: u and v on a grid, at receivers, at the nodes; the energy."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slimwave.fem.fields import Box
from slimwave.fem.gll import Array
from slimwave.fem.memory import STATES_OF_A_RUN, require_memory
from slimwave.fem.operators import State, WaveOperator
from slimwave.fem.sampling import PointSampler
from slimwave.fem.solution import NO_TRACES, Traces
from slimwave.fem.space import GLLSpace


class Recorder:
    """Collects the output of a run; all of it is allocated at the start.

    Parameters
    ----------
    space, operator
        Whose states are recorded.
    window
        Where the grid lies.
    times
        Output times.
    grid
        (nx, ny), or None.
    receivers
        Points (n, 2), or None.
    nodes
        Whether to record all nodes.

    Attributes
    ----------
    x, y, mask
        The grid and which of its points lie in the domain.
    grid_u, grid_v
        Shape (times, nx, ny).
    energy
        Shape (times,).

    Raises
    ------
    ValueError
        For a grid below 2 × 2 or receivers outside the domain.
    """

    def __init__(
        self,
        space: GLLSpace,
        operator: WaveOperator,
        window: Box,
        times: Array,
        grid: tuple[int, int] | None,
        receivers: ArrayLike | None,
        *,
        nodes: bool,
    ):
        self._operator, self._space = operator, space
        self._sampler = None if grid is None else space.sampler(*check_grid(grid), window)
        self.x = np.empty(0) if self._sampler is None else self._sampler.x
        self.y = np.empty(0) if self._sampler is None else self._sampler.y
        self.mask = np.ones((0, 0), dtype=bool) if self._sampler is None else self._sampler.inside
        self._points = None if receivers is None else _check_points(receivers)
        self._listener = None
        if self._points is not None:
            self._listener = PointSampler(space.basis, self._points, "receivers")
        n, dtype = len(times), operator.dtype
        self._require_room(n, nodes=nodes)
        self.energy = np.zeros(n)
        self.grid_u, self.grid_v = (np.zeros((n, *self.mask.shape), dtype) for _ in range(2))
        heard = 0 if self._points is None else self._points.shape[1]
        self._heard = np.zeros((2, n, heard), dtype)
        self._nodal = np.zeros((2, n, space.n_nodes if nodes else 0), dtype)

    def _require_room(self, times: int, *, nodes: bool) -> None:
        values = self.mask.size + (0 if self._points is None else self._points.shape[1])
        values += self._space.n_nodes if nodes else 0
        fields = 2 * times * values + STATES_OF_A_RUN * self._space.n_nodes
        what = f"the output of {values} values at {times} times"
        remedy = "ask for fewer times, a coarser grid, or receivers in place of nodes"
        require_memory(fields * self._operator.dtype.itemsize, "times, grid, nodes", what, remedy)

    def record(self, number: int, u: State, v: State) -> None:
        """Write down the fields of one output time."""
        if self._sampler is not None:
            self.grid_u[number], self.grid_v[number] = self._sampler.sample(u), self._sampler.sample(v)
        if self._listener is not None:
            places = self._operator.places
            self._heard[:, number] = [self._listener.sample(state, places) for state in (u, v)]
        if self._nodal.shape[2]:
            self._nodal[:, number] = [self._operator.nodal(state) for state in (u, v)]
        self.energy[number] = self._operator.energy(u, v)

    def receivers(self) -> Traces:
        """Fields at the receivers."""
        return NO_TRACES if self._points is None else Traces(self._points, *self._heard)

    def nodes(self) -> Traces:
        """Fields at the nodes."""
        return Traces(self._space.points, *self._nodal) if self._nodal.shape[2] else NO_TRACES

    def save(self, done: int) -> dict[str, NDArray[Any]]:
        """The first `done` output times, as arrays."""
        return {f"record_{name}": array[..., :done, :, :] for name, array in self._arrays().items()}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Take up what `save` returned."""
        for name, array in self._arrays().items():
            found = saved[f"record_{name}"]
            array[..., : found.shape[-3], :, :] = found

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """All that is recorded as views with the output time on the third axis from the end."""
        return {
            "u": self.grid_u,
            "v": self.grid_v,
            "energy": self.energy[:, None, None],
            "heard": self._heard[..., None],
            "nodal": self._nodal[..., None],
        }


def check_grid(grid: tuple[int, int]) -> tuple[int, int]:
    """Return (nx, ny) as whole numbers; ValueError unless there are at least 2 nodes each."""
    if np.shape(grid) != (2,) or any(int(n) != n or n < 2 for n in grid):
        raise ValueError(f"grid: expected (nx, ny) with at least 2 nodes each, got {grid}")
    return int(grid[0]), int(grid[1])


def _check_points(receivers: ArrayLike) -> Array:
    points = np.asarray(receivers, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError(f"receivers: expected finite points of shape (n, 2), got shape {points.shape}")
    return np.ascontiguousarray(points.T)
