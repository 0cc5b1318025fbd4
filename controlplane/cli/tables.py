"""Tables for terminals and pipes: a header and rows in, aligned lines out."""

from collections.abc import Iterable, Sequence

_GAP = 3


def aligned(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return left-aligned columns, three spaces apart, without trailing blanks or a final newline.

    Line breaks inside cells become spaces, so that a row is always a line.
    """
    lines = [tuple(header), *(tuple(" ".join(cell.split()) for cell in row) for row in rows)]
    widths = [max(map(len, column)) + _GAP for column in zip(*lines, strict=True)]
    return "\n".join(
        "".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
