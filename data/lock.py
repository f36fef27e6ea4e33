"""A lock that keeps two generators out of one folder, and that dies with its owner.

A lock is an empty file whose name says who holds it: ``.generate.<host>.<pid>.<start of the process>.lock``.
A name is made in one atomic step, so that there is no lock without an owner; a name whose process is gone
(killed, crashed, switched off) is swept away by the next comer. Two who come at the same moment see each
other, step back and try again after random delays. Nothing but plain files is needed, on any system.

>>> with folder_lock(Path("runs/data")):  # doctest: +SKIP
...     ...
"""

import os
import random
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ATTEMPTS = 5
LONGEST_DELAY = 0.2
"""Seconds between two attempts, at most."""
LOCK_NAME = re.compile(r"\.generate\.([\w-]+)\.(\d+)\.(\d+)\.lock")


class FolderLockedError(OSError):
    """Another live process is writing into the folder."""


@dataclass(frozen=True)
class Owner:
    """A process: host, process number and start (clock ticks since boot; 0 where the system does not tell).

    The start tells a process from a later one with the same number.
    """

    host: str
    pid: int
    start: int

    @classmethod
    def this_process(cls) -> Self:
        """Return the process that calls."""
        host = re.sub(r"[^\w-]", "-", socket.gethostname(), flags=re.ASCII) or "localhost"
        return cls(host, os.getpid(), _start_of(os.getpid()) or 0)

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Return the owner of a lock file; None for any other file."""
        name = LOCK_NAME.fullmatch(path.name)
        return cls(name[1], int(name[2]), int(name[3])) if name else None

    @property
    def name(self) -> str:
        """Name of the lock file."""
        return f".generate.{self.host}.{self.pid}.{self.start}.lock"

    def is_gone(self, here: str) -> bool:
        """Tell whether the process has ended; of a process on another host than ``here`` nothing is known."""
        if self.host != here:
            return False
        return not _is_running(self.pid) or (self.start > 0 and _start_of(self.pid) != self.start)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock.

    Raises
    ------
    FolderLockedError
        If another process holds it, naming that process; on another machine, naming the file to delete.
    """
    me = Owner.this_process()
    mine = folder / me.name
    _acquire(mine, me)
    try:
        yield
    finally:
        mine.unlink(missing_ok=True)


def is_lock(path: Path) -> bool:
    """Tell whether a file is a lock."""
    return LOCK_NAME.fullmatch(path.name) is not None


def _acquire(mine: Path, me: Owner) -> None:
    for attempt in range(ATTEMPTS):
        try:
            os.close(os.open(mine, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            raise FolderLockedError(_refusal(mine, me)) from None
        others = _live_others(mine, me)
        if not others:
            return
        mine.unlink()
        if attempt + 1 < ATTEMPTS:
            time.sleep(random.uniform(0, LONGEST_DELAY))
    raise FolderLockedError(_refusal(*others[0]))


def _live_others(mine: Path, me: Owner) -> list[tuple[Path, Owner]]:
    """Return the locks of other live processes; sweep those of dead ones away."""
    others = []
    for path in mine.parent.iterdir():
        owner = Owner.of(path)
        if owner is None or owner == me:
            continue
        if owner.is_gone(me.host):
            path.unlink(missing_ok=True)
        else:
            others.append((path, owner))
    return others


def _refusal(path: Path, owner: Owner) -> str:
    return (
        f"{path.parent} is being written by process {owner.pid} on {owner.host}; wait for it, stop it, or "
        f"choose another --output (if that process is long gone, delete {path})"
    )


def _is_running(pid: int) -> bool:
    if sys.platform == "win32":  # os.kill would end the process there
        import ctypes

        query_limited_information = 0x1000
        handle = ctypes.windll.kernel32.OpenProcess(query_limited_information, False, pid)
        ctypes.windll.kernel32.CloseHandle(handle)
        return bool(handle)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _start_of(pid: int) -> int | None:
    """Return the start of a process, field 22 of Linux's ``/proc/<pid>/stat``; None if it has ended."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *rest = line.rpartition(")")[2].split()  # the fields from the third on
    return None if state == "Z" else int(rest[18])
