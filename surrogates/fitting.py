"""One fit: the loop that trains a model on windows, shared by training and by every pruning round.

What happens at optimiser step n (which windows, which symmetry, which noise, which rate) is a function of
(seed, n) alone. So the position of a fit is a single number, and a fit that is stopped and resumed repeats on
the CPU the uninterrupted one bit by bit.

An *epoch* is the stretch of optimiser steps between two validations; after each one the position is kept. A
*pass* over the training windows is something else: with overlapping windows it can be longer or shorter.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from slimwave.compression.sap import SAPPruner
from slimwave.data.progress import progress_bar
from slimwave.data.windows import WaveWindows
from slimwave.surrogates.augmentation import Windows
from slimwave.surrogates.batches import Batches
from slimwave.surrogates.checkpoints import (
    CheckpointError,
    TrainingPosition,
    load_training,
    require_same_tensors,
    save_training,
)
from slimwave.surrogates.processes import Processes
from slimwave.surrogates.schedules import average_decay, last_stage, learning_rate, unrolled_steps
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.training_settings import FitConfig
from slimwave.surrogates.unrolling import Unrolled

BETAS = (0.9, 0.99)
EXPLODED = 1e3
"""Loss at which a fit is given up: an error a thousand times as large as the wave."""
CHECKED = 10
"""Optimiser steps between two looks at the losses; looking makes a GPU wait."""

Validate = Callable[[Surrogate], float]
Record = dict[str, Any]


REMEDY = (
    "use a smaller --fit.learning_rate, with --overwrite or another --output since a run goes on with its "
    "own settings only; or check the dataset with 'slimwave check'"
)


class TrainingDivergedError(RuntimeError):
    """The loss or its gradient is no longer finite, or beyond all bounds."""


class BlownUpError(TrainingDivergedError):
    """A fit has come to its end, and every rollout that was to judge it has blown up."""


class Fitter:
    """Trains a model in place and can be saved and resumed at any step.

    Parameters
    ----------
    model
        The model, on its device.
    windows
        Training windows, see :func:`slimwave.surrogates.batches.training_windows`.
    fit
        Settings of the fit.
    seed
        Seed of the windows, symmetries and noise.
    pruner
        Masks to hold through the fit; None trains every weight.
    processes
        The processes that fit together.
    """

    def __init__(
        self,
        model: Surrogate,
        windows: WaveWindows,
        fit: FitConfig,
        *,
        seed: int,
        pruner: SAPPruner | None = None,
        processes: Processes | None = None,
    ) -> None:
        self.model = model
        self.fit = fit
        self.processes = processes or Processes()
        self.position = TrainingPosition(processes=self.processes.count)
        self.batches = Batches(
            windows,
            fit,
            model.scale,
            seed=seed,
            rank=self.processes.rank,
            processes=self.processes.count,
        )
        self.unrolled = self.processes.wrap(Unrolled(model, fit))
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=fit.learning_rate,
            betas=BETAS,
            weight_decay=fit.weight_decay,
            fused=True,
        )
        self.pruner = pruner
        self._attachment = pruner.attach(self.optimizer) if pruner is not None else ExitStack()
        averaged = model.named_parameters() if fit.ema else ()
        self.average = {name: value.detach().clone() for name, value in averaged}

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
        on_validation: Callable[[Record, bool], None],
        state_file: Path,
        progress: bool = False,
        label: str = "train",
    ) -> TrainingPosition:
        """Fit until ``fit.steps`` are done, or until no validation has been better for ``fit.patience``.

        Parameters
        ----------
        validate
            Rollout error of a model on validation data.
        every
            Steps between validations, the length of an epoch; the last step is always validated.
        on_validation
            Called with the record of an epoch and whether its validation is the best so far, while the model
            holds the weights that were validated.
        state_file
            Where the position is kept after every validation that is finite; resumed from if it exists.
        progress
            Show a bar with the time left on standard error.
        label
            Name of the bar.

        Raises
        ------
        TrainingDivergedError
            At the first loss or gradient that is not finite, or a loss that has exploded.
        BlownUpError
            At the end, if no validation has been finite.
        """
        if state_file.is_file():
            self.load(state_file)
        self.processes.wait()
        spent = self.position.cpu_seconds - time.process_time()
        with progress_bar(self.fit.steps, label, "step", shown=progress, initial=self.position.step) as bar:
            while not self._finished(every):
                record = self._epoch(every, bar.update)
                record["cpu_seconds"] = spent + time.process_time()
                self._validate(validate, record, on_validation)
                bar.set_postfix(loss=f"{record['loss']:.2g}", rollout=f"{record['rollout_error']:.3g}")
                if self.processes.leads and math.isfinite(record["rollout_error"]):
                    self.save(state_file)
        self._require_validated()
        return self.position

    def step(self) -> Tensor:
        """Take one optimiser step; return its terms of the loss, and the gradient's norm, on the device."""
        number = self.position.step
        batch = self.batches.draw(number, unrolled_steps(self.fit, number) * self.model.frames)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.fit, number)
        self.model.train()
        loss, terms = self.unrolled(Windows(*(field.to(self.device, non_blocking=True) for field in batch)))
        self.optimizer.zero_grad()
        loss.backward()
        if self.pruner is not None:
            self.pruner.mask_gradients()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.fit.clip, foreach=True)
        self.optimizer.step()
        self._update_average(number)
        self.position = replace(self.position, step=number + 1)
        return torch.cat([terms, norm.detach()[None]])

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
            If the file is damaged, or belongs to another network or another number of processes.
        """
        tensors, position = load_training(path)
        if position.processes != self.processes.count:
            raise CheckpointError(
                f"{path} was written by {position.processes} process(es), now there are "
                f"{self.processes.count}; their number multiplies the batch: start as many, or train anew "
                "with --overwrite"
            )
        groups = {
            prefix: {
                name.removeprefix(f"{prefix}."): tensor
                for name, tensor in tensors.items()
                if name.startswith(f"{prefix}.")
            }
            for prefix in ("weights", "average", "moments")
        }
        require_same_tensors(self.model.state_dict(), groups["weights"], str(path))
        require_same_tensors(self.average, groups["average"], str(path))
        self.model.load_state_dict(groups["weights"])
        self.average = {name: groups["average"][name].to(self.device) for name in self.average}
        self._load_moments(groups["moments"])
        self.position = position

    def _finished(self, every: int) -> bool:
        """Whether all steps are done, or the last stage of the curriculum has stopped getting better."""
        position, patience = self.position, self.fit.patience
        if position.step >= self.fit.steps or patience is None:
            return position.step >= self.fit.steps
        return position.step - max(position.best_step, last_stage(self.fit)) >= patience * every

    def _epoch(self, every: int, on_step: Callable[[], object]) -> Record:
        """Take the steps up to the next validation and sum them up."""
        started, before = time.perf_counter(), self.position.step
        end = min((before // every + 1) * every, self.fit.steps)
        taken = torch.cat(list(self._checked_steps(end, on_step)))
        seconds = time.perf_counter() - started
        loss, state, energy, gradient, norm = taken.mean(dim=0).tolist()
        weights = {
            "energy": (self.fit.energy_weight, energy),
            "gradient": (self.fit.gradient_weight, gradient),
        }
        return {
            "epoch": math.ceil(end / every),
            "step": end,
            "passes": self.batches.passes(end),
            "unroll": unrolled_steps(self.fit, end - 1),
            "learning_rate": learning_rate(self.fit, end - 1),
            "loss": loss,
            "state_loss": state,
            **{f"{name}_loss": value for name, (weight, value) in weights.items() if weight},
            "gradient_norm": norm,
            "largest_gradient_norm": float(taken[:, -1].max()),
            "seconds": seconds,
            "samples_per_second": (end - before) * self.batches.size / seconds,
        }

    def _checked_steps(self, end: int, on_step: Callable[[], object]) -> Iterator[Tensor]:
        """Take steps until ``end``; yield what they return, looked at, (steps, 5) on the CPU."""
        while (first := self.position.step) < end:
            steps = []
            for _ in range(min(CHECKED, end - first)):
                steps.append(self.step())
                on_step()
            taken = self.processes.mean(torch.stack(steps)).cpu()
            self._require_bounded(taken, first)
            yield taken

    def _require_bounded(self, taken: Tensor, first: int) -> None:
        bounded = taken.isfinite().all(dim=1) & (taken[:, 0] < EXPLODED)
        if bool(bounded.all()):
            return
        place = int(bounded.logical_not().nonzero()[0])
        kept = (
            f"the best checkpoint, from step {self.position.best_step}, is kept"
            if self._validated
            else "no checkpoint had a finite validation error yet"
        )
        raise TrainingDivergedError(
            f"training diverged at step {first + place + 1}: loss {taken[place, 0]:g}, gradient norm "
            f"{taken[place, -1]:g}; {kept}; {REMEDY}"
        )

    @property
    def _validated(self) -> bool:
        """Whether any validation has been finite."""
        return self.position.best_error is not None and math.isfinite(self.position.best_error)

    def _require_validated(self) -> None:
        if not self._validated:
            raise BlownUpError(
                f"training diverged: no validation up to step {self.position.step} of {self.fit.steps} had a "
                f"finite rollout error, so no checkpoint is kept; {REMEDY}"
            )

    def _update_average(self, step: int) -> None:
        if self.average:
            parameters = [value.detach() for value in self.model.parameters()]
            torch._foreach_lerp_(list(self.average.values()), parameters, 1 - average_decay(self.fit, step))

    def _validate(
        self, validate: Validate, record: Record, on_validation: Callable[[Record, bool], None]
    ) -> None:
        """Validate the averaged weights, tell the caller, and put the trained ones back."""
        trained = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        self.model.load_state_dict(self.average, strict=False)
        self.model.eval()
        error = self.processes.from_leader(validate(self.model) if self.processes.leads else math.nan)
        least = self.position.best_error if self.position.best_error is not None else math.inf
        best = error < least
        self.position = replace(self.position, cpu_seconds=record["cpu_seconds"])
        if best:
            self.position = replace(self.position, best_error=error, best_step=self.position.step)
        record["rollout_error"] = error
        on_validation(record, best)
        self.model.load_state_dict(trained, strict=False)

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
