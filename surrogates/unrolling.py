"""The forecast of a training step as one module: encode the medium once, unroll, take the loss.

One module, because data-parallel training, mixed precision and compilation all wrap a module's ``forward``.

Mixed precision computes convolutions in bfloat16 and holds weights, states and losses in float32. Measured
on the CPU, see the benchmark ``benchmarks/training.py``.
"""

import importlib.util
import logging
import os
import shutil
import sysconfig
from pathlib import Path

import torch
from torch import Tensor, nn

from slimwave.surrogates.augmentation import Windows
from slimwave.surrogates.losses import LossTerms, loss_terms, weighted_sum
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.training_settings import FitConfig

COMPILERS = ("g++", "clang++", "c++", "cl")
BREAKS_LOGGER = "torch._dynamo.variables.tensor"


class Unrolled(nn.Module):
    """A model's loss over several macro steps on its own output.

    Parameters
    ----------
    model
        The model.
    fit
        Weights of the loss's terms, precision, and whether to compile.

    Raises
    ------
    ValueError
        If compilation is asked for and there is no compiler.
    """

    def __init__(self, model: Surrogate, fit: FitConfig) -> None:
        super().__init__()
        self.model, self.fit = model, fit
        self.encode, self.step = model.encode, model.step
        if fit.compile:
            require_compiler(model.scale.device)
            logging.getLogger(BREAKS_LOGGER).addFilter(_not_of_walls)
            self.encode, self.step = torch.compile(model.encode), torch.compile(model.step)

    def forward(self, batch: Windows) -> tuple[Tensor, Tensor]:
        """Return the loss and, to be logged, (loss, state, energy, gradient); a term left out is 0."""
        device, half = self.model.scale.device, self.fit.precision == "bfloat16"
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            forecast = self._unroll(batch)
        terms = self._terms(forecast.float(), batch)
        loss = weighted_sum(terms, self.fit.energy_weight, self.fit.gradient_weight)
        logged = [loss, *(loss.new_zeros(()) if term is None else term for term in terms)]
        return loss, torch.stack(logged).detach()

    def _unroll(self, batch: Windows) -> Tensor:
        context = self.encode(batch.wave_speed, batch.walls)
        state, forecast = batch.state, []
        for _ in range(batch.targets.shape[1] // self.model.frames):
            state = self.step(state, context)
            forecast.append(self.model.split(state))
        return torch.cat(forecast, dim=1)

    def _terms(self, forecast: Tensor, batch: Windows) -> LossTerms:
        return loss_terms(
            forecast,
            batch.targets,
            batch.wave_speed,
            self.model.scale,
            self.model.task.spacing,
            with_energy=self.fit.energy_weight > 0,
            with_gradient=self.fit.gradient_weight > 0,
        )


def _not_of_walls(record: logging.LogRecord) -> bool:
    """Drop one warning: a medium is asked whether a side absorbs, once, and the graph may break there."""
    return not record.msg.startswith("Graph break from `Tensor.item()`")


def require_compiler(device: torch.device) -> None:
    """Require what ``torch.compile`` needs, before any work.

    Raises
    ------
    ValueError
        Naming what is missing and how to do without.
    """
    without = "or leave out --fit.compile"
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise ValueError(f"--fit.compile: expected the package triton, got none; install it, {without}")
        return
    named = os.environ.get("CXX")
    if not any(shutil.which(name) for name in ([named] if named else COMPILERS)):
        raise ValueError(
            f"--fit.compile: expected a C++ compiler, found no {named or ', '.join(COMPILERS)}; "
            f"install g++ or name one in CXX, {without}"
        )
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        raise ValueError(f"--fit.compile: expected Python's headers; install python3-dev, {without}")
