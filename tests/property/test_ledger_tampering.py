"""Any tampering with a random ledger is found: rows changed, added, removed, moved, cut off."""

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.store.anchors import FileAnchors
from controlplane.store.database import SQLITE_FILE
from controlplane.store.ledger import Ledger, LedgerSettings
from controlplane.store.ledger_writes import SegmentLimits
from controlplane.store.spool import Spool
from controlplane.store.verification import Finding, verify_ledger
from tests.support.ledger import KEY, SteppedClock, a_certificate, a_refusal, migrated_sqlite

TABLES = ("issued_cert", "denied_request")
Tampering = Callable[[sqlite3.Connection, str, int], None]


async def _write(folder: Path, kinds: tuple[bool, ...], segment_rows: int) -> None:
    """Write one row for each of ``kinds``: a certificate where it is true, else a refusal."""
    database = await migrated_sqlite(folder)
    ledger = Ledger(
        database=database,
        key=KEY,
        anchors=FileAnchors(folder, KEY),
        spool=Spool(folder),
        replica_id="replica-1",
        clock=SteppedClock(),
        settings=LedgerSettings(batch_rows=3, segments=SegmentLimits(rows=segment_rows)),
    )
    for number, is_issued in enumerate(kinds, start=1):
        if is_issued:
            ledger.record(a_certificate(number))
        else:
            ledger.refuse(a_refusal(number))
    await ledger.stop()
    await database.close()


async def _findings(folder: Path) -> tuple[Finding, ...]:
    database = await migrated_sqlite(folder)
    try:
        anchors = FileAnchors(folder, KEY).read()
        return (await verify_ledger(database, key=KEY, anchors=anchors)).findings
    finally:
        await database.close()


def _changed(connection: sqlite3.Connection, table: str, sequence: int, column: int) -> None:
    columns = [name for name in _columns(connection, table) if name != "sequence"]
    name = columns[column % len(columns)]
    select = f"SELECT {name} FROM {table} WHERE sequence = ?"  # noqa: S608
    (before,) = connection.execute(select, [sequence]).fetchone()
    after = 1 - before if isinstance(before, int) else f"{before[:-1]}~"
    _update(connection, table, name, after, sequence)


def _removed(connection: sqlite3.Connection, table: str, sequence: int) -> None:
    connection.execute(f"DELETE FROM {table} WHERE sequence = ?", [sequence])  # noqa: S608


def _added(connection: sqlite3.Connection, table: str, sequence: int) -> None:
    columns = _columns(connection, table)
    chosen = ", ".join(
        {"sequence": "sequence + 1000", "entry_id": "'added'"}.get(name, name) for name in columns
    )
    connection.execute(
        f"INSERT INTO {table} SELECT {chosen} FROM {table} WHERE sequence = ?",  # noqa: S608
        [sequence],
    )


def _renumbered(connection: sqlite3.Connection, table: str, sequence: int) -> None:
    """Take a row away and close the gap."""
    _removed(connection, table, sequence)
    for each in TABLES:
        connection.execute(
            f"UPDATE {each} SET sequence = -sequence WHERE sequence > ?",  # noqa: S608
            [sequence],
        )
        connection.execute(
            f"UPDATE {each} SET sequence = -sequence - 1 WHERE sequence < 0"  # noqa: S608
        )


def _swapped(connection: sqlite3.Connection, table: str, sequence: int) -> None:
    """Exchange a row's place with the next one of its table; cut the last one off instead."""
    found = connection.execute(
        f"SELECT min(sequence) FROM {table} WHERE sequence > ?",  # noqa: S608
        [sequence],
    ).fetchone()
    if found[0] is None:
        _cut(connection, table, sequence)
        return
    for before, after in ((sequence, -1), (found[0], sequence), (-1, found[0])):
        _update(connection, table, "sequence", after, before)


def _cut(connection: sqlite3.Connection, table: str, sequence: int) -> None:
    """Cut the chain off at a row, and the head in the database with it."""
    del table
    for each in TABLES:
        connection.execute(f"DELETE FROM {each} WHERE sequence >= ?", [sequence])  # noqa: S608
    mac = ""
    for each in TABLES:
        select = f"SELECT mac FROM {each} WHERE sequence = ?"  # noqa: S608
        found = connection.execute(select, [sequence - 1]).fetchone()
        mac = found[0] if found else mac
    connection.execute("UPDATE ledger_head SET sequence = ?, mac = ?", [sequence - 1, mac])
    connection.execute("DELETE FROM ledger_segment WHERE last_sequence >= ?", [sequence])
    if sequence == 1:
        connection.execute("DELETE FROM ledger_head")


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def _update(
    connection: sqlite3.Connection, table: str, column: str, value: object, sequence: int
) -> None:
    connection.execute(
        f"UPDATE {table} SET {column} = ? WHERE sequence = ?",  # noqa: S608
        [value, sequence],
    )


TAMPERINGS: tuple[Tampering, ...] = (
    _removed,
    _added,
    _renumbered,
    _swapped,
    _cut,
)


@settings(max_examples=25)
@given(
    kinds=st.lists(st.booleans(), min_size=1, max_size=12).map(tuple),
    segment_rows=st.integers(1, 5),
    data=st.data(),
)
def test_any_tampering_is_found(
    kinds: tuple[bool, ...], segment_rows: int, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(_write(folder, kinds, segment_rows))
        assert asyncio.run(_findings(folder)) == ()
        sequence = data.draw(st.integers(1, len(kinds)))
        tampering = data.draw(
            st.one_of(
                st.sampled_from(TAMPERINGS),
                st.integers(0, 30).map(lambda column: partial(_changed, column=column)),
            )
        )
        connection = sqlite3.connect(folder / SQLITE_FILE)
        with connection:
            tampering(connection, TABLES[0 if kinds[sequence - 1] else 1], sequence)
        connection.close()
        assert asyncio.run(_findings(folder)) != ()
