"""How the values of a tensor are held in a sparse file: as unsigned integers, its items.

A tensor is its items in row-major order; an item is the bit pattern of an element, of the real or imaginary
part for complex tensors.  An item of 0 (+0.0, False) is not stored; −0.0 is not 0.  So every type returns bit
for bit, with one exception: `rounded` holds float32 tensors as float16 items and returns float32.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Items = NDArray[np.unsignedinteger]


class Kind(NamedTuple):
    """The type of a tensor, and the bytes of an item."""

    dtype: torch.dtype
    width: int

    def count(self, elements: int) -> int:
        """Return how many items hold this many elements."""
        return elements * (2 if self.dtype.is_complex else 1)


KINDS = {
    "float32": Kind(torch.float32, 4),
    "rounded": Kind(torch.float32, 2),
    "float64": Kind(torch.float64, 8),
    "float16": Kind(torch.float16, 2),
    "bfloat16": Kind(torch.bfloat16, 2),
    "complex64": Kind(torch.complex64, 4),
    "complex128": Kind(torch.complex128, 8),
    "bool": Kind(torch.bool, 1),
    "uint8": Kind(torch.uint8, 1),
    "int8": Kind(torch.int8, 1),
    "int16": Kind(torch.int16, 2),
    "int32": Kind(torch.int32, 4),
    "int64": Kind(torch.int64, 8),
    "uint16": Kind(torch.uint16, 2),
    "uint32": Kind(torch.uint32, 4),
    "uint64": Kind(torch.uint64, 8),
    "float8_e4m3fn": Kind(torch.float8_e4m3fn, 1),
    "float8_e5m2": Kind(torch.float8_e5m2, 1),
}
"""In files a kind is its number in this order: new kinds go to the end."""

NAMES = {kind.dtype: name for name, kind in KINDS.items() if name != "rounded"}
SIGNED = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def kind_of(name: str, tensor: Tensor, *, rounded: bool) -> str:
    """Return the kind that holds a tensor; `rounded` asks for float16 items if it is float32."""
    if tensor.dtype not in NAMES:
        raise ValueError(
            f"{name}: expected one of {', '.join(NAMES.values())}, got {tensor.dtype}; convert it"
        )
    return "rounded" if rounded and tensor.dtype == torch.float32 else NAMES[tensor.dtype]


def to_items(name: str, tensor: Tensor, kind: str) -> Items:
    """Return the items of a tensor."""
    width = KINDS[kind].width
    if tensor.numel() == 0:
        return np.zeros(0, f"u{width}")
    flat = tensor.resolve_conj().resolve_neg().contiguous().flatten()
    if kind == "rounded":
        flat = _rounded(name, flat)
    return flat.view(SIGNED[width]).numpy().view(f"u{width}")


def from_items(items: Items, kind: str, shape: tuple[int, ...]) -> Tensor:
    """Return the tensor that has these items."""
    dtype, width = KINDS[kind]
    if items.size == 0:
        return torch.zeros(shape, dtype=dtype)
    flat = torch.from_numpy(items.view(f"i{width}"))
    if kind == "rounded":
        return flat.view(torch.float16).to(dtype).view(shape)
    return (flat != 0 if dtype == torch.bool else flat.view(dtype)).view(shape)


def _rounded(name: str, values: Tensor) -> Tensor:
    rounded = values.half()
    if torch.any(rounded.isinf() & values.isfinite()):
        largest = float(values[values.isfinite()].abs().max())
        raise ValueError(
            f"{name}: {largest:.3g} does not fit float16 (at most 65504); "
            "name the tensor in exact, or use float32"
        )
    return rounded
