"""Full precision within mixed precision, where rounding to bfloat16 would cost more than accuracy.

A force is a difference of neighbouring values, of which eight bits leave little; and the bound that keeps a
step from growing has a slack of a thousandth, where bfloat16 rounds by four.
"""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

Self = TypeVar("Self")
Rest = ParamSpec("Rest")
Result = TypeVar("Result")


def in_full_precision(
    method: Callable[Concatenate[Self, Tensor, Rest], Result],
) -> Callable[Concatenate[Self, Tensor, Rest], Result]:
    """Decorate a method whose first argument is a tensor, so that it computes as without autocast."""

    @wraps(method)
    def full(self: Self, tensor: Tensor, /, *args: Rest.args, **kwargs: Rest.kwargs) -> Result:
        if not torch.is_autocast_enabled(tensor.device.type):
            return method(self, tensor, *args, **kwargs)
        with torch.autocast(tensor.device.type, enabled=False):
            return method(self, tensor, *args, **kwargs)

    return full
