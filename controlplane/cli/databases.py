"""Opening the database for one command: settings in, a database out, closed afterwards."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import typer
from sqlalchemy.engine import URL

from controlplane.errors import IstiodLiteError
from controlplane.settings import Settings
from controlplane.store.database import Database, database_url
from controlplane.store.errors import SchemaError, StoreError
from controlplane.store.schema import current_revision, newest_revision

_Result = TypeVar("_Result")


def with_database(
    data_dir: Path | None,
    act: Callable[[Database, Path], Awaitable[_Result]],
    *,
    needs_schema: bool = True,
) -> _Result:
    """Run ``act`` on the configured database and the data folder; return what it returns.

    Prints what is wrong and exits with 1 where the database, or what ``act`` needs, cannot be
    used: with ``needs_schema`` a database without the schema of this version too.
    """
    settings = Settings()
    folder = settings.data_dir if data_dir is None else data_dir

    async def run(url: URL) -> _Result:
        database = Database(url)
        try:
            if needs_schema:
                await _check_schema(database)
            return await act(database, folder)
        finally:
            await database.close()

    try:
        url = database_url(settings.database_url, data_dir=folder)
        if needs_schema:
            require_file(url)
        return asyncio.run(run(url))
    except IstiodLiteError as error:
        typer.echo(f"istiod-lite: {error}", err=True)
        raise typer.Exit(1) from error


def require_file(url: URL) -> None:
    """Refuse a SQLite file that is not there, with StoreError: opening it would make one."""
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise StoreError(f"there is no database at {url.database}")


async def _check_schema(database: Database) -> None:
    current, newest = await current_revision(database), newest_revision()
    if current != newest:
        raise SchemaError(
            f"the database has schema {current or 'none'}, this version needs {newest}:"
            " see `istiod-lite db`"
        )
