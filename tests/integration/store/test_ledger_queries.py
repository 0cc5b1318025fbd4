"""Pages of the ledger and parts of it, on both databases."""

from datetime import timedelta
from pathlib import Path

import pytest

from controlplane.admin.queries import CertificateQuery
from controlplane.admin.reading.certificates import Certificates, StoredLedger
from controlplane.admin.viewer import EVERYTHING, Viewer
from controlplane.store.database import Database
from controlplane.store.ledger import Ledger
from controlplane.store.ledger_queries import LedgerFilter, issued_rows, refused_rows
from controlplane.store.spool import Spool
from tests.support.ledger import KEY, KeptAnchors, SteppedClock, a_certificate, a_refusal

pytestmark = pytest.mark.timeout(60)  # the first test starts a server


async def filled(database: Database, folder: Path) -> None:
    """Write twelve certificates of two namespaces and refusals, by two replicas at equal times."""
    for replica in ("replica-1", "replica-2"):
        ledger = Ledger(
            database=database,
            key=KEY,
            anchors=KeptAnchors(),
            spool=Spool(folder / replica, max_bytes=1 << 20),
            replica_id=replica,
            clock=SteppedClock(),
        )
        for number in range(6):
            # Every other second, so that times are equal within a replica and between them.
            base = a_certificate(number)
            at = base.issued_at - timedelta(seconds=number % 2)
            team = "shop" if number % 3 else "shop-2"
            ledger.record(
                a_certificate(
                    number, issued_at=at, spiffe_id=f"spiffe://cluster.local/ns/{team}/sa/cart"
                )
            )
        ledger.refuse(a_refusal(1, requested_id="spiffe://cluster.local/ns/shop/sa/cart"))
        ledger.refuse(a_refusal(2, requested_id="spiffe://x/ns/other/sa/a/ns/shop/sa/b"))
        await ledger.flush()


async def test_pages_are_the_whole_ledger(database: Database, tmp_path: Path) -> None:
    await filled(database, tmp_path)
    whole = await issued_rows(database, LedgerFilter(limit=100))
    assert len(whole) == 12
    certificates = Certificates(ledger=lambda: StoredLedger(database), authorities=lambda: None)
    found: list[tuple[str, int]] = []
    after = ""
    for _ in range(20):
        query = CertificateQuery(limit=5, after=after)
        page = await certificates.page(EVERYTHING, query, commit=1)
        found += [(each.replica, each.sequence) for each in page.items]
        if page.next is None:
            break
        after = page.next
    assert found == [(row.replica_id, row.sequence) for row in whole]


async def test_a_namespace_is_a_part_of_it(database: Database, tmp_path: Path) -> None:
    await filled(database, tmp_path)
    rows = await issued_rows(database, LedgerFilter(namespace="shop"))
    assert len(rows) == 8
    assert await issued_rows(database, LedgerFilter(namespace="sho%")) == ()


async def test_what_only_looks_like_a_namespace_is_not_shown(
    database: Database, tmp_path: Path
) -> None:
    await filled(database, tmp_path)
    assert len(await refused_rows(database, LedgerFilter(namespace="shop"))) == 4
    certificates = Certificates(ledger=lambda: StoredLedger(database), authorities=lambda: None)
    viewer = Viewer(name="x", namespace="shop")
    page = await certificates.page(viewer, CertificateQuery(outcome="refused"), commit=1)
    assert [each.identity for each in page.items] == ["spiffe://cluster.local/ns/shop/sa/cart"] * 2
