"""What a run writes down at its output times: u and v on a grid, at receivers, at the nodes; the energy.

What is not asked for is not computed, and its arrays are empty: they have no output times.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slimwave.fem.fields import Box
from slimwave.fem.gll import Array
from slimwave.fem.memory import STATES_OF_A_RUN, require_memory
from slimwave.fem.operators import State, WaveOperator
from slimwave.fem.sampling import PointSampler
from slimwave.fem.solution import NO_TRACES, Traces
from slimwave.fem.space import GLLSpace

Quantity = Literal["u", "v", "energy"]

QUANTITIES: tuple[Quantity, ...] = ("u", "v", "energy")
"""What can be recorded: the field, its time derivative, the energy of each output time."""


class Wave(Protocol):
    """A wave at successive output times; v may be computed when it is read."""

    @property
    def u(self) -> State:
        """The field, shape (outputs, size)."""

    @property
    def v(self) -> State:
        """Its time derivative, same shape."""


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
    record
        Which of the `QUANTITIES`.

    Attributes
    ----------
    x, y, mask
        The grid and which of its points lie in the domain.
    grid_u, grid_v
        Shape (times, nx, ny), or (0, nx, ny) where not recorded.
    energy
        Shape (times,), or (0,).

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
        record: Sequence[Quantity],
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
        self._record, dtype = record, operator.dtype
        u, v, energy = (len(times) if name in record else 0 for name in QUANTITIES)
        self._require_room(len(times), nodes=nodes)
        heard, nodal = 0 if self._points is None else self._points.shape[1], space.n_nodes if nodes else 0
        self.energy = np.zeros(energy)
        self.grid_u, self.grid_v = (np.zeros((n, *self.mask.shape), dtype) for n in (u, v))
        self._heard_u, self._heard_v = (np.zeros((n, heard), dtype) for n in (u, v))
        self._nodal_u, self._nodal_v = (np.zeros((n, nodal), dtype) for n in (u, v))

    def _require_room(self, times: int, *, nodes: bool) -> None:
        values = self.mask.size + (0 if self._points is None else self._points.shape[1])
        values += self._space.n_nodes if nodes else 0
        fields = sum(name in self._record for name in ("u", "v"))
        size = fields * times * values + STATES_OF_A_RUN * self._space.n_nodes
        what = f"the output of {values} values at {times} times"
        remedy = "ask for fewer times, a coarser grid, or receivers in place of nodes"
        require_memory(size * self._operator.dtype.itemsize, "times, grid, nodes", what, remedy)

    def record(self, first: int, wave: Wave) -> None:
        """Write down what is wanted of the output times from number `first` on."""
        numbers = slice(first, first + len(wave.u))
        if "u" in self._record:
            self._write(numbers, wave.u, self.grid_u, self._heard_u, self._nodal_u)
        if "v" in self._record:
            self._write(numbers, wave.v, self.grid_v, self._heard_v, self._nodal_v)
        if "energy" in self._record:
            self.energy[numbers] = self._operator.energies(wave.u, wave.v)

    def _write(self, numbers: slice, states: State, grid: State, heard: State, nodal: State) -> None:
        if self._sampler is not None:
            self._sampler.sample(states, grid[numbers])
        if self._listener is not None:
            heard[numbers] = self._listener.sample(states, self._operator.places)
        if nodal.shape[1]:
            nodal[numbers] = self._operator.nodal(states)

    def receivers(self) -> Traces:
        """Fields at the receivers."""
        return NO_TRACES if self._points is None else Traces(self._points, self._heard_u, self._heard_v)

    def nodes(self) -> Traces:
        """Fields at the nodes."""
        if not self._nodal_u.shape[1]:
            return NO_TRACES
        return Traces(self._space.points, self._nodal_u, self._nodal_v)

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
            "heard_u": self._heard_u[..., None],
            "heard_v": self._heard_v[..., None],
            "nodal_u": self._nodal_u[..., None],
            "nodal_v": self._nodal_v[..., None],
        }


def needs_velocities(record: Sequence[Quantity]) -> bool:
    """Whether v must be computed for what is recorded."""
    return "v" in record or "energy" in record


def check_record(record: Sequence[Quantity]) -> tuple[Quantity, ...]:
    """Return the quantities to record in the order of `QUANTITIES`, each once.

    Raises
    ------
    ValueError
        For unknown names, and for none at all.
    """
    names = (record,) if isinstance(record, str) else tuple(record)
    if not names or any(name not in QUANTITIES for name in names):
        raise ValueError(f"record: expected one or more of {', '.join(QUANTITIES)}, got {record!r}")
    return tuple(name for name in QUANTITIES if name in names)


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
