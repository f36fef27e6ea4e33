"""Which cells of each level a valid U-Net needs, so that no convolution ever reads past the end of a field.

Level l holds cells that are 2ˡ nodes wide; cell i of level l + 1 is the mean of the cells 2i and 2i + 1 of
level l. Along one axis, with t cells lost to each side of a block of valid convolutions, the output [a, b) of
a block needs

    its convolutions            [a − t, b + t)
    bilinear interpolation      [⌊(a − 1) / 2⌋, ⌊b / 2⌋ + 1) of the level below
    pooling                     [2a, 2b) of the level above

which is followed from the output nodes down to the lowest level and up again to the input. Cells before 0 and
after n lie beyond the walls.
"""

from typing import NamedTuple


class Span(NamedTuple):
    """Cells ``start`` to ``stop`` − 1 of a level."""

    start: int
    stop: int

    def widened(self, cells: int) -> "Span":
        """The span and ``cells`` more on both sides."""
        return Span(self.start - cells, self.stop + cells)

    def within(self, outer: "Span") -> slice:
        """Where this span lies in an array that holds ``outer``."""
        return slice(self.start - outer.start, self.stop - outer.start)


class Spans(NamedTuple):
    """Spans of the blocks' outputs, finest level first.

    Attributes
    ----------
    down
        Of the blocks on the way down; the last is the bottom.
    up
        Of the blocks on the way up; the last is the bottom again.
    """

    down: tuple[Span, ...]
    up: tuple[Span, ...]


def plan(output: Span, levels: int, lost: int) -> Spans:
    """Return the spans of a U-Net that computes the nodes ``output``.

    Parameters
    ----------
    output
        Nodes wanted; [0, n) for a whole axis.
    levels
        Number of levels.
    lost
        Cells that a block's convolutions lose on each side.

    >>> plan(Span(0, 8), levels=2, lost=1).down
    (Span(start=-4, stop=12), Span(start=-1, stop=5))
    """
    up = [output]
    for _ in range(levels - 1):
        needed = up[-1].widened(lost)
        up.append(Span((needed.start - 1) // 2, needed.stop // 2 + 1))
    down = [up[-1]]
    for _ in range(levels - 1):
        pooled = down[0].widened(lost)
        down.insert(0, Span(2 * pooled.start, 2 * pooled.stop))
    return Spans(tuple(down), tuple(up))


def margin(levels: int, lost: int) -> int:
    """Cells beyond either wall that suffice for any number of nodes."""
    cells = 0
    for nodes in range(1, 2 ** (levels - 1) + 1):  # the high side depends on the remainder
        read = plan(Span(0, nodes), levels, lost).down[0].widened(lost)
        cells = max(cells, -read.start, read.stop - nodes)
    return cells


def reach(levels: int, lost: int) -> int:
    """Cells to each side that every single node reads, wherever it lies in the coarse cells."""
    cells = []
    for node in range(2 ** (levels - 1)):
        read = plan(Span(node, node + 1), levels, lost).down[0].widened(lost)
        cells += [node - read.start, read.stop - 1 - node]
    return min(cells)
