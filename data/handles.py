"""Files that are opened lazily, in each process by itself.

A handle shared with a forked process shares its position and its caches: reads mix. A copy of
:class:`Handles` in another process, forked or pickled, therefore opens its own.
"""

import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")
Item = TypeVar("Item")

MOST_OPEN = 64
"""Files that one process keeps open."""


class Handles(Generic[Key, Item]):
    """Open files by key.

    Parameters
    ----------
    open_one
        Opens a file; it is closed when its last reference goes.
    """

    def __init__(self, open_one: Callable[[Key], Item]) -> None:
        self.open_one = open_one
        self.owner = os.getpid()
        self.items: dict[Key, Item] = {}

    def get(self, key: Key) -> Item:
        """Return an open file, opened on first use; of too many, the one opened first is let go."""
        if self.owner != os.getpid():
            self.owner, self.items = os.getpid(), {}
        if key not in self.items:
            if len(self.items) >= MOST_OPEN:
                self.items.pop(next(iter(self.items)))
            self.items[key] = self.open_one(key)
        return self.items[key]

    def __getstate__(self) -> dict[str, Any]:
        return {"open_one": self.open_one, "owner": 0, "items": {}}
