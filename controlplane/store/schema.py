"""Which schema a database has, and moving it: what ``istiod-lite db`` and start-up do.

Start-up migrates SQLite by itself, since nobody else does; a PostgreSQL database is shared, so
it has to have exactly the schema this version knows, and moving it is an operator's act, or what
the settings allow.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, inspect, text

import controlplane
from controlplane.store.database import Database
from controlplane.store.errors import SchemaError

if TYPE_CHECKING:
    from alembic.config import Config

_LOCK: Final = 0x15710D  # any constant: two upgrades of one database wait for each other


def migrations_folder() -> Path:
    """Return where the migrations are: inside the installed package, or beside it in a checkout.

    Raises:
        SchemaError: they are in neither place.
    """
    package = Path(controlplane.__file__).parent
    for folder in (package / "migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise SchemaError("this installation has no migrations")


def newest_revision() -> str:
    """Return the schema this version reads and writes."""
    from alembic.script import ScriptDirectory

    revision = ScriptDirectory.from_config(_configuration()).get_current_head()
    if revision is None:
        raise SchemaError("this installation has no migrations")
    return revision


async def current_revision(database: Database) -> str | None:
    """Return the schema the database has; None for one that was never migrated."""
    async with database.reading() as connection:
        return await connection.run_sync(_revision)


async def upgrade(database: Database, revision: str = "head") -> None:
    """Move the schema up to ``revision``.

    Raises:
        SchemaError: the database or the caller names a schema this version does not know.
    """
    await _migrate(database, "upgrade", revision)


async def downgrade(database: Database, revision: str) -> None:
    """Move the schema down to ``revision``; ``base`` removes every table, rows included.

    Raises:
        SchemaError: the database or the caller names a schema this version does not know.
    """
    await _migrate(database, "downgrade", revision)


async def prepare_schema(database: Database, *, migrates: bool = False) -> None:
    """Leave the database with the schema of this version, or refuse to go on.

    With ``migrates`` PostgreSQL is moved up like SQLite; of several processes that do so at once
    one does, and the others find it done.

    Raises:
        SchemaError: it is PostgreSQL with another schema, or one from a newer version.
        DatabaseError: it cannot be reached.
    """
    current = await current_revision(database)
    newest = newest_revision()
    if current == newest:
        return
    if database.is_sqlite or migrates:
        await upgrade(database)
        return
    if current is None:
        raise SchemaError(
            f"the database has no schema of istiod-lite, this version needs {newest}:"
            " run `istiod-lite db upgrade` once"
        )
    raise SchemaError(_mismatch(current, newest))


async def _migrate(database: Database, direction: str, revision: str) -> None:
    from alembic.util import CommandError

    try:
        async with database.writing() as connection:
            if not database.is_sqlite:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            await connection.run_sync(_run, direction, revision)
    except CommandError as error:
        current = await current_revision(database)
        if current is not None and not _is_known(current):
            raise SchemaError(_mismatch(current, newest_revision())) from error
        raise SchemaError(f"no such schema: {revision}") from error


def _run(connection: Connection, direction: str, revision: str) -> None:
    from alembic import command

    configuration = _configuration()
    configuration.attributes["connection"] = connection
    (command.upgrade if direction == "upgrade" else command.downgrade)(configuration, revision)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: Any = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


def _is_known(revision: str) -> bool:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(_configuration())
    return revision in {each.revision for each in script.walk_revisions()}


def _mismatch(current: str, newest: str) -> str:
    if _is_known(current):
        return (
            f"the database has schema {current}, this version needs {newest}:"
            " run `istiod-lite db upgrade`"
        )
    return (
        f"the database has schema {current}, which this version does not know (it knows up to"
        f" {newest}): run the version that wrote it, or downgrade with that version first"
    )


def _configuration() -> "Config":
    from alembic.config import Config

    configuration = Config()
    configuration.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    configuration.set_main_option("path_separator", "os")
    return configuration
