"""slimwave: one wave, many waves in one medium, many media."""

from fem_accuracy import GRID, TIMES
from shared.waves import sampled_space

from peers.problems import Case, Problem
from slimwave.fem.batches import WaveBatch
from slimwave.fem.recording import QUANTITIES, Quantity
from slimwave.fem.solver import WaveSolver

U_ALONE: tuple[Quantity, ...] = ("u",)


def one_wave(problem: Problem, elements: int, dtype: str) -> Case:
    """One wave by `WaveSolver`: snapshots of u."""
    solver = WaveSolver(sampled_space(elements, GRID), wave_speed=problem.medium)
    solver.operator(dtype)
    return Case(
        label=f"slimwave p=4 {elements}x{elements} {dtype}, one wave",
        unknowns=solver.n_dofs,
        steps=_steps(solver.stable_time_step()),
        samples=1,
        solve=lambda: solver.run(problem.pulse, times=TIMES, grid=GRID, dtype=dtype, record=U_ALONE),
        snapshots=lambda solution: solution.u,
    )


def many_waves(problem: Problem, elements: int, waves: int, *, media: bool, everything: bool = False) -> Case:
    """Equal waves as a float32 batch, in one medium or each in a copy of it that counts as its own medium.

    Snapshots of u, or of everything: u, u_t and the energy.
    """
    batch = WaveBatch(sampled_space(elements, GRID), [problem.medium] * (waves if media else 1))
    batch.operator("float32")
    starts, record = [problem.pulse] * waves, QUANTITIES if everything else U_ALONE
    what = f"{waves} {'media' if media else 'waves'}{', u_t, energy' * everything}"
    return Case(
        label=f"slimwave p=4 {elements}x{elements} float32, {what}",
        unknowns=(4 * elements - 1) ** 2,
        steps=_steps(batch.stable_time_step()),
        samples=waves,
        solve=lambda: batch.run(starts, times=TIMES, grid=GRID, dtype="float32", record=record),
        snapshots=lambda solution: solution.u[-1],
    )


def _steps(largest: float) -> int:
    return len(TIMES) * -int(-TIMES[0] // largest)
