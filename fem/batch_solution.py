"""What a batch of waves returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimwave.fem.gll import Array
from slimwave.fem.solution import Solution


@dataclass(frozen=True, eq=False)
class BatchSolution:
    """Snapshots of a batch of waves; `solution[k]` is that of wave k.

    Attributes
    ----------
    times, x, y
        Output times (n,) and coordinates of the grid, (nx,) and (ny,).
    u, v
        Shape (batch, n, nx, ny); (batch, 0, nx, ny) for what was not recorded.
    energy
        Shape (batch, n), or (batch, 0).
    time_steps, step_counts
        `time_step` and `n_steps` of each wave, see `Solution`, shape (batch,). They differ only where output
        times are spaced unevenly: free waves then change their step, driven waves keep one.
    scheme, order
        As in `Solution`, the same for all.
    n_dofs
        Number of free nodes of each wave, shape (batch,).
    provenance
        As in `Solution`.
    """

    times: Array
    x: Array
    y: Array
    u: NDArray[Any]
    v: NDArray[Any]
    energy: Array
    time_steps: Array
    step_counts: NDArray[np.int64]
    scheme: str
    order: int
    n_dofs: NDArray[np.int64]
    provenance: Mapping[str, str | int | float]

    @property
    def time_step(self) -> float:
        """Largest time step taken by any wave."""
        return float(self.time_steps.max())

    @property
    def n_steps(self) -> int:
        """Largest number of time steps taken by any wave."""
        return int(self.step_counts.max())

    def __len__(self) -> int:
        return len(self.u)

    def __getitem__(self, number: int) -> Solution:
        """Return the solution of one wave; its arrays are views."""
        return Solution(
            times=self.times,
            x=self.x,
            y=self.y,
            u=self.u[number],
            v=self.v[number],
            energy=self.energy[number],
            time_step=float(self.time_steps[number]),
            n_steps=int(self.step_counts[number]),
            scheme=self.scheme,
            order=self.order,
            n_dofs=int(self.n_dofs[number]),
            mask=np.ones((len(self.x), len(self.y)), dtype=bool),
            provenance=self.provenance,
        )
