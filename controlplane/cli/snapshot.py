"""``istiod-lite snapshot``: manifests in, what node proxies would be sent out, without a server.

What a waypoint is sent is printed too, of manifests or of a running server.
"""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from controlplane.cli.manifest_files import compile_files
from controlplane.cli.server import DEFAULT, ServerUrl, Token, TokenFile
from controlplane.cli.snapshot_tables import message_of, snapshot_tables
from controlplane.cli.waypoint_documents import Asked, print_waypoint
from controlplane.encode.document import protobuf_json
from controlplane.encode.resource import Resource
from controlplane.model.problem import Condition, Problem, Severity
from controlplane.pipeline.compilation import Compiled
from controlplane.snapshots.forms import encoded_as_workload

PROBLEMS_FOUND: Final = 3


class ResourceType(StrEnum):
    """Which resources to print."""

    ADDRESS = "address"
    WORKLOAD = "workload"
    AUTHORIZATION = "authorization"
    ALL = "all"


class Output(StrEnum):
    """How to print them."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def snapshot(  # noqa: PLR0913, PLR0917 - one parameter for each option
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH]...",
            exists=True,
            help="Manifest files and folders. Without, --waypoint asks a running server.",
        ),
    ] = None,
    node: Annotated[
        str | None,
        typer.Option(help="Only what the proxy on this node is sent. Default: the whole mesh."),
    ] = None,
    type_: Annotated[
        ResourceType,
        typer.Option(
            "--type",
            help="Resources to print. 'all' is what a node proxy subscribes to: address and"
            " authorization; 'workload' is the older form of the workloads among the addresses.",
        ),
    ] = ResourceType.ALL,
    output: Annotated[Output, typer.Option("--output", "-o", help="Format.")] = Output.TABLE,
    strict: Annotated[  # noqa: FBT002 - a flag of the command line is a boolean
        bool, typer.Option("--strict", help="Exit 3 when there are errors or warnings.")
    ] = False,
    waypoint: Annotated[
        str | None,
        typer.Option(
            metavar="NAMESPACE/NAME",
            help="Every resource that the pods of this waypoint are sent, instead of what node"
            " proxies are; secrets are placeholders, and what only pods on one node are sent says"
            " which.",
        ),
    ] = None,
    server: ServerUrl = DEFAULT,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Compile manifests offline and print exactly what a node proxy, or a waypoint, would be sent.

    Exit code 0; 1 when there is no such waypoint or it cannot be read; 2 for unusable arguments or
    settings; with --strict 3 when there are problems (notes about kinds that are not read do not
    count).

    Example: istiod-lite snapshot examples/bookinfo --node node-1 -o yaml

    Example: istiod-lite snapshot examples/bookinfo --waypoint bookinfo/waypoint -o json

    Example: istiod-lite snapshot --waypoint shop/waypoint --server http://127.0.0.1:15014
    """
    if waypoint is not None:
        if node is not None or strict or type_ is not ResourceType.ALL:
            raise typer.BadParameter("--waypoint goes with neither --node, --type nor --strict")
        print_waypoint(waypoint, Asked(paths or (), server, token, token_file), output.value)
        return
    if not paths:
        raise typer.BadParameter("give manifest files or folders, or --waypoint")
    try:
        loaded, compiled = compile_files(paths)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if node is not None and node not in compiled.nodes:
        typer.echo(f"no workload runs on node {node}", err=True)
    problems = tuple(sorted({*loaded.problems, *compiled.problems}, key=_problem_order))
    resources = _resources(compiled, type_, node)
    if output is Output.TABLE:
        typer.echo(snapshot_tables(resources, problems, compiled.conditions))
    else:
        typer.echo(_text(_document(resources, problems, compiled.conditions), output))
    if strict and any(problem.severity is not Severity.INFO for problem in problems):
        raise typer.Exit(PROBLEMS_FOUND)


def _resources(compiled: Compiled, wanted: ResourceType, node: str | None) -> tuple[Resource, ...]:
    """Return the wanted resources, sorted by type URL and then by name."""
    addresses = compiled.addresses()
    match wanted:
        case ResourceType.ADDRESS:
            return addresses
        case ResourceType.WORKLOAD:
            return tuple(filter(None, map(encoded_as_workload, addresses)))
        case ResourceType.AUTHORIZATION:
            return compiled.authorizations(node)
        case ResourceType.ALL:
            return (*compiled.authorizations(node), *addresses)


def _document(
    resources: tuple[Resource, ...],
    problems: tuple[Problem, ...],
    conditions: tuple[Condition, ...],
) -> dict[str, Any]:
    return {
        "resources": [
            {"name": each.name, "version": each.version, "resource": protobuf_json(each)}
            for each in resources
        ],
        "problems": [
            {
                "severity": problem.severity.value,
                "code": problem.code,
                "message": message_of(problem),
                "object": str(problem.object) if problem.object else None,
                "file": problem.file,
                "line": problem.line,
            }
            for problem in problems
        ],
        "conditions": [
            {
                "object": str(condition.object),
                "type": condition.type,
                "parent": condition.parent or None,
                "status": str(condition.status),
                "reason": condition.reason,
                "message": condition.message,
            }
            for condition in conditions
        ],
    }


def _text(document: dict[str, Any], output: Output) -> str:
    """Return the document as ASCII, so that the bytes do not depend on the locale."""
    if output is Output.JSON:
        return json.dumps(document, indent=2)
    import yaml

    return yaml.safe_dump(document, sort_keys=False).rstrip("\n")


def _problem_order(problem: Problem) -> tuple[str, str, str, int, str]:
    return (
        str(problem.object) if problem.object else "",
        problem.code,
        problem.file or "",
        problem.line or 0,
        message_of(problem),
    )
