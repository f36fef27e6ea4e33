"""Many waves at once on one rectangle: many states in one medium, or each in a medium of its own.

>>> from slimwave.fem.meshes import rectangle
>>> media = [lambda x, y, k=k: 1.0 + 0.1 * k * x for k in range(3)]
>>> batch = WaveBatch(rectangle(elements=(4, 4)), media, boundaries=["dirichlet", "neumann", "dirichlet"])
>>> pulse = lambda x, y: (x * (1 - x) * y * (1 - y)) ** 2
>>> solution = batch.run(pulse, times=[0.0, 0.5], grid=(9, 9))
>>> solution.u.shape, solution[2].energy.shape
((3, 2, 9, 9), (2,))

All waves take the time step of the fastest medium, so that their output times agree. On the CPU the compiled
loops take one wave after the other to its last output time: its fields and weights then stay in the fastest
caches, which beats a SIMD lane per wave. So a wave is the same, bit by bit, in a batch of any size and alone.
On a GPU the same operations are products of small matrices for the whole batch, see `torch_waves`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from skfem import Mesh

from slimwave import __version__
from slimwave.fem.boundaries import resolve_boundaries
from slimwave.fem.fields import Field, evaluate
from slimwave.fem.gll import Array
from slimwave.fem.marching import FreeMarch, Plan
from slimwave.fem.materials import Material, squared_speed
from slimwave.fem.operators import TensorOperator, on_grid, tensor_factors
from slimwave.fem.recording import QUANTITIES, Quantity, check_grid, check_record, needs_velocities
from slimwave.fem.sampling import Sampler
from slimwave.fem.solution import Solution, mesh_hash
from slimwave.fem.solver import DTYPES, check_times
from slimwave.fem.space import GLLSpace, as_space
from slimwave.fem.spectra import spectral_bound
from slimwave.fem.stepping import Scheme, Stepper, UnstableTimeStepError, find_scheme
from slimwave.fem.structured import TensorGrid

Walls = str | Mapping[str, str]

Found = dict[Quantity, NDArray[Any]]
"""u and v, shape (batch, n, nx, ny), and the energies (batch, n); n = 0 for what is not wanted."""

Progress = Callable[[int, int], None]


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
    time_step, n_steps, scheme, order
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
    time_step: float
    n_steps: int
    scheme: str
    order: int
    n_dofs: NDArray[np.int64]
    provenance: Mapping[str, str | int | float]

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
            time_step=self.time_step,
            n_steps=self.n_steps,
            scheme=self.scheme,
            order=self.order,
            n_dofs=int(self.n_dofs[number]),
            mask=np.ones((len(self.x), len(self.y)), dtype=bool),
            provenance=self.provenance,
        )


class Waves(Protocol):
    """A batch of waves under way."""

    def run(self, record: Sequence[Quantity], found: Found, progress: Progress) -> None:
        """Go to the last output time and write what is recorded into `found`.

        `progress` is told the number of snapshots done and the number of all, those of every wave.
        """


class CompiledWaves:
    """Waves by the compiled loops, on one core, one after the other."""

    def __init__(
        self,
        operator: TensorOperator,
        sampler: Sampler,
        scheme: Scheme,
        u: Array,
        v: Array,
        plan: Plan,
    ):
        self._operator, self._sampler, self._scheme = operator, sampler, scheme
        self._start, self._plan = (u, v), plan

    def run(self, record: Sequence[Quantity], found: Found, progress: Progress) -> None:
        """See `Waves`."""
        length, total = len(self._start[0]), len(self._plan.times)
        for number in range(length):
            own = self._operator.part(number)
            u, v = (own.state(fields[number]) for fields in self._start)
            begin = partial(Stepper, own, self._scheme)
            march = FreeMarch(begin, u, v, self._plan.legs, velocities=needs_velocities(record))
            while march.reached < total:
                _, arrived = march.advance()
                outputs = slice(march.reached - arrived, march.reached)
                if "u" in record:
                    self._sampler.sample(march.u, found["u"][number, outputs])
                if "v" in record:
                    self._sampler.sample(march.v, found["v"][number, outputs])
                if "energy" in record:
                    found["energy"][number, outputs] = own.energies(march.u, march.v)
                progress(number * total + march.reached, length * total)


class WaveBatch:
    """Spectral-element solver of u_tt = ∇·(c² ∇u) for a batch of waves on one tensor-product mesh.

    Parameters
    ----------
    mesh_or_space
        A mesh of upright rectangles, or a `GLLSpace` on one.
    wave_speeds
        c of each wave, a list of what `WaveSolver` takes as wave speed; or one for all.
    boundaries
        "dirichlet" or "neumann", or a mapping from the mesh's named sides to them; a list gives each wave
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
        For a mesh that is not a tensor grid, lists of different lengths, and what `WaveSolver` refuses.
    """

    def __init__(
        self,
        mesh_or_space: Mesh | GLLSpace,
        wave_speeds: Material | Sequence[Material],
        *,
        boundaries: Walls | Sequence[Walls] = "dirichlet",
        order: int | None = None,
    ):
        self.space = as_space(mesh_or_space, order)
        self._grid = _tensor_grid(self.space)
        lists = {"wave_speeds": _as_list(wave_speeds), "boundaries": _as_list(boundaries)}
        self._length = _common_length({name: len(values) for name, values in lists.items()})
        media = [squared_speed(self.space, speed, None) for speed in lists["wave_speeds"]]
        self.spectral_radii = np.array([spectral_bound(self.space, medium) for medium in media])
        self._squared_speeds = [on_grid(self.space, medium) for medium in media]
        self._walls = lists["boundaries"]
        self._free = self._free_nodes()
        self._operators: dict[str, TensorOperator] = {}

    def stable_time_step(self, scheme: str = "lax-wendroff") -> float:
        """Largest time step that is safely stable in all media."""
        return find_scheme(scheme).largest_step(float(self.spectral_radii.max()))

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
        backend, device
            "compiled" runs on one core of the CPU; "torch" on any of its devices, such as "cuda".
        progress
            Called as progress(done, total) from time to time, with numbers of snapshots of all waves.

        Raises
        ------
        UnstableTimeStepError
            If `time_step` is above the stability limit of the fastest medium.
        ValueError
            For lists of different lengths, and what `WaveSolver.run` refuses.
        """
        rule, wanted = find_scheme(scheme), check_record(record)
        plan = Plan(check_times(times), self._step_limit(time_step, rule))
        u0, v0 = (self._initial(fields, name) for fields, name in ((u0s, "u0s"), (v0s, "v0s")))
        length = _common_length({"the batch": self._length, "u0s": len(u0), "v0s": len(v0)})
        u0, v0 = (np.broadcast_to(values, (length, *values.shape[1:])) for values in (u0, v0))
        x, y = self.space.box.grid(*check_grid(grid))
        _check_dtype(dtype)
        waves = self._waves(backend, device, rule, u0, v0, plan, (x, y), dtype)
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
            time_step=max(leg.step for leg in plan.legs),
            n_steps=sum(leg.steps for leg in plan.legs),
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
            return CompiledWaves(self.operator(dtype), sampler, scheme, u, v, plan)
        if backend != "torch":
            raise ValueError(f"backend: expected one of compiled, torch, got {backend!r}")
        from slimwave.fem.torch_waves import TorchWaves  # the compiled loops shall not wait for its import

        factors = tensor_factors(self._grid, self._squared_speeds, self._free)
        u, v = u[:, self._grid.numbers], v[:, self._grid.numbers]
        return TorchWaves(self._grid, factors, scheme, u, v, plan, grid, dtype=dtype, device=device)

    def _initial(self, fields: Field | Sequence[Field], name: str) -> Array:
        """Nodal values of the initial fields, zero at Dirichlet nodes, shape (1 or batch, n_nodes)."""
        points, box = self.space.points, self.space.box
        listed = _as_list(fields)
        numbered = [name if len(listed) == 1 else f"{name}[{k}]" for k in range(len(listed))]
        values = [evaluate(field, points, box, own) for field, own in zip(listed, numbered, strict=True)]
        _common_length({name: len(values), "boundaries": len(self._free)})
        return np.stack(values) * self._free

    def _free_nodes(self) -> Array:
        """1 at free nodes and 0 at held ones, shape (1 or batch, n_nodes)."""
        names = list(self.space.mesh.boundaries or {})
        known: dict[str, Array] = {}
        for walls in self._walls:
            if repr(walls) not in known:
                if not isinstance(walls, str | Mapping):
                    raise ValueError(f"boundaries: expected a name or a mapping to names, got {walls!r}")
                resolve_boundaries(walls, names)
                free = np.ones(self.space.n_nodes)
                free[self.space.dirichlet_nodes(walls)] = 0.0
                known[repr(walls)] = free
        return np.stack([known[repr(walls)] for walls in self._walls])

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


def _common_length(lengths: Mapping[str, int]) -> int:
    """Length of a batch from those of its lists, of which a list of one counts for all."""
    longest = max(lengths.values())
    if 0 in lengths.values() or any(length not in (1, longest) for length in lengths.values()):
        given = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise ValueError(f"expected lists of one length, or of one entry for all, got {given}")
    return longest
