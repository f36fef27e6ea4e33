"""Does a forecast stay bounded? Ten thousand steps of trained models, from every held-out start.

For each model of benchmarks/accuracy.py that is named: the largest energy on the way against the first, how
far the energy drifts in 1000 steps, whether all fields stay finite, how well stepping backwards leads back
after 100 steps, and whether waves superpose. `--prune` removes a share of all weights first (smallest
magnitudes, no training afterwards): a bound by construction must survive that.

    python benchmarks/long_rollouts.py --models leapfrog            # a quarter of an hour
    python benchmarks/long_rollouts.py --models leapfrog --prune 0.5
    python benchmarks/long_rollouts.py --quick                      # an untrained network, 200 steps
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from shared.targets import verdict
from torch import Tensor
from tqdm import tqdm

from slimwave.compression.roles import prunable_parameters
from slimwave.data.grid_energy import grid_energy
from slimwave.data.windows import dataset_info, load_trajectories
from slimwave.surrogates.checkpoints import DESCRIPTION, load_model
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.networks import build_network
from slimwave.surrogates.rollout import states
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.task import WaveTask

SPLITS = ("test", "ood", "ood_pulses", "ood_media")
DRIFT_STEPS, REVERSED_STEPS, EVERY = 1000, 100, 10
TARGET_DRIFT, TARGET_EXACT = 0.05, 1e-5


@dataclass(frozen=True)
class Starts:
    """Initial states (n, 2, nx, ny), media (n, 1, nx, ny), walls (n, 4) and the spacing of the grid."""

    state: Tensor
    wave_speed: Tensor
    walls: Tensor
    spacing: tuple[float, float]


def starts_of(data: Path) -> Starts:
    """Return the first snapshots of all trajectories that were held back."""
    found = [load_trajectories(data, split, snapshots=1) for split in SPLITS]
    return Starts(
        torch.cat([torch.stack([one.u[:, 0], one.v[:, 0]], dim=1) for one in found]),
        torch.cat([one.c[:, None] for one in found]),
        torch.cat([one.walls for one in found]),
        dataset_info(data).spacing,
    )


def invented_starts() -> tuple[Surrogate, Starts]:
    """Return a network as it is built, and a random smooth start, for the quick form."""
    n = 32
    task = WaveTask(0.04, (1 / (n - 1),) * 2, 2.0, (0.1, 1.0), (0.02, 0.3), 1.5, 0.3)
    axis = torch.linspace(0.0, 1.0, n)
    bump = torch.exp(-((axis[:, None] - 0.4) ** 2 + (axis - 0.6) ** 2) / 0.008)  # nothing at the walls
    state = torch.stack([bump, torch.zeros(n, n)])[None].repeat(2, 1, 1, 1)
    wave_speed = (1.5 + 0.5 * torch.sin(7 * axis)).expand(2, 1, n, n).contiguous()
    model = build_network(NetworkConfig("leapfrog"), task).eval()
    return model, Starts(state, wave_speed, torch.tensor([[-1.0, 1, 1, -1], [-1.0] * 4]), task.spacing)


def prune(model: Surrogate, share: float) -> None:
    """Set the smallest magnitudes of all prunable weights to zero."""
    weights = list(prunable_parameters(model).values())
    magnitudes = torch.cat([w.detach().abs().flatten() for w in weights])
    limit = magnitudes.sort().values[int(share * len(magnitudes))]
    with torch.no_grad():
        for w in weights:
            w.masked_fill_(w.abs() < limit, 0.0)


@torch.no_grad()
def judge(name: str, model: Surrogate, starts: Starts, steps: int) -> list[str]:
    """Return the lines of the report on one model."""
    first = energies(starts.state, starts)
    forecast = states(model, starts.state, starts.wave_speed, starts.walls)
    largest, drift = first.clone(), torch.zeros_like(first)
    for step in tqdm(range(1, steps + 1), desc=name, disable=not sys.stderr.isatty()):
        state = next(forecast)
        if step % EVERY:
            continue
        now = energies(state, starts)
        largest = torch.maximum(largest, now)
        if step <= DRIFT_STEPS:
            drift = torch.maximum(drift, (now / first - 1).abs())
    finite = bool(torch.isfinite(state).all())
    growth, worst = float((largest / first).max()), float(drift.max())
    back, together = reversal_error(model, starts), superposition_error(model, starts)
    return [
        f"{name}: {len(first)} starts, {steps} steps",
        f"  finite: {finite}; largest energy over the first, worst start: {growth:.3f}: "
        f"{verdict(finite and growth < 2)}",
        f"  energy drift within {min(steps, DRIFT_STEPS)} steps: median {float(drift.median()):.2%}, "
        f"worst {worst:.2%}, at most {TARGET_DRIFT:.0%}: {verdict(worst <= TARGET_DRIFT)}",
        f"  back after {REVERSED_STEPS} steps: {back:.1e}; superposition: {together:.1e}, "
        f"at most {TARGET_EXACT:.0e}: {verdict(max(back, together) <= TARGET_EXACT)}",
    ]


def energies(state: Tensor, starts: Starts) -> Tensor:
    """Energy of every state, by spectral derivatives."""
    u, v = state.double().unbind(dim=1)
    fields = zip(u.numpy(), v.numpy(), starts.wave_speed[:, 0].numpy(), starts.walls.numpy(), strict=True)
    found = [grid_energy(one_u[None], one_v[None], c, w, starts.spacing)[0] for one_u, one_v, c, w in fields]
    return torch.tensor(found)


def reversal_error(model: Surrogate, starts: Starts) -> float:
    """Relative error of u after as many steps back, with v turned round, as were taken forward."""
    turn = torch.tensor([1.0, -1.0])[:, None, None]
    context = model.encode(starts.wave_speed, starts.walls)
    state = starts.state
    for _ in range(2):
        for _ in range(REVERSED_STEPS):
            state = model.step(state, context)
        state = turn * state
    return relative(state[:, 0], starts.state[:, 0])


def superposition_error(model: Surrogate, starts: Starts) -> float:
    """Relative error of step(a + 2 b) = step(a) + 2 step(b), with b the states shifted by one start."""
    context = model.encode(starts.wave_speed, starts.walls)
    a, b = starts.state, 0.5 * starts.state.roll(1, dims=2)
    together = model.step(a + 2 * b, context)
    return relative(model.step(a, context) + 2 * model.step(b, context), together)


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest relative L2 difference over the batch."""
    difference = (found - expected).flatten(1).norm(dim=1)
    return float((difference / expected.flatten(1).norm(dim=1)).max())


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["leapfrog"], help="names in configs/accuracy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--prune", type=float, default=0.0, help="share of the weights to remove first")
    parser.add_argument("--output", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--quick", action="store_true", help="an untrained network, 200 steps")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.quick:
        model, starts = invented_starts()
        print("\n".join(judge("untrained leapfrog", model, starts, 200)))
        return
    folders = {name: arguments.output / name / f"seed{arguments.seed}" for name in arguments.models}
    for name, folder in folders.items():
        if not (folder / DESCRIPTION).is_file():
            remedy = f"python benchmarks/accuracy.py --models {name} --seeds {arguments.seed}"
            parser.error(f"{folder} holds no model; train it first: {remedy}")
    starts = starts_of(arguments.output / "data")
    for name, folder in folders.items():
        model = load_model(folder)
        prune(model, arguments.prune)
        title = f"{name}, {arguments.prune:.0%} pruned" if arguments.prune else name
        print("\n".join(judge(title, model, starts, arguments.steps)), flush=True)


if __name__ == "__main__":
    main()
