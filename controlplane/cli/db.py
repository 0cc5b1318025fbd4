"""``istiod-lite db``: which schema the database has, and moving it."""

from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli.databases import with_database
from controlplane.store.database import Database
from controlplane.store.schema import current_revision, downgrade, newest_revision, upgrade

database_commands = typer.Typer(name="db", help="The schema of the database.", no_args_is_help=True)
_DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where the database is.", show_default="./.istiod-lite"),
]


@database_commands.command("upgrade")
def upgrade_command(
    revision: Annotated[str, typer.Argument(help="Schema to move up to.")] = "head",
    data_dir: _DataDir = None,
) -> None:
    """Move the schema up, to that of this version unless another is named.

    Exit code 0; 1 when the database cannot be used or the schema is unknown.

    Example: ISTIOD_LITE_DATABASE_URL=postgresql://ca@db/mesh istiod-lite db upgrade
    """

    async def act(database: Database, _: Path) -> str | None:
        await upgrade(database, revision)
        return await current_revision(database)

    typer.echo(with_database(data_dir, act, needs_schema=False))


@database_commands.command("downgrade")
def downgrade_command(
    revision: Annotated[str, typer.Argument(help="Schema to move down to; base is none at all.")],
    *,
    data_dir: _DataDir = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Move the schema down. Rows of tables that go are lost: take a backup first.

    Exit code 0; 1 when the database cannot be used, the schema is unknown or you say no.

    Example: istiod-lite db downgrade base --yes
    """
    if not yes:
        typer.confirm("Rows of tables that go are lost. Go on?", abort=True)

    async def act(database: Database, _: Path) -> str | None:
        await downgrade(database, revision)
        return await current_revision(database)

    typer.echo(with_database(data_dir, act, needs_schema=False) or "none")


@database_commands.command("current")
def current_command(data_dir: _DataDir = None) -> None:
    """Print the schema the database has, and that of this version.

    Exit code 0 when they are the same, 3 when not, 1 when the database cannot be used.

    Example: istiod-lite db current
    """

    async def act(database: Database, _: Path) -> str | None:
        return await current_revision(database)

    current, newest = with_database(data_dir, act, needs_schema=False), newest_revision()
    typer.echo(f"database: {current or 'none'}\nthis version: {newest}")
    if current != newest:
        raise typer.Exit(3)
