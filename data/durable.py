"""Durable files: a reader sees the old content or the new one, never a part of it.

The bytes go to a temporary name in the same folder, are forced to the disk, and take the final name in one
atomic step; then the folder itself is forced to the disk. Killing the process at any moment leaves at worst a
file that ends in ``.part``.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PART = ".part"


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file durably; see :func:`write_pieces`."""
    write_pieces(path, [content])


def write_pieces(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    """Write a file durably, piece after piece.

    Raises
    ------
    OSError
        For example on a full disk; the temporary file is removed and the old content stays.
    """
    with durable_file(path) as file:
        file.writelines(pieces)


@contextmanager
def durable_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing (and reading back) that appears under its name once it is whole.

    Raises
    ------
    OSError
        As :func:`write_bytes`; any exception in the ``with`` block leaves the old content.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    try:
        with temporary.open("wb+") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_text(path: Path, content: str) -> None:
    """Write a text file durably, in UTF-8."""
    write_bytes(path, content.encode())


def remove_parts(folder: Path) -> None:
    """Remove the temporary files that a killed process left below a folder."""
    for path in folder.rglob(f"*{PART}"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Force a folder's entries to the disk, where the system allows it (not on Windows)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
