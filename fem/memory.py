"""Sizes that do not fit into memory are refused before anything is allocated.

The estimates are upper bounds measured with tracemalloc on meshes of order 2 to 8.
"""

import os
from pathlib import Path

MESH_PER_ELEMENT = 360
"""Bytes of a scikit-fem mesh of quads per element."""

SPACE_PER_NODE = 200
"""Bytes of a `GLLSpace` per node while it is set up; about 110 stay."""

TENSOR_PER_NODE = 180
"""Bytes of a solver on a tensor grid per node while it is set up; about 125 stay."""

SPARSE_PER_ENTRY = 28
"""Bytes of a solver on any other mesh per entry of an element matrix while it is set up; a tenth stays."""

STATES_OF_A_RUN = 24
"""Fields that a run holds at most at a time, those of a driven wave included."""


class MemoryLimitError(ValueError):
    """Something that would not fit into the memory that is available."""


def require_memory(size: int, name: str, what: str, remedy: str) -> None:
    """Refuse `size` bytes for `what` if more than is available; `name` is the argument to blame.

    Raises
    ------
    MemoryLimitError
        With the sizes and the remedy.
    """
    available = available_memory()
    if size > available:
        raise MemoryLimitError(
            f"{name}: {what} needs about {_readable(size)} of memory, {_readable(available)} are available; "
            f"{remedy}"
        )


def available_memory() -> int:
    """Bytes that this process can still allocate: what the machine has free, or its control group allows."""
    return min(_free_on_machine(), _free_in_group())


def _free_on_machine() -> int:
    info = Path("/proc/meminfo")
    if info.exists():
        entries = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        if "MemAvailable" in entries:
            return int(entries["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _free_in_group(folder: Path = Path("/sys/fs/cgroup")) -> int:
    """What the limit of the control group (version 2) leaves; without a limit, as much as one can address."""
    limit, used = folder / "memory.max", folder / "memory.current"
    if limit.exists() and used.exists() and (text := limit.read_text().strip()) != "max":
        return max(int(text) - int(used.read_text()), 0)
    return 2**63


def _readable(size: int) -> str:
    amount = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.3g} {unit}"
        amount /= 1024
    return f"{amount:.3g} TiB"
