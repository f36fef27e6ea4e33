"""The rollout job: forecast one trajectory, and say how good it is where a reference exists.

>>> result = rollout(RolloutConfig(model="runs/full", data="runs/data", trajectory=3))  # doctest: +SKIP
>>> result.valid_time  # doctest: +SKIP
1.34

The run folder keeps the fields in ``rollout.npz`` and one JSON line per macro step in ``log.jsonl``.
"""

import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slimwave.compression.sparse_inference import NoConvolutionError
from slimwave.data.durable import write_bytes
from slimwave.data.progress import progress_bar
from slimwave.data.run_folders import LOG, RunFolder
from slimwave.surrogates.checkpoints import load_model
from slimwave.surrogates.devices import cpu_threads, resolve_device
from slimwave.surrogates.metrics import energy, energy_drift, energy_error, relative_l2, valid_time, vrmse
from slimwave.surrogates.rollout_settings import RolloutConfig
from slimwave.surrogates.runtimes import (
    EagerRuntime,
    Latency,
    OnnxRuntime,
    Runtime,
    SparseRuntime,
    summarise_latency,
)
from slimwave.surrogates.scores import step_errors, summarise
from slimwave.surrogates.starts import Start, dataset_start, user_start
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.training import MAY_DIFFER

FIELDS_FILE = "rollout.npz"

Array = NDArray[Any]


@dataclass(frozen=True)
class RolloutResult:
    """A forecast of one trajectory over n macro steps, with a reference over the first m ≤ n of them.

    Attributes
    ----------
    folder
        Run folder.
    times: (n + 1,)
        Time since the start of the forecast.
    x: (nx,), y: (ny,)
        Coordinates of the grid.
    forecast: (n + 1, 2, nx, ny)
        u and v = ∂u/∂t, the start first.
    reference: (m + 1, 2, nx, ny)
        The finite-element solution, the start first.
    wave_speed: (nx, ny)
    walls: (4,)
        −1 Dirichlet, +1 Neumann.
    relative_l2, vrmse: (m, 2)
        Errors of u and of v after macro steps 1 … m; empty without a reference.
    errors
        Every error of u, name → (m,), see :mod:`slimwave.surrogates.scores`; and ``energy_error``, see
        :func:`slimwave.surrogates.metrics.energy_error`.
    valid_time
        Time until which the relative L2 error of u stays at or below the threshold; None without a reference.
    energy: (n + 1,), reference_energy: (m + 1,)
        Energy on the grid.
    latency
        Time of one macro step.
    runtime
        What the steps ran on.
    """

    folder: Path
    times: Array
    x: Array
    y: Array
    forecast: Array
    reference: Array
    wave_speed: Array
    walls: Array
    relative_l2: Array
    vrmse: Array
    errors: dict[str, Array]
    valid_time: float | None
    energy: Array
    reference_energy: Array
    latency: Latency
    runtime: str

    def summary(self) -> dict[str, Any]:
        """Plain numbers: errors of u at single steps and over The Well's windows, and the rest.

        ``energy_error`` also has the largest difference from the reference's energy. ``energy_drift`` is the
        change since the start at the last step and the largest on the way, which is no error where energy may
        leave: ``reference_energy_drift`` says how much of it the reference shows on the same grid.
        """
        errors = {name: torch.from_numpy(values)[None] for name, values in self.errors.items()}
        told = summarise(errors)
        if len(self.relative_l2):
            told["energy_error"]["largest"] = float(self.errors["energy_error"].max())
        return {
            "steps": len(self.times) - 1,
            "reference_steps": len(self.relative_l2),
            **told,
            "valid_time": self.valid_time,
            "energy_drift": _drift(self.energy),
            "reference_energy_drift": _drift(self.reference_energy),
            "latency_ms": {"median": self.latency.median, "p95": self.latency.p95},
            "runtime": self.runtime,
        }


def _drift(energies: Array) -> dict[str, float] | None:
    """Change of the energy at the last step, and the largest on the way."""
    if len(energies) < 2:
        return None
    drift = energy_drift(torch.from_numpy(energies))
    return {"last": float(drift[-1]), "largest": float(drift.abs().max())}


def rollout(config: RolloutConfig, *, progress: bool = False) -> RolloutResult:
    """Forecast one trajectory with a trained model.

    Raises
    ------
    FileNotFoundError
        If the model, the dataset or a file of the user's does not exist.
    ValueError
        If the start does not fit the model.
    OSError
        If the output folder cannot be written.
    MissingExtraError
        If ONNX Runtime is asked for and not installed.
    """
    device = resolve_device(config.device)
    model = load_model(config.model)
    start = dataset_start(config, model) if config.initial is None else user_start(config, model)
    steps = config.steps or len(start.reference)
    if steps < 1:
        raise ValueError(f"--start {config.start} is the last snapshot, nothing follows it; set --steps")
    with cpu_threads(config.threads):
        runtime = _runtime(config, model, start, device)
        folder = _prepare(config)
        forecast, latency = timed_rollout(
            runtime, start.state.to(device), steps, frames=model.frames, progress=progress
        )
    result = _judge(config, model, start, forecast, latency, folder.path)
    _keep(result, folder)
    return result


def _prepare(config: RolloutConfig) -> RunFolder:
    """Take the run folder; a rollout begins anew, and so does its log."""
    folder = RunFolder.prepare(
        config.output,
        command="rollout",
        config=config,
        existing="overwrite" if config.overwrite else "resume",
        may_differ=(*MAY_DIFFER, "model"),
    )
    (folder.path / LOG).unlink(missing_ok=True)
    return folder


def timed_rollout(
    runtime: Runtime, state: Tensor, steps: int, *, frames: int = 1, progress: bool = False
) -> tuple[Tensor, Latency]:
    """Forecast one trajectory and time every macro step.

    Parameters
    ----------
    state: (1, 2 · frames, nx, ny)
    frames
        Macro steps that one call of the runtime advances.

    Returns
    -------
    forecast: (steps + 1, 2, nx, ny)
        On the CPU, the start first.
    latency
        Of a macro step, over all calls, after one untimed call to warm up.
    """
    runtime(state)
    states, wall, cpu = [state[:, -2:].cpu()], [], []
    calls = -(-steps // frames)
    with progress_bar(calls, "rollout", "step", shown=progress) as bar:
        for _ in range(calls):
            _synchronise(state.device)
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            state = runtime(state)
            _synchronise(state.device)
            wall.append((time.perf_counter() - wall_start) / frames)
            cpu.append((time.process_time() - cpu_start) / frames)
            states.append(state.cpu().reshape(frames, 2, *state.shape[-2:]))
            bar.update()
    return torch.cat(states)[: steps + 1], summarise_latency(wall, cpu)


def _synchronise(device: torch.device) -> None:
    """Wait for a GPU, which answers before it has computed."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _runtime(config: RolloutConfig, model: Surrogate, start: Start, device: torch.device) -> Runtime:
    """Encode the medium for the runtime; what the network or the runtime cannot take is refused here."""
    if config.runtime == "onnx":
        return OnnxRuntime(model, start.wave_speed, start.walls, config.threads)
    if config.runtime == "sparse":
        try:
            return SparseRuntime(model, start.wave_speed, start.walls)
        except NoConvolutionError as error:
            raise ValueError(
                "--runtime sparse: this network has no convolution layers in a step; "
                "use --runtime eager or onnx"
            ) from error
    return EagerRuntime(model.to(device), start.wave_speed.to(device), start.walls.to(device))


def _judge(
    config: RolloutConfig, model: Surrogate, start: Start, forecast: Tensor, latency: Latency, folder: Path
) -> RolloutResult:
    steps = len(forecast) - 1
    reference = start.reference[:steps]
    compared = forecast[1 : len(reference) + 1]
    errors = relative_l2(compared, reference)
    of_u = step_errors(compared[:, 0], reference[:, 0], start.walls[0], model.task.spacing)
    complete = torch.cat([start.state[:, -2:], reference])
    task = model.task
    wave_speed = start.wave_speed[0, 0]
    dx, dy = task.spacing
    energies = energy(forecast, wave_speed, task.spacing)
    reference_energies = energy(complete, wave_speed, task.spacing)
    of_u["energy_error"] = energy_error(energies[: len(complete)], reference_energies)
    return RolloutResult(
        folder=folder,
        times=task.macro_step * np.arange(steps + 1),
        x=dx * np.arange(wave_speed.shape[0]),
        y=dy * np.arange(wave_speed.shape[1]),
        forecast=forecast.numpy(),
        reference=complete.numpy(),
        wave_speed=wave_speed.numpy(),
        walls=start.walls[0].numpy(),
        relative_l2=errors.numpy(),
        vrmse=vrmse(compared, reference).numpy(),
        errors={name: values.numpy() for name, values in of_u.items()},
        valid_time=float(valid_time(errors[:, 0], task.macro_step, config.threshold))
        if len(errors)
        else None,
        energy=energies.numpy(),
        reference_energy=reference_energies.numpy(),
        latency=latency,
        runtime=config.runtime,
    )


def _keep(result: RolloutResult, folder: RunFolder) -> None:
    """Write the fields and finish the run folder; one log line per macro step."""
    names = (
        "times",
        "x",
        "y",
        "forecast",
        "reference",
        "wave_speed",
        "walls",
        "relative_l2",
        "vrmse",
        "energy",
    )
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: getattr(result, name) for name in names})
    write_bytes(result.folder / FIELDS_FILE, buffer.getvalue())
    for step in range(1, len(result.times)):
        known = step <= len(result.relative_l2)
        folder.log(
            step=step,
            time=result.times[step],
            **{name: values[step - 1] if known else None for name, values in result.errors.items()},
            energy=result.energy[step],
        )
    folder.finish(**result.summary())
