"""Masks over some parameters of a model: what they hide is zero, and stays zero while the model is trained.

They hold by name, so that they outlive moves to another device and reloads, and are applied by filling with
zero, never by multiplying (0 · NaN is NaN).
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn


class MaskedModel:
    """A model and masks over the parameters `names`, everything kept at first."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        self.model = model
        self._masks = {name: torch.ones_like(model.get_parameter(name), dtype=torch.bool) for name in names}

    @property
    def masks(self) -> dict[str, Tensor]:
        """The masks by parameter name: true where the weight is kept, on the parameter's device."""
        for name, weight in self.weights().items():
            self._masks[name] = self._masks[name].to(weight.device)
        return self._masks

    @property
    def total(self) -> int:
        """Number of weights under masks."""
        return sum(mask.numel() for mask in self._masks.values())

    @property
    def kept(self) -> int:
        """Number of weights not pruned."""
        return sum(int(mask.sum()) for mask in self._masks.values())

    def weights(self) -> dict[str, nn.Parameter]:
        """Look the masked parameters up anew: moving or reloading a model may replace them."""
        return {name: self.model.get_parameter(name) for name in self._masks}

    def hide_zeros(self) -> None:
        """Count as pruned every weight that is zero now, as in a model that was pruned before."""
        for name, weight in self.weights().items():
            self._masks[name] = self.masks[name] & (weight.detach() != 0)

    @torch.no_grad()
    def apply(self) -> None:
        """Set every pruned weight of the model to zero."""
        masks = self.masks
        for name, weight in self.weights().items():
            weight.masked_fill_(~masks[name], 0.0)

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Set the gradient of every pruned weight to zero; call it before clipping by the gradient's norm."""
        masks = self.masks
        for name, weight in self.weights().items():
            if weight.grad is not None:
                weight.grad.masked_fill_(~masks[name], 0.0)

    def attach(self, optimizer: torch.optim.Optimizer) -> ExitStack:
        """Keep pruned weights at zero through every step of `optimizer`.

        Momentum and weight decay would revive them, so gradients are masked before and weights after a step.
        The result is a context manager that detaches at its end; without `with`, its `close()` does.

        Raises
        ------
        ValueError
            If the optimizer trains none of the masked weights (that of another model, say).
        """
        trained = {id(w) for group in optimizer.param_groups for w in group["params"]}
        if not any(id(w) in trained for w in self.weights().values()):
            raise ValueError("optimizer: it trains none of the pruned weights; build it from this model")
        attachment = ExitStack()
        attachment.callback(optimizer.register_step_pre_hook(lambda *_: self.mask_gradients()).remove)
        attachment.callback(optimizer.register_step_post_hook(lambda *_: self.apply()).remove)
        self.apply()
        return attachment

    def rewind(self, state: Mapping[str, Tensor]) -> None:
        """Load the state dict of an earlier moment into the model, then apply the masks.

        Raises
        ------
        ValueError
            If the state is another model's, or shares its memory with this model (`state_dict()` does: clone
            it), so that there is nothing to go back to.
        """
        live = self.model.state_dict()
        expected = {name: tuple(t.shape) for name, t in live.items()}
        given = {name: tuple(t.shape) for name, t in state.items()}
        if expected != given:
            raise ValueError(f"state: not a state of this model; {_difference(expected, given)}")
        if any(state[name].data_ptr() == t.data_ptr() for name, t in live.items() if t.numel()):
            raise ValueError("state: it shares memory with the model; clone its tensors before training")
        self.model.load_state_dict(state)
        self.apply()

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of the masks, fit for safetensors."""
        return {name: mask.clone() for name, mask in self.masks.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over the masks of `state_dict()` and apply them.

        Raises
        ------
        ValueError
            If they are of another model: other names or shapes, or not boolean.
        """
        expected = {name: (tuple(mask.shape), torch.bool) for name, mask in self._masks.items()}
        given = {name: (tuple(mask.shape), mask.dtype) for name, mask in state.items()}
        if expected != given:
            raise ValueError(f"masks: not those of this model; {_difference(expected, given)}")
        self._masks = {name: state[name].clone() for name in self._masks}
        self.apply()


def _difference(expected: Mapping[str, object], given: Mapping[str, object]) -> str:
    """Say in a few words where two mappings differ."""
    parts = [f"missing {name}" for name in expected if name not in given]
    parts += [f"unexpected {name}" for name in given if name not in expected]
    parts += [
        f"{name} expected {expected[name]}, got {given[name]}"
        for name in expected
        if name in given and expected[name] != given[name]
    ]
    return "; ".join(parts[:4]) + (f"; and {len(parts) - 4} more" if len(parts) > 4 else "")
