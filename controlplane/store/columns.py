"""How values stand in columns: moments in UTC on every database, and text that always fits.

In: Python values. Out: column types and texts that SQLite and PostgreSQL both take and give back
unchanged.
"""

import base64
from datetime import UTC, datetime

from sqlalchemy import DateTime, LargeBinary, String
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

IDENTIFIER = 64
NAME = 512
IDENTITY = 2048


class Moment(TypeDecorator[datetime]):
    """An aware datetime with microseconds; SQLite keeps it as text in UTC, without the zone."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[datetime]:
        """Return a column with a zone where the database has them."""
        return dialect.type_descriptor(DateTime(timezone=dialect.name != "sqlite"))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn an aware datetime into what the column takes; ValueError for a naive one."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the datetime in UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Certificates(TypeDecorator[tuple[bytes, ...]]):
    """Certificates in DER, in order; kept as lines of Base64."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: tuple[bytes, ...] | None, dialect: Dialect) -> str:
        """Return one line for each certificate."""
        del dialect
        return "\n".join(base64.b64encode(each).decode() for each in value or ())

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[bytes, ...]:
        """Return the certificates."""
        del dialect
        return tuple(base64.b64decode(line) for line in (value or "").splitlines())


def identifier() -> String:
    """Return the type of ids, hashes and codes."""
    return String(IDENTIFIER)


def name() -> String:
    """Return the type of names, addresses and references."""
    return String(NAME)


def identity() -> String:
    """Return the type of SPIFFE ids and of what was asked for in their place."""
    return String(IDENTITY)


def der() -> LargeBinary:
    """Return the type of one certificate."""
    return LargeBinary()


def fitting(text: str, limit: int) -> str:
    """Return ``text`` as printable ASCII, at most ``limit`` characters of it.

    Everything else is escaped as Python source would, backslashes too, and the rest is cut:
    whatever a caller sends can be stored, indexed and shown.
    """
    text = text[:limit]
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return text.encode("unicode_escape", "backslashreplace").decode("ascii")[:limit]
