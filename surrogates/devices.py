"""Where to compute: the device by name, and the number of CPU threads for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def resolve_device(name: str) -> torch.device:
    """Device for ``auto``, ``cpu`` or ``cuda``; on a GPU, torch then computes in single precision.

    Raises
    ------
    ValueError
        If ``cuda`` is asked for and torch finds no GPU.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("--device cuda: torch finds no CUDA GPU on this machine; use --device cpu or auto")
    device = torch.device(("cuda" if available else "cpu") if name == "auto" else name)
    if device.type == "cuda":
        _without_tf32()
    return device


def _without_tf32() -> None:
    """Let convolutions and products keep the 24 bits of their inputs.

    By default torch's convolutions on NVIDIA GPUs round their inputs to TF32, of 11 bits. That is an error of
    5·10⁻⁴ in every convolution, as large as that of a good network's step, and it takes up the slack of the
    bound that keeps leapfrog and macro-step networks from growing.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Let torch use ``count`` CPU threads inside the block; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
