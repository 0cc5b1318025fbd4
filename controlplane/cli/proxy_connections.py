"""Connections as the server tells them: documents in, values that commands need out."""

from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from controlplane.cli.errors import CommandError
from controlplane.cli.server import Server

CONNECTIONS: Final = "/api/v1/connections"


class Reference(msgspec.Struct):
    """An object as users name it."""

    kind: str = ""
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {place}"


class Rejected(msgspec.Struct):
    """A resource that a client refused, and the object behind it where that is known."""

    name: str = ""
    object: Reference | None = None


class TypeProgress(msgspec.Struct):
    """How far a connection is with one type."""

    type_url: str = ""
    short: str = ""
    state: str = ""
    since: datetime | None = None
    lag_commits: int = 0
    lag_seconds: float | None = None
    commit_sent: int = -1
    commit_acknowledged: int = -1
    sent_at: datetime | None = None
    acknowledged_at: datetime | None = None
    in_flight: bool = False
    held: int | None = None
    last_error: str = ""
    last_error_at: datetime | None = None
    rejected: list[Rejected] = []


class Connection(msgspec.Struct):
    """One connected client."""

    name: str = ""
    replica: str = ""
    number: int = 0
    node_id: str = ""
    kind: str = ""
    pod: str = ""
    namespace: str = ""
    node: str = ""
    version: str = ""
    cluster: str = ""
    peer: str = ""
    identity: str = ""
    connected_at: datetime | None = None
    state: str = ""
    types: list[TypeProgress] = []


class Told(NamedTuple):
    """A connection, and the document it was read from."""

    connection: Connection
    document: dict[str, Any]


def connections(server: Server, **wanted: Any) -> list[Told]:
    """Return connections, by namespace, name, replica and number.

    Raises:
        CommandError: the server cannot tell them.
    """
    found = [Told(_connection(each), each) for each in server.pages(CONNECTIONS, **wanted)]
    return sorted(found, key=lambda told: _place(told.connection))


def find_proxies(server: Server, name: str) -> list[Told]:
    """Return the connections of the one proxy called ``name``: ``pod.namespace`` or ``pod``.

    A part of the name is enough where only one proxy has it.

    Raises:
        CommandError: there is none, or there are several.
    """
    found = connections(server, name=name)
    found = [each for each in found if _called(each.connection, name)] or found
    names = sorted({each.connection.name for each in found})
    if not names:
        raise CommandError(f"no proxy called {name} is connected")
    if len(names) > 1:
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise CommandError(f"{name} is not one proxy but {len(names)}: {shown}")
    return found


def find_proxy(server: Server, name: str) -> Connection:
    """Return the newest connection of the one proxy called ``name``.

    Raises:
        CommandError: as ``find_proxies``.
    """
    return max(
        (each.connection for each in find_proxies(server, name)),
        key=lambda each: each.connected_at.timestamp() if each.connected_at else 0.0,
    )


def _called(connection: Connection, name: str) -> bool:
    return name.lower() in {connection.name.lower(), connection.pod.lower()}


def _connection(document: dict[str, Any]) -> Connection:
    try:
        return msgspec.convert(document, Connection)
    except msgspec.ValidationError as error:
        raise CommandError(f"the server tells of a connection in another way: {error}") from error


def _place(connection: Connection) -> tuple[str, str, str, int]:
    return connection.namespace, connection.pod, connection.replica, connection.number
