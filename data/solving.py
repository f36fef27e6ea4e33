"""Scenarios solved by finite elements, many at a time, and sampled on the dataset's grid.

The waves of a batch share what is set up per mesh and per run, yet none depends on the others by a single
bit: they take a time step that follows from the settings alone, the one that is stable in the fastest medium
that their split can draw (:func:`slimwave.fem.spectra.stable_time_step`).
"""

import time
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from slimwave.data.scenarios import GenerateConfig, Scenario
from slimwave.data.schema import Trajectory
from slimwave.fem.batches import BatchSolution, WaveBatch
from slimwave.fem.meshes import rectangle
from slimwave.fem.space import GLLSpace
from slimwave.fem.spectra import stable_time_step


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
        Medium, initial field and walls of each.
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
    splits = {scenario.split for scenario in scenarios}
    if len(splits) != 1:
        raise ValueError(f"scenarios: expected some of one split, got splits {sorted(splits)}")
    domain, solver = config.domain, config.solver
    space = _space(domain.width, domain.height, elements or solver.elements, order or solver.order)
    started = time.process_time()
    batch = WaveBatch(
        space,
        [scenario.wave_speed for scenario in scenarios],
        boundaries=[scenario.walls for scenario in scenarios],
    )
    batch.operator(solver.dtype)
    set_up = time.process_time()
    solution = batch.run(
        [scenario.u0 for scenario in scenarios],
        times=config.time.step * np.arange(snapshots, dtype=np.float64),
        grid=(domain.nx, domain.ny),
        time_step=stable_time_step(space, config.medium_of(splits.pop()).max_speed),
        dtype=solver.dtype,
    )
    seconds = set_up - started, time.process_time() - set_up
    return _trajectories(scenarios, solution, seconds)


def _trajectories(
    scenarios: Sequence[Scenario], solution: BatchSolution, seconds: tuple[float, float]
) -> list[Trajectory]:
    """Take the waves of a batch apart; each has an equal share of the process time."""
    set_up, solving = (total / len(scenarios) for total in seconds)
    x, y = solution.x, solution.y
    return [
        Trajectory(
            times=solution.times,
            x=x,
            y=y,
            u=wave.u.astype(np.float32, copy=False),
            v=wave.v.astype(np.float32, copy=False),
            c=scenario.wave_speed(x[:, None], y[None, :]).astype(np.float32),
            walls=np.array(scenario.wall_signs, dtype=np.float32),
            energy=wave.energy,
            parameters=scenario.parameters,
            setup_cpu_seconds=set_up,
            solve_cpu_seconds=solving,
        )
        for scenario, wave in zip(scenarios, map(solution.__getitem__, range(len(scenarios))), strict=True)
    ]


@lru_cache(maxsize=4)
def _space(width: float, height: float, elements: tuple[int, int], order: int) -> GLLSpace:
    """Return the finite-element space, set up once per process: media come and go, the mesh stays."""
    return GLLSpace(rectangle(width, height, elements), order)
