"""What commands about waypoints can be told: the options, and what is refused at once."""

import re
from enum import StrEnum
from typing import Annotated, Final

import typer

_OBJECT_NAME: Final = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")


class TrafficType(StrEnum):
    """What a waypoint takes traffic for."""

    SERVICE = "service"
    WORKLOAD = "workload"
    ALL = "all"
    NONE = "none"


class Output(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class ManifestOutput(StrEnum):
    """How to print a manifest."""

    YAML = "yaml"
    JSON = "json"


def _object_name(text: str | None) -> str | None:
    """Refuse what can name no object: it would become part of a path."""
    if text is not None and not _OBJECT_NAME.fullmatch(text):
        raise typer.BadParameter(f'"{text}" cannot be the name of an object')
    return text


def _object_names(texts: list[str] | None) -> list[str] | None:
    for text in texts or ():
        _object_name(text)
    return texts


Name = Annotated[str, typer.Option("--name", help="Name of the waypoint.", callback=_object_name)]
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Waypoints.", callback=_object_names),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        help="Namespace. Default: the context's, else default.",
        callback=_object_name,
    ),
]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="In all namespaces.")]
Traffic = Annotated[
    TrafficType | None,
    typer.Option("--for", help="Traffic it takes. Default: that of its class, else service."),
]
Revision = Annotated[
    str | None, typer.Option("--revision", "-r", help="Revision that deploys it. Default: any.")
]
Wait = Annotated[bool, typer.Option("--wait", "-w", help="Wait until it works.")]
WaitTimeout = Annotated[
    float, typer.Option("--wait-timeout", min=0.0, help="Seconds that --wait waits at most.")
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="Format.")]
