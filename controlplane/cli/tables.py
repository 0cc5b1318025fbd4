"""Tables for terminals and pipes: a header and rows in, aligned lines out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

_GAP = 3

STYLES: Final[Mapping[str, str]] = {
    "ERROR": "bold red",
    "STALE": "yellow",
    "NOT SENT": "yellow",
    "SYNCED": "green",
    "IGNORED": "dim",
    "Deny": "red",
    "TCP": "yellow",
    "false": "red",
    "None": "dim",
    "NA": "dim",
}
"""How words look on a terminal; of a cell counts what stands before a bracket."""


def aligned(header: Sequence[str], rows: Iterable[Sequence[str]], *, gap: int = _GAP) -> str:
    """Return left-aligned columns, ``gap`` spaces apart, without trailing blanks or final newline.

    Line breaks inside cells become spaces, so that a row is always a line.
    """
    lines = [tuple(header), *(tuple(map(one_line, row)) for row in rows)]
    widths = [max(map(len, column)) + gap for column in zip(*lines, strict=True)]
    return "\n".join(
        "".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, gap: int = _GAP, title: str = ""
) -> None:
    """Print a table: with styles on a terminal, as ``aligned`` text elsewhere."""
    console = Console(highlight=False)
    if title:
        typer.echo(f"------ {title} ------")
    if not console.is_terminal:
        typer.echo(aligned(header, rows, gap=gap))
        return
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(_styled(one_line(cell)) for cell in row))
    console.print(table)


def one_line(text: str) -> str:
    """Return ``text`` on one line, with everything escaped that would steer a terminal."""
    line = " ".join(text.split())
    if line.isprintable():
        return line
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in line
    )


def _styled(cell: str) -> Text:
    return Text(cell, style=STYLES.get(cell.partition(" (")[0], ""))
