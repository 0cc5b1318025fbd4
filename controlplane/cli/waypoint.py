"""``istiod-lite waypoint``: order waypoints, look at them, take them away.

A waypoint is a Gateway in the cluster; the control plane that leads deploys it. Nothing here needs
that control plane to be up.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final

import typer

from controlplane.cli.clusters import Context, Kubeconfig, with_cluster
from controlplane.cli.errors import CommandError
from controlplane.cli.loading import LoadingGroup, Place
from controlplane.cli.tables import aligned
from controlplane.cli.waypoint_cluster import (
    all_waypoints,
    apply_gateway,
    delete_gateway,
    enroll_namespace,
    find_gateway,
    find_namespace,
    other_waypoint,
    wait_programmed,
)
from controlplane.cli.waypoint_gateway import (
    ShownWaypoint,
    list_documents,
    list_rows,
    status_documents,
    status_rows,
    waypoint_manifest,
)
from controlplane.cli.waypoint_options import (
    AllNamespaces,
    ManifestOutput,
    Name,
    Names,
    Namespace,
    Output,
    OutputOption,
    Revision,
    Traffic,
    TrafficType,
    Wait,
    WaitTimeout,
)
from controlplane.cli.waypoint_users import left_behind
from controlplane.clock import SystemClock
from controlplane.cluster.api_server import ClusterLocation
from controlplane.cluster.client import ClusterClient
from controlplane.mesh.expansion_pods import DATAPLANE_MODE
from controlplane.model.names import Name as WaypointName

NOT_READY: Final = 3
"""The exit code of waiting in vain."""

_AMBIENT: Final = "ambient"


class WaypointGroup(LoadingGroup):
    """The commands about waypoints; what only some of them need is imported with these."""

    places: ClassVar[dict[str, Place]] = {
        "bootstrap": Place("controlplane.cli.waypoint_envoy", "bootstrap"),
        "check": Place("controlplane.cli.waypoint_envoy", "check"),
    }


waypoint_commands = typer.Typer(
    name="waypoint",
    cls=WaypointGroup,
    help="Waypoints: order, look at, check, take away.",
    no_args_is_help=True,
)


@waypoint_commands.command()
def generate(
    name: Name = "waypoint",
    namespace: Namespace = None,
    traffic: Traffic = None,
    revision: Revision = None,
    output: Annotated[
        ManifestOutput, typer.Option("--output", "-o", help="Format.")
    ] = ManifestOutput.YAML,
) -> None:
    """Print the Gateway that orders a waypoint; asks no cluster.

    Without --namespace the manifest has none: kubectl puts it where it is told to.

    Example: istiod-lite waypoint generate --for all -n shop | kubectl apply -f -
    """
    manifest = waypoint_manifest(
        name, namespace=namespace, traffic=_value(traffic), revision=revision
    )
    typer.echo(_text(manifest, output is ManifestOutput.JSON))


@waypoint_commands.command()
def apply(  # noqa: PLR0913 - one parameter for each option
    *,
    name: Name = "waypoint",
    namespace: Namespace = None,
    traffic: Traffic = None,
    revision: Revision = None,
    enrolls: Annotated[
        bool, typer.Option("--enroll-namespace", help="Have the namespace use it.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Enroll the namespace also if it uses another waypoint."),
    ] = False,
    wait: Wait = False,
    wait_timeout: WaitTimeout = 90.0,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Order a waypoint in the cluster, or change what was ordered.

    What istioctl ordered is changed here and the other way round: both are one field manager.

    Exit code 0; 1 when it cannot be ordered; 2 for unusable arguments; with --wait 3 when it does
    not work in time.

    Example: istiod-lite waypoint apply -n shop --enroll-namespace --wait
    """
    if overwrite and not enrolls:
        raise typer.BadParameter("--overwrite is for --enroll-namespace")

    async def act(client: ClusterClient, chosen: str) -> bool:
        home = await find_namespace(client, chosen)
        if enrolls:
            if home is None:
                raise CommandError(f"cannot read namespace {chosen} to enroll it: forbidden")
            other = other_waypoint(home, name)
            if other and not overwrite:
                raise CommandError(
                    f"namespace {chosen} uses waypoint {other} already; --overwrite changes that"
                )
        # For its complaint: a Gateway of another class is not made a waypoint of.
        await find_gateway(client, chosen, name)
        await apply_gateway(
            client,
            waypoint_manifest(name, namespace=chosen, traffic=_value(traffic), revision=revision),
        )
        typer.echo(f"✔ waypoint {chosen}/{name} applied")
        if enrolls and home is not None:
            await enroll_namespace(client, home, name)
            typer.echo(f"✔ namespace {chosen} uses waypoint {name}")
            _warn_outside(home, chosen)
        if not wait:
            return True
        found = await wait_programmed(
            client, chosen, [name], clock=SystemClock(), limit=wait_timeout
        )
        return _told(found, wait_timeout)

    _exit_if_not_ready(with_cluster(_location(kubeconfig, context), act, namespace=namespace))


@waypoint_commands.command("list")
def list_(
    *,
    namespace: Namespace = None,
    all_namespaces: AllNamespaces = False,
    output: OutputOption = Output.TABLE,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Print the waypoints of a namespace, with what they are for and whether they work.

    Exit code 1 when they cannot be read.

    Example: istiod-lite waypoint list -A
    """

    async def act(client: ClusterClient, chosen: str) -> tuple[ShownWaypoint, ...]:
        return await all_waypoints(client, None if all_namespaces else chosen)

    found = with_cluster(
        _location(kubeconfig, context), act, namespace=_asked(namespace, is_all=all_namespaces)
    )
    if output is not Output.TABLE:
        typer.echo(_text(list_documents(found), output is Output.JSON))
    elif found:
        typer.echo(aligned(*list_rows(found, with_namespace=all_namespaces)))
    else:
        typer.echo("No waypoints found.", err=True)


@waypoint_commands.command()
def status(  # noqa: PLR0913 - one parameter for each option
    names: Names = None,
    *,
    namespace: Namespace = None,
    all_namespaces: AllNamespaces = False,
    output: OutputOption = Output.TABLE,
    wait: Wait = False,
    wait_timeout: WaitTimeout = 90.0,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Print the conditions of waypoints, the way they are now.

    Exit code 0, whatever they say; 1 when they cannot be read or one is not there; with --wait 3
    when one of them does not work in time.

    Example: istiod-lite waypoint status -n shop waypoint --wait --wait-timeout 30
    """

    async def act(client: ClusterClient, chosen: str) -> tuple[ShownWaypoint, ...]:
        return await wait_programmed(
            client,
            None if all_namespaces else chosen,
            names or [],
            clock=SystemClock(),
            limit=wait_timeout if wait else 0.0,
        )

    found = with_cluster(
        _location(kubeconfig, context), act, namespace=_asked(namespace, is_all=all_namespaces)
    )
    if output is not Output.TABLE:
        typer.echo(_text(status_documents(found), output is Output.JSON))
    elif found:
        typer.echo(aligned(*status_rows(found, with_namespace=all_namespaces)))
    else:
        typer.echo("No waypoints found.", err=True)
    _exit_if_not_ready(not wait or all(each.is_programmed for each in found))


@waypoint_commands.command()
def delete(
    names: Names = None,
    *,
    is_all: Annotated[bool, typer.Option("--all", help="All waypoints of the namespace.")] = False,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Take waypoints away, with everything that was deployed for them.

    Namespaces and services that still name one of them are told of, and do not keep it.

    Exit code 1 when one of them could not be taken away; the others are.

    Example: istiod-lite waypoint delete waypoint -n shop
    """
    if is_all == bool(names):
        raise typer.BadParameter("give either names or --all")

    async def act(client: ClusterClient, chosen: str) -> bool:
        wanted = names or [each.name for each in await all_waypoints(client, chosen)]
        if not wanted:
            typer.echo("No waypoints found.", err=True)
        deleted = [each for each in wanted if await _deleted(client, chosen, each)]
        if deleted:
            gone = {WaypointName(chosen, each) for each in deleted}
            for sentence in await left_behind(client, gone):
                typer.echo(f"⚠ {sentence}", err=True)
        return deleted == wanted

    if not with_cluster(_location(kubeconfig, context), act, namespace=namespace):
        raise typer.Exit(1)


async def _deleted(client: ClusterClient, namespace: str, name: str) -> bool:
    try:
        if await delete_gateway(client, namespace, name):
            typer.echo(f"✔ waypoint {namespace}/{name} deleted")
            return True
        typer.echo(f"istiod-lite: there is no waypoint {namespace}/{name}", err=True)
    except CommandError as error:
        typer.echo(f"istiod-lite: {error}", err=True)
    return False


def _warn_outside(home: Any, namespace: str) -> None:
    mode = (home["metadata"].get("labels") or {}).get(DATAPLANE_MODE)
    if mode != _AMBIENT:
        typer.echo(
            f"⚠ namespace {namespace} is not in the mesh, so nothing goes through the waypoint:"
            f" kubectl label namespace {namespace} {DATAPLANE_MODE}={_AMBIENT}",
            err=True,
        )


def _told(found: Sequence[ShownWaypoint], limit: float) -> bool:
    """Say how waiting has ended; return whether all of them work."""
    for each in found:
        if each.is_programmed:
            typer.echo(f"✔ waypoint {each.namespace}/{each.name} works")
            continue
        said = [c.message for c in each.conditions if c.status != "True" and c.message]
        typer.echo(
            f"istiod-lite: waypoint {each.namespace}/{each.name} does not work after"
            f" {limit:g} seconds: {'; '.join(said) or 'nobody has looked at it yet'}",
            err=True,
        )
    return all(each.is_programmed for each in found)


def _exit_if_not_ready(is_ready: bool) -> None:  # noqa: FBT001 - the one thing that is asked
    if not is_ready:
        raise typer.Exit(NOT_READY)


def _value(traffic: TrafficType | None) -> str | None:
    return None if traffic is None else traffic.value


def _asked(namespace: str | None, *, is_all: bool) -> str | None:
    """Return a namespace that keeps the context from being asked where it does not matter."""
    return "" if is_all and namespace is None else namespace


def _location(kubeconfig: Any, context: str | None) -> ClusterLocation:
    return ClusterLocation(kubeconfig=kubeconfig, context=context)


def _text(document: Any, is_json: bool) -> str:  # noqa: FBT001 - one of two formats
    """Return the document as ASCII, so that the bytes do not depend on the locale."""
    if is_json:
        return json.dumps(document, indent=2)
    import yaml

    return yaml.safe_dump(document, sort_keys=False).rstrip("\n")
