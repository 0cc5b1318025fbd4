"""``istiod-lite demo``: the story of ``controlplane.lab.story``, told step by step."""

import asyncio
import json
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from controlplane.app.errors import StartupError
from controlplane.lab.errors import LabError
from controlplane.lab.story.steps import STEPS
from controlplane.lab.story.telling import Story, story
from controlplane.lab.story.told import Told
from controlplane.logs import configure_logs

_ADMIN_PORT = 15014
_XDS_PORT = 15012
_WIDTH = 160


def demo(
    check: Annotated[  # noqa: FBT002 - a flag of the command line is a boolean
        bool,
        typer.Option("--check", help="Stop after the steps. So when the output is no terminal."),
    ] = False,
    step: Annotated[
        int, typer.Option("--step", min=1, max=len(STEPS), help="Stop after this step.")
    ] = len(STEPS),
    keep: Annotated[  # noqa: FBT002 - see above
        bool, typer.Option("--keep", help="Keep the manifests and everything that was written.")
    ] = False,
    as_json: Annotated[  # noqa: FBT002 - see above
        bool, typer.Option("--json", help="Tell it as JSON, one object for each step.")
    ] = False,
) -> None:
    """Run a whole mesh on this machine and tell its story in ten steps.

    A control plane, two node proxies, a bookshop and a waypoint on a real Envoy, all on loopback.
    Every step is judged by what applications were answered and what proxies logged. Exit code 0
    when everything expected happened, 1 otherwise.
    """
    stays = sys.stdout.isatty() and not check and not as_json
    configure_logs(level="error", style="console")
    folder = tempfile.mkdtemp(prefix="istiod-lite-demo-")
    console = Console(width=None if stays else _WIDTH, highlight=False)
    told = False
    try:
        told = uvloop.run(_demo(Path(folder), console, stays=stays, until=step, as_json=as_json))
    except* (StartupError, LabError) as errors:
        for error in errors.exceptions:
            typer.echo(f"istiod-lite: {error}", err=True)
    except* KeyboardInterrupt:
        pass
    finally:
        if keep:
            typer.echo(f"kept in {folder}", err=True)
        else:
            _remove(Path(folder))
    raise typer.Exit(0 if told else 1)


async def _demo(folder: Path, console: Console, *, stays: bool, until: int, as_json: bool) -> bool:
    interrupted = _interrupts()
    ports = (_XDS_PORT, _ADMIN_PORT) if stays else (0, 0)
    steps: list[Told] = []
    async with story(folder, ports=ports) as running:
        telling = asyncio.create_task(
            _tell(running, console, until=until, as_json=as_json, steps=steps)
        )
        stopping = asyncio.create_task(interrupted.wait())
        await asyncio.wait({telling, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not telling.done():
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            return False
        telling.result()
        if not as_json:
            console.print(_summary(steps))
        if stays:
            _tell_where_to_look(running, console)
            await stopping
        stopping.cancel()
    return all(told.passed or told.skipped for told in steps)


async def _tell(
    running: Story, console: Console, *, until: int, as_json: bool, steps: list[Told]
) -> None:
    async for told in running.tell(until=until):
        steps.append(told)
        if as_json:
            typer.echo(json.dumps(_as_json(told)))
        else:
            _show(told, console)


def _show(told: Told, console: Console) -> None:
    console.print(f"\n[bold]{told.number}. {escape(told.title)}[/]")
    if told.skipped:
        console.print(f"   skipped: {escape(told.skipped)}")
        return
    for line in told.done:
        console.print(f"   [cyan]$[/] {escape(line)}", soft_wrap=True)
    for line in told.sent:
        console.print(f"   [dim]sent  {escape(line)}[/]", soft_wrap=True)
    for seen in told.seen:
        mark = "[green]yes[/]" if seen.met else "[red]NO [/]"
        console.print(f"   {mark}   {escape(seen.expected)}", soft_wrap=True)
        console.print(f"         {escape(seen.result)}", soft_wrap=True)
    verdict = "[green]pass[/]" if told.passed else "[red]FAIL[/]"
    console.print(f"   {verdict}  {told.seconds:.1f} s")


def _summary(steps: list[Told]) -> Table:
    table = Table(box=None, pad_edge=False, title="\nthe story", title_justify="left")
    for column in ("STEP", "WHAT", "VERDICT", "SECONDS"):
        table.add_column(column)
    for told in steps:
        verdict = "skipped" if told.skipped else "pass" if told.passed else "FAIL"
        style = "red" if verdict == "FAIL" else None
        table.add_row(
            str(told.number), escape(told.title), verdict, f"{told.seconds:.1f}", style=style
        )
    return table


def _as_json(told: Told) -> dict[str, Any]:
    return {**asdict(told), "passed": told.passed}


def _tell_where_to_look(running: Story, console: Console) -> None:
    process = running.mesh.process
    host = process.host
    sleep = running.mesh.workload("sleep")
    for what, where in (
        ("the page", f"http://{host}:{process.admin_port}/"),
        ("edit the manifests in", running.stage.folder),
        ("call as sleep", f"curl -x socks5h://{sleep.addresses[0]}:1080 http://reviews:9080/"),
        ("discovery over TLS at", f"{host}:{process.xds_port}"),
        ("metrics", f"http://{host}:{process.admin_port}/metrics"),
    ):
        console.print(f"  {what:<24} {where}", soft_wrap=True)
    console.print("Running until Ctrl-C.")


def _interrupts() -> asyncio.Event:
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted.set)
    return interrupted


def _remove(folder: Path) -> None:
    with suppress(OSError):
        shutil.rmtree(folder)
