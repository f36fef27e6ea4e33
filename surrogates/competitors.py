"""Who takes part in a comparison: trained models, persistence, and the solver on coarser meshes.

Each competitor forecasts the trajectories of a split and knows the costs it has run up. A new kind of
competitor is a class with these two hooks.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from slimwave.compression.counting import count_macs, count_nonzeros, count_parameters
from slimwave.compression.sparse_inference import NoConvolutionError
from slimwave.data.reading import ShardedInfo
from slimwave.data.scenarios import Split, draw_scenario
from slimwave.data.solving import solve_fields
from slimwave.data.windows import DatasetInfo, Trajectories
from slimwave.surrogates.checkpoints import WEIGHTS
from slimwave.surrogates.counting import count_nonzero_macs, count_parameters_by_use
from slimwave.surrogates.pruning import SPARSE
from slimwave.surrogates.rollout import states
from slimwave.surrogates.runtimes import (
    EagerRuntime,
    Latency,
    OnnxRuntime,
    SparseRuntime,
    StepModule,
    onnx_available,
    summarise_latency,
)
from slimwave.surrogates.surrogate import Surrogate

PERSISTENCE = "persistence"


@dataclass(frozen=True)
class Row:
    """One line of the comparison table; None where a column does not apply.

    Attributes
    ----------
    name
        Name of the competitor.
    kind
        ``"model"``, ``"persistence"`` or ``"finite elements"``.
    parameters, nonzeros
        Parameters of a model and those that are not zero.
    step_parameters
        Parameters that a macro step uses; the others encode the medium once.
    bytes
        Size of the model's file; of the sparse file if there is one.
    macs, nonzero_macs
        Multiply–accumulates of one macro step, and those whose weight is not zero.
    latency
        Runtime → time of one macro step on one thread. ``"solver"`` for finite elements, where all times are
        process times of a whole trajectory divided by its steps, output included.
    setup_ms
        Process time spent once per medium: encoding it, or assembling the operators.
    errors
        Split → step → median relative L2 error of u over the trajectories.
    scores
        Split → metric → step ("10") or window ("13-30") → median over the trajectories, see
        :mod:`slimwave.surrogates.scores`.
    valid_time
        Split → median time until which the error stays at or below the threshold.
    """

    name: str
    kind: str
    parameters: int | None = None
    nonzeros: int | None = None
    step_parameters: int | None = None
    bytes: int | None = None
    macs: int | None = None
    nonzero_macs: int | None = None
    latency: dict[str, Latency] | None = None
    setup_ms: float | None = None
    errors: dict[str, dict[str, float]] | None = None
    scores: dict[str, dict[str, dict[str, float]]] | None = None
    valid_time: dict[str, float] | None = None


class Competitor(ABC):
    """A way to forecast u and v.

    Parameters
    ----------
    name
        Name of the row.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def forecast(self, split: Split, data: Trajectories, judged: range) -> Tensor:
        """Forecast the trajectories of a split.

        Parameters
        ----------
        split, data
            The split, and its trajectories with every snapshot.
        judged
            Snapshots at which all competitors are judged; the first is where their forecasts start.

        Returns
        -------
        Tensor: (trajectories, len(judged), 2, nx, ny)
            u and v, the start first.
        """

    @abstractmethod
    def row(self, timed: dict[str, Latency], snapshots: int) -> Row:
        """Return the costs of a macro step of ``snapshots`` snapshots.

        ``timed`` holds what each call of :meth:`calls_to_time` was measured to take.
        """

    def calls_to_time(self, data: Trajectories) -> dict[str, Callable[[], object]]:
        """Runtime → function that calls the competitor once, to be timed beside all others."""
        del data
        return {}


class ModelCompetitor(Competitor):
    """A trained surrogate.

    Parameters
    ----------
    name
        Name of the row.
    model
        The model, on the CPU.
    folder
        Its run folder.
    device
        Where to roll out; it is always timed on the CPU.
    stride
        Snapshots of the dataset in one macro step of the model.
    """

    ENCODE = "encode"

    def __init__(
        self, name: str, model: Surrogate, folder: Path, device: torch.device, stride: int = 1
    ) -> None:
        super().__init__(name)
        self.model, self.folder, self.device, self.stride = model, folder, device, stride
        self.grid: tuple[int, int] | None = None

    @property
    def known(self) -> int:
        """Snapshots that the model reads before the one that its forecast starts from."""
        return (self.model.frames - 1) * self.stride

    def forecast(self, split: Split, data: Trajectories, judged: range) -> Tensor:
        """Roll out all trajectories as one batch."""
        del split
        model = self.model.to(self.device)
        start = torch.stack([data.u[:, judged.start], data.v[:, judged.start]], dim=1)
        medium = data.c[:, None].to(self.device), data.walls.to(self.device)
        forecast = states(model, self._state(data, judged.start).to(self.device), *medium)
        between = judged.step // self.stride - 1
        following = [next(islice(forecast, between, None)).cpu() for _ in judged[1:]]
        self.model.to("cpu")
        return torch.stack([start, *following], dim=1)

    def _state(self, data: Trajectories, start: int) -> Tensor:
        """Join the snapshots that the model reads up to ``start``."""
        known = slice(start - self.known, start + 1, self.stride)
        return self.model.join(torch.stack([data.u[:, known], data.v[:, known]], dim=2))

    def calls_to_time(self, data: Trajectories) -> dict[str, Callable[[], object]]:
        """One call in each runtime that serves this model; and the encoding of the medium."""
        medium = data.c[:1, None], data.walls[:1]
        state = self._state(data, self.known)[:1]
        self.grid = (data.u.shape[-2], data.u.shape[-1])
        steps: dict[str, Callable[[], object]] = {
            self.ENCODE: partial(EagerRuntime, self.model, *medium),
            "eager": partial(EagerRuntime(self.model, *medium), state),
        }
        with contextlib.suppress(NoConvolutionError):
            steps["sparse"] = partial(SparseRuntime(self.model, *medium), state)
        if onnx_available():
            steps["onnx"] = partial(OnnxRuntime(self.model, *medium), state)
        return steps

    def row(self, timed: dict[str, Latency], snapshots: int) -> Row:
        """Size of the model and cost of one macro step."""
        assert self.grid is not None
        calls = snapshots / (self.stride * self.model.frames)
        with torch.no_grad():
            context = self.model.encode(torch.ones(1, 1, *self.grid), torch.ones(1, 4))
        step, inputs = StepModule(self.model, context), (self._zeros(self.grid), *context)
        return Row(
            name=self.name,
            kind="model",
            parameters=count_parameters(self.model),
            nonzeros=count_nonzeros(self.model),
            step_parameters=count_parameters_by_use(self.model, *self.grid).per_step,
            bytes=self._size_on_disk(),
            macs=round(calls * count_macs(step, *inputs)),
            nonzero_macs=round(calls * count_nonzero_macs(step, *inputs)),
            latency={runtime: time.times(calls) for runtime, time in timed.items() if runtime != self.ENCODE},
            setup_ms=timed[self.ENCODE].cpu_median,
        )

    def _zeros(self, grid: tuple[int, int]) -> Tensor:
        return torch.zeros(1, 2 * self.model.frames, *grid)

    def _size_on_disk(self) -> int:
        sparse = self.folder / SPARSE
        return (sparse if sparse.is_file() else self.folder / WEIGHTS).stat().st_size


class Persistence(Competitor):
    """The field stays as it is: what a forecast must beat to be worth anything."""

    def __init__(self) -> None:
        super().__init__(PERSISTENCE)

    def forecast(self, split: Split, data: Trajectories, judged: range) -> Tensor:
        """Repeat the first snapshot."""
        del split
        first = torch.stack([data.u[:, judged.start], data.v[:, judged.start]], dim=1)
        return first[:, None].expand(-1, len(judged), -1, -1, -1)

    def row(self, timed: dict[str, Latency], snapshots: int) -> Row:
        """Nothing but the name: persistence costs nothing."""
        del timed, snapshots
        return Row(name=self.name, kind=PERSISTENCE)


class CoarseSolver(Competitor):
    """The finite-element solver of the dataset on a coarser mesh.

    Parameters
    ----------
    info
        The dataset, whose scenarios are drawn again.
    count
        Elements along x; along y as many as keep them closest to squares.
    """

    def __init__(self, info: DatasetInfo, count: int) -> None:
        if not isinstance(info, ShardedInfo) or info.manifest.origin != "generated":
            raise ValueError(
                f"--coarse_elements: {info.root} was not generated by slimwave, so that its scenarios cannot "
                "be solved again; give --coarse_elements []"
            )
        domain = info.config.domain
        rows = max(1, round(count * domain.height / domain.width))
        super().__init__(f"FE {count} × {rows}")
        self.info = info
        self.elements = (count, rows)
        self.setup_seconds: list[float] = []
        self.step_seconds: list[float] = []

    def forecast(self, split: Split, data: Trajectories, judged: range) -> Tensor:
        """Solve the same scenarios from their beginning, and keep the solver's own process times.

        The solver writes what the models write: u and v, at the snapshots that are judged.
        """
        return torch.stack([self._solve(split, index, judged) for index in range(len(data.u))])

    def _solve(self, split: Split, index: int, judged: range) -> Tensor:
        config = self.info.config
        scenario = draw_scenario(config, split, index)
        solved = solve_fields(scenario, config, judged, elements=self.elements)
        self.setup_seconds.append(solved.setup_seconds)
        self.step_seconds.append(solved.solve_seconds / judged[-1])
        return torch.stack([torch.from_numpy(solved.u), torch.from_numpy(solved.v)], dim=1)

    def row(self, timed: dict[str, Latency], snapshots: int) -> Row:
        """Process times of all trajectories solved so far; the first, which may compile, is one of many."""
        del timed
        return Row(
            name=self.name,
            kind="finite elements",
            latency={"solver": summarise_latency(self.step_seconds, self.step_seconds).times(snapshots)},
            setup_ms=1e3 * float(np.median(self.setup_seconds)),
        )
