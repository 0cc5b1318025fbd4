"""Everything a waypoint is sent, for commands: manifests or a running server asked, a document out.

The document is that of ``insight.waypoint_snapshot``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import typer

from controlplane.cli.documents import Output, print_document
from controlplane.cli.errors import CommandError
from controlplane.cli.server import Server, told_errors
from controlplane.cli.tables import print_table
from controlplane.encode.envelope import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    ROUTE_TYPE,
    SECRET_TYPE,
)
from controlplane.model.names import Name

_COLUMNS: Final = ("TYPE", "NAME", "VERSION", "OBJECT", "PLACE")
_SHORT: Final = {
    CLUSTER_TYPE: "CDS",
    ENDPOINT_TYPE: "EDS",
    LISTENER_TYPE: "LDS",
    ROUTE_TYPE: "RDS",
    SECRET_TYPE: "SDS",
}


class Asked(NamedTuple):
    """Where a document is from: files, or where there are none a server."""

    paths: Sequence[Path]
    server: str
    token: str | None = None
    token_file: Path | None = None


def waypoint_name(text: str) -> Name:
    """Return the waypoint that ``NS/NAME`` means.

    Raises:
        typer.BadParameter: it is not of that form.
    """
    namespace, separator, name = text.partition("/")
    if not (separator and namespace and name) or "/" in name:
        raise typer.BadParameter(f"{text!r} is no NAMESPACE/NAME of a waypoint")
    return Name(namespace, name)


def read_document(asked: Asked, waypoint: Name) -> dict[str, Any]:
    """Return what ``waypoint`` is sent.

    Raises:
        CommandError: there is no such waypoint, or the files or the server cannot be read.
    """
    if asked.paths:
        return _compiled(asked.paths, waypoint)
    server = Server.at(asked.server, asked.token, asked.token_file)
    try:
        where = f"{quote(waypoint.namespace, safe='')}/{quote(waypoint.name, safe='')}"
        document = server.get(f"/api/v1/waypoints/{where}/snapshot")
    finally:
        server.close()
    if not isinstance(document, dict) or not isinstance(document.get("resources"), list):
        raise CommandError(f"{asked.server} answers with something else")
    return document


def print_waypoint(text: str, asked: Asked, output: str) -> None:
    """Print what the waypoint ``NS/NAME`` is sent: a table, or the whole as JSON or YAML.

    Raises:
        typer.BadParameter: the name is not of that form.
        typer.Exit: with 1, after an error.
    """
    waypoint = waypoint_name(text)
    with told_errors():
        document = read_document(asked, waypoint)
        chosen = Output(output)
        if chosen.is_table:
            print_table(_COLUMNS, [_row(each) for each in document["resources"]])
        else:
            print_document(document, chosen)


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    kind = entry["resource"]["@type"]
    place, version = entry.get("place", "every"), entry["version"] or "NA"
    return _SHORT.get(kind, kind), entry["name"], version, entry["object"], place


def _compiled(paths: Sequence[Path], waypoint: Name) -> dict[str, Any]:
    # Here, because asking a server needs none of the rules.
    from controlplane.cli.manifest_files import compile_files
    from controlplane.insight.waypoint_snapshot import served_to_waypoint, waypoint_document

    try:
        _, compiled = compile_files(paths)
    except ValueError as error:
        raise CommandError(str(error)) from error
    served = served_to_waypoint(compiled.world, compiled.catalog, waypoint)
    if served is None:
        known = sorted(str(key) for key, _ in compiled.world.traffic.frames.items())
        there = f"there are {', '.join(known)}" if known else "there is none at all"
        raise CommandError(f"no Gateway {waypoint} is a waypoint: {there}")
    return waypoint_document(waypoint, served)
