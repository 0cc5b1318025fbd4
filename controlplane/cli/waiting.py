"""Waiting for a server until everybody has a commit: questions out, an outcome in.

The server is asked for a little while at a time, so that progress can be shown and a wait ends on
time however long it may be.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from controlplane.cli.errors import CommandError
from controlplane.cli.proxy_connections import Reference, Rejected, connections
from controlplane.cli.server import Server

SLICE: Final = 2.0
"""Seconds of one question."""

_PAUSE: Final = 0.5


class Waiting(msgspec.Struct):
    """A connection that does not have the commit."""

    name: str = ""
    node: str = ""
    is_sent: bool = False


class Refusal(msgspec.Struct):
    """A connection that refused it."""

    name: str = ""
    node: str = ""
    message: str = ""
    rejected: list[Rejected] = []


class Progress(msgspec.Struct):
    """How far the commit has got; lists name some."""

    concerned: int = 0
    acknowledged: int = 0
    refused: int = 0
    waiting: list[Waiting] = []
    refusals: list[Refusal] = []


class Answer(msgspec.Struct):
    """How one question ended."""

    is_converged: bool
    commit: int | None = None
    reason: str = ""
    progress: Progress = msgspec.field(default_factory=Progress)


class Absent(NamedTuple):
    """A node that was asked for and has no connection to the server asked."""

    node: str
    why: str


class Outcome(NamedTuple):
    """How waiting ended; ``document`` is the last answer of the server, with absent nodes."""

    is_converged: bool
    answer: Answer
    absent: tuple[Absent, ...]
    document: dict[str, Any]


class Wanted(NamedTuple):
    """What to wait for: a commit, an object's version, or neither: the newest commit."""

    commit: int | None = None
    object: Reference | None = None
    nodes: tuple[str, ...] = ()


class Time(NamedTuple):
    """The clock of a wait: monotonic seconds, and sleeping."""

    now: Callable[[], float]
    sleep: Callable[[float], None]


def wait_until_everywhere(
    server: Server,
    wanted: Wanted,
    *,
    seconds: float,
    time: Time,
    tell: Callable[[Progress], None],
) -> Outcome:
    """Wait until everybody concerned, or the nodes wanted, have it, at most ``seconds``.

    What is waited for is settled by the first answer: a version that comes later is another wait.
    Ends early once all that is missing was refused. ``tell`` hears of progress in between.

    Raises:
        CommandError: the server cannot be asked.
    """
    end = time.now() + seconds
    while True:
        remaining = max(0.0, end - time.now())
        answer, document = _ask(server, wanted, min(SLICE, remaining))
        absent = _absent(server, wanted.nodes)
        outcome = Outcome(answer.is_converged and not absent, answer, absent, document)
        held = answer.progress
        is_refused = held.refused > 0 and held.acknowledged + held.refused == held.concerned
        if outcome.is_converged or is_refused or time.now() >= end:
            return outcome
        if answer.commit is not None:
            wanted = wanted._replace(commit=answer.commit, object=None)
        tell(held)
        if answer.is_converged:
            time.sleep(min(_PAUSE, max(0.0, end - time.now())))


def others_connected(server: Server) -> int:
    """Return how many connections other replicas have: the server does not wait for those.

    Raises:
        CommandError: the server cannot be asked.
    """
    replicas = _fleet(server)
    return sum(count for is_this, count in replicas.values() if not is_this)


def _ask(server: Server, wanted: Wanted, seconds: float) -> tuple[Answer, dict[str, Any]]:
    body: dict[str, Any] = {"seconds": seconds, "nodes": list(wanted.nodes)}
    if wanted.commit is not None:
        body["commit"] = wanted.commit
    if wanted.object is not None:
        body["object"] = msgspec.to_builtins(wanted.object)
    document = server.post("/api/v1/wait", body, seconds=seconds)
    try:
        return msgspec.convert(document, Answer), document
    except msgspec.ValidationError as error:
        raise CommandError(f"the server answers in another way: {error}") from error


def _absent(server: Server, nodes: tuple[str, ...]) -> tuple[Absent, ...]:
    """Return the wanted nodes that nobody is connected from: the server passes over them."""
    found: list[Absent] = []
    for node in nodes:
        replicas = {each.connection.replica for each in connections(server, node=node)}
        if not replicas:
            found.append(Absent(node, "not connected"))
        elif own := {name for name, (is_this, _) in _fleet(server).items() if is_this} - replicas:
            where = ", ".join(sorted(replicas))
            found.append(Absent(node, f"connected to {where}, not to {', '.join(sorted(own))}"))
    return tuple(found)


def _fleet(server: Server) -> dict[str, tuple[bool, int]]:
    """Return the replicas: whether it is the one asked, and its connections."""
    document = server.get("/api/v1/fleet")
    replicas = document.get("replicas") if isinstance(document, dict) else None
    return {
        str(each.get("name")): (each.get("is_this") is True, int(each.get("connections") or 0))
        for each in replicas or ()
        if isinstance(each, dict)
    }
