"""The wave solver: u_tt = ∇·(c² ∇u) on a mesh, from initial fields to snapshots on a uniform grid.

>>> import numpy as np
>>> from slimwave.fem.meshes import rectangle
>>> solver = WaveSolver(rectangle(elements=(4, 4)), wave_speed=1.0)
>>> standing = lambda x, y: np.sin(np.pi * x) * np.sin(np.pi * y)
>>> solution = solver.run(standing, times=[0.0, 0.5, 1.0], grid=(9, 9))
>>> solution.u.shape
(3, 9, 9)
>>> bool(abs(solution.u[2, 4, 4] - np.cos(np.sqrt(2) * np.pi)) < 1e-4)
True
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from skfem import Mesh

from slimwave.fem.fields import Field, evaluate, evaluate_speed
from slimwave.fem.gll import Array
from slimwave.fem.operators import State, WaveOperator, build_operator
from slimwave.fem.space import GLLSpace
from slimwave.fem.spectra import spectral_bound
from slimwave.fem.stepping import Scheme, Stepper, UnstableTimeStepError, find_scheme

DTYPES = ("float64", "float32")


@dataclass(frozen=True, eq=False)
class Solution:
    """Snapshots of a wave on a uniform grid, and how they were computed.

    Attributes
    ----------
    times
        Shape (n,).
    x, y
        Coordinates of the grid, shapes (nx,) and (ny,); they include the walls.
    u, v
        u and v = u_t at these times, shape (n, nx, ny).
    energy
        ½ (vᵀMv + uᵀKu) of the nodal fields at these times, shape (n,).
    time_step
        Largest time step taken.
    n_steps
        Number of time steps.
    scheme, order, n_dofs
        Time scheme, polynomial order and number of free nodes.
    """

    times: Array
    x: Array
    y: Array
    u: NDArray[Any]
    v: NDArray[Any]
    energy: Array
    time_step: float
    n_steps: int
    scheme: str
    order: int
    n_dofs: int


@dataclass(frozen=True)
class Leg:
    """The way from one output time to the next: `steps` steps of size `step`."""

    steps: int
    step: float


class WaveSolver:
    """Spectral-element solver of u_tt = ∇·(c² ∇u) for one medium.

    Space: continuous polynomials of degree p on quads with GLL collocation, so that the mass matrix is
    diagonal (Komatitsch and Tromp, Introduction to the spectral element method, Geophys. J. Int. 139,
    1999). Time: explicit two-step schemes, see `stepping`.

    Parameters
    ----------
    mesh_or_space
        A mesh of quads, or a `GLLSpace` to be shared between several media.
    wave_speed
        c > 0: a number, a function c(x, y), or an array (nx, ny) on the bounding box of the domain.
    boundaries
        "dirichlet" (u = 0) or "neumann" (∂u/∂n = 0) for all sides, or a mapping from every named side of
        the mesh to one of them.
    order
        Polynomial degree, 4 unless given; a space brings its own.

    Attributes
    ----------
    space : GLLSpace
    n_dofs : int
        Number of free nodes.
    spectral_radius : float
        Safe upper bound of the largest eigenvalue of M⁻¹K, see `spectra`.

    Raises
    ------
    ValueError
        For a wave speed that is not finite and positive, unknown sides or conditions, or an order below 1.
    """

    def __init__(
        self,
        mesh_or_space: Mesh | GLLSpace,
        *,
        wave_speed: Field = 1.0,
        boundaries: str | Mapping[str, str] = "dirichlet",
        order: int | None = None,
    ):
        self.space = _as_space(mesh_or_space, order)
        self._held = self.space.dirichlet_nodes(boundaries)
        self._squared_speed = evaluate_speed(wave_speed, self.space.points, self.space.box) ** 2
        self.n_dofs = self.space.n_nodes - len(self._held)
        self.spectral_radius = spectral_bound(self.space, self._squared_speed)
        self._operators: dict[str, WaveOperator] = {}

    def operator(self, dtype: str = "float64") -> WaveOperator:
        """L = M⁻¹K in the given type; assembled on first use."""
        if dtype not in DTYPES:
            raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
        if dtype not in self._operators:
            self._operators[dtype] = build_operator(self.space, self._squared_speed, self._held, dtype)
        return self._operators[dtype]

    def stable_time_step(self, scheme: str = "lax-wendroff") -> float:
        """Largest time step that is safely stable."""
        return find_scheme(scheme).largest_step(self.spectral_radius)

    def nodal(self, field: Field, name: str = "field") -> Array:
        """Values of a field at the nodes, shape (n_nodes,), zero on Dirichlet sides."""
        values = evaluate(field, self.space.points, self.space.box, name)
        values[self._held] = 0.0
        return values

    def energy(self, u: Array, v: Array) -> float:
        """Energy ½ (vᵀMv + uᵀKu) of nodal fields of shape (n_nodes,), see `nodal`."""
        operator = self.operator()
        return operator.energy(operator.state(u), operator.state(v))

    def stepper(
        self, u0: Field, v0: Field, time_step: float, scheme: str = "lax-wendroff", dtype: str = "float64"
    ) -> Stepper:
        """Time stepping by hand, from initial fields as in `run` and with one fixed step."""
        operator = self.operator(dtype)
        u, v = operator.state(self.nodal(u0, "u0")), operator.state(self.nodal(v0, "v0"))
        return Stepper(operator, find_scheme(scheme), u, v, self._legal_step(time_step, find_scheme(scheme)))

    def run(
        self,
        u0: Field,
        v0: Field = 0.0,
        *,
        times: Sequence[float] | Array,
        grid: tuple[int, int],
        time_step: float | None = None,
        scheme: Literal["lax-wendroff", "leapfrog"] = "lax-wendroff",
        dtype: Literal["float64", "float32"] = "float64",
        progress: Callable[[int, int], None] | None = None,
    ) -> Solution:
        """Solve from t = 0 and sample u and v = u_t at the given times.

        Every interval between output times is divided evenly, so that the steps land on them.

        Parameters
        ----------
        u0, v0
            Initial u and u_t; set to zero on Dirichlet sides.
        times
            Increasing, not negative; 0 gives the initial fields.
        grid
            (nx, ny), walls included.
        time_step
            Upper limit of the steps; by default the largest stable one.
        scheme
            "lax-wendroff" (order 4) or "leapfrog" (order 2).
        dtype
            Type of the fields. Float32 is faster and changes a solution by about 1e-6 of its size.
        progress
            Called as progress(done, total) after each output time.

        Raises
        ------
        UnstableTimeStepError
            If `time_step` is above the stability limit; the message names the largest legal step.
        ValueError
            For times that do not increase, a grid below 2 × 2, unknown names, or initial fields that
            are not finite.
        """
        rule = find_scheme(scheme)
        limit = self.stable_time_step(scheme) if time_step is None else self._legal_step(time_step, rule)
        instants = _check_times(times)
        legs = plan_legs(instants, limit)
        sampler = self.space.sampler(*_check_grid(grid))
        operator = self.operator(dtype)
        start = operator.state(self.nodal(u0, "u0")), operator.state(self.nodal(v0, "v0"))
        fields_u, fields_v, energy = [], [], []
        for u, v in march(operator, rule, *start, legs):
            fields_u.append(sampler.sample(u))
            fields_v.append(sampler.sample(v))
            energy.append(operator.energy(u, v))
            if progress is not None:
                progress(len(energy), len(legs))
        return Solution(
            times=instants,
            x=sampler.x,
            y=sampler.y,
            u=np.stack(fields_u),
            v=np.stack(fields_v),
            energy=np.array(energy),
            time_step=max(leg.step for leg in legs),
            n_steps=sum(leg.steps for leg in legs),
            scheme=scheme,
            order=self.space.order,
            n_dofs=self.n_dofs,
        )

    def _legal_step(self, time_step: float, scheme: Scheme) -> float:
        if not time_step > 0.0:
            raise ValueError(f"time_step: expected a positive number, got {time_step:g}")
        largest = scheme.largest_step(self.spectral_radius)
        if time_step > largest:
            raise UnstableTimeStepError(time_step, largest, scheme.name)
        return time_step


def plan_legs(times: Array, limit: float) -> list[Leg]:
    """Divide every interval of [0, *times] into the fewest equal steps that do not exceed `limit`.

    Steps that differ by rounding only are made equal, so that evenly spaced times need no restart. A
    leg of no steps stands for an output at t = 0.
    """
    legs: list[Leg] = []
    for interval in np.diff(times, prepend=0.0):
        steps = int(np.ceil(interval / limit - 1e-9))
        step = float(interval / steps) if steps else 0.0
        if legs and abs(step - legs[-1].step) < 1e-9 * step:
            step = legs[-1].step
        legs.append(Leg(steps, step))
    return legs


def march(
    operator: WaveOperator, scheme: Scheme, u: State, v: State, legs: Sequence[Leg]
) -> Iterator[tuple[State, State]]:
    """Yield u and v at the end of each leg, starting again from (u, v) where the step changes.

    The states yielded are overwritten by the next leg.
    """
    stepper: Stepper | None = None
    for leg in legs:
        if leg.steps:
            if stepper is None or stepper.time_step != leg.step:
                stepper = Stepper(operator, scheme, u, v, leg.step)
            stepper.advance(leg.steps)
            u, v = stepper.u, stepper.velocity()
        yield u, v


def _as_space(mesh_or_space: Mesh | GLLSpace, order: int | None) -> GLLSpace:
    if not isinstance(mesh_or_space, GLLSpace):
        return GLLSpace(mesh_or_space, 4 if order is None else order)
    if order not in (None, mesh_or_space.order):
        raise ValueError(f"order: {order} was asked for, but the space given has order {mesh_or_space.order}")
    return mesh_or_space


def _check_times(times: Sequence[float] | Array) -> Array:
    instants = np.asarray(times, dtype=float)
    if instants.ndim != 1 or not instants.size or not np.isfinite(instants).all():
        raise ValueError(f"times: expected a sequence of finite times, got {times}")
    if instants[0] < 0.0 or np.any(np.diff(instants) <= 0.0):
        raise ValueError(f"times: expected increasing times from 0 on, got {times}")
    return instants


def _check_grid(grid: tuple[int, int]) -> tuple[int, int]:
    if np.shape(grid) != (2,) or any(int(n) != n or n < 2 for n in grid):
        raise ValueError(f"grid: expected (nx, ny) with at least 2 nodes each, got {grid}")
    return int(grid[0]), int(grid[1])
