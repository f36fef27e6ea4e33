"""Physical plausibility of a trajectory: what ``slimwave check`` asks of its values.

Values are finite, speeds and damping lie in their ranges, u vanishes on Dirichlet walls, and the energy of
the sampled fields is that of the finite-element solution. That energy stays the same; it may fall where the
wave is damped or leaves through an absorbing side, and change as it likes only while a source acts:

    dE/dt = −∫ γ v² dx − ∮ c v² ds + ∫ f v dx,    E = ½ ∫ v² + c² ∇u·∇u dx.
"""

import json
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from slimwave.data.grid_energy import grid_energy
from slimwave.data.headers import ShardHeader
from slimwave.data.reading import spacing
from slimwave.data.scenarios import GenerateConfig, Split
from slimwave.data.schema import DAMPING, OWN_GROUP
from slimwave.data.source_terms import SourceTerm, acting, source_scalars

ENERGY_DRIFT = 1e-3
"""Largest change of the solution's energy that no source and no loss explains, relative to its largest."""
GRID_ENERGY_GAP = 0.1
"""Largest relative gap between the energy on the grid and the finite-element energy."""
GRID_ENERGY_FLOOR = 1e-3
"""Share of a trajectory's largest energy that the gap may have at any time, after most of it has gone."""
SNAPSHOTS_JUDGED = 12
"""Snapshots per trajectory whose energy is computed anew."""
ROUNDING = 1e-5
"""Relative tolerance for stored float32 values."""

Fault = tuple[str, str, str]
"""What is wrong, expected, got."""


def trajectory_faults(
    values: dict[str, Any], scalars: dict[str, Any], header: ShardHeader, row: int, config: GenerateConfig
) -> Iterator[Fault]:
    """Yield what is wrong with the values of one trajectory.

    Parameters
    ----------
    values, scalars
        Fields and scalars of the trajectory, by name.
    header, row
        Its shard, and its place there.
    config
        Settings of the dataset.
    """
    for name, array in {**values, **scalars}.items():
        if not np.isfinite(array).all():
            yield f"values of {name}", "finite", f"{np.count_nonzero(~np.isfinite(array))} that are not"
            return
    yield from _medium_faults(values, header, config)
    yield from _wall_faults(values["u"], header.walls[row])
    yield from _energy_faults(values["u"], values["v"], values["c"], header, row, config)


def solution_faults(file: h5py.File, header: ShardHeader, row: int) -> Iterator[Fault]:
    """Yield what is wrong with what the solver said of a trajectory: its sources, and its energy."""
    try:
        parameters = json.loads(file[OWN_GROUP]["parameters"].asstr()[row])
        sources = [SourceTerm.from_plain(values) for values in parameters.get("sources", [])]
        listed = source_scalars(sources, header.times.astype(np.float64), header.sources)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        yield f"parameters not understood ({error})", "", ""
        return
    for name in header.scalars:
        if not np.allclose(file["scalars"][name][row], listed[name], rtol=ROUNDING, atol=ROUNDING):
            yield f"{name} differs from the parameters", "", ""
    damped = header.damped and bool((file["t0_fields"][DAMPING][row] > 0).any())
    lossy = damped or bool((header.walls[row] == 0).any())
    yield from _energy_changes(header.energy[row], acting(sources, header.times), lossy=lossy)


def _energy_changes(energy: Any, acts: Any, *, lossy: bool) -> Iterator[Fault]:
    """Yield the first change that no source and no loss explains, within a stretch of time without a source.

    Parameters
    ----------
    energy
        Shape (T,).
    acts
        Whether a source acts between a snapshot and the next, (T − 1,).
    lossy
        Whether the energy may fall.
    """
    ends = np.flatnonzero(np.append(acts, True))
    starts = np.append(0, ends[:-1] + 1)
    limit = ENERGY_DRIFT * energy.max()
    for start, end in zip(starts, ends, strict=True):
        quiet = energy[start : end + 1]
        rise = (quiet - np.minimum.accumulate(quiet)).max() if lossy else np.abs(quiet - quiet[0]).max()
        if rise > limit:
            what = "energy of the solution " + ("rises without a source" if lossy else "changes")
            yield what, f"at most {ENERGY_DRIFT:.1%}", f"{rise / energy.max():.1%}"
            return


def _medium_faults(values: dict[str, Any], header: ShardHeader, config: GenerateConfig) -> Iterator[Fault]:
    split: Split = header.split  # type: ignore[assignment]  # checked against the manifest on opening
    medium = config.medium_of(split)
    ranges = {"wave speed": (values["c"], medium.min_speed, medium.max_speed)}
    if header.damped:
        damping = config.damping_of(split)
        ranges["damping"] = values[DAMPING], 0.0, damping.strength[1] if damping.acts else 0.0
    for what, (array, low, high) in ranges.items():
        if array.min() < low * (1 - ROUNDING) or array.max() > high * (1 + ROUNDING):
            yield what, f"[{low:g}, {high:g}]", f"[{array.min():g}, {array.max():g}]"


def _wall_faults(u: Any, walls: Any) -> Iterator[Fault]:
    sides = {"left": u[:, 0], "right": u[:, -1], "bottom": u[:, :, 0], "top": u[:, :, -1]}
    limit = ROUNDING * np.abs(u).max()
    for (name, values), sign in zip(sides.items(), walls, strict=True):
        if sign < 0 and np.abs(values).max() > limit:
            yield f"u on the Dirichlet wall {name}", "0", f"up to {np.abs(values).max():.3g}"


def _energy_faults(
    u: Any, v: Any, c: Any, header: ShardHeader, row: int, config: GenerateConfig
) -> Iterator[Fault]:
    energy = header.energy[row]
    least = (
        0.0 if header.sources else np.nextafter(0.0, 1.0)
    )  # before its source acts, a field may be at rest
    if not (np.isfinite(energy).all() and energy.min() >= least and energy.max() > 0):
        yield "energy", "positive, finite", f"{energy.min():g} … {energy.max():g}"
        return
    judged = np.unique(np.linspace(0, len(u) - 1, SNAPSHOTS_JUDGED).round().astype(int))
    sampled = grid_energy(u[judged], v[judged], c, header.walls[row], spacing(config))
    floor = GRID_ENERGY_FLOOR / GRID_ENERGY_GAP * energy.max()
    gap = np.abs(sampled - energy[judged]) / np.maximum(energy[judged], floor)
    if gap.max() > GRID_ENERGY_GAP:
        where = f"at snapshot {judged[gap.argmax()]} (damaged fields, or a grid too coarse for the pulses)"
        yield (
            f"energy on the grid departs from the solution's {where}",
            f"{GRID_ENERGY_GAP:.0%}",
            f"{gap.max():.1%}",
        )
