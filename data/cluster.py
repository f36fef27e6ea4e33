"""Independent tasks on a Dask cluster (extra ``cluster``).

>>> with closing(run_on_cluster(solve, tasks, "tcp://head:8786")) as results:  # doctest: +SKIP
...     for result in results:
...         ...

The cluster computes and nothing else: results travel back, and the caller writes them. The workers need no
common file system, and one that is killed loses only what it was computing, which Dask gives to another.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

ANSWER_WITHIN = 10
"""Seconds for the scheduler to answer."""
TASKS_AHEAD = 2
"""Tasks handed out per thread of the cluster, so that finished results do not pile up."""


def run_on_cluster(
    function: Callable[[Task], Result], tasks: Sequence[Task], address: str
) -> Generator[Result, None, None]:
    """Yield the results of ``function(task)`` as they come, in any order.

    Raises
    ------
    ImportError
        Without Dask.
    OSError
        If no scheduler answers at ``address``.
    RuntimeError
        If one task brings worker after worker down.
    """
    if not tasks:
        return
    with _connected(address) as client:
        yield from _results(client, function, iter(tasks))


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        import distributed
    except ImportError as error:
        raise ImportError("--scheduler needs Dask: pip install 'slimwave[cluster]'") from error
    try:
        connect: Any = distributed.Client
        client = connect(address, timeout=ANSWER_WITHIN, set_as_default=False)
    except (OSError, ValueError) as error:
        raise OSError(
            f"--scheduler: no Dask scheduler answers at {address}; start one with 'dask scheduler' and "
            "workers with 'dask worker ADDRESS --nthreads 1'"
        ) from error
    with client:
        yield client


def _results(
    client: Any, function: Callable[[Task], Result], tasks: Iterator[Task]
) -> Generator[Result, None, None]:
    import distributed

    finished: Any = distributed.as_completed

    def submit(count: int) -> list[Any]:
        chosen = [task for _, task in zip(range(count), tasks, strict=False)]
        return client.map(function, chosen, pure=False) if chosen else []

    pending = set(submit(TASKS_AHEAD * max(1, sum(client.nthreads().values()))))
    try:
        queue = finished(pending, loop=client.loop)
        for future in queue:
            result = future.result()
            pending.remove(future)
            future.release()
            following = submit(1)
            pending.update(following)
            queue.update(following)
            yield result
    except distributed.KilledWorker as error:
        raise RuntimeError(
            f"the cluster's workers died while computing one task ({error}); give them more memory"
        ) from error
    finally:
        client.cancel(list(pending), force=True)
