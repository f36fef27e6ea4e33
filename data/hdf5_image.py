"""HDF5 files built in memory, in which large fields stay where they are.

A field is a block of the file that HDF5 sets aside and never writes. The bytes of the file are then a list of
pieces: those that HDF5 wrote, and between them the arrays of the fields themselves, which are neither copied
nor held twice. What HDF5 writes is small, and can be copied and completed where files differ in little.

>>> image = HDF5Image()
>>> with h5py.File(image, "w") as file:
...     _ = image.add_block(file, "field", (2, 2, 3))
>>> content = b"".join(image.pieces({"/field": [np.zeros((2, 3), "<f4"), np.ones((2, 3), "<f4")]}))
>>> h5py.File(io.BytesIO(content))["field"][1, 0].tolist()
[1.0, 1.0, 1.0]
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

PAGE = 4096

Array = NDArray[Any]


class SparseFile(io.RawIOBase):
    """A file in memory that stores the pages that were written to; all else reads as zeros."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self._place, self._size = 0, 0

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def writable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.RawIOBase`."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def truncate(self, size: int | None = None) -> int:
        """Set the size of the file, which may grow."""
        self._size = self._place if size is None else size
        return self._size

    def write(self, content: Any) -> int:
        """See `io.RawIOBase`."""
        view = memoryview(content).cast("B")
        for page, inside, outside in self._parts(len(view)):
            stored = self._pages.setdefault(page, bytearray(PAGE))
            stored[inside] = view[outside]
        if len(view):
            self._size = max(self._size, self._place)
        return len(view)

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase`."""
        view = memoryview(buffer).cast("B")
        count = min(len(view), max(self._size - self._place, 0))
        empty = bytes(PAGE)
        for page, inside, outside in self._parts(count):
            view[outside] = self._pages.get(page, empty)[inside]
        return count

    def _parts(self, count: int) -> Iterator[tuple[int, slice, slice]]:
        """Go over the next bytes page by page: number of the page, place inside it, place among the bytes."""
        done = 0
        while done < count:
            page, start = divmod(self._place, PAGE)
            length = min(count - done, PAGE - start)
            yield page, slice(start, start + length), slice(done, done + length)
            self._place, done = self._place + length, done + length


@dataclass(frozen=True)
class Block:
    """A part of the file that is left to arrays: where it begins, and what belongs there."""

    name: str
    start: int
    shape: tuple[int, ...]
    type: np.dtype[Any]

    def bytes_of(self, rows: Sequence[Array]) -> list[memoryview]:
        """Return the bytes of the rows; ValueError unless they are what belongs here."""
        wanted = [(self.shape[1:], self.type)] * self.shape[0]
        if [(row.shape, row.dtype) for row in rows] != wanted or not all(
            row.flags.c_contiguous for row in rows
        ):
            raise ValueError(
                f"{self.name}: expected {self.shape[0]} contiguous arrays {self.shape[1:]} of {self.type}"
            )
        return [row.data.cast("B") for row in rows]


class HDF5Image(SparseFile):
    """The file object for `h5py.File(image, "w")`, and the bytes of the file once that is closed."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks: dict[str, Block] = {}

    def add_block(
        self, group: h5py.Group, name: str, shape: tuple[int, ...], kind: str = "<f4"
    ) -> h5py.Dataset:
        """Add a dataset of which the values are given at the end, to `pieces`."""
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_obj_track_times(False)  # equal calls give equal bytes
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        type_of_file = h5py.h5t.py_create(np.dtype(kind), logical=True)
        space = h5py.h5s.create_simple(shape)
        identifier = h5py.h5d.create(group.id, name.encode(), type_of_file, space, properties)
        data = h5py.Dataset(identifier)
        self._blocks[data.name] = Block(data.name, identifier.get_offset(), shape, np.dtype(kind))
        return data

    def copy(self) -> "HDF5Image":
        """Return an image of its own, to be opened with "r+" and completed."""
        twin = HDF5Image()
        twin._pages = {number: bytearray(page) for number, page in self._pages.items()}
        twin._size, twin._blocks = self._size, dict(self._blocks)
        return twin

    def pieces(self, values: Mapping[str, Sequence[Array]]) -> list[memoryview]:
        """Return the bytes of the file in order.

        Parameters
        ----------
        values
            Rows of every block, by the full name of its dataset. They are not copied, and must not be changed
            before the pieces have been used.

        Raises
        ------
        ValueError
            For rows of another number, shape or type than the block's, and for blocks without values.
        """
        if values.keys() != self._blocks.keys():
            raise ValueError(f"expected values for {sorted(self._blocks)}, got {sorted(values)}")
        pieces, end = [], 0
        for name, block in sorted(self._blocks.items(), key=lambda item: item[1].start):
            rows = block.bytes_of(values[name])
            pieces += [self._between(end, block.start), *rows]
            end = block.start + sum(row.nbytes for row in rows)
        return [*pieces, self._between(end, self._size)]

    def _between(self, start: int, end: int) -> memoryview:
        content = bytearray(end - start)
        self.seek(start)
        self.readinto(content)
        return memoryview(content)
