"""What Linux knows about processes: whether they ran, waited for a core or slept, and their peak memory."""

import multiprocessing
import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

POLL = 0.02
"""Seconds between two readings."""


class Shares(NamedTuple):
    """How the main threads of some processes spent their time, as shares of it."""

    running: float
    waiting: float
    asleep: float


class Reading(NamedTuple):
    """Seconds since an arbitrary moment, of which the thread ran and waited for a core."""

    at: float
    running: float
    waiting: float


def read(process: int) -> Reading:
    """Read the times of the main thread of a process."""
    running, waiting, _ = Path(f"/proc/{process}/task/{process}/schedstat").read_text().split()
    return Reading(time.perf_counter(), 1e-9 * int(running), 1e-9 * int(waiting))


class Watch:
    """Watches this process, or its children, in the ``with`` block; what they do before is left out.

    Parameters
    ----------
    children
        Whether to watch the children.
    """

    def __init__(self, *, children: bool) -> None:
        self.children = children
        self._readings: dict[int, list[Reading]] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._done.wait(POLL):
            children = [child.pid for child in multiprocessing.active_children() if child.pid]
            for process in children if self.children else [os.getpid()]:
                try:
                    reading = read(process)
                except OSError:  # it has ended
                    continue
                self._readings.setdefault(process, []).append(reading)

    def shares(self, start: float, end: float) -> Shares:
        """How the time between two moments, of `time.perf_counter`, was spent, over all processes."""
        running = waiting = wall = 0.0
        for readings in self._readings.values():
            inside = [one for one in readings if start <= one.at <= end]
            if len(inside) > 1:
                wall += inside[-1].at - inside[0].at
                running += inside[-1].running - inside[0].running
                waiting += inside[-1].waiting - inside[0].waiting
        if not wall:
            raise RuntimeError("the processes were not seen for long enough")
        return Shares(running / wall, waiting / wall, 1.0 - (running + waiting) / wall)


def reset_peak() -> None:
    """Let the peak of memory begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """Peak of the memory of this process since `reset_peak`, in MiB."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return int(line.split()[1]) / 1024
