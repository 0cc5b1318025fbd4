"""Values of the ledger as rows and back, and as lines of the spool and back.

In: ``IssuedCertificate`` and ``RefusedRequest``. Out: columns of their two tables, texts escaped
and cut to fit, so that what is stored is what was coded.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import String, Table

from controlplane.model.certificate import IssuedCertificate, RefusedRequest
from controlplane.store.columns import fitting
from controlplane.store.errors import RowRefusedError
from controlplane.store.tables import issued_certificate, refused_request

LedgerValue: TypeAlias = IssuedCertificate | RefusedRequest
TABLES: Final[Mapping[str, Table]] = {"issued": issued_certificate, "refused": refused_request}
_TYPES: Final[Mapping[str, type[LedgerValue]]] = {
    "issued": IssuedCertificate,
    "refused": RefusedRequest,
}
_CHAIN: Final = frozenset({"replica_id", "sequence", "entry_id", "previous_mac", "mac"})
_MOMENTS: Final = frozenset({"not_before", "not_after", "issued_at", "refused_at"})
_LIMITS: Final[Mapping[str, Mapping[str, int | None]]] = {
    kind: {
        column.name: column.type.length if isinstance(column.type, String) else None
        for column in table.columns
        if column.name not in _CHAIN
    }
    for kind, table in TABLES.items()
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One value on its way into the ledger. ``entry_id`` tells it from every other, for good."""

    value: LedgerValue
    entry_id: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def kind(self) -> str:
        """Return the name of its table in ``TABLES``."""
        return "issued" if isinstance(self.value, IssuedCertificate) else "refused"

    def columns(self) -> dict[str, Any]:
        """Return the columns of the value itself.

        Raises:
            RowRefusedError: a time has no zone.
        """
        return {
            name: _column(getattr(self.value, name), limit)
            for name, limit in _LIMITS[self.kind].items()
        }

    def line(self) -> bytes:
        """Return it as a line of the spool, without the line feed."""
        columns = {
            name: value[:limit] if isinstance(value := getattr(self.value, name), str) else value
            for name, limit in _LIMITS[self.kind].items()
        }
        document = [self.kind, self.entry_id, columns]
        return json.dumps(document, separators=(",", ":"), default=datetime.isoformat).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One row read back: who wrote it as number what of its chain."""

    replica_id: str
    sequence: int
    value: LedgerValue


def entry_from_line(line: bytes) -> Entry:
    """Return the entry a line of the spool holds; ValueError for one that holds none."""
    try:
        kind, entry_id, columns = json.loads(line)
        for name in _MOMENTS & columns.keys():
            columns[name] = datetime.fromisoformat(columns[name])
        return Entry(value=_TYPES[kind](**columns), entry_id=str(entry_id))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("not a line of the spool") from error


def row_from_columns(kind: str, columns: Mapping[str, Any]) -> LedgerRow:
    """Return the row that ``columns`` of the table of ``kind`` hold."""
    return LedgerRow(
        replica_id=columns["replica_id"],
        sequence=columns["sequence"],
        value=_TYPES[kind](**{name: columns[name] for name in _LIMITS[kind]}),
    )


def _column(value: Any, limit: int | None) -> Any:
    if isinstance(value, str) and limit is not None:
        return fitting(value, limit)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise RowRefusedError("a time without a zone")
        return value.astimezone(UTC)
    return value
