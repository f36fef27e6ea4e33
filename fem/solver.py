"""The wave solver: u_tt + γ u_t = ∇·(c² ∇u) + f on a mesh, from initial fields and sources to snapshots.

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

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from skfem import Mesh

from slimwave import __version__
from slimwave.fem.boundaries import Boundaries
from slimwave.fem.checkpointing import Checkpoint, Keeper, fingerprint
from slimwave.fem.conditions import absorption, boundary_terms, total_drag
from slimwave.fem.driven import STEEPEST_LAYER, DrivenStepper
from slimwave.fem.drives import Drive
from slimwave.fem.fields import Field
from slimwave.fem.forcing import Forcing, Source
from slimwave.fem.gll import Array
from slimwave.fem.marching import march_of, walk
from slimwave.fem.materials import Material, damping_at_nodes, squared_speed
from slimwave.fem.memory import SPARSE_PER_ENTRY, TENSOR_PER_NODE, require_memory
from slimwave.fem.operators import State, WaveOperator, build_operator
from slimwave.fem.plans import Plan
from slimwave.fem.pml import MatchedLayer
from slimwave.fem.recording import QUANTITIES, Quantity, Recorder, check_record, needs_velocities
from slimwave.fem.solution import Solution as Solution
from slimwave.fem.solution import mesh_hash
from slimwave.fem.space import GLLSpace, as_space
from slimwave.fem.spectra import spectral_bound
from slimwave.fem.stepping import VARIABLE_DAMPING, Scheme, Stepper, UnstableTimeStepError, find_scheme

DTYPES = ("float64", "float32")


class WaveSolver:
    """Spectral-element solver of u_tt + γ u_t = ∇·(c² ∇u) + f for one medium.

    Space: continuous polynomials of degree p on quads with GLL collocation, so that the mass matrix is
    diagonal (Komatitsch and Tromp, Introduction to the spectral element method, Geophys. J. Int. 139,
    1999). Time: explicit two-step schemes, see `stepping` and `driven`.

    Parameters
    ----------
    mesh_or_space
        A mesh of quads, or a `GLLSpace` to be shared between several media.
    wave_speed
        c > 0: a number, a function c(x, y), an array (nx, ny) on the bounding box of the domain (without its
        matched layers), or `PerElement` where c jumps.
    damping
        γ ≥ 0, in 1/time, given like the wave speed.
    boundaries
        One condition for the whole boundary, or a mapping from every named part of the mesh to its condition:
        "dirichlet" (u = 0), "neumann" (∂u/∂n = 0), "absorbing", "pml", or an object from `boundaries`.
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
        For a wave speed that is not finite and positive, a negative damping, unknown parts or conditions,
        a matched layer that does not fit, or an order below 1.
    """

    def __init__(
        self,
        mesh_or_space: Mesh | GLLSpace,
        *,
        wave_speed: Material = 1.0,
        damping: Material = 0.0,
        boundaries: Boundaries = "dirichlet",
        order: int | None = None,
    ):
        self.space = space = as_space(mesh_or_space, order)
        _require_room_for_operator(space)
        self._boundary = boundary_terms(space, boundaries)
        self._boundary_names = repr(boundaries)
        self._held = self._boundary.held
        layer = self._boundary.layer
        self._window = space.box if layer is None else layer.window
        self._squared_speed = squared_speed(space, wave_speed, layer)
        self._damping = damping_at_nodes(space, damping, layer)
        self._set_drag()
        self.n_dofs = space.n_nodes - len(self._held)
        self.spectral_radius = spectral_bound(space, self._squared_speed)
        self._operators: dict[str, WaveOperator] = {}

    def _set_drag(self) -> None:
        """Damping and absorption at the nodes, and the terms of a matched layer."""
        space, boundary = self.space, self._boundary
        self._drag = total_drag(space, boundary, self._damping, self._squared_speed)
        self._backing = np.zeros(space.n_nodes)
        self._layer: MatchedLayer | None = None
        if boundary.layer is not None:
            by_elements = space.by_elements(self._squared_speed)
            self._backing = absorption(space, boundary.backing, by_elements)
            self._layer = MatchedLayer(space, boundary.layer, by_elements, self._held)

    def operator(self, dtype: str = "float64") -> WaveOperator:
        """L = M⁻¹K in the given type; assembled on first use."""
        if dtype not in DTYPES:
            raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
        if dtype not in self._operators:
            self._operators[dtype] = build_operator(self.space, self._squared_speed, self._held, dtype)
        return self._operators[dtype]

    def stable_time_step(self, scheme: str = "lax-wendroff") -> float:
        """Largest time step that is safely stable; see `driven` for what damping and layers take off."""
        rule = find_scheme(scheme)
        if self._layer is None:
            return rule.largest_step(self.spectral_radius, varies=self._undriven.varies)
        stiffest = self.spectral_radius + float(self._layer.stiffening.max())
        return min(VARIABLE_DAMPING * rule.largest_step(stiffest), STEEPEST_LAYER / self._layer.steepest)

    def nodal(self, field: Field, name: str = "field") -> Array:
        """Values of a field at the nodes, shape (n_nodes,), zero on Dirichlet sides."""
        values = self.space.nodal(field, name, self._window)
        values[self._held] = 0.0
        return values

    def energy(self, u: Array, v: Array) -> float:
        """Energy ½ (vᵀMv + uᵀKu) of nodal fields of shape (n_nodes,), see `nodal`."""
        operator = self.operator()
        return float(operator.energies(operator.state(u)[None], operator.state(v)[None])[0])

    def stepper(
        self, u0: Field, v0: Field, time_step: float, scheme: str = "lax-wendroff", dtype: str = "float64"
    ) -> Stepper:
        """Time stepping by hand of a wave without damping, absorption and sources, with one fixed step."""
        if self._undriven.acts:
            raise ValueError("stepper: this wave is damped or driven; use driven_stepper")
        operator = self.operator(dtype)
        u, v = operator.state(self.nodal(u0, "u0")), operator.state(self.nodal(v0, "v0"))
        return Stepper(operator, find_scheme(scheme), u, v, self._legal_step(time_step, find_scheme(scheme)))

    def driven_stepper(
        self,
        u0: Field,
        v0: Field,
        time_step: float,
        scheme: str = "lax-wendroff",
        dtype: str = "float64",
        *,
        sources: Sequence[Source] = (),
    ) -> DrivenStepper:
        """Time stepping by hand of any wave, with one fixed step; `run` also reads velocities."""
        rule, operator, drive = find_scheme(scheme), self.operator(dtype), self._drive(sources)
        start = self._initial_fields(operator, drive, u0, v0)
        return DrivenStepper(operator, rule, drive, *start, self._legal_step(time_step, rule), horizon=0)

    def run(
        self,
        u0: Field = 0.0,
        v0: Field = 0.0,
        *,
        times: Sequence[float] | Array,
        grid: tuple[int, int] | None = None,
        receivers: ArrayLike | None = None,
        nodes: bool = False,
        record: Sequence[Quantity] = QUANTITIES,
        sources: Sequence[Source] = (),
        time_step: float | None = None,
        scheme: Literal["lax-wendroff", "leapfrog"] = "lax-wendroff",
        dtype: Literal["float64", "float32"] = "float64",
        progress: Callable[[int, int], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Solution:
        """Solve from t = 0 and record u, v = u_t and the energy at the given times.

        Every interval between output times is divided evenly, so that the steps land on them.

        Parameters
        ----------
        u0, v0
            Initial u and u_t; set to the prescribed values on Dirichlet sides.
        times
            Increasing, not negative; 0 gives the initial fields.
        grid
            (nx, ny), walls included, on the bounding box of the domain without its matched layers. Points
            outside the domain hold 0 and are False in `Solution.mask`. None: no grid.
        receivers
            Points (n, 2) at which the fields are wanted.
        nodes
            Whether the fields are wanted at all nodes.
        record
            Which of "u", "v" and "energy" are wanted. The others are not computed, and empty in the
            `Solution`. u alone costs least: v takes a time step ahead, and the energy takes v.
        sources
            Point and distributed sources, see `forcing`.
        time_step
            Upper limit of the steps; by default the largest stable one.
        scheme
            "lax-wendroff" (order 4) or "leapfrog" (order 2).
        dtype
            Type of the fields. Float32 is faster and changes a solution by about 1e-6 of its size.
        progress
            Called as progress(done, total) after each output time.
        checkpoint
            Where the run keeps its state, and from where it continues.

        Raises
        ------
        UnstableTimeStepError
            If `time_step` is above the stability limit; the message names the largest legal step.
        CheckpointMismatchError
            If the checkpoint is damaged or belongs to another run.
        MemoryLimitError
            If the output does not fit into memory.
        ValueError
            For times that do not increase, a grid below 2 × 2, receivers or sources outside the domain,
            unknown names, or fields that are not finite.
        """
        rule, wanted = find_scheme(scheme), check_record(record)
        limit = self.stable_time_step(scheme) if time_step is None else self._legal_step(time_step, rule)
        plan = Plan(check_times(times), limit)
        operator = self.operator(dtype)
        recorder = Recorder(
            self.space, operator, self._window, plan.times, grid, receivers, nodes=nodes, record=wanted
        )
        drive = self._drive(sources) if sources else self._undriven
        start = self._initial_fields(operator, drive, u0, v0)
        march = march_of(operator, rule, drive, *start, plan, velocities=needs_velocities(wanted))
        keeper = None
        if checkpoint is not None:
            outputs = (grid, () if receivers is None else np.asarray(receivers), nodes, wanted, scheme)
            keeper = Keeper(checkpoint, self._fingerprint(start, drive, plan, outputs))
        walk(march, recorder, keeper, progress)
        return Solution(
            times=plan.times,
            x=recorder.x,
            y=recorder.y,
            u=recorder.grid_u,
            v=recorder.grid_v,
            energy=recorder.energy,
            time_step=march.time_step,
            n_steps=march.n_steps,
            scheme=scheme,
            order=self.space.order,
            n_dofs=self.n_dofs,
            mask=recorder.mask,
            receivers=recorder.receivers(),
            nodes=recorder.nodes(),
            provenance=self._provenance(dtype),
        )

    @cached_property
    def _undriven(self) -> Drive:
        """What acts without sources."""
        return self._drive(())

    def _drive(self, sources: Sequence[Source]) -> Drive:
        boundary = self._boundary
        forcing = Forcing(self.space, sources, boundary.fluxes, self._held, self._window)
        return Drive(
            damping=self._drag,
            forcing=forcing,
            prescribed=boundary.prescribed,
            moving=boundary.moving,
            layer=self._layer,
            backing=self._backing,
        )

    def _initial_fields(
        self, operator: WaveOperator, drive: Drive, u0: Field, v0: Field
    ) -> tuple[State, State]:
        u, v = self.nodal(u0, "u0"), self.nodal(v0, "v0")
        if drive.moving:
            u[self._held] = drive.prescribed.values(np.zeros(1))[0]
        return operator.state(u), operator.state(v)

    def _fingerprint(
        self, start: tuple[State, State], drive: Drive, plan: Plan, outputs: Sequence[object]
    ) -> str:
        """What tells this run from others; functions of time count by their values at the output times."""
        loads = [drive.forcing.strengths(plan.times), drive.prescribed.values(plan.times)]
        fields = [plan.times, self._squared_speed, drive.damping, *drive.forcing.entries, *start, *loads]
        names = (__version__, mesh_hash(self.space.mesh), self.space.order, self._boundary_names)
        return fingerprint([*fields, *names, *plan.legs, *outputs])

    def _provenance(self, dtype: str) -> dict[str, str | int | float]:
        """What it takes to compute a solution again, beyond what `Solution` says by itself."""
        mesh = self.space.mesh
        return {
            "version": __version__,
            "mesh": type(mesh).__name__,
            "mesh_sha256": mesh_hash(mesh),
            "elements": int(mesh.nelements),
            "boundaries": self._boundary_names,
            "dtype": dtype,
            "spectral_radius": self.spectral_radius,
        }

    def _legal_step(self, time_step: float, scheme: Scheme) -> float:
        if not time_step > 0.0:
            raise ValueError(f"time_step: expected a positive number, got {time_step:g}")
        largest = self.stable_time_step(scheme.name)
        if time_step > largest:
            raise UnstableTimeStepError(time_step, largest, scheme.name)
        return time_step


def _require_room_for_operator(space: GLLSpace) -> None:
    if space.grid is None:
        size = SPARSE_PER_ENTRY * space.mesh.nelements * (space.order + 1) ** 4
    else:
        size = TENSOR_PER_NODE * space.n_nodes
    what = f"the operator of {space.n_nodes} nodes"
    require_memory(size, "mesh, order", what, "use fewer elements or a lower order")


def check_times(times: Sequence[float] | Array) -> Array:
    """Return output times as an array; ValueError unless they are finite, increasing and not negative."""
    instants = np.asarray(times, dtype=float)
    if instants.ndim != 1 or not instants.size or not np.isfinite(instants).all():
        raise ValueError(f"times: expected a sequence of finite times, got {times}")
    if instants[0] < 0.0 or np.any(np.diff(instants) <= 0.0):
        raise ValueError(f"times: expected increasing times from 0 on, got {times}")
    return instants
