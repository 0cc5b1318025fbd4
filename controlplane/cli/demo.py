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
from socket import SO_REUSEADDR, SOL_SOCKET, socket
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console

from controlplane.app.errors import StartupError
from controlplane.cli.story_view import show_places, show_step, show_summary
from controlplane.lab.errors import LabError
from controlplane.lab.node.socks import SOCKS_PORT
from controlplane.lab.story.chapters import CHAPTERS
from controlplane.lab.story.telling import Story, story
from controlplane.lab.story.told import Told
from controlplane.logs import configure_logs

_ADMIN_PORT = 15014
_XDS_PORT = 15012
_HOST = "127.0.0.1"
_WIDTH = 120


def demo(
    check: Annotated[  # noqa: FBT002 - a flag of the command line is a boolean
        bool,
        typer.Option("--check", help="Stop after the steps. So when the output is no terminal."),
    ] = False,
    step: Annotated[
        int, typer.Option("--step", min=1, max=len(CHAPTERS), help="Stop after this step.")
    ] = len(CHAPTERS),
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
    """Return whether all that was to be told was told, and was so."""
    interrupted = asyncio.create_task(_interrupts().wait())
    steps: list[Told] = []

    async def whole() -> None:
        async with story(folder, ports=_ports() if stays else (0, 0)) as running:
            await _tell(running, console, until=until, as_json=as_json, steps=steps)
            if not as_json:
                show_summary(steps, console)
            if stays:
                show_places(_places(running), console)
                await interrupted

    telling = asyncio.create_task(whole())
    await asyncio.wait({telling, interrupted}, return_when=asyncio.FIRST_COMPLETED)
    if interrupted.done():
        # Whatever it is doing: what runs is ended on the way out.
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
    else:
        interrupted.cancel()
        telling.result()
    return len(steps) == until and all(told.passed or told.skipped for told in steps)


async def _tell(
    running: Story, console: Console, *, until: int, as_json: bool, steps: list[Told]
) -> None:
    async for told in running.tell(until=until):
        steps.append(told)
        if as_json:
            typer.echo(json.dumps(_as_json(told)))
        else:
            show_step(told, console)


def _as_json(told: Told) -> dict[str, Any]:
    return {**asdict(told), "passed": told.passed}


def _places(running: Story) -> list[tuple[str, str]]:
    process = running.mesh.process
    admin = f"http://{process.host}:{process.admin_port}"
    sleep = running.mesh.workload("sleep")
    proxy = f"socks5h://{sleep.addresses[0]}:{SOCKS_PORT}"
    return [
        ("the page of this mesh", f"{admin}/"),
        ("its manifests: edit one and see what happens", str(running.stage.folder)),
        ("call as sleep, through its node proxy", f"curl -x {proxy} http://reviews.bookinfo:9080/"),
        (
            "what its node proxy was told",
            f"istiod-lite ztunnel-config all --server {admin} --node {sleep.node}",
        ),
        ("metrics of the control plane", f"{admin}/metrics"),
    ]


def _ports() -> tuple[int, int]:
    """Return the usual ports, and 0 for any free one in the place of one that is taken."""
    return _free_or_any(_XDS_PORT), _free_or_any(_ADMIN_PORT)


def _free_or_any(port: int) -> int:
    with socket() as probe:
        # As servers do it: connections that have ended keep nobody from listening.
        probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return 0
    return port


def _interrupts() -> asyncio.Event:
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted.set)
    return interrupted


def _remove(folder: Path) -> None:
    with suppress(OSError):
        shutil.rmtree(folder)
