"""Databases, values and a clock for tests of the store."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from controlplane.model.certificate import IssuedCertificate, RefusedRequest
from controlplane.store.anchors import Anchor
from controlplane.store.chain import LedgerKey
from controlplane.store.database import Database, database_url
from controlplane.store.schema import upgrade

KEY = LedgerKey(b"k" * 32)
START = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


class SteppedClock:
    """Stands still until moved; sleeping moves it."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds - 1000.0)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


class KeptAnchors:
    """Anchors in memory, as another place outside the database."""

    def __init__(self) -> None:
        self.kept: dict[str, Anchor] = {}

    def read(self) -> Mapping[str, Anchor]:
        return dict(self.kept)

    def write(self, anchor: Anchor) -> None:
        self.kept[anchor.replica_id] = anchor


def sqlite_database(folder: Path) -> Database:
    return Database(database_url(None, data_dir=folder))


async def migrated_sqlite(folder: Path) -> Database:
    database = sqlite_database(folder)
    await upgrade(database)
    return database


def a_certificate(number: int = 1, **changes: object) -> IssuedCertificate:
    issued_at = START + timedelta(seconds=number)
    values: dict[str, object] = {
        "authority_id": "ab" * 20,
        "serial": f"{number:040x}",
        "spiffe_id": "spiffe://cluster.local/ns/default/sa/sleep",
        "not_before": issued_at - timedelta(minutes=2),
        "not_after": issued_at + timedelta(hours=24),
        "issued_at": issued_at,
        "spki_sha256": "11" * 32,
        "csr_sha256": "22" * 32,
        "certificate_sha256": "33" * 32,
        "key_type": "ec-p256",
        "impersonated": True,
        "caller_id": "istio-system/ztunnel",
        "caller_pod": "ztunnel-abcde",
        "caller_pod_uid": "uid-1",
        "cluster_id": "Kubernetes",
        "node": "node-1",
        "peer_address": "127.0.0.1:1",
        "credential_id": "JTI=1",
        "request_id": f"request-{number}",
    }
    return IssuedCertificate(**{**values, **changes})  # type: ignore[arg-type]


def a_refusal(number: int = 1, **changes: object) -> RefusedRequest:
    values: dict[str, object] = {
        "refused_at": START + timedelta(seconds=number),
        "status": "UNAUTHENTICATED",
        "reason": "not-on-node",
        "caller_id": "istio-system/ztunnel",
        "node": "node-1",
        "requested_id": "spiffe://cluster.local/ns/default/sa/other",
        "request_id": f"refused-{number}",
    }
    return RefusedRequest(**{**values, **changes})  # type: ignore[arg-type]
