"""The semi-discrete wave operator L = M⁻¹K of one medium, in the storage that its mesh allows.

K is the stiffness of ∫ c² ∇u·∇v, M the diagonal mass of the GLL collocation; u_tt = −L u. Rows of nodes
held at zero (Dirichlet) are empty, so that these nodes stay at zero. An operator fixes the layout of
its states: with a frame of zeros on tensor grids (`StencilOperator`), the plain nodal vector elsewhere
(`SparseOperator`).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import DTypeLike, NDArray

from slimwave.fem import kernels, line_kernels, march_kernels, visits
from slimwave.fem.assembly import stiffness_matrix
from slimwave.fem.gll import Array
from slimwave.fem.lanes import aligned_zeros
from slimwave.fem.line_kernels import buffer_size
from slimwave.fem.march_kernels import steps_together, work_size
from slimwave.fem.space import GLLSpace
from slimwave.fem.structured import TensorGrid, line_weights

State = NDArray[Any]


class WaveOperator(ABC):
    """L = M⁻¹K acting on states of one floating-point type, or on several, shape (n, size).

    Attributes
    ----------
    dtype
        Type of the states.
    mass
        Diagonal mass in the layout of the states, float64, zero in a frame.
    places
        Flat position of each node in a state, shape (n_nodes,).
    """

    dtype: np.dtype[Any]
    mass: Array
    places: NDArray[np.int64]

    @abstractmethod
    def state(self, nodal: Array) -> State:
        """Bring nodal values (n_nodes,) into the layout and type of the states."""

    @abstractmethod
    def nodal(self, state: State) -> State:
        """Bring a state back to nodal values (n_nodes,)."""

    @abstractmethod
    def update(self, y: State, x: State, out: State, a: float, b: float, s: float) -> None:
        """In place, out ← a·x + b·out − s·L y. `out` may be `x`, but not `y`."""

    @abstractmethod
    def leapfrog(self, u: State, old: State, step: float, count: int) -> tuple[State, State]:
        """Take `count` steps u⁺ = 2u − u⁻ − Δt² L u in place; return the newest and the previous state."""

    @abstractmethod
    def lax_wendroff(self, u: State, old: State, step: float, count: int) -> tuple[State, State]:
        """Take `count` steps u⁺ = 2u − u⁻ − Δt² L (u − Δt²/12 L u) in place, like `leapfrog`."""

    def visit(
        self,
        levels: tuple[State, State, State],
        step: float,
        counts: NDArray[np.int64],
        order: int,
        fields: State,
        changes: State,
    ) -> tuple[State, State, State]:
        """Take counts[n] time steps to output n, for each n; one step beyond it where changes are wanted.

        Parameters
        ----------
        levels
            u, u⁻ and a buffer of their shape; overwritten.
        step, order
            Δt, and the order of the scheme: 2 for `leapfrog`, 4 for `lax_wendroff`.
        fields, changes
            Receive u and, unless it is empty, u⁺ − u⁻ at the outputs, shape (outputs, size).

        Returns
        -------
        u, u⁻, u⁺ at the last output, the latter only where changes are wanted.
        """
        u, old, ahead = levels
        march = self.leapfrog if order == 2 else self.lax_wendroff
        for number, count in enumerate(counts):
            if number and len(changes):
                u, old, ahead = ahead, u, old
            u, old = march(u, old, step, int(count) - (number > 0 and len(changes) > 0))
            fields[number] = u
            if len(changes):
                ahead[...] = old
                ahead, u = march(u, ahead, step, 1)
                np.subtract(ahead, old, out=changes[number])
        return u, old, ahead

    def apply(self, state: State) -> State:
        """L applied to a state."""
        out = np.zeros_like(state)
        self.update(state, state, out, 0.0, 0.0, -1.0)
        return out

    def inner(self, left: State, right: State) -> float:
        """Mass-weighted inner product, summed in float64."""
        return float(kernels.weighted_sum(self.mass.ravel(), left.ravel(), right.ravel()))

    def energies(self, u: State, v: State) -> Array:
        """Energies ½ (vᵀMv + uᵀKu) of states (n, size), summed in float64; shape (n,)."""
        energies = np.empty(len(u))
        kernels.energies(self.mass, u, v, self.apply(u), energies)
        return energies


class TensorOperator(WaveOperator):
    """L on a tensor grid, matrix-free; states are laid out by lanes (see `lanes`), shape ([batch,] size).

    With weights of several media, sample k of a batch moves in medium k; with one, all share it.

    Parameters
    ----------
    grid
        The nodes.
    weights
        From `LaneLayout.pack_weights`, shape (media, n).

    Attributes
    ----------
    weights
        As given.
    layout
        How states lie in memory.
    """

    def __init__(self, grid: TensorGrid, weights: NDArray[Any]):
        self.dtype = weights.dtype
        self.mass, self.places = grid.packed_mass, grid.places
        self.layout = grid.layout
        self._grid = grid
        self.weights = weights

    def part(self, number: int) -> "TensorOperator":
        """Return the operator of one of the media; one medium for all stays as it is."""
        if len(self.weights) == 1:
            return self
        return TensorOperator(self._grid, self.weights[number : number + 1])

    def state(self, nodal: Array) -> State:
        """Nodal values ([batch,] n_nodes), laid out by lanes."""
        state = np.zeros((*nodal.shape[:-1], self.layout.size), self.dtype)
        state[..., self.places] = nodal
        return state

    def nodal(self, state: State) -> State:
        """Nodal values in the numbering of the basis."""
        return state[..., self.places]

    def update(self, y: State, x: State, out: State, a: float, b: float, s: float) -> None:
        """See `WaveOperator.update`."""
        layout, real = self.layout, self.dtype.type
        work = aligned_zeros((buffer_size(layout, self.dtype.itemsize),), self.dtype)
        y, x, out = (field.reshape(-1, layout.size) for field in (y, x, out))
        factors = real(a), real(b), real(s)
        line_kernels.update(self.weights, y, x, out, work, factors, layout.strides, (0,) * layout.order)

    def leapfrog(self, u: State, old: State, step: float, count: int) -> tuple[State, State]:
        """See `WaveOperator.leapfrog`."""
        return self._march(u, old, step, count, stages=1)

    def lax_wendroff(self, u: State, old: State, step: float, count: int) -> tuple[State, State]:
        """See `WaveOperator.lax_wendroff`."""
        return self._march(u, old, step, count, stages=2)

    def _march(self, u: State, old: State, step: float, count: int, stages: int) -> tuple[State, State]:
        layout = self.layout
        work, together = self.work(3, stages)
        march_kernels.march(
            self.weights, u.reshape(-1, layout.size), old.reshape(-1, layout.size), work,
            self.dtype.type(step**2), count, stages, together, layout.strides, (0,) * layout.order,
        )  # fmt: skip
        return (u, old) if count % 2 == 0 else (old, u)

    def visit(
        self,
        levels: tuple[State, State, State],
        step: float,
        counts: NDArray[np.int64],
        order: int,
        fields: State,
        changes: State,
    ) -> tuple[State, State, State]:
        """See `WaveOperator.visit`."""
        stages, layout = order // 2, self.layout
        work, together = self.work(4, stages)
        visits.visit(
            self.weights[0], levels, work, self.dtype.type(step**2), counts, stages, together,
            layout.strides, (0,) * layout.order, fields, changes,
        )  # fmt: skip
        return levels

    def work(self, fields: int, stages: int) -> tuple[State, int]:
        """Buffer for so many fields and products per step, and how many steps a march takes together."""
        itemsize = self.dtype.itemsize
        together = steps_together(self.layout, itemsize)
        size = work_size(self.layout, itemsize, fields, together * stages)
        return aligned_zeros((size,), self.dtype), together


class SparseOperator(WaveOperator):
    """L in compressed sparse rows; states are nodal vectors (n_nodes,).

    Parameters
    ----------
    matrix
        L, shape (n_nodes, n_nodes).
    mass
        Diagonal mass, shape (n_nodes,).
    dtype
        float32 or float64.
    """

    def __init__(self, matrix: sp.csr_matrix, mass: Array, dtype: DTypeLike = np.float64):
        self.dtype = np.dtype(dtype)
        self.mass = mass
        self.places = np.arange(len(mass))
        # Unsigned indices spare the compiled loop the test for negative ones.
        starts, columns = matrix.indptr.astype(np.uint32), matrix.indices.astype(np.uint32)
        self._rows = (starts, columns, matrix.data.astype(self.dtype))

    @property
    def n_entries(self) -> int:
        """Number of stored entries of L."""
        return len(self._rows[2])

    def state(self, nodal: Array) -> State:
        """Nodal values in the type of the states."""
        return nodal.astype(self.dtype)

    def nodal(self, state: State) -> State:
        """Return a copy of the state."""
        return state.copy()

    def update(self, y: State, x: State, out: State, a: float, b: float, s: float) -> None:
        """See `WaveOperator.update`."""
        real, size = self.dtype.type, len(self.mass)
        fields = (field.reshape(-1, size) for field in (y, x, out))
        for own_y, own_x, own_out in zip(*fields, strict=True):
            kernels.sparse_update(*self._rows, own_y, own_x, own_out, real(a), real(b), real(s))

    def leapfrog(self, u: State, old: State, step: float, count: int) -> tuple[State, State]:
        """See `WaveOperator.leapfrog`."""
        return kernels.sparse_leapfrog(*self._rows, u, old, self.dtype.type(step**2), count)

    def lax_wendroff(self, u: State, old: State, step: float, count: int) -> tuple[State, State]:
        """See `WaveOperator.lax_wendroff`."""
        step2 = self.dtype.type(step**2)
        return kernels.sparse_lax_wendroff(*self._rows, u, old, np.zeros_like(u), step2, count)


def build_operator(
    space: GLLSpace, squared_speed: Array, held: NDArray[np.int64], dtype: DTypeLike = np.float64
) -> WaveOperator:
    """Assemble L for one medium.

    Parameters
    ----------
    space
        The discrete space; its grid, if any, decides the storage.
    squared_speed
        c² at the nodes, shape (n_nodes,), or at the nodes of each element, shape (elements, nodes).
    held
        Nodes held at zero.
    """
    free = np.ones(space.n_nodes)
    free[held] = 0.0
    if space.grid is not None:
        factors = tensor_factors(space.grid, [on_grid(space, squared_speed)], free[None])
        return TensorOperator(space.grid, space.grid.layout.pack_weights(*factors, dtype))
    stiffness = stiffness_matrix(space.basis, space.by_elements(squared_speed))
    matrix = sp.diags(free / space.mass) @ stiffness
    matrix.eliminate_zeros()
    return SparseOperator(matrix.tocsr(), space.mass, dtype)


def on_grid(space: GLLSpace, squared_speed: Array) -> Array:
    """Bring c² of `build_operator` into the order of the space's grid, see `structured.line_weights`."""
    assert space.grid is not None
    if squared_speed.ndim == 1:
        return squared_speed[space.grid.numbers]
    return space.grid.by_cells(space.basis.element_dofs, squared_speed)


def tensor_factors(
    grid: TensorGrid, squared_speeds: Sequence[Array], free: Array
) -> tuple[Array, Array, Array]:
    """Return the factors of L on a grid for a batch of media, as `LaneLayout.pack_weights` takes them.

    Parameters
    ----------
    squared_speeds
        c² of each medium, see `on_grid`; one may stand for all.
    free
        1 at free nodes and 0 at those held at zero, shape (1 or media, n_nodes).
    """
    lines = [line_weights(grid, squared_speed) for squared_speed in squared_speeds]
    inverse_mass = free[:, grid.numbers] / grid.mass
    count = max(len(lines), len(inverse_mass))
    factors = np.stack([line[0] for line in lines]), np.stack([line[1] for line in lines]), inverse_mass
    along_x, along_y, inverse_mass = (
        np.broadcast_to(factor, (count, *factor.shape[1:])) for factor in factors
    )
    return along_x, along_y, inverse_mass
