"""One fit: the loop that trains a model on windows, shared by training and by every pruning round.

The randomness of optimiser step n (which windows, which symmetry, which noise) is a function of (seed, n)
alone, and so is the learning rate. So the position of a fit is a single number, and a fit that is stopped
and resumed repeats on the CPU the uninterrupted one bit by bit.
"""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from slimwave.compression.sap import SAPPruner
from slimwave.data.progress import progress_bar
from slimwave.data.windows import WaveWindows
from slimwave.surrogates.augmentation import Windows, random_symmetry
from slimwave.surrogates.checkpoints import (
    TrainingPosition,
    load_training,
    require_same_tensors,
    save_training,
)
from slimwave.surrogates.surrogate import Surrogate, relative_scale
from slimwave.surrogates.training_settings import FitConfig
from slimwave.surrogates.walls import wall_mask

BETAS = (0.9, 0.99)
FINAL_RATE = 0.01
LEAST_ERROR = 1e-6
"""Relative error below which the loss is flat; keeps the root's slope finite."""
REST = 1e-10
"""Size of a state, in units of the training fields, below which it counts as being at rest."""

Validate = Callable[[Surrogate], float]


class TrainingDivergedError(RuntimeError):
    """The loss or its gradient is no longer a finite number."""


def relative_loss(forecast: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
    """Mean over batch and steps of the relative error of the state, with u and v each in its own scale.

    Dividing each field by its own scale weighs displacement and velocity alike, as the energy does;
    dividing by the size of the sample's first target makes weak and strong waves count alike, even at a
    moment when u alone passes through zero. The error itself, not its square, is averaged: hard samples do
    not drown the others.

    Parameters
    ----------
    forecast, targets: (batch, steps, 2, nx, ny)
    scale: (1, 2, 1, 1)
    """
    error = ((forecast - targets) / scale).square().mean(dim=(2, 3, 4))
    size = relative_scale(targets[:, 0], scale).flatten(1).clamp(min=REST).square()
    return (error / size + LEAST_ERROR**2).sqrt().mean()


def learning_rate(fit: FitConfig, step: int) -> float:
    """Linear warm-up, then half a cosine down to a hundredth of the peak."""
    warm = min(1.0, (step + 1) / (fit.warmup + 1))
    cosine = (1 + math.cos(math.pi * step / fit.steps)) / 2
    return fit.learning_rate * warm * (FINAL_RATE + (1 - FINAL_RATE) * cosine)


def unrolled_steps(fit: FitConfig, step: int) -> int:
    """Macro steps to unroll at an optimiser step: the curriculum divides the budget evenly."""
    return fit.unroll[min(step * len(fit.unroll) // fit.steps, len(fit.unroll) - 1)]


def generator_of(seed: int, step: int) -> torch.Generator:
    """Random numbers of one optimiser step, independent of all other steps."""
    state = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


class Fitter:
    """Trains a model in place and can be saved and resumed at any step.

    Parameters
    ----------
    model
        The model, on its device.
    windows
        Training windows with a horizon of at least ``max(fit.unroll)``.
    fit
        Settings of the fit.
    seed
        Seed of the windows, symmetries and noise.
    pruner
        Masks to hold through the fit; None trains every weight.
    """

    def __init__(
        self,
        model: Surrogate,
        windows: WaveWindows,
        fit: FitConfig,
        *,
        seed: int,
        pruner: SAPPruner | None = None,
    ) -> None:
        self.model = model
        self.windows = windows
        self.fit = fit
        self.seed = seed
        self.position = TrainingPosition()
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=fit.learning_rate, betas=BETAS, weight_decay=fit.weight_decay
        )
        self.pruner = pruner
        self._attachment = pruner.attach(self.optimizer) if pruner is not None else ExitStack()
        self.average = {name: value.clone() for name, value in model.state_dict().items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the masks."""
        self._attachment.close()

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.model.scale.device

    def run(
        self,
        validate: Validate,
        *,
        every: int,
        on_validation: Callable[[dict[str, float], bool], None],
        state_file: Path,
        progress: bool = False,
        label: str = "train",
    ) -> TrainingPosition:
        """Fit until ``fit.steps`` are done.

        Parameters
        ----------
        validate
            Rollout error of a model on validation data.
        every
            Steps between validations; the last step is always validated.
        on_validation
            Called with the record of a validation and whether it is the best so far, while the model holds
            the weights that were validated.
        state_file
            Where the position is kept after every validation; resumed from if it exists.
        progress
            Show a bar with the time left on standard error.
        label
            Name of the bar.

        Raises
        ------
        TrainingDivergedError
            At the first loss or gradient that is not finite.
        """
        if state_file.is_file():
            self.load(state_file)
        losses: list[float] = []
        started = time.process_time() - self.position.cpu_seconds
        with progress_bar(self.fit.steps, label, "step", shown=progress, initial=self.position.step) as bar:
            while self.position.step < self.fit.steps:
                losses.append(self.step())
                bar.update()
                if self.position.step % every and self.position.step != self.fit.steps:
                    continue
                record = self._validate(validate, losses, time.process_time() - started, on_validation)
                bar.set_postfix(loss=f"{record['loss']:.2g}", rollout=f"{record['rollout_error']:.3g}")
                self.save(state_file)
                losses.clear()
        return self.position

    def step(self) -> float:
        """Take one optimiser step and return the loss, a relative error per macro step."""
        number = self.position.step
        generator = generator_of(self.seed, number)
        batch = self._draw(generator)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.fit, number)
        self.model.train()
        loss = self._loss(batch, unrolled_steps(self.fit, number))
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.pruner is not None:
            self.pruner.mask_gradients()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.fit.clip)
        self._require_finite(loss, norm, number + 1)
        self.optimizer.step()
        self._update_average()
        self.position = replace(self.position, step=number + 1)
        return loss.item()

    def save(self, path: Path) -> None:
        """Write weights, average, moments and position into one file."""
        tensors = {f"weights.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        save_training(path, tensors | self._moments(), self.position)

    def load(self, path: Path) -> None:
        """Take up the position that :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            If the file is damaged or belongs to another network.
        """
        tensors, position = load_training(path)
        groups = {
            prefix: {
                name.removeprefix(f"{prefix}."): tensor
                for name, tensor in tensors.items()
                if name.startswith(f"{prefix}.")
            }
            for prefix in ("weights", "average", "moments")
        }
        require_same_tensors(self.model.state_dict(), groups["weights"], str(path))
        self.model.load_state_dict(groups["weights"])
        self.average = {name: value.to(self.device) for name, value in groups["average"].items()}
        self._load_moments(groups["moments"])
        self.position = position

    def _draw(self, generator: torch.Generator) -> Windows:
        """Draw the windows of one step, move them by a symmetry, and disturb the start."""
        picks = torch.randint(len(self.windows), (self.fit.batch_size,), generator=generator).tolist()
        items = default_collate([self.windows[pick] for pick in picks])
        batch = Windows(**{name: items[name] for name in Windows._fields})
        if self.fit.augment:
            dx, dy = self.model.task.spacing
            batch = random_symmetry(batch, generator, square_cells=math.isclose(dx, dy, rel_tol=1e-6))
        if self.fit.noise:
            batch = batch._replace(state=batch.state + self._noise(batch, generator))
        return Windows(*(field.to(self.device) for field in batch))

    def _noise(self, batch: Windows, generator: torch.Generator) -> Tensor:
        """White noise relative to the scale of u and of v; a Dirichlet wall stays at rest."""
        scale = self.model.scale.cpu()
        size = relative_scale(batch.state, scale) * scale
        mask = wall_mask(batch.walls, *batch.state.shape[-2:])
        return self.fit.noise * size * mask * torch.randn(batch.state.shape, generator=generator)

    def _loss(self, batch: Windows, steps: int) -> Tensor:
        context = self.model.encode(batch.wave_speed, batch.walls)
        state, forecast = batch.state, []
        for _ in range(steps):
            state = self.model.step(state, context)
            forecast.append(state)
        return relative_loss(torch.stack(forecast, dim=1), batch.targets[:, :steps], self.model.scale)

    def _require_finite(self, loss: Tensor, norm: Tensor, number: int) -> None:
        if math.isfinite(loss.item()) and math.isfinite(norm.item()):
            return
        kept = (
            f"the best checkpoint, from step {self.position.best_step}, is kept"
            if self.position.best_error is not None
            else "no checkpoint had been validated yet"
        )
        raise TrainingDivergedError(
            f"training diverged at step {number}: loss {loss.item():g}, gradient norm {norm.item():g}; "
            f"{kept}. Use a smaller --fit.learning_rate, or check the dataset with 'slimwave check'"
        )

    def _update_average(self) -> None:
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - self.fit.ema)

    def _validate(
        self,
        validate: Validate,
        losses: list[float],
        seconds: float,
        on_validation: Callable[[dict[str, float], bool], None],
    ) -> dict[str, float]:
        """Validate the averaged weights, tell the caller, and put the trained ones back."""
        trained = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        self.model.eval()
        error = validate(self.model)
        best = self.position.best_error is None or error < self.position.best_error
        self.position = replace(self.position, cpu_seconds=seconds)
        if best:
            self.position = replace(self.position, best_error=error, best_step=self.position.step)
        record = {
            "step": self.position.step,
            "unroll": unrolled_steps(self.fit, self.position.step - 1),
            "learning_rate": learning_rate(self.fit, self.position.step - 1),
            "loss": sum(losses) / len(losses),
            "rollout_error": error,
            "cpu_seconds": seconds,
        }
        on_validation(record, best)
        self.model.load_state_dict(trained)
        return record

    def _moments(self) -> dict[str, Tensor]:
        state = self.optimizer.state_dict()["state"]
        return {
            f"moments.{index}.{name}": value
            for index, entries in state.items()
            for name, value in entries.items()
        }

    def _load_moments(self, moments: dict[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in moments.items():
            index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
