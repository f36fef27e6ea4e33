"""The contents of a sparse file: its tensors' names, shapes, kinds and counts, believed only if plausible.

In a network of a few thousand weights the names alone can be larger than the weights, but they repeat: layer
7 has the names and mostly the shapes of layer 6.  So the layout is written in columns, in which repetition is
plain to see, and deflated with a dictionary of common names:

1. how many tensors there are (a number; see `sparse_bytes`);
2. for every tensor, in order, its name without the first number in it: the text before the number, NUL, the
   text after it, NUL;
3. for every tensor that number: 0 if the name has none, else 1 + the zigzag code (0, −1, 1, −2, … → 0, 1, 2,
   3, …) of its difference to the last such number;
4. for every tensor its kind (a number; see `sparse_kinds`);
5. for every tensor how many axes it has;
6. for every tensor its sides;
7. for every tensor the rarer of its stored and its other items: twice their count, + 1 if those are the
   others.

`blocks.7.weight` after `blocks.6.bias` is thus `blocks.`, `.weight` and the difference 1, like every block.
"""

import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from slimwave.compression.sparse_bytes import CompressedFileError, Cursor, deflate, number
from slimwave.compression.sparse_kinds import KINDS

MAX_AXES = 64
MAX_TENSORS = 2**16
MAX_LAYOUT_BYTES = 2**22
MAX_NUMBER = 10**9

FIRST_NUMBER = re.compile(r"(?<![0-9])(0|[1-9][0-9]{0,8})(?![0-9])")

DICTIONARY = (
    b".running_mean\0.running_var\0.num_batches_tracked\0.filter_0\0.filter_1\0.core.weight\0"
    b".filters.weight\0.mix.weight\0.mix.bias\0derivative\0response\0strains.\0.nodes.\0quadrant.\0"
    b"down.\0up.\0encoders.\0.gates.bias\0.read.weight\0.layers.\0lift.\0head.\0gates.\0encoder.\0blocks.\0"
    b".axis_filters.0.weight\0.axis_filters.1.weight\0.axis_filters.2.weight\0\0.weight\0\0.mix_out.bias\0"
    b"\0.mix_in.weight\0\0.axis_filters.0.weight\0\0.axis_filters.1.weight\0\0.mix_out.weight\0\0.bias\0"
)
"""Part of the format: another dictionary is another version."""


class Entry(NamedTuple):
    """One tensor, with the number of its items that are stored."""

    name: str
    shape: tuple[int, ...]
    kind: str
    stored: int

    @property
    def items(self) -> int:
        """Number of items, stored or not."""
        return KINDS[self.kind].count(math.prod(self.shape))


def write_layout(entries: Sequence[Entry]) -> bytes:
    """Return the layout, deflated; refuse what `read_layout` would not read."""
    kinds = {kind: i for i, kind in enumerate(KINDS)}
    columns = (
        [len(entries)],
        _name_numbers(entries),
        [kinds[e.kind] for e in entries],
        [len(e.shape) for e in entries],
        itertools.chain.from_iterable(e.shape for e in entries),
        [min(2 * e.stored, 2 * (e.items - e.stored) + 1) for e in entries],
    )
    count, *rest = (b"".join(map(number, column)) for column in columns)
    layout = b"".join([count, *map(_name_texts, entries), *rest])
    if len(entries) > MAX_TENSORS or len(layout) > MAX_LAYOUT_BYTES:
        raise ValueError(
            f"expected at most {MAX_TENSORS} tensors and {MAX_LAYOUT_BYTES} bytes of names and shapes, "
            f"got {len(entries)} and {len(layout)}; split the state into several files"
        )
    return deflate(layout, DICTIONARY)


def read_layout(file: Cursor, max_elements: int) -> list[Entry]:
    """Read the layout; refuse malformed entries, repeated names and absurd sizes."""
    cursor = Cursor(file.inflate(MAX_LAYOUT_BYTES, DICTIONARY), "layout")
    count = cursor.number()
    if count > MAX_TENSORS:
        raise CompressedFileError(f"layout: expected at most {MAX_TENSORS} tensors, got {count}")
    texts = [(cursor.text(), cursor.text()) for _ in range(count)]
    names = _names(texts, [cursor.number() for _ in texts])
    kinds = [_kind(cursor.number()) for _ in names]
    axes = [cursor.number() for _ in names]
    if max(axes, default=0) > MAX_AXES:
        raise CompressedFileError(f"layout: expected at most {MAX_AXES} axes, got {max(axes)}")
    shapes = [tuple(cursor.number() for _ in range(n)) for n in axes]
    check_claims(names, shapes, max_elements)
    entries = [_entry(*known, cursor.number()) for known in zip(names, shapes, kinds, strict=True)]
    cursor.finish()
    return entries


def check_claims(names: Sequence[str], shapes: Sequence[tuple[int, ...]], max_elements: int) -> None:
    """Refuse repeated names and absurd sizes, before anything is allocated for them."""
    sides = [side for shape in shapes for side in shape]  # 0 × 10³⁰ elements are 0, and still absurd
    if max(sum(map(math.prod, shapes)), *sides, 0) > max_elements:
        raise CompressedFileError(
            f"claims more than {max_elements} elements; raise max_elements if you trust the file"
        )
    if repeated := [name for name, times in Counter(names).items() if times > 1]:
        raise CompressedFileError(f"the name {repeated[0]!r} occurs twice")


def _name_texts(entry: Entry) -> bytes:
    """Return what stands before and after the first number in a name."""
    if "\0" in entry.name:
        raise ValueError(f"{entry.name!r}: expected a name without NUL characters; rename the tensor")
    match = FIRST_NUMBER.search(entry.name)
    before, after = (entry.name[: match.start()], entry.name[match.end() :]) if match else (entry.name, "")
    return f"{before}\0{after}\0".encode()


def _name_numbers(entries: Sequence[Entry]) -> list[int]:
    numbers, last = [], 0
    for match in (FIRST_NUMBER.search(entry.name) for entry in entries):
        step = int(match[0]) - last if match else 0
        last += step
        numbers.append(1 + (2 * step if step >= 0 else -2 * step - 1) if match else 0)
    return numbers


def _names(texts: Sequence[tuple[str, str]], numbers: Sequence[int]) -> list[str]:
    names, last = [], 0
    for (before, after), code in zip(texts, numbers, strict=True):
        if code == 0:
            names.append(before + after)
            continue
        last += code // 2 if code % 2 else -(code // 2)
        if not 0 <= last < MAX_NUMBER:
            raise CompressedFileError(
                f"layout: expected numbers of 0 to {MAX_NUMBER - 1} in names, got {last}"
            )
        names.append(f"{before}{last}{after}")
    return names


def _kind(code: int) -> str:
    if code >= len(KINDS):
        raise CompressedFileError(f"layout: expected a kind below {len(KINDS)}, got {code}; update slimwave")
    return list(KINDS)[code]


def _entry(name: str, shape: tuple[int, ...], kind: str, code: int) -> Entry:
    entry = Entry(name, shape, kind, 0)
    rare, inverted = divmod(code, 2)
    if 2 * rare > entry.items:
        raise CompressedFileError(f"{name!r}: expected at most {entry.items // 2} rarer items, got {rare}")
    return entry._replace(stored=entry.items - rare if inverted else rare)
