"""HDF5 files built in memory, in which large fields stay where they are.

A field is a block of the file that HDF5 sets aside and never writes. The bytes of the file are then a list of
pieces: those that HDF5 wrote, and between them the arrays of the fields themselves, which are neither copied
nor held twice. Equal calls give equal bytes.

>>> import numpy as np
>>> image = HDF5Image()
>>> with h5py.File(image, "w") as file:
...     _ = image.add_block(file, "field", [np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)])
>>> content = b"".join(image.pieces())
>>> h5py.File(io.BytesIO(content))["field"][1, 0].tolist()
[1.0, 1.0, 1.0]
"""

import io
from collections.abc import Iterator, Sequence
from typing import Any

import h5py
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


class HDF5Image(SparseFile):
    """The file object for `h5py.File(image, "w")`, and the bytes of the file once that is closed."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks: dict[int, list[memoryview]] = {}

    def add_block(self, group: h5py.Group, name: str, rows: Sequence[Array]) -> h5py.Dataset:
        """Add a dataset whose rows are arrays of one shape, contiguous and little-endian.

        The arrays become part of the image, and must not be changed until it has been used.

        Raises
        ------
        ValueError
            If they differ in shape or type, or are not contiguous and little-endian.
        """
        first = rows[0]
        kind = first.dtype.newbyteorder("<")
        if any((row.shape, row.dtype) != (first.shape, kind) or not row.flags.c_contiguous for row in rows):
            raise ValueError(f"{name}: expected contiguous, little-endian arrays of one shape and type")
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_obj_track_times(False)
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple((len(rows), *first.shape))
        identifier = h5py.h5d.create(
            group.id, name.encode(), h5py.h5t.py_create(kind, logical=True), space, properties
        )
        self._blocks[identifier.get_offset()] = [row.data.cast("B") for row in rows]
        return h5py.Dataset(identifier)

    def pieces(self) -> list[memoryview]:
        """Return the bytes of the file in order."""
        pieces, end = [], 0
        for start, rows in sorted(self._blocks.items()):
            pieces += [self._between(end, start), *rows]
            end = start + sum(row.nbytes for row in rows)
        return [*pieces, self._between(end, self._size)]

    def _between(self, start: int, end: int) -> memoryview:
        content = bytearray(end - start)
        self.seek(start)
        self.readinto(content)
        return memoryview(content)
