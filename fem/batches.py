"""Many waves at once on one rectangle: many states in one medium, or each in a medium of its own.

>>> from slimwave.fem.meshes import rectangle
>>> media = [lambda x, y, k=k: 1.0 + 0.1 * k * x for k in range(3)]
>>> walls = ["dirichlet", "neumann", "absorbing"]
>>> batch = WaveBatch(rectangle(elements=(4, 4)), media, dampings=[0.0, 0.5, 0.0], boundaries=walls)
>>> pulse = lambda x, y: (x * (1 - x) * y * (1 - y)) ** 2
>>> solution = batch.run(pulse, times=[0.0, 0.5], grid=(9, 9))
>>> solution.u.shape, solution[2].energy.shape
((3, 2, 9, 9), (2,))

Unless told otherwise all waves take the time step of the most demanding one, so that their output times
agree; `spectra` has one for all media up to a speed. On the CPU the compiled loops take one
wave after the other to its last output time: its fields and weights then stay in the fastest caches, which
beats a SIMD lane per wave. So a wave with a given step is the same, bit by bit, in a batch of any size and
alone. On a GPU the same operations are products of small matrices for the whole batch, see `torch_waves`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar, cast

import numpy as np
from skfem import Mesh

from slimwave import __version__
from slimwave.fem.batch_solution import BatchSolution as BatchSolution
from slimwave.fem.batch_waves import CompiledWaves, Found, Progress, Waves
from slimwave.fem.boundaries import PML, Boundaries, BoundaryCondition
from slimwave.fem.conditions import BoundaryTerms, boundary_terms, total_drag
from slimwave.fem.drives import Drive
from slimwave.fem.fields import Field
from slimwave.fem.forcing import Forcing, Source
from slimwave.fem.gll import Array
from slimwave.fem.materials import Material, damping_at_nodes, squared_speed
from slimwave.fem.operators import TensorOperator, on_grid, tensor_factors
from slimwave.fem.plans import Plan
from slimwave.fem.recording import QUANTITIES, Quantity, check_grid, check_record
from slimwave.fem.solution import mesh_hash
from slimwave.fem.solver import DTYPES, check_times
from slimwave.fem.space import GLLSpace, as_space
from slimwave.fem.spectra import spectral_bound
from slimwave.fem.stepping import Scheme, UnstableTimeStepError, find_scheme
from slimwave.fem.structured import TensorGrid

T = TypeVar("T")


class WaveBatch:
    """Spectral-element solver of u_tt + γ u_t = ∇·(c² ∇u) + f for a batch of waves on one tensor grid.

    Parameters
    ----------
    mesh_or_space
        A mesh of upright rectangles, or a `GLLSpace` on one.
    wave_speeds
        c of each wave, a list of what `WaveSolver` takes as wave speed; or one for all.
    dampings
        γ ≥ 0 of each wave, a list of what `WaveSolver` takes as damping; or one for all.
    boundaries
        What `WaveSolver` takes as boundaries, but for matched layers: "dirichlet", "neumann", "absorbing",
        prescribed values and fluxes, for the whole boundary or for each named side; a list gives each wave
        its own.
    order
        Polynomial degree, 4 unless given; a space brings its own.

    Attributes
    ----------
    space : GLLSpace
    spectral_radii : array (media,)
        Safe upper bounds, see `spectra`.

    Raises
    ------
    ValueError
        For a mesh that is not a tensor grid, matched layers, lists of different lengths, and what
        `WaveSolver` refuses.
    """

    def __init__(
        self,
        mesh_or_space: Mesh | GLLSpace,
        wave_speeds: Material | Sequence[Material],
        *,
        dampings: Material | Sequence[Material] = 0.0,
        boundaries: Boundaries | Sequence[Boundaries] = "dirichlet",
        order: int | None = None,
    ):
        self.space = space = as_space(mesh_or_space, order)
        self._grid = _tensor_grid(space)
        given = {"wave_speeds": wave_speeds, "dampings": dampings, "boundaries": boundaries}
        lists = {name: _as_list(values) for name, values in given.items()}
        self._length = _common_length({name: len(values) for name, values in lists.items()})
        media = [squared_speed(space, speed, None) for speed in lists["wave_speeds"]]
        self.spectral_radii = np.array([spectral_bound(space, medium) for medium in media])
        self._squared_speeds = [on_grid(space, medium) for medium in media]
        self._walls = self._sorted_walls(lists["boundaries"])
        self._free = np.ones((len(self._walls), space.n_nodes))
        for free, walls in zip(self._free, self._walls, strict=True):
            free[walls.held] = 0.0
        self._drives = self._undriven(
            media, [damping_at_nodes(space, own, None) for own in lists["dampings"]]
        )
        self._operators: dict[str, TensorOperator] = {}

    def stable_time_step(self, scheme: str = "lax-wendroff") -> float:
        """Largest time step that is safely stable for all waves."""
        rule = find_scheme(scheme)
        radii = np.broadcast_to(self.spectral_radii, self._length)
        pairs = zip(radii, self._drives, strict=True)
        return min(rule.largest_step(float(radius), varies=drive.varies) for radius, drive in pairs)

    def operator(self, dtype: str = "float64") -> TensorOperator:
        """L = M⁻¹K of all media in the given type; assembled on first use."""
        _check_dtype(dtype)
        if dtype not in self._operators:
            factors = tensor_factors(self._grid, self._squared_speeds, self._free)
            weights = self._grid.layout.pack_weights(*factors, dtype)
            self._operators[dtype] = TensorOperator(self._grid, weights)
        return self._operators[dtype]

    def run(
        self,
        u0s: Field | Sequence[Field],
        v0s: Field | Sequence[Field] = 0.0,
        *,
        times: Sequence[float] | Array,
        grid: tuple[int, int],
        record: Sequence[Quantity] = QUANTITIES,
        sources: Sequence[Source] | Sequence[Sequence[Source]] = (),
        time_step: float | None = None,
        scheme: Literal["lax-wendroff", "leapfrog"] = "lax-wendroff",
        dtype: Literal["float64", "float32"] = "float64",
        backend: Literal["compiled", "torch"] = "compiled",
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> BatchSolution:
        """Solve from t = 0 and record u, v = u_t and the energies of all waves at the given times.

        Parameters
        ----------
        u0s, v0s
            Initial u and u_t of each wave, lists of what `WaveSolver.run` takes; or one for all.
        times, grid, record, time_step, scheme, dtype
            As in `WaveSolver.run`.
        sources
            Point and distributed sources that act on all waves; or a list of such lists, one for each wave.
        backend, device
            "compiled" runs on one core of the CPU; "torch" on any of its devices, such as "cuda".
        progress
            Called as progress(done, total) from time to time, with numbers of snapshots of all waves.

        Raises
        ------
        UnstableTimeStepError
            If `time_step` is above the stability limit of any wave.
        ValueError
            For lists of different lengths, and what `WaveSolver.run` refuses.
        """
        rule, wanted = find_scheme(scheme), check_record(record)
        plan = Plan(check_times(times), self._step_limit(time_step, rule))
        u0, v0 = (self._initial(fields, name) for fields, name in ((u0s, "u0s"), (v0s, "v0s")))
        driving = _source_lists(sources)
        lengths = {"u0s": len(u0), "v0s": len(v0), "sources": len(driving)}
        length = _common_length({"the batch": self._length, **lengths})
        drives = self._driven(driving, length)
        u0, v0 = (np.broadcast_to(values, (length, *values.shape[1:])) for values in (u0, v0))
        u0 = _with_prescribed_values(u0, drives)
        x, y = self.space.box.grid(*check_grid(grid))
        _check_dtype(dtype)
        waves = self._waves(backend, device, rule, drives, u0, v0, plan, (x, y), dtype)
        counts = {name: len(plan.times) if name in wanted else 0 for name in QUANTITIES}
        found: Found = {
            "u": np.empty((length, counts["u"], len(x), len(y)), dtype),
            "v": np.empty((length, counts["v"], len(x), len(y)), dtype),
            "energy": np.empty((length, counts["energy"])),
        }
        waves.run(wanted, found, progress or (lambda *_: None))
        return BatchSolution(
            times=plan.times,
            x=x,
            y=y,
            **found,
            time_steps=waves.time_steps,
            step_counts=waves.step_counts,
            scheme=scheme,
            order=self.space.order,
            n_dofs=np.broadcast_to(self._free.sum(axis=1).astype(np.int64), length),
            provenance=self._provenance(dtype, backend, device),
        )

    def _waves(
        self,
        backend: str,
        device: str,
        scheme: Scheme,
        drives: Sequence[Drive],
        u: Array,
        v: Array,
        plan: Plan,
        grid: tuple[Array, Array],
        dtype: str,
    ) -> Waves:
        if backend == "compiled":
            if device != "cpu":
                raise ValueError(f'backend: "compiled" runs on the CPU; take "torch" for device {device!r}')
            sampler = self.space.sampler(len(grid[0]), len(grid[1]))
            return CompiledWaves(self.operator(dtype), sampler, scheme, drives, u, v, plan)
        if backend != "torch":
            raise ValueError(f"backend: expected one of compiled, torch, got {backend!r}")
        from slimwave.fem.torch_waves import TorchWaves  # the compiled loops shall not wait for its import

        factors = tensor_factors(self._grid, self._squared_speeds, self._free)
        return TorchWaves(self._grid, factors, scheme, drives, u, v, plan, grid, dtype=dtype, device=device)

    def _initial(self, fields: Field | Sequence[Field], name: str) -> Array:
        """Nodal values of the initial fields, zero at Dirichlet nodes, shape (1 or batch, n_nodes)."""
        listed = _as_list(fields)
        numbered = [name if len(listed) == 1 else f"{name}[{k}]" for k in range(len(listed))]
        values = [self.space.nodal(field, own) for field, own in zip(listed, numbered, strict=True)]
        _common_length({name: len(values), "boundaries": len(self._free)})
        return np.stack(values) * self._free

    def _sorted_walls(self, listed: Sequence[Boundaries]) -> list[BoundaryTerms]:
        """Conditions of each wave, sorted once for equal ones."""
        known: dict[str, BoundaryTerms] = {}
        for boundaries in listed:
            if not isinstance(boundaries, str | BoundaryCondition | Mapping):
                raise ValueError(
                    f"boundaries: expected a condition or a mapping to conditions, got {boundaries!r}"
                )
            if repr(boundaries) not in known:
                parts = self.space.parts(boundaries)
                if any(isinstance(condition, PML) for _, condition, _ in parts):
                    raise ValueError(
                        "boundaries: a batch has no matched layers; take 'absorbing', or one WaveSolver per "
                        "wave"
                    )
                known[repr(boundaries)] = boundary_terms(self.space, boundaries)
        return [known[repr(boundaries)] for boundaries in listed]

    def _undriven(self, media: Sequence[Array], dampings: Sequence[Array]) -> list[Drive]:
        """What acts on each wave without sources; waves on which the same acts share it."""
        known: dict[tuple[int, int, int], Drive] = {}
        drives = []
        for k in range(self._length):
            walls, damping, medium = _entry(self._walls, k), _entry(dampings, k), _entry(media, k)
            key = (id(walls), id(damping), id(medium) if walls.absorbing else 0)
            if key not in known:
                known[key] = Drive(
                    damping=total_drag(self.space, walls, damping, medium),
                    forcing=Forcing(self.space, (), walls.fluxes, walls.held),
                    prescribed=walls.prescribed,
                    moving=walls.moving,
                    layer=None,
                    backing=np.zeros(self.space.n_nodes),
                )
            drives.append(known[key])
        return drives

    def _driven(self, sources: Sequence[Sequence[Source]], length: int) -> list[Drive]:
        """What acts on each wave of a run."""
        known: dict[tuple[int, int], Forcing] = {}
        drives = []
        for k in range(length):
            drive, walls, own = _entry(self._drives, k), _entry(self._walls, k), _entry(sources, k)
            if own:
                key = (id(walls), id(own))
                if key not in known:
                    name = "sources" if len(sources) == 1 else f"sources[{k}]"
                    known[key] = Forcing(self.space, own, walls.fluxes, walls.held, name=name)
                drive = replace(drive, forcing=known[key])
            drives.append(drive)
        return drives

    def _step_limit(self, time_step: float | None, scheme: Scheme) -> float:
        largest = self.stable_time_step(scheme.name)
        if time_step is None:
            return largest
        if not time_step > 0.0:
            raise ValueError(f"time_step: expected a positive number, got {time_step:g}")
        if time_step > largest:
            raise UnstableTimeStepError(time_step, largest, scheme.name)
        return time_step

    def _provenance(self, dtype: str, backend: str, device: str) -> dict[str, str | int | float]:
        mesh = self.space.mesh
        return {
            "version": __version__,
            "mesh": type(mesh).__name__,
            "mesh_sha256": mesh_hash(mesh),
            "elements": int(mesh.nelements),
            "dtype": dtype,
            "backend": backend,
            "device": device,
            "spectral_radius": float(self.spectral_radii.max()),
        }


def _check_dtype(dtype: str) -> None:
    if dtype not in DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")


def _tensor_grid(space: GLLSpace) -> TensorGrid:
    if space.grid is None:
        raise ValueError(
            "mesh: a batch needs a rectangle of upright elements between straight lines; "
            "take one WaveSolver per wave on other meshes"
        )
    return space.grid


def _as_list(values: Any) -> list[Any]:
    """Entries of a list, or the one entry that stands for all."""
    return list(values) if isinstance(values, list | tuple) else [values]


def _entry(values: Sequence[T], number: int) -> T:
    """Entry of that number, or the one that stands for all."""
    return values[number if len(values) > 1 else 0]


def _source_lists(sources: Sequence[Source] | Sequence[Sequence[Source]]) -> list[Sequence[Source]]:
    """Sources of each wave, or one list that stands for all."""
    if all(isinstance(entry, Source) for entry in sources):
        return [cast("Sequence[Source]", sources)]
    if not all(
        isinstance(entry, list | tuple) and all(isinstance(s, Source) for s in entry) for entry in sources
    ):
        raise ValueError(
            "sources: expected a list of sources for all waves, or one list of sources for each, got "
            f"{sources!r}"
        )
    return cast("list[Sequence[Source]]", list(sources))


def _with_prescribed_values(u: Array, drives: Sequence[Drive]) -> Array:
    """Initial fields with the values that are prescribed at t = 0."""
    if not any(drive.moving for drive in drives):
        return u
    u = u.copy()
    for own, drive in zip(u, drives, strict=True):
        if drive.moving:
            own[drive.prescribed.nodes] = drive.prescribed.values(np.zeros(1))[0]
    return u


def _common_length(lengths: Mapping[str, int]) -> int:
    """Length of a batch from those of its lists, of which a list of one counts for all."""
    longest = max(lengths.values())
    if 0 in lengths.values() or any(length not in (1, longest) for length in lengths.values()):
        given = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise ValueError(f"expected lists of one length, or of one entry for all, got {given}")
    return longest
