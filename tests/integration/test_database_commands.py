"""``istiod-lite db`` and the ledger's commands as users call them."""

import asyncio
import json
import os
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from controlplane.cli.main import application
from controlplane.clock import SystemClock
from controlplane.store.anchors import FileAnchors
from controlplane.store.database import SQLITE_FILE
from controlplane.store.ledger import Ledger
from controlplane.store.ledger_key import ledger_key
from controlplane.store.spool import Spool
from tests.support.ledger import a_certificate, a_refusal, migrated_sqlite

OTHER = "spiffe://cluster.local/ns/default/sa/other"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("ISTIOD_LITE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(application, [*arguments, "--data-dir", str(folder)])


def write_ledger(folder: Path) -> None:
    async def write() -> None:
        database = await migrated_sqlite(folder)
        key = ledger_key(folder)
        ledger = Ledger(
            database=database,
            key=key,
            anchors=FileAnchors(folder, key),
            spool=Spool(folder),
            replica_id="replica-1",
            clock=SystemClock(),
        )
        now = SystemClock().now()
        ledger.record(a_certificate(1))
        ledger.record(a_certificate(2, node="node-2", issued_at=now - timedelta(minutes=5)))
        ledger.refuse(a_refusal(3))
        await ledger.stop()
        await database.close()

    asyncio.run(write())


def test_the_schema_goes_up_and_down_and_is_told(folder: Path) -> None:
    assert run(folder, "db", "current").exit_code == 3
    assert run(folder, "db", "upgrade").stdout == "0002\n"
    shown = run(folder, "db", "current")
    assert (shown.exit_code, shown.stdout) == (0, "database: 0002\nthis version: 0002\n")
    assert run(folder, "db", "downgrade", "base", "--yes").stdout == "none\n"


def test_an_unknown_schema_and_an_unknown_database_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = run(folder, "db", "upgrade", "9999")
    assert refused.exit_code == 1
    assert "no such schema: 9999" in refused.stderr
    monkeypatch.setenv("ISTIOD_LITE_DATABASE_URL", "mysql://me:secret@db/mesh")
    refused = run(folder, "db", "current")
    assert refused.exit_code == 1
    assert "sqlite or postgresql" in refused.stderr
    assert "secret" not in refused.stderr


def test_the_ledger_is_printed_as_a_table_and_as_json(folder: Path) -> None:
    write_ledger(folder)
    table = run(folder, "ca", "ledger").stdout.splitlines()
    assert table[0].split()[:3] == ["TIME", "OUTCOME", "IDENTITY"]
    assert len(table) == 4
    assert "not-on-node" in run(folder, "ca", "ledger", "--identity", OTHER).stdout
    documents = json.loads(run(folder, "ca", "ledger", "-o", "json").stdout)
    assert {each["outcome"] for each in documents} == {"issued", "refused"}
    recent = json.loads(run(folder, "ca", "ledger", "--since", "1h", "-o", "json").stdout)
    assert [each["node"] for each in recent] == ["node-2"]
    later = run(folder, "ca", "ledger", "--since", "2999-01-01T00:00:00Z", "-o", "json")
    assert json.loads(later.stdout) == []


@pytest.mark.parametrize("since", ["yesterday", "2026-01-01", "5x", ""])
def test_a_time_that_is_none_is_refused(folder: Path, since: str) -> None:
    assert run(folder, "ca", "ledger", "--since", since).exit_code == 2


def test_verification_tells_an_intact_ledger_from_one_that_was_touched(folder: Path) -> None:
    write_ledger(folder)
    intact = run(folder, "ca", "verify-ledger")
    assert (intact.exit_code, intact.stdout.splitlines()[-1]) == (0, "intact")
    connection = sqlite3.connect(folder / SQLITE_FILE)
    with connection:
        connection.execute("UPDATE issued_cert SET node = 'node-9' WHERE sequence = 1")
        connection.execute("DELETE FROM issued_cert WHERE sequence = 2")
    connection.close()
    found = run(folder, "ca", "verify-ledger")
    assert found.exit_code == 3
    assert "replica-1: forged (row 1): was changed, added or moved" in found.stdout
    assert "replica-1: missing (row 2): was removed" in found.stdout


def test_what_cannot_be_told_is_said_to_be_so(folder: Path) -> None:
    missing = run(folder, "ca", "verify-ledger")
    assert missing.exit_code == 1
    assert "there is no database" in missing.stderr
    write_ledger(folder)
    (folder / "ledger.key").unlink()
    keyless = run(folder, "ca", "verify-ledger")
    assert keyless.exit_code == 1
    assert "ledger.key" in keyless.stderr


def test_reading_does_not_make_a_database(folder: Path) -> None:
    assert run(folder, "ca", "ledger").exit_code == 1
    assert not folder.exists()
