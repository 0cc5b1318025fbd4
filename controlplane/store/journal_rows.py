"""Values of the authorities' journal as rows and back."""

from dataclasses import asdict
from typing import Any

from controlplane.model.certificate import (
    AuthorityEvent,
    AuthorityRecord,
    AuthorityState,
    AuthorityStatus,
    AuthorityTier,
    BundleEntry,
    BundleSource,
    BundleTarget,
    Replica,
)
from controlplane.store.columns import NAME, fitting


def authority_row(record: AuthorityRecord) -> dict[str, Any]:
    """Return the row of an authority."""
    return {**asdict(record), "tier": record.tier.value, "status": record.status.value}


def authority_from_row(row: Any) -> AuthorityRecord:
    """Return the authority of a row."""
    columns = row._asdict()
    columns["tier"] = AuthorityTier(columns["tier"])
    columns["status"] = AuthorityStatus(columns["status"])
    return AuthorityRecord(**columns)


def state_from_row(row: Any) -> AuthorityState:
    """Return where the authorities of a trust domain stand."""
    return AuthorityState(**row._asdict())


def event_from_row(row: Any) -> AuthorityEvent:
    """Return the step of a row."""
    columns = row._asdict()
    del columns["id"]
    for name in ("previous", "status"):
        columns[name] = AuthorityStatus(columns[name]) if columns[name] else None
    return AuthorityEvent(**columns)


def bundle_row(entry: BundleEntry) -> dict[str, Any]:
    """Return the row of a root in the bundle."""
    return {**asdict(entry), "source": entry.source.value}


def bundle_from_row(row: Any) -> BundleEntry:
    """Return the root of a row."""
    columns = row._asdict()
    columns["source"] = BundleSource(columns["source"])
    return BundleEntry(**columns)


def replica_from_row(row: Any) -> Replica:
    """Return what the replica of a row has loaded."""
    return Replica(**row._asdict())


def target_row(target: BundleTarget) -> dict[str, Any]:
    """Return the row of a place the bundle is written to; its error is cut to fit."""
    return {**asdict(target), "error": fitting(target.error, NAME)}


def target_from_row(row: Any) -> BundleTarget:
    """Return the place of a row."""
    return BundleTarget(**row._asdict())
