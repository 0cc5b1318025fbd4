"""``istiod-lite serve``: run the control plane until it is told to stop."""

import asyncio
import contextlib
import ctypes
import resource
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import structlog
import typer
import uvloop

from controlplane.app.errors import StartupError
from controlplane.app.process import Process
from controlplane.app.surroundings import LOOPBACK, at_port
from controlplane.logs import configure_logs
from controlplane.settings import Settings

_PR_SET_DUMPABLE: Final = 4
"""Source: prctl(2)."""

log = structlog.get_logger()


def serve(  # noqa: PLR0913, PLR0917 - one parameter for each option
    files: Annotated[
        Path | None, typer.Option(help="Folder of manifests to watch.", show_default="./mesh")
    ] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Kubeconfig of the cluster to run for, instead of a folder.")
    ] = None,
    context: Annotated[
        str | None, typer.Option(help="Context of the kubeconfig.", show_default="its current one")
    ] = None,
    xds_port: Annotated[
        int | None, typer.Option(help="Port for discovery over TLS.", show_default="15012")
    ] = None,
    plaintext: Annotated[
        bool | None, typer.Option("--plaintext", help="Serve discovery in plaintext too.")
    ] = None,
    plaintext_port: Annotated[
        int | None, typer.Option(help="Port for plaintext discovery.", show_default="15010")
    ] = None,
    admin_port: Annotated[
        int | None, typer.Option(help="Port for health and metrics.", show_default="15014")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where keys are kept.", show_default="./.istiod-lite")
    ] = None,
) -> None:
    """Serve node proxies what a cluster, or a folder of manifests, says.

    A cluster is used in a pod of it, and where --kubeconfig, --context or KUBECONFIG names one; a
    ~/.kube/config alone is left alone. Whoever leads writes to the cluster. Without one everything
    stays on loopback.

    Options override the ISTIOD_LITE_* environment. Ends cleanly on SIGTERM and Ctrl-C: exit code 0.
    Exit code 1 when it cannot start.

    Example: istiod-lite serve --files examples/bookinfo --plaintext
    """
    given: dict[str, Any] = {
        "files": files,
        "kubeconfig": kubeconfig,
        "context": context,
        "xds_port": xds_port,
        "plaintext": plaintext,
        "plaintext_port": plaintext_port,
        "admin_port": admin_port,
        "data_dir": data_dir,
    }
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    configure_logs(level=settings.log_level, style=settings.log_format)
    _keep_memory_private()
    # A thread that keeps the interpreter for itself would starve the loop.
    sys.setswitchinterval(0.0005)
    try:
        uvloop.run(_serve(settings))
    except StartupError as error:
        typer.echo(f"istiod-lite: {error}", err=True)
        raise typer.Exit(1) from error


def _keep_memory_private() -> None:
    """Keep private keys out of core dumps and out of reach of other processes' debuggers."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


async def _serve(settings: Settings) -> None:
    process = Process(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.stop)
    await process.run(_announce)


def _announce(process: Process) -> None:
    host = process.host
    if process.cluster is None:
        log.info("manifests.watched", folder=str(process.settings.files.absolute()), cluster="none")
    log.info(
        "xds.listening",
        address=at_port(host, process.xds_port),
        root_certificate=str(process.root_file.absolute()),
    )
    if process.plaintext_port is not None:
        log.info("xds.listening", address=at_port(LOOPBACK, process.plaintext_port), plaintext=True)
    log.info("admin.listening", url=f"http://{at_port(host, process.admin_port)}/ready")
