"""Whoever touches the ledger is found: each kind of tampering, one by one."""

import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from controlplane.store.anchors import FileAnchors
from controlplane.store.chain import LedgerKey
from controlplane.store.database import Database
from controlplane.store.errors import AnchorError
from controlplane.store.ledger import Ledger, LedgerSettings
from controlplane.store.ledger_writes import SegmentLimits
from controlplane.store.spool import Spool
from controlplane.store.verification import Verification, Violation, verify_ledger
from tests.support.ledger import KEY, SteppedClock, a_certificate, a_refusal, migrated_sqlite

Tamper = Callable[[sqlite3.Connection], object]


class Rig:
    """Ten rows (six issued, four refused) in segments 1-4, 5-8 and an open one."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.anchors = FileAnchors(folder, KEY)
        self.clock = SteppedClock()

    def ledger(self) -> Ledger:
        return Ledger(
            database=self.database,
            key=KEY,
            anchors=self.anchors,
            spool=Spool(self.folder),
            replica_id="replica-1",
            clock=self.clock,
            settings=LedgerSettings(segments=SegmentLimits(rows=4)),
        )

    async def write(self) -> None:
        ledger = self.ledger()
        for number in range(1, 11):
            if number in {2, 5, 6, 9}:
                ledger.refuse(a_refusal(number))
            else:
                ledger.record(a_certificate(number))
            await ledger.flush()

    def sql(self, *statements: str) -> None:
        connection = sqlite3.connect(self.folder / "istiod-lite.db")
        with connection:
            for statement in statements:
                assert connection.execute(statement).rowcount > 0, statement
        connection.close()

    async def verify(self, key: LedgerKey = KEY) -> Verification:
        return await verify_ledger(self.database, key=key, anchors=self.anchors.read())

    async def found(self) -> set[tuple[str, int, int]]:
        findings = (await self.verify()).findings
        return {(str(each.violation), each.first, each.last) for each in findings}


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    database = await migrated_sqlite(tmp_path)
    rig = Rig(database, tmp_path)
    await rig.write()
    yield rig
    await database.close()


COPY = (
    "INSERT INTO issued_cert SELECT replica_id, {sequence}, 'new', previous_mac, mac,"
    " authority_id, serial, spiffe_id, cluster_id, caller_id, caller_pod, caller_pod_uid, node,"
    " impersonated, spki_sha256, csr_sha256, certificate_sha256, key_type, not_before, not_after,"
    " issued_at, peer_address, credential_id, request_id, key_seen_on FROM issued_cert"
    " WHERE sequence = 1"
)
ADDED_SEGMENT = (
    "INSERT INTO ledger_segment SELECT replica_id, 3, 9, 10, mac, closed_at, NULL, signature"
    " FROM ledger_segment WHERE number = 2"
)


@pytest.mark.refutes("LG-8", "LG-9", "LG-10", "LG-12", "LG-14", "LG-15")
async def test_nothing_is_found_where_nothing_was_touched(rig: Rig) -> None:
    verified = await rig.verify()
    assert verified.is_intact
    (chain,) = verified.chains
    assert (chain.rows, chain.last, chain.kept_segments, chain.is_anchored) == (10, 10, 2, True)


@pytest.mark.proves("LG-8")
@pytest.mark.parametrize(
    "change",
    [
        "spiffe_id = 'spiffe://cluster.local/ns/default/sa/admin'",
        "node = ''",
        "issued_at = '2020-01-01 00:00:00.000000'",
        "impersonated = 0",
        "entry_id = 'other'",
        "issued_at = 'not a time'",
        "mac = '00'",
        "node = CAST(x'ff00' AS TEXT)",
    ],
)
async def test_a_changed_row_is_found(rig: Rig, change: str) -> None:
    rig.sql(f"UPDATE issued_cert SET {change} WHERE sequence = 3")  # noqa: S608 - our own text
    assert ("forged", 3, 3) in await rig.found()


@pytest.mark.proves("LG-9")
async def test_a_removed_row_is_found(rig: Rig) -> None:
    rig.sql("DELETE FROM denied_request WHERE sequence = 6")
    assert await rig.found() == {("missing", 6, 6)}


@pytest.mark.proves("LG-9")
async def test_removed_first_rows_are_found(rig: Rig) -> None:
    rig.sql("DELETE FROM issued_cert WHERE sequence = 1")
    assert await rig.found() == {("missing", 1, 1)}


@pytest.mark.proves("LG-9")
@pytest.mark.parametrize("sequence", [2, 11, 5000, -1, 2**62])
async def test_an_added_row_is_found(rig: Rig, sequence: int) -> None:
    rig.sql(COPY.format(sequence=sequence))
    assert ("forged", sequence, sequence) in await rig.found()


@pytest.mark.proves("LG-9")
async def test_an_added_row_without_a_number_is_found(rig: Rig) -> None:
    rig.sql(COPY.format(sequence="'zzz'"))
    assert ("forged", 0, 0) in await rig.found()


@pytest.mark.proves("LG-9")
async def test_swapped_rows_are_found(rig: Rig) -> None:
    rig.sql(
        "UPDATE issued_cert SET sequence = 99 WHERE sequence = 3",
        "UPDATE issued_cert SET sequence = 3 WHERE sequence = 4",
        "UPDATE issued_cert SET sequence = 4 WHERE sequence = 99",
    )
    assert {("forged", 3, 3), ("forged", 4, 4)} <= await rig.found()


@pytest.mark.proves("LG-9")
async def test_a_row_moved_to_another_replica_is_found(rig: Rig) -> None:
    rig.sql("UPDATE issued_cert SET replica_id = 'replica-2' WHERE sequence = 1")
    findings = (await rig.verify()).findings
    assert {(str(each.violation), each.replica_id) for each in findings} >= {
        ("forged", "replica-2"),
        ("missing", "replica-1"),
    }


@pytest.mark.proves("LG-10")
async def test_a_cut_tail_is_found_however_cleanly_it_was_cut(rig: Rig) -> None:
    rig.sql(
        "DELETE FROM issued_cert WHERE sequence > 8",
        "DELETE FROM denied_request WHERE sequence > 8",
        "UPDATE ledger_head SET sequence = 8, mac ="
        " (SELECT mac FROM issued_cert WHERE sequence = 8)",
    )
    assert await rig.found() == {("tail-missing", 9, 10)}


@pytest.mark.proves("LG-10")
async def test_a_cut_tail_is_found_after_more_was_written(rig: Rig) -> None:
    rig.sql("DELETE FROM issued_cert WHERE sequence = 10", "DELETE FROM ledger_head")
    ledger = rig.ledger()
    ledger.record(a_certificate(11))
    await ledger.stop()
    assert await rig.found() == {("missing", 10, 10)}


@pytest.mark.proves("LG-10")
async def test_a_ledger_emptied_of_everything_is_found(rig: Rig) -> None:
    tables = ("issued_cert", "denied_request", "ledger_head", "ledger_segment")
    rig.sql(*(f"DELETE FROM {table}" for table in tables))  # noqa: S608 - our own texts
    assert ("tail-missing", 1, 10) in await rig.found()


@pytest.mark.proves("LG-12")
@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE ledger_segment SET last_sequence = 3 WHERE number = 1",
        "UPDATE ledger_segment SET closed_at = '2020-01-01 00:00:00.000000' WHERE number = 2",
        "UPDATE ledger_segment SET dropped_at = closed_at WHERE number = 1",
        "DELETE FROM ledger_segment WHERE number = 1",
        "DELETE FROM ledger_segment WHERE number = 2",
        ADDED_SEGMENT,
    ],
)
async def test_a_touched_segment_is_found(rig: Rig, tampering: str) -> None:
    rig.sql(tampering)
    findings = (await rig.verify()).findings
    assert {each.violation for each in findings} == {Violation.SEGMENT}


@pytest.mark.refutes("LG-13")
async def test_rows_dropped_by_somebody_else_are_found_and_a_false_record_drops_none(
    rig: Rig,
) -> None:
    rig.sql("UPDATE ledger_segment SET closed_at = '2020-01-01 00:00:00.000000' WHERE number = 1")
    dropped = await rig.ledger().drop_segments(closed_before=rig.clock.now())
    assert dropped == ()
    rig.sql("DELETE FROM issued_cert WHERE sequence <= 4")
    assert ("missing", 3, 4) in await rig.found()


@pytest.mark.proves("LG-14")
async def test_without_the_key_everything_is_forged(rig: Rig) -> None:
    other = LedgerKey(b"o" * 32)
    verified = await verify_ledger(rig.database, key=other, anchors={})
    forged = [each for each in verified.findings if each.violation is Violation.FORGED]
    assert len(forged) == 10


@pytest.mark.proves("LG-15")
async def test_heads_that_were_changed_outside_are_refused_and_writing_goes_on(rig: Rig) -> None:
    (path,) = (rig.folder / "ledger-heads").glob("*.json")
    document = json.loads(path.read_text())
    document["anchor"]["head"]["sequence"] = 3
    path.write_text(json.dumps(document))
    with pytest.raises(AnchorError, match="not signed"):
        rig.anchors.read()
    ledger = rig.ledger()
    ledger.record(a_certificate(11))
    await ledger.stop()
    assert ledger.status.written == 1
    with pytest.raises(AnchorError, match="not signed"):
        rig.anchors.read()
    path.unlink()
    assert (await rig.verify()).is_intact


async def test_damaged_heads_are_refused_by_name(rig: Rig) -> None:
    (path,) = (rig.folder / "ledger-heads").glob("*.json")
    path.write_text("{")
    with pytest.raises(AnchorError, match=path.name):
        rig.anchors.read()


async def test_a_head_moved_in_the_database_is_found(rig: Rig) -> None:
    rig.sql("UPDATE ledger_head SET sequence = 500")
    assert await rig.found() == {("head", 10, 500)}
