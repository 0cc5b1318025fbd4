"""A story on a terminal: what steps tell comes in, lines that fit its width go out."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from controlplane.lab.story.told import Told

_MARK = 5


def show_step(told: Told, console: Console) -> None:
    """Print one step: what there is to understand, what was done, sent and seen."""
    console.print(f"\n[bold]{told.number}. {escape(told.title)}[/]")
    _hang(console, "", told.says, style="italic")
    if told.skipped:
        _hang(console, "skip", told.skipped, mark_style="yellow")
        return
    for line in told.done:
        _hang(console, "$", line, mark_style="cyan")
    for line in told.manifest:
        _hang(console, "", line, style="dim", indent="  ")
    for line in told.sent:
        _hang(console, "sent", line, style="dim", mark_style="dim")
    for seen in told.seen:
        mark, style = ("yes", "green") if seen.met else ("NO", "bold red")
        _hang(console, mark, f"{seen.expected}: {seen.result}", mark_style=style)
    verdict, style = ("pass", "green") if told.passed else ("FAIL", "bold red")
    _hang(console, verdict, f"{told.seconds:.1f} s", style="dim", mark_style=style)


def show_summary(steps: list[Told], console: Console) -> None:
    """Print one line for each step, and how many failed."""
    table = Table(box=None, pad_edge=False)
    for column in ("STEP", "WHAT", "VERDICT", "SECONDS"):
        table.add_column(column)
    for told in steps:
        verdict = "skipped" if told.skipped else "pass" if told.passed else "FAIL"
        style = "red" if verdict == "FAIL" else None
        seconds = f"{told.seconds:.1f}"
        table.add_row(str(told.number), Text(told.title), verdict, seconds, style=style)
    console.print()
    console.print(table)


def show_places(places: list[tuple[str, str]], console: Console) -> None:
    """Print where to look and what to try: a name and what can be copied, each on lines it has."""
    console.print("\n[bold]It keeps running. Look around:[/]")
    for what, where in places:
        console.print(f"   {what}")
        console.print(Text(f"      {where}"), soft_wrap=True)
    console.print("\nCtrl-C ends it, and leaves nothing behind.")


def _hang(
    console: Console,
    mark: str,
    text: str,
    *,
    style: str = "",
    mark_style: str = "",
    indent: str = "",
) -> None:
    """Print ``text`` to the right of a mark, all its lines."""
    grid = Table.grid(padding=0)
    grid.add_column(width=3 + _MARK + len(indent) + 1, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(f"   {mark}", style=mark_style), Text(text, style=style))
    console.print(grid)
