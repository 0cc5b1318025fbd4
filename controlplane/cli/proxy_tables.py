"""Connections as the tables that users of ``proxy-status`` know: values in, rows and lines out."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from controlplane.cli.proxy_connections import Connection, TypeProgress
from controlplane.insight.sync import SyncState, age_text

UNKNOWN: Final = "NA"
GAP: Final = 5

Row = tuple[str, ...]

_WORST_FIRST: Final = (
    SyncState.ERROR,
    SyncState.STALE,
    SyncState.NOT_SENT,
    SyncState.SYNCED,
    SyncState.IGNORED,
)
_TYPES: Final = (
    "TYPE",
    "STATE",
    "RESOURCES",
    "COMMIT SENT",
    "COMMIT ACKED",
    "BEHIND",
    "LAST SENT",
    "LAST ACKED",
)


def summary(connections: Iterable[Connection]) -> tuple[Row, list[Row]]:
    """Return a row for each connection, with the types it asked for."""
    rows: list[Row] = [
        (
            each.name,
            each.cluster or UNKNOWN,
            each.replica or UNKNOWN,
            each.version or UNKNOWN,
            _subscribed(each),
        )
        for each in connections
    ]
    return ("NAME", "CLUSTER", "ISTIOD", "VERSION", "SUBSCRIBED TYPES"), rows


def by_type(connections: Sequence[Connection], now: datetime) -> tuple[Row, list[Row]]:
    """Return a row for each connection, with a column for each type that anybody asked for."""
    types = sorted({progress.short for each in connections for progress in each.types})
    rows = [
        (
            each.name,
            each.cluster or UNKNOWN,
            *(_cell(each, short, now) for short in types),
            each.replica or UNKNOWN,
            each.version or UNKNOWN,
        )
        for each in connections
    ]
    return ("NAME", "CLUSTER", *types, "ISTIOD", "VERSION"), rows


def detail(connection: Connection, now: datetime) -> list[tuple[str, str]]:
    """Return what is known of a connection, as names and values."""
    connected = UNKNOWN
    if connection.connected_at is not None:
        connected = f"{connection.connected_at.isoformat()} ({_age(connection.connected_at, now)})"
    return [
        ("Name", connection.name),
        ("State", connection.state),
        ("Kind", connection.kind or UNKNOWN),
        ("Node", connection.node or UNKNOWN),
        ("Version", connection.version or UNKNOWN),
        ("Cluster", connection.cluster or UNKNOWN),
        ("Identity", connection.identity or f"{UNKNOWN}: nobody is asked on this port"),
        ("Peer", connection.peer or UNKNOWN),
        ("Istiod", f"{connection.replica} (connection {connection.number})"),
        ("Connected", connected),
    ]


def type_rows(connection: Connection, now: datetime) -> tuple[Row, list[Row]]:
    """Return a row for each type of a connection."""
    rows: list[Row] = [
        (
            each.short,
            _state(each, now),
            UNKNOWN if each.held is None else str(each.held),
            _commit(each.commit_sent),
            _commit(each.commit_acknowledged),
            _behind(each),
            _ago(each.sent_at, now),
            _ago(each.acknowledged_at, now),
        )
        for each in sorted(connection.types, key=lambda each: each.short)
    ]
    return _TYPES, rows


def refusals(connection: Connection, now: datetime) -> Iterator[str]:
    """Yield what the client refused last, in its own words, with the objects behind it."""
    for each in connection.types:
        if not each.last_error:
            continue
        yield f"refused {each.short} {_ago(each.last_error_at, now)}: {each.last_error}"
        for rejected in each.rejected:
            made_of = "no object is known" if rejected.object is None else str(rejected.object)
            yield f"  {rejected.name} ({made_of})"


def _subscribed(connection: Connection) -> str:
    shorts = sorted({each.short for each in connection.types})
    return f"{len(shorts)} ({','.join(shorts)})" if shorts else "0"


def _cell(connection: Connection, short: str, now: datetime) -> str:
    """Return the state of a type; the worst where two forms of it have the same short name."""
    held = [each for each in connection.types if each.short == short]
    if not held:
        return SyncState.IGNORED.value
    return _state(min(held, key=_badness), now)


def _badness(progress: TypeProgress) -> int:
    states = [state.value for state in _WORST_FIRST]
    return states.index(progress.state) if progress.state in states else 0


def _state(progress: TypeProgress, now: datetime) -> str:
    if progress.since is None:
        return progress.state
    return f"{progress.state} ({_age(progress.since, now)})"


def _behind(progress: TypeProgress) -> str:
    """Return how far a client is behind: commits, and how long if that is known."""
    if not progress.lag_commits:
        return "0"
    if progress.lag_seconds is None:
        return str(progress.lag_commits)
    return f"{progress.lag_commits} ({age_text(progress.lag_seconds)})"


def _commit(number: int) -> str:
    return UNKNOWN if number < 0 else str(number)


def _ago(moment: datetime | None, now: datetime) -> str:
    return UNKNOWN if moment is None else f"{_age(moment, now)} ago"


def _age(moment: datetime, now: datetime) -> str:
    return age_text((now - moment).total_seconds())
