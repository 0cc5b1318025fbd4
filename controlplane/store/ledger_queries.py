"""Questions to the ledger: filters in, the newest rows that match out."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Table, select, tuple_

from controlplane.store.database import Database
from controlplane.store.ledger_rows import LedgerRow, row_from_columns
from controlplane.store.tables import issued_certificate, refused_request

MOST_ROWS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFilter:
    """Which rows to return; None does not narrow. At most ``limit`` of them, newest first.

    ``identity`` is the SPIFFE id issued, or asked for, ``namespace`` part of it. Refusals have no
    authority: with one named, there are none. ``before`` is a row, by its time, number and
    replica: only rows behind it are returned.
    """

    identity: str | None = None
    node: str | None = None
    since: datetime | None = None
    authority: str | None = None
    namespace: str | None = None
    before: tuple[datetime, int, str] | None = None
    limit: int = 100

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MOST_ROWS:
            raise ValueError(f"a limit is from 1 to {MOST_ROWS}")


async def issued_rows(database: Database, wanted: LedgerFilter) -> tuple[LedgerRow, ...]:
    """Return the certificates issued.

    Raises:
        DatabaseError: the database is away.
    """
    table = issued_certificate
    query: Select[Any] = select(table)
    if wanted.identity is not None:
        query = query.where(table.c.spiffe_id == wanted.identity)
    if wanted.node is not None:
        query = query.where(table.c.node == wanted.node)
    if wanted.since is not None:
        query = query.where(table.c.issued_at >= wanted.since)
    if wanted.authority is not None:
        query = query.where(table.c.authority_id == wanted.authority)
    if wanted.namespace is not None:
        query = query.where(_is_in(table.c.spiffe_id, wanted.namespace))
    query = _in_order(query, table, table.c.issued_at, wanted)
    return await _rows(database, "issued", query.limit(wanted.limit))


async def refused_rows(database: Database, wanted: LedgerFilter) -> tuple[LedgerRow, ...]:
    """Return the requests refused.

    Raises:
        DatabaseError: the database is away.
    """
    if wanted.authority is not None:
        return ()
    table = refused_request
    query: Select[Any] = select(table)
    if wanted.identity is not None:
        query = query.where(table.c.requested_id == wanted.identity)
    if wanted.node is not None:
        query = query.where(table.c.node == wanted.node)
    if wanted.since is not None:
        query = query.where(table.c.refused_at >= wanted.since)
    if wanted.namespace is not None:
        query = query.where(_is_in(table.c.requested_id, wanted.namespace))
    query = _in_order(query, table, table.c.refused_at, wanted)
    return await _rows(database, "refused", query.limit(wanted.limit))


def _is_in(identity: ColumnElement[str], namespace: str) -> ColumnElement[bool]:
    """Return whether a SPIFFE id may be of a namespace; texts that are none have to be judged."""
    return identity.contains(f"/ns/{namespace}/sa/", autoescape=True)


def _in_order(
    query: Select[Any], table: Table, at: ColumnElement[datetime], wanted: LedgerFilter
) -> Select[Any]:
    place = (at, table.c.sequence, table.c.replica_id)
    if wanted.before is not None:
        query = query.where(tuple_(*place) < tuple_(*wanted.before))
    return query.order_by(*(column.desc() for column in place))


async def _rows(database: Database, kind: str, query: Select[Any]) -> tuple[LedgerRow, ...]:
    async with database.reading() as connection:
        found = await connection.execute(query)
        return tuple(row_from_columns(kind, row._asdict()) for row in found)
