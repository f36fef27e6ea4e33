"""What sparse files are made of: numbers of any size, deflated pieces, and a careful reader of both.

A number takes seven bits a byte, the lowest first; the top bit says that another byte follows (LEB128).  A
deflated piece is a raw stream (RFC 1951) without header or checksum: it knows its own end, and the file has
one checksum for everything.
"""

import zlib

MAX_NUMBER_BYTES = 9
STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE)
"""Which is shortest depends on the data: for noise with few values those that look for no copies."""


class CompressedFileError(ValueError):
    """A file is not a sparse file, is damaged, or claims what it cannot hold."""


def number(value: int) -> bytes:
    """Return a number, zero or more, in as few bytes as hold it."""
    low = bytearray()
    while value > 0x7F:
        low.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(low) + bytes([value])


def deflate(data: bytes, dictionary: bytes = b"") -> bytes:
    """Return the shortest raw stream; it may copy from `dictionary`, which the reader must know."""
    streams = []
    for strategy in STRATEGIES:
        deflater = zlib.compressobj(6, zlib.DEFLATED, -15, 9, strategy, dictionary)
        streams.append(deflater.compress(data) + deflater.flush())
    return min(streams, key=len)


class Cursor:
    """Reads bytes of unknown origin from the first to the last; `what` names them in errors."""

    def __init__(self, data: bytes, what: str) -> None:
        self.data = data
        self.what = what
        self.at = 0

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        left = len(self.data) - self.at
        if count > left:
            raise CompressedFileError(f"{self.what}: expected {count} more bytes, got {left}")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self) -> int:
        """Return the next number; at most 63 bits are believed."""
        value = 0
        for place, byte in enumerate(self.data[self.at : self.at + MAX_NUMBER_BYTES], 1):
            value |= (byte & 0x7F) << 7 * (place - 1)
            if byte < 0x80:
                self.at += place
                return value
        self.take(MAX_NUMBER_BYTES)
        raise CompressedFileError(f"{self.what}: expected a number of at most {MAX_NUMBER_BYTES} bytes")

    def text(self) -> str:
        """Return the text up to the next NUL, and pass the NUL."""
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise CompressedFileError(f"{self.what}: a name has no end")
        try:
            return self.take(end + 1 - self.at)[:-1].decode()
        except UnicodeDecodeError:
            raise CompressedFileError(f"{self.what}: a name is not UTF-8") from None

    def inflate(self, limit: int, dictionary: bytes = b"") -> bytes:
        """Inflate the stream that starts here; refuse to produce more than `limit` bytes."""
        inflater = zlib.decompressobj(-15, dictionary)
        try:
            data = inflater.decompress(memoryview(self.data)[self.at :], limit + 1)
        except zlib.error as error:
            raise CompressedFileError(f"{self.what}: cannot be inflated ({error})") from None
        if len(data) > limit or not inflater.eof:
            raise CompressedFileError(f"{self.what}: expected at most {limit} bytes, deflated, and their end")
        self.at = len(self.data) - len(inflater.unused_data)
        return data

    def finish(self) -> None:
        """Refuse anything after the last byte that was read."""
        if self.at < len(self.data):
            raise CompressedFileError(f"{self.what}: {len(self.data) - self.at} bytes follow its end")
