"""Migrations on both databases: up, down, and what start-up makes of what it finds."""

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from controlplane.store.database import Database
from controlplane.store.errors import DatabaseError, SchemaError
from controlplane.store.schema import (
    current_revision,
    downgrade,
    newest_revision,
    prepare_schema,
    upgrade,
)
from controlplane.store.tables import metadata


def _differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


def _tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


@pytest.mark.proves("LG-30")
async def test_migrations_make_exactly_the_tables_of_this_version(database: Database) -> None:
    async with database.writing() as connection:
        assert await connection.run_sync(_tables) == set(metadata.tables)
        assert await connection.run_sync(_differences) == []
    assert await current_revision(database) == newest_revision()


async def test_downgrading_to_the_base_leaves_no_table(database: Database) -> None:
    await downgrade(database, "base")
    async with database.writing() as connection:
        assert await connection.run_sync(_tables) == set()
    assert await current_revision(database) is None


async def test_down_and_up_again_is_the_same(database: Database) -> None:
    await downgrade(database, "base")
    await upgrade(database)
    async with database.writing() as connection:
        assert await connection.run_sync(_differences) == []


async def test_upgrading_twice_changes_nothing(database: Database) -> None:
    await upgrade(database)
    assert await current_revision(database) == newest_revision()


async def test_a_schema_that_does_not_exist_is_refused(database: Database) -> None:
    with pytest.raises(SchemaError, match="no such schema"):
        await upgrade(database, "9999")


@pytest.mark.proves("LG-31")
@pytest.mark.refutes("LG-30")
async def test_start_up_migrates_sqlite_and_refuses_an_empty_postgresql(
    empty_database: Database,
) -> None:
    if empty_database.is_sqlite:
        await prepare_schema(empty_database)
        assert await current_revision(empty_database) == newest_revision()
    else:
        with pytest.raises(SchemaError, match="istiod-lite db upgrade"):
            await prepare_schema(empty_database)
        assert await current_revision(empty_database) is None


@pytest.mark.proves("LG-31")
async def test_start_up_migrates_any_database_when_it_is_told_to(empty_database: Database) -> None:
    await asyncio.gather(*(prepare_schema(empty_database, migrates=True) for _ in range(2)))
    assert await current_revision(empty_database) == newest_revision()


@pytest.mark.proves("LG-32")
@pytest.mark.parametrize("migrates", [False, True])
async def test_start_up_refuses_a_schema_of_a_version_it_does_not_know(
    database: Database, *, migrates: bool
) -> None:
    async with database.writing() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '7777'"))
    with pytest.raises(SchemaError, match="does not know"):
        await prepare_schema(database, migrates=migrates)


async def test_nobody_is_let_into_a_database_that_is_held(database: Database) -> None:
    database.hold("wait")
    with pytest.raises(DatabaseError, match="wait"):
        await current_revision(database)
    with pytest.raises(DatabaseError, match="wait"):
        await upgrade(database)
    database.release()
    assert await current_revision(database) == newest_revision()


@pytest.mark.refutes("LG-31", "LG-32")
async def test_start_up_goes_on_with_the_schema_it_knows(database: Database) -> None:
    await prepare_schema(database)
    assert await current_revision(database) == newest_revision()
