"""deepwave: finite differences for u_tt = c² Δu in compiled loops, leapfrog, float32.

Its step is kept below the Courant number at which it would take substeps unasked. A free wall lies one cell
outside its grid, so that the grid holds the inner nodes only. There is no absorbing layer; a frequency for it
is given because deepwave warns without.
"""

from typing import Any

import numpy as np
from fem_accuracy import TIMES, Array

from peers.problems import FASTEST, SNAPSHOTS, WIDTH, Case, Problem, interface_mean, steps_per_snapshot


def deepwave_scalar(problem: Problem, cells: int, accuracy: int, waves: int) -> Case:
    """Equal waves in one medium; `accuracy` is the order in space."""
    import deepwave
    import torch

    torch.set_num_threads(1)
    problem = interface_mean(problem, -2)
    inner = np.linspace(0.0, 1.0, cells + 1)[1:-1]
    points = np.meshgrid(inner, inner, indexing="ij")
    courant = 0.995 * deepwave.DEFAULT_COURANT_NUMBER / np.sqrt(2)
    steps = steps_per_snapshot(courant / (FASTEST * cells))
    step, stride = TIMES[0] / steps, cells // 64
    speed = torch.tensor(problem.speed(*points), dtype=torch.float32)
    start = problem.pulse(*points)
    before = start + 0.5 * step**2 * problem.speed(*points) ** 2 * _pulse_laplacian(problem, *points)
    fields = [torch.tensor(field, dtype=torch.float32).repeat(waves, 1, 1) for field in (start, before)]

    def solve() -> list[Array]:
        found: list[Array] = []

        def keep(state: Any) -> None:
            found.append(
                state.get_wavefield("wavefield_0")[:, stride - 1 :: stride, stride - 1 :: stride]
                .numpy()
                .copy()
            )

        with torch.no_grad():
            deepwave.scalar(
                speed,
                1.0 / cells,
                step,
                wavefield_0=fields[0].clone(),
                wavefield_m1=fields[1].clone(),
                accuracy=accuracy,
                pml_width=0,
                boundary="free",
                pml_freq=1.0,
                origin=(0, 0),
                max_vel=FASTEST,
                nt=SNAPSHOTS * steps + 1,
                forward_callback=keep,
                callback_frequency=steps,
            )
        return found

    return Case(
        label=f"deepwave order {accuracy}, {cells}x{cells}, {waves} wave{'s' * (waves > 1)}",
        unknowns=len(inner) ** 2,
        steps=SNAPSHOTS * steps,
        samples=waves,
        solve=solve,
        snapshots=lambda found: np.pad(np.stack([u[-1] for u in found[1:]]), ((0, 0), (1, 1), (1, 1))),
        seismic=True,
    )


def _pulse_laplacian(problem: Problem, x: Array, y: Array) -> Array:
    """Δ exp(−r²/2σ²) = (r²/σ² − 2)/σ² · exp(−r²/2σ²)."""
    r2 = (x - problem.centre[0]) ** 2 + (y - problem.centre[1]) ** 2
    return (r2 / WIDTH**2 - 2.0) / WIDTH**2 * problem.pulse(x, y)
