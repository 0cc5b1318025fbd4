"""Opening the cluster for one command: a kubeconfig in, a client out, closed afterwards."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from controlplane.cli.errors import CommandError
from controlplane.cluster.api_server import ClusterLocation, open_cluster
from controlplane.cluster.client import ClusterClient
from controlplane.cluster.context import context_namespace
from controlplane.cluster.errors import ClusterUnavailableError
from controlplane.errors import IstiodLiteError

_Result = TypeVar("_Result")

Kubeconfig = Annotated[
    Path | None,
    typer.Option("--kubeconfig", help="Kubeconfig file. Default: as kubectl finds it."),
]
Context = Annotated[
    str | None, typer.Option("--context", help="Context of the kubeconfig. Default: current.")
]


def with_cluster(
    location: ClusterLocation,
    act: Callable[[ClusterClient, str], Awaitable[_Result]],
    *,
    namespace: str | None,
) -> _Result:
    """Run ``act`` on the cluster and a namespace, the context's by default; return its result.

    Prints one sentence and exits with 1 where the cluster, or what ``act`` needs, cannot be used.
    """

    async def run() -> _Result:
        if not location.is_found:
            raise CommandError(f"no kubeconfig at {', '.join(map(str, location.files()))}")
        chosen = await context_namespace(location) if namespace is None else namespace
        client = await open_cluster(location)
        try:
            return await act(client, chosen)
        finally:
            await client.close()

    try:
        return asyncio.run(run())
    except ClusterUnavailableError as error:
        typer.echo(f"istiod-lite: the API server cannot be reached: {error}", err=True)
        raise typer.Exit(1) from error
    except IstiodLiteError as error:
        typer.echo(f"istiod-lite: {error}", err=True)
        raise typer.Exit(1) from error
