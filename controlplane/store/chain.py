"""How rows of the ledger are tied together: who can write the database cannot recompute it.

In: a row's values, the head before it and a key that is not in the database. Out: the row's
code (HMAC-SHA256), which covers everything in it, its place and the code before it
(docs/protocol/ledger.md LG-8).
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

_KEY_BYTES: Final = 32


class LedgerKey:
    """The secret every code is made with. Shows nothing of itself and cannot be pickled.

    Raises:
        ValueError: fewer than 32 bytes.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) < _KEY_BYTES:
            raise ValueError(f"a ledger key has at least {_KEY_BYTES} bytes")
        self._secret = secret

    def __repr__(self) -> str:
        return "LedgerKey(...)"

    def __reduce__(self) -> str:
        raise TypeError("a ledger key stays where it is")

    def code(self, purpose: str, document: Mapping[str, Any]) -> str:
        """Return the code of ``document`` for ``purpose``: 64 hexadecimal characters."""
        text = json.dumps(
            [purpose, document], sort_keys=True, separators=(",", ":"), default=_plain
        )
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def made(self, code: object, purpose: str, document: Mapping[str, Any]) -> bool:
        """Tell whether ``code`` is the code of ``document`` for ``purpose``."""
        return isinstance(code, str) and hmac.compare_digest(
            code.encode("utf-8", "replace"), self.code(purpose, document).encode()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last row of one replica's chain: its number and its code. Number 0 is the beginning."""

    sequence: int
    mac: str


def beginning(key: LedgerKey, replica_id: str) -> Head:
    """Return the head of a chain without rows."""
    return Head(sequence=0, mac=key.code("beginning", {"replica_id": replica_id}))


def tied(key: LedgerKey, kind: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``row`` with its code; it names its replica, its number and the code before it."""
    return {**row, "mac": key.code(kind, row)}


def is_genuine(key: LedgerKey, kind: str, row: Mapping[str, Any]) -> bool:
    """Tell whether ``row`` carries the code that its values, its place and ``kind`` make."""
    return key.made(row["mac"], kind, {name: value for name, value in row.items() if name != "mac"})


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    raise TypeError(f"no row holds a {type(value).__name__}")
