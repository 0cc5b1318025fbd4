"""``istiod-lite wait``: until a change is everywhere, with an exit code for pipelines."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Final

import rich.progress
import typer
from rich.console import Console

from controlplane.cli.documents import Output, print_document
from controlplane.cli.proxy_connections import Reference
from controlplane.cli.server import DEFAULT, ServerUrl, Token, TokenFile, answered
from controlplane.cli.tables import one_line, print_table
from controlplane.cli.waiting import (
    Outcome,
    Progress,
    Time,
    Wanted,
    others_connected,
    wait_until_everywhere,
)
from controlplane.manifests.decoding import KINDS

_DURATION: Final = re.compile(
    r"(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,6}(?:\.\d{1,3})?)s?)?", re.ASCII
)
_HEADER: Final = ("NAME", "NODE", "WHY")
_KINDS: Final = {row.kind.lower(): row for row in KINDS.values()}


class Goal(StrEnum):
    """What to wait for."""

    DISTRIBUTION = "distribution"


def wait(  # noqa: PLR0913, PLR0917 - one parameter for each option
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="Kind of an object, such as Service.")
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME.NAMESPACE", help="Its name and namespace.")
    ] = None,
    goal: Annotated[
        Goal, typer.Option("--for", help="What to wait for: that everybody has acknowledged it.")
    ] = Goal.DISTRIBUTION,
    commit: Annotated[int | None, typer.Option(min=0, help="A commit, by its number.")] = None,
    node: Annotated[
        list[str] | None, typer.Option(help="Only these nodes, which have to be connected.")
    ] = None,
    timeout: Annotated[str, typer.Option(help="How long, such as 90s or 5m.")] = "30s",
    output: Annotated[Output, typer.Option("--output", "-o", help="Format.")] = Output.TABLE,
    server: ServerUrl = DEFAULT,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Wait until proxies have acknowledged an object as the server has it now, or a commit.

    Without an object and --commit it is the newest commit. What counts is what the server has
    read: right after an apply that may still be the version before. Only connections of the
    replica that is asked are waited for.

    Exit code 0 when all that are concerned have it; 1 when not all have it in time or one has
    refused it, with a list of those, and when the server cannot tell; 2 for unusable arguments.

    Example: istiod-lite wait --for distribution AuthorizationPolicy deny-all.bookinfo --timeout 1m
    """
    del goal  # there is one, and it has to be sayable
    if commit is not None and kind is not None:
        raise typer.BadParameter("give either an object or --commit")
    wanted = Wanted(commit=commit, object=_object(kind, name), nodes=tuple(node or ()))
    seconds = read_duration(timeout)
    with answered(server, token, token_file, shows_waiting=False) as asked, _bar() as tell:
        outcome = wait_until_everywhere(
            asked,
            wanted,
            seconds=seconds,
            time=Time(now=time.monotonic, sleep=time.sleep),
            tell=tell,
        )
        others = 0 if wanted.nodes else others_connected(asked)
    if output.is_table:
        _print(outcome, seconds)
    else:
        absent = [each._asdict() for each in outcome.absent]
        print_document(
            {**outcome.document, "is_converged": outcome.is_converged, "absent": absent}, output
        )
    if others:
        typer.echo(
            f"istiod-lite: {others} connections of other replicas were not waited for", err=True
        )
    if not outcome.is_converged:
        raise typer.Exit(1)


def read_duration(text: str) -> float:
    """Return the seconds of a duration such as ``1m30s``, ``90s`` or ``90``.

    Raises:
        typer.BadParameter: it is none.
    """
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise typer.BadParameter(f"{text!r} is not a duration such as 90s or 5m")
    hours, minutes, seconds = match.groups()
    return int(hours or 0) * 3600.0 + int(minutes or 0) * 60.0 + float(seconds or 0)


def _object(kind: str | None, name: str | None) -> Reference | None:
    """Return the object that is meant: ``NAME.NAMESPACE``, or ``NAME`` where kinds have none."""
    if kind is None:
        return None
    row = _KINDS.get(kind.lower())
    if row is None:
        known = ", ".join(sorted(each.kind for each in _KINDS.values()))
        raise typer.BadParameter(f"{kind} is no kind that is read: {known}")
    if not name:
        raise typer.BadParameter(f"which {row.kind}? Its name is missing")
    if not row.namespaced:
        return Reference(kind=row.kind, name=name)
    held, dot, namespace = name.rpartition(".")
    if not (held and dot and namespace):
        raise typer.BadParameter(f"{name} is not NAME.NAMESPACE")
    return Reference(kind=row.kind, namespace=namespace, name=held)


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    """Give a function that shows progress, on a terminal and once there is any to wait for."""
    shown = rich.progress.Progress(
        rich.progress.TextColumn("acknowledged"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    task = shown.add_task("", total=None)

    def tell(progress: Progress) -> None:
        shown.update(task, completed=progress.acknowledged, total=progress.concerned or None)
        shown.start()

    try:
        yield tell
    finally:
        shown.stop()


def _print(outcome: Outcome, seconds: float) -> None:
    """Say how waiting has ended, and who is missing."""
    answer, progress = outcome.answer, outcome.answer.progress
    commit = "the object" if answer.commit is None else f"commit {answer.commit}"
    if outcome.is_converged:
        has = "has" if progress.concerned == 1 else "have"
        typer.echo(f"✔ {commit} is everywhere: {progress.concerned} concerned, all {has} it")
        return
    why = answer.reason or f"{len(outcome.absent)} of the nodes are not there"
    typer.echo(
        f"istiod-lite: {commit} is not everywhere after {seconds:g} seconds: {one_line(why)}",
        err=True,
    )
    rows = _missing(outcome)
    if rows:
        print_table(_HEADER, rows)
    unnamed = progress.concerned - progress.acknowledged - len(rows) + len(outcome.absent)
    if unnamed > 0 and rows:
        typer.echo(f"... and {unnamed} more", err=True)


def _missing(outcome: Outcome) -> list[tuple[str, str, str]]:
    progress = outcome.answer.progress
    rows = [
        (each.name, each.node or "NA", "sent, not acknowledged" if each.is_sent else "not sent")
        for each in progress.waiting
    ]
    for refusal in progress.refusals:
        objects = ", ".join(str(each.object or each.name) for each in refusal.rejected)
        about = f" ({objects})" if objects else ""
        rows.append(
            (refusal.name, refusal.node or "NA", f"refused{about}: {refusal.message or 'NA'}")
        )
    rows.extend(("NA", each.node, each.why) for each in outcome.absent)
    return sorted(rows)
