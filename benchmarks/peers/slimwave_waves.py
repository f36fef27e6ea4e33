"""slimwave: one wave, many waves in one medium, many media."""

from fem_accuracy import GRID, TIMES

from peers.problems import Case, Problem
from slimwave.fem.batches import WaveBatch
from slimwave.fem.meshes import rectangle
from slimwave.fem.solver import WaveSolver
from slimwave.fem.space import GLLSpace


def one_wave(problem: Problem, elements: int, dtype: str) -> Case:
    """One wave by `WaveSolver`: snapshots of u and u_t, and the energy."""
    solver = WaveSolver(_space(elements), wave_speed=problem.medium)
    solver.operator(dtype)
    return Case(
        label=f"slimwave p=4 {elements}x{elements} {dtype}, one wave",
        unknowns=solver.n_dofs,
        steps=_steps(solver.stable_time_step()),
        samples=1,
        solve=lambda: solver.run(problem.pulse, times=TIMES, grid=GRID, dtype=dtype),
        snapshots=lambda solution: solution.u,
    )


def many_waves(problem: Problem, elements: int, waves: int, *, media: bool) -> Case:
    """Equal waves as a float32 batch, in one medium or each in a copy of it that counts as its own medium."""
    batch = WaveBatch(_space(elements), [problem.medium] * (waves if media else 1))
    batch.operator("float32")
    return Case(
        label=f"slimwave p=4 {elements}x{elements} float32, {waves} {'media' if media else 'waves'}",
        unknowns=(4 * elements - 1) ** 2,
        steps=_steps(batch.stable_time_step()),
        samples=waves,
        solve=lambda: batch.run([problem.pulse] * waves, times=TIMES, grid=GRID, dtype="float32"),
        snapshots=lambda solution: solution.u[-1],
    )


def _space(elements: int) -> GLLSpace:
    space = GLLSpace(rectangle(elements=(elements, elements)), 4)
    space.sampler(*GRID)
    return space


def _steps(largest: float) -> int:
    return len(TIMES) * -int(-TIMES[0] // largest)
