"""Independent tasks on worker processes that end with their parent.

Processes are spawned, never forked, so that they are the same on every system and inherit no open files. A
worker leaves Ctrl-C to the parent, and ends by itself when the parent is killed.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Generator[Result, None, None]:
    """Yield the results of ``function(task)`` as they come, in any order.

    With one worker everything runs in this process. If the caller stops early (an exception, Ctrl-C, closing
    the iterator), the workers are ended at once.

    Raises
    ------
    RuntimeError
        If a worker process died.
    """
    if workers == 1 or len(tasks) <= 1:
        yield from map(function, tasks)
        return
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_start_worker)
    try:
        for future in as_completed([pool.submit(function, task) for task in tasks]):
            yield future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker process died: it ran out of memory or was killed, or the calling script lacks "
            '`if __name__ == "__main__":`; run again with --workers 1'
        ) from error
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown()


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
