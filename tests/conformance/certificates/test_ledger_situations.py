"""The situations of docs/protocol/ledger.md, by their numbers."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from controlplane.ca.requests import RequestSettings
from controlplane.store.anchors import FileAnchors
from controlplane.store.database import SQLITE_FILE
from controlplane.store.errors import DatabaseError
from controlplane.store.ledger import Ledger, LedgerSettings
from controlplane.store.ledger_queries import LedgerFilter, issued_rows
from controlplane.store.spool import Spool
from controlplane.store.verification import Violation, verify_ledger
from tests.support.issuing import NOW, Desk, leaf_of, refusal_of
from tests.support.ledger import KEY, a_certificate, migrated_sqlite

PAGE = Path(__file__).parents[3] / "docs" / "protocol" / "ledger.md"
SOURCE = Path(__file__).read_text()


class Away:
    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        raise DatabaseError("away")
        yield


def test_every_situation_of_the_page_has_a_test() -> None:
    listed = re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)
    tested = re.findall(r"^async def test_situation_(\d+)_", SOURCE, re.MULTILINE)
    assert sorted(listed) == sorted(set(tested))


def a_ledger(folder: Path, database: object, desk: Desk, settings: LedgerSettings) -> Ledger:
    return Ledger(
        database=database,  # type: ignore[arg-type]
        key=KEY,
        anchors=FileAnchors(folder, KEY),
        spool=Spool(folder),
        replica_id="replica-1",
        clock=desk.clock,
        settings=settings,
    )


@pytest.mark.proves("LG-6")
async def test_situation_45_batched_issues_and_catches_up(tmp_path: Path) -> None:
    desk = Desk()
    away = a_ledger(tmp_path, Away(), desk, LedgerSettings())
    desk.requests._recorder = away
    leaf = leaf_of(await desk.ask())
    await away.flush()
    assert away.status.spooled_bytes > 0
    database = await migrated_sqlite(tmp_path)
    await a_ledger(tmp_path, database, desk, LedgerSettings()).flush()
    (row,) = await issued_rows(database, LedgerFilter())
    await database.close()
    assert int(row.value.serial, 16) == leaf.serial_number  # type: ignore[union-attr]


@pytest.mark.proves("LG-5")
async def test_situation_45_strict_issues_nothing(tmp_path: Path) -> None:
    desk = Desk(settings=RequestSettings(is_ledger_strict=True))
    ledger = a_ledger(tmp_path, Away(), desk, LedgerSettings(mode="strict"))
    desk.requests._recorder = ledger
    async with asyncio.TaskGroup() as group:
        run = group.create_task(ledger.run())
        refusal = refusal_of(await desk.ask())
        run.cancel()
    assert refusal.status == "UNAVAILABLE"
    assert refusal.reason_code == "ledger-unavailable"


@pytest.mark.proves("LG-10")
async def test_situation_46_ledger_of_yesterday(tmp_path: Path) -> None:
    desk = Desk()
    data, backup = tmp_path / "data", tmp_path / "backup"
    for number in (1, 2):
        database = await migrated_sqlite(data)
        ledger = a_ledger(data, database, desk, LedgerSettings())
        ledger.record(a_certificate(number, issued_at=NOW))
        await ledger.stop()
        await database.close()
        if number == 1:
            shutil.copy(data / SQLITE_FILE, backup)
    shutil.copy(backup, data / SQLITE_FILE)
    database = await migrated_sqlite(data)
    ledger = a_ledger(data, database, desk, LedgerSettings())
    ledger.record(a_certificate(3, issued_at=NOW))
    await ledger.stop()
    anchors = FileAnchors(data, KEY).read()
    found = await verify_ledger(database, key=KEY, anchors=anchors)
    await database.close()
    assert [(each.violation, each.first, each.last) for each in found.findings] == [
        (Violation.MISSING, 2, 2)
    ]
