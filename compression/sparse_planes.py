"""The stored items of a sparse file, byte by byte: their top bytes shrink, the others hardly.

Every item is turned left by one bit, which makes its sign the lowest bit and, in float32, its exponent the
top byte.  Then come the lowest byte of every item, the next byte of every item, and so on.  Each such plane
is deflated if that makes it shorter and stands as it is otherwise; one byte before the planes says which, bit
i for plane i.  Trained weights have few exponents, so the top plane shrinks by half; mantissas are noise.
"""

import numpy as np

from slimwave.compression.sparse_bytes import CompressedFileError, Cursor, deflate
from slimwave.compression.sparse_kinds import Items


def write_planes(items: Items) -> bytes:
    """Return the planes of the items."""
    width = items.itemsize
    rows = _turned(items, 1).astype(f"<u{width}").view(np.uint8).reshape(-1, width)
    planes = [plane.tobytes() for plane in rows.T]
    short = [deflate(plane) for plane in planes]
    deflated = sum(1 << i for i in range(width) if len(short[i]) < len(planes[i]))
    chosen = (short[i] if deflated >> i & 1 else planes[i] for i in range(width))
    return bytes([deflated]) + b"".join(chosen)


def read_planes(cursor: Cursor, count: int, width: int) -> Items:
    """Return the next `count` items of `width` bytes."""
    (deflated,) = cursor.take(1)
    if deflated >> width:
        raise CompressedFileError(f"{cursor.what}: expected {width} planes, got {deflated.bit_length()}")
    rows = np.empty((count, width), np.uint8)
    for i in range(width):
        plane = cursor.inflate(count) if deflated >> i & 1 else cursor.take(count)
        if len(plane) != count:
            raise CompressedFileError(f"{cursor.what}: expected planes of {count} bytes, got {len(plane)}")
        rows[:, i] = np.frombuffer(plane, np.uint8)
    turned: Items = rows.view(f"<u{width}").ravel().astype(f"u{width}")
    return _turned(turned, 8 * width - 1)


def _turned(items: Items, left: int) -> Items:
    """Return the items with their bits turned left by so many places."""
    right = 8 * items.itemsize - left
    return (items << left | items >> right).astype(items.dtype)
