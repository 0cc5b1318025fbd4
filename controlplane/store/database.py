"""One database: a URL in, transactions out; SQLite and PostgreSQL behave alike from here on.

SQLite runs in write-ahead mode, a writing transaction takes the write lock when it begins, and
the file is readable by its owner only. Errors of drivers become ``DatabaseError``, whose text
never holds the URL's password or a statement's values.
"""

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DataError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from controlplane.store.errors import DatabaseError, DatabaseUrlError, RowRefusedError

SQLITE_FILE: Final = "istiod-lite.db"
_DRIVERS: Final = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}
_BUSY_SECONDS: Final = 5.0


def database_url(text: str | None, *, data_dir: Path) -> URL:
    """Return the URL to open: ``text``, or the SQLite file in ``data_dir`` where it is None.

    Raises:
        DatabaseUrlError: ``text`` is not a URL of SQLite or PostgreSQL, or is SQLite in memory.
    """
    if text is None:
        return URL.create("sqlite+aiosqlite", database=str(data_dir / SQLITE_FILE))
    try:
        url = make_url(text)
    except ArgumentError:
        raise DatabaseUrlError("the database URL cannot be read") from None
    if url.drivername not in _DRIVERS:
        raise DatabaseUrlError(f"no database of kind {url.drivername!r}: sqlite or postgresql")
    url = url.set(drivername=_DRIVERS[url.drivername])
    if url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}:
        raise DatabaseUrlError("a SQLite database needs a file: sqlite:///path/to/file.db")
    return url


class Database:
    """A pool of connections to one database. Close it when done.

    While it is held it is as good as away: nothing is read or written.
    """

    def __init__(self, url: URL, *, connections: int = 5) -> None:
        self.url: Final = url
        self._held = ""
        self.is_sqlite: Final = url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            _own_file(Path(url.database or ""))
        self._engine = _engine(url, connections=connections)
        self._writer = self._engine.execution_options(takes_write_lock=True)
        self._reader = (
            self._engine
            if self.is_sqlite
            else self._engine.execution_options(isolation_level="REPEATABLE READ")
        )

    def hold(self, reason: str) -> None:
        """Let nobody in, for a reason in words, until it is released."""
        self._held = reason

    def release(self) -> None:
        """Let everybody in again."""
        self._held = ""

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Run a transaction that writes: committed at the end, rolled back on any exception.

        Raises:
            DatabaseError: the database cannot be reached or refuses, or is held.
        """
        self._require_released()
        with _translated():
            async with self._writer.begin() as connection:
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Run a transaction that sees one state of the database throughout, and writes nothing.

        Raises:
            DatabaseError: the database cannot be reached or refuses, or is held.
        """
        self._require_released()
        with _translated():
            async with self._reader.connect() as connection:
                yield connection
                await connection.rollback()

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    def _require_released(self) -> None:
        if self._held:
            raise DatabaseError(self._held)


class _translated:  # noqa: N801 - reads as a word of the with statement
    """Turns what drivers raise into ``DatabaseError``."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SQLAlchemyError | OSError | sqlite3.Error | TimeoutError):
            refused = isinstance(error, IntegrityError | DataError)
            raise (RowRefusedError if refused else DatabaseError)(reason_of(error)) from None


def reason_of(error: BaseException) -> str:
    """Return what a driver says, without statements, values and addresses."""
    cause: Any = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None)
    name = type(cause).__name__
    return f"the database failed: {name} ({code})" if code else f"the database failed: {name}"


def _own_file(path: Path) -> None:
    """Make the file, and its folder, readable by its owner only before SQLite does."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        raise DatabaseError(f"the database file cannot be made: {error.strerror}") from None


def _engine(url: URL, *, connections: int) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        engine = create_async_engine(url, connect_args={"timeout": _BUSY_SECONDS})
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    return create_async_engine(
        url,
        pool_size=connections,
        max_overflow=connections,
        pool_pre_ping=True,
        pool_timeout=_BUSY_SECONDS,
        connect_args={
            "timeout": _BUSY_SECONDS,
            "server_settings": {"application_name": "istiod-lite"},
        },
    )


def _prepare_sqlite(connection: Any, record: object) -> None:
    del record
    connection.isolation_level = None  # the driver's own BEGIN comes too late for a snapshot
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    takes_lock = connection.get_execution_options().get("takes_write_lock", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if takes_lock else "BEGIN")
