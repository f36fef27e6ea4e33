"""Opening HDF5 files that may be damaged or hostile.

An HDF5 file can reach outside itself (external links, external raw storage, virtual datasets), can load
foreign code (filter plugins) and can claim terabytes in a kilobyte. :func:`open_guarded` refuses all of it
before anything is read: what passes is a tree of groups and plain arrays whose bytes lie in the file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from slimwave.data.shards import DatasetError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
DEFLATE_LIMIT = 1100
"""Deflate compresses by at most 1032 : 1, so that a larger claim is a false one."""
MOST_OBJECTS = 1000
PLAIN_KINDS = "fiubO"
"""Kinds of numpy types that may be stored: numbers, booleans and strings."""
DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, UnicodeError)
"""What h5py raises on damaged files."""


@contextmanager
def open_guarded(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading once it is known to be harmless.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DatasetError
        If it is no HDF5 file, is damaged, or reaches outside itself.
    """
    with open_file(path) as file:
        yield file


def open_file(path: Path) -> h5py.File:
    """Do what :func:`open_guarded` does, for callers that keep the file open and close it themselves."""
    _require_signature(path)
    try:
        file = h5py.File(path, "r", locking=False)
    except DAMAGED as error:
        raise DatasetError(path, f"truncated or damaged HDF5 file ({_first_line(error)})") from error
    try:
        _Inspection(path).walk(file)
    except DatasetError:
        file.close()
        raise
    except DAMAGED as error:
        file.close()
        raise DatasetError(path, f"damaged HDF5 file ({_first_line(error)})") from error
    return file


class _Inspection:
    """One walk over everything in a file, along hard links only, each object once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file_size = path.stat().st_size
        self.seen: set[int] = set()

    def walk(self, root: h5py.Group) -> None:
        pending = [root]
        while pending:
            group = pending.pop()
            for name in group:
                item = self._hard_linked(group, name)
                address = h5py.h5o.get_info(item.id).addr
                if address in self.seen:
                    continue
                self._remember(address)
                if isinstance(item, h5py.Group):
                    pending.append(item)
                else:
                    self._require_plain(item)

    def _hard_linked(self, group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
        link = group.get(name, getlink=True)
        where = f"{group.name.rstrip('/')}/{name}"
        if not isinstance(link, h5py.HardLink):
            self._refuse(where, f"{type(link).__name__} is not allowed")
        item = group[name]
        if not isinstance(item, h5py.Group | h5py.Dataset):
            self._refuse(where, f"{type(item).__name__} is not allowed")
        return item

    def _remember(self, address: int) -> None:
        self.seen.add(address)
        if len(self.seen) > MOST_OBJECTS:
            raise DatasetError(self.path, "too many objects", f"at most {MOST_OBJECTS}", "more")

    def _require_plain(self, data: h5py.Dataset) -> None:
        if data.external:
            self._refuse(data.name, "external raw storage is not allowed")
        if data.is_virtual:
            self._refuse(data.name, "a virtual dataset is not allowed")
        plist = data.id.get_create_plist()
        filters = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
        if filters - FILTERS:
            self._refuse(data.name, f"filter {min(filters - FILTERS)} is not allowed")
        if data.dtype.kind not in PLAIN_KINDS or (data.dtype.kind == "O" and not _is_string(data)):
            self._refuse(data.name, f"type {data.dtype} is not allowed")
        self._require_stored(data, compressed=h5py.h5z.FILTER_DEFLATE in filters)

    def _require_stored(self, data: h5py.Dataset, *, compressed: bool) -> None:
        stored = min(data.id.get_storage_size(), self.file_size)
        room = stored * (DEFLATE_LIMIT if compressed else 1)
        if data.shape is None or data.nbytes > room:
            self._refuse(data.name, f"claims {data.nbytes:,} bytes of values, but {stored:,} are stored")

    def _refuse(self, where: str, why: str) -> None:
        raise DatasetError(self.path, f"{where}: {why}", remedy="use files written by 'slimwave generate'")


def _require_signature(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; check the path or run 'slimwave generate' again")
    if not path.is_file():
        raise DatasetError(path, "not a file", "an HDF5 file", "a folder or device", "check the path")
    with path.open("rb") as file:
        start = file.read(len(SIGNATURE))
    if not start:
        raise DatasetError(path, "empty file", "an HDF5 file", "0 bytes")
    if start != SIGNATURE:
        raise DatasetError(path, "not an HDF5 file", f"the signature {SIGNATURE!r}", repr(start))


def _is_string(data: h5py.Dataset) -> bool:
    return h5py.check_string_dtype(data.dtype) is not None


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
