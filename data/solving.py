"""Scenarios solved by finite elements, many at a time, and sampled on the dataset's grid.

The waves of a batch share what is set up per mesh and per run, yet none depends on the others by a single
bit: they take a time step that follows from the settings alone, the one that is stable in the fastest medium
that their split can draw, and with its dampings and sides (:func:`slimwave.fem.spectra.stable_time_step`).
"""

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from slimwave.data.scenarios import GenerateConfig, Scenario, Split
from slimwave.data.schema import Trajectory
from slimwave.data.source_terms import source_scalars
from slimwave.fem.batch_solution import BatchSolution
from slimwave.fem.batches import WaveBatch
from slimwave.fem.fields import values_on_axes
from slimwave.fem.meshes import rectangle
from slimwave.fem.recording import QUANTITIES, Quantity
from slimwave.fem.solver import Solution
from slimwave.fem.space import GLLSpace
from slimwave.fem.spectra import stable_time_step


class Fields(NamedTuple):
    """u and v of one solution.

    Attributes
    ----------
    u, v: (snapshots, nx, ny)
    setup_seconds, solve_seconds
        Process time of assembling the operators, and of marching and sampling.
    """

    u: NDArray[np.float32]
    v: NDArray[np.float32]
    setup_seconds: float
    solve_seconds: float


def solve_scenario(
    scenario: Scenario,
    config: GenerateConfig,
    *,
    snapshots: int,
    elements: tuple[int, int] | None = None,
    order: int | None = None,
) -> Trajectory:
    """Solve one scenario; see :func:`solve_scenarios`."""
    (solved,) = solve_scenarios([scenario], config, snapshots=snapshots, elements=elements, order=order)
    return solved


def solve_scenarios(
    scenarios: Sequence[Scenario],
    config: GenerateConfig,
    *,
    snapshots: int,
    elements: tuple[int, int] | None = None,
    order: int | None = None,
) -> list[Trajectory]:
    """Solve scenarios of one split by finite elements and sample them on the grid.

    Parameters
    ----------
    scenarios
        Medium, damping, initial field, sources and sides of each.
    config
        Domain, grid, macro step and solver.
    snapshots
        Number of snapshots, the initial state included; snapshot k is at time k · ``config.time.step``.
    elements, order
        Another discretisation than ``config.solver``, for a coarser baseline or a finer reference.

    Raises
    ------
    ValueError
        If the scenarios are of several splits, which may differ in their time steps, or of none.
    """
    solved = _solve(scenarios, config, range(snapshots), elements=elements, order=order)
    seconds = solved.setup_seconds / len(scenarios), solved.solve_seconds / len(scenarios)
    return [_trajectory(scenario, solved.waves[k], config, seconds) for k, scenario in enumerate(scenarios)]


def solve_fields(
    scenario: Scenario, config: GenerateConfig, at: Sequence[int], *, elements: tuple[int, int]
) -> Fields:
    """Solve one scenario for u and v alone, at some snapshots: what a forecast is asked for, and no more.

    Parameters
    ----------
    at
        Snapshots k, increasing; their times are k · ``config.time.step``.
    elements
        Elements along x and y, in place of ``config.solver.elements``.
    """
    solved = _solve([scenario], config, at, elements=elements, record=("u", "v"))
    u, v = (field.astype(np.float32, copy=False) for field in (solved.waves[0].u, solved.waves[0].v))
    return Fields(u, v, solved.setup_seconds, solved.solve_seconds)


class _Solved(NamedTuple):
    waves: BatchSolution
    setup_seconds: float
    solve_seconds: float


def _solve(
    scenarios: Sequence[Scenario],
    config: GenerateConfig,
    at: Sequence[int],
    *,
    elements: tuple[int, int] | None = None,
    order: int | None = None,
    record: Sequence[Quantity] = QUANTITIES,
) -> _Solved:
    """Solve scenarios of one split as a batch; record at some snapshots."""
    splits = {scenario.split for scenario in scenarios}
    if len(splits) != 1:
        raise ValueError(f"scenarios: expected some of one split, got splits {sorted(splits)}")
    domain, solver = config.domain, config.solver
    space = _space(domain.width, domain.height, elements or solver.elements, order or solver.order)
    started = time.process_time()
    batch = WaveBatch(
        space,
        [scenario.wave_speed for scenario in scenarios],
        dampings=[0.0 if scenario.damping is None else scenario.damping for scenario in scenarios],
        boundaries=[scenario.walls for scenario in scenarios],
    )
    batch.operator(solver.dtype)
    set_up = time.process_time()
    waves = batch.run(
        [scenario.u0 for scenario in scenarios],
        sources=[[source.for_solver() for source in scenario.sources] for scenario in scenarios],
        times=config.time.step * np.array(at, dtype=np.float64),
        grid=(domain.nx, domain.ny),
        record=record,
        time_step=_time_step(space, config, splits.pop()),
        dtype=solver.dtype,
    )
    return _Solved(waves, set_up - started, time.process_time() - set_up)


def _time_step(space: GLLSpace, config: GenerateConfig, split: Split) -> float:
    """Return the step that is stable whatever the split draws."""
    damping = config.damping_of(split)
    return stable_time_step(
        space,
        config.medium_of(split).max_speed,
        largest_damping=damping.strength[1] if damping.acts else 0.0,
        absorbing=config.walls.absorb,
    )


def _trajectory(
    scenario: Scenario, solution: Solution, config: GenerateConfig, seconds: tuple[float, float]
) -> Trajectory:
    """Put a solution together with what it was solved for."""
    damping = None
    if config.damped:
        damping = np.zeros((len(solution.x), len(solution.y)), np.float32)
        if scenario.damping is not None:
            damping += values_on_axes(scenario.damping, solution.x, solution.y)
    return Trajectory(
        times=solution.times,
        x=solution.x,
        y=solution.y,
        u=solution.u.astype(np.float32, copy=False),
        v=solution.v.astype(np.float32, copy=False),
        c=values_on_axes(scenario.wave_speed, solution.x, solution.y).astype(np.float32),
        walls=np.array(scenario.wall_signs, dtype=np.float32),
        energy=np.asarray(solution.energy, dtype=np.float64),
        parameters=scenario.parameters,
        setup_cpu_seconds=seconds[0],
        solve_cpu_seconds=seconds[1],
        damping=damping,
        scalars=source_scalars(scenario.sources, solution.times, config.most_sources),
    )


@lru_cache(maxsize=4)
def _space(width: float, height: float, elements: tuple[int, int], order: int) -> GLLSpace:
    """Return the finite-element space, set up once per process: media come and go, the mesh stays."""
    return GLLSpace(rectangle(width, height, elements), order)
