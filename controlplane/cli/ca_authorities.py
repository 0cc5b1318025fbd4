"""``istiod-lite ca`` commands of authorities: look at them, and order them about.

Commands read the key store and the database directly: the Secret of the cluster that ``serve``
would run in, files where there is none or a data folder is given. What they change is an order in
the key store, which whichever replica leads carries out, now or when it starts.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from controlplane.app.surroundings import chosen_cluster
from controlplane.ca.authority_set import KeptAuthorities, Orders
from controlplane.ca.bundle import bundle_pem
from controlplane.ca.errors import KeyStoreError
from controlplane.ca.file_key_store import FileKeyStore
from controlplane.ca.journal import JournalView, StoreJournal
from controlplane.ca.key_store import KeyStore
from controlplane.ca.orders import find_authority, place_order
from controlplane.ca.plugged import plugged_files
from controlplane.ca.secret_key_store import SecretKeyStore
from controlplane.cli.authority_tables import Found, rehearsal, status_document, status_text
from controlplane.cli.databases import require_file
from controlplane.clock import SystemClock
from controlplane.cluster.api_server import open_cluster
from controlplane.errors import IstiodLiteError
from controlplane.model.certificate import AuthorityRecord, AuthorityTier
from controlplane.settings import Settings
from controlplane.store.database import Database, database_url
from controlplane.store.errors import StoreError
from controlplane.store.journal import Journal

_Result = TypeVar("_Result")
_FOLDER: Final = "ca"
_ROOT_FILE: Final = "root-cert.pem"
_CARRIED_OUT: Final = "The replica that leads carries it out, at its next look or when it starts."

_DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where database and keys are.", show_default="./.istiod-lite"),
]
_Passphrase = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="File with the passphrase of the keys, where they have one; else the setting.",
    ),
]


class Output(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


class Rotated(StrEnum):
    """What can be rotated."""

    INTERMEDIATE = "intermediate"
    ROOT = "root"


def status(
    output: Annotated[Output, typer.Option("--output", "-o", help="Format.")] = Output.TABLE,
    data_dir: _DataDir = None,
    passphrase_file: _Passphrase = None,
) -> None:
    """Print the authorities, their states and ages, and what a rotation waits for.

    Exit code 1 when the key store cannot be read. Without the database the authorities are still
    printed, but not what is waited for.

    Example: istiod-lite ca status -o json
    """
    found = _run(lambda: _look(data_dir, passphrase_file))
    now = SystemClock().now()
    if output is Output.JSON:
        typer.echo(json.dumps(status_document(found, now), indent=2))
    else:
        typer.echo(status_text(found, now))


def root(data_dir: _DataDir = None, passphrase_file: _Passphrase = None) -> None:
    """Print the trusted roots as PEM, the longest trusted first.

    Those of an authority that is given are printed as the running process wrote them. Exit code 1
    when there are none.

    Example: istiod-lite ca root > root-cert.pem
    """
    typer.echo(_run(lambda: _roots(data_dir, passphrase_file)), nl=False)


def rotate(
    what: Annotated[Rotated, typer.Argument(help="Which authority gets a successor.")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")
    ] = False,
    hard: Annotated[
        bool,
        typer.Option(
            "--hard", help="Put the new root in force at once: workloads lose each other's trust."
        ),
    ] = False,
    data_dir: _DataDir = None,
    passphrase_file: _Passphrase = None,
) -> None:
    """Order a new intermediate, which nobody notices, or a new root, which takes a day.

    One that is on its way already is what is ordered: with --hard, a root that is published acts
    at once. To get another, taint that one first.

    Exit code 1 when there are no authorities or the key store cannot be used, 2 for options that
    make no sense.

    Example: istiod-lite ca rotate root --dry-run
    """
    if hard and what is not Rotated.ROOT:
        raise typer.BadParameter("--hard is for roots: an intermediate never waits for long")
    tier = AuthorityTier(what.value)
    if dry_run:
        found = _run(lambda: _look(data_dir, passphrase_file))
        for line in rehearsal(found, tier, SystemClock().now(), is_hard=hard):
            typer.echo(line)
        return

    def ordered(orders: Orders) -> Orders:
        return replace(orders, rotates=orders.rotates | {tier}, is_hard=orders.is_hard or hard)

    _run(lambda: _place(data_dir, passphrase_file, ordered))
    typer.echo(f"A new {what} is ordered. {_CARRIED_OUT}")


def taint(
    authority: Annotated[
        str, typer.Argument(metavar="ID", help="Id of an authority, or its begin.")
    ],
    data_dir: _DataDir = None,
    passphrase_file: _Passphrase = None,
) -> None:
    """Order that an authority is no longer relied on: its key may be in other hands.

    An intermediate stops signing at once. A root is followed by a new one as fast as that is
    possible without breaking trust; with `ca rotate root --hard` it is faster.

    Example: istiod-lite ca taint 3f9a01cc
    """

    async def act() -> AuthorityRecord:
        kept = await _kept(data_dir, passphrase_file)
        record = find_authority(kept.authorities, authority)
        tainted = frozenset({record.authority_id})
        await _place(
            data_dir,
            passphrase_file,
            lambda orders: replace(orders, tainted=orders.tainted | tainted),
        )
        return record

    record = _run(act)
    typer.echo(f"{record.tier} {record.authority_id[:8]} will be tainted. {_CARRIED_OUT}")


def pause(data_dir: _DataDir = None, passphrase_file: _Passphrase = None) -> None:
    """Order that no root is made, published, put in force or removed until `ca resume`.

    Example: istiod-lite ca pause
    """
    _set_paused(data_dir, passphrase_file, is_paused=True)


def resume(data_dir: _DataDir = None, passphrase_file: _Passphrase = None) -> None:
    """Take back `ca pause`.

    Example: istiod-lite ca resume
    """
    _set_paused(data_dir, passphrase_file, is_paused=False)


def _set_paused(data_dir: Path | None, passphrase_file: Path | None, *, is_paused: bool) -> None:
    def ordered(orders: Orders) -> Orders:
        return replace(orders, is_paused=is_paused)

    _run(lambda: _place(data_dir, passphrase_file, ordered))
    typer.echo(f"Rotation of roots is {'paused' if is_paused else 'resumed'}.")


def _run(act: Callable[[], Awaitable[_Result]]) -> _Result:
    async def run() -> _Result:
        return await act()

    try:
        return asyncio.run(run())
    except IstiodLiteError as error:
        typer.echo(f"istiod-lite: {error}", err=True)
        raise typer.Exit(1) from error


def _folder(data_dir: Path | None) -> Path:
    return Settings().data_dir if data_dir is None else data_dir


def _given_in() -> Path | None:
    """Return where an authority is given from, if one is."""
    settings = Settings()
    if settings.istio_ca_secret is not None:
        return settings.istio_ca_secret
    return None if plugged_files(settings.cacerts_dir) is None else settings.cacerts_dir


@asynccontextmanager
async def _store(data_dir: Path | None, passphrase_file: Path | None) -> AsyncIterator[KeyStore]:
    given = _given_in()
    if given is not None:
        raise KeyStoreError(f"the authority is given in {given}: whoever gave it looks after it")
    settings = Settings()
    location = None if data_dir or passphrase_file else chosen_cluster(settings)
    if location is None:
        yield FileKeyStore(
            _folder(data_dir) / _FOLDER,
            passphrase_file=passphrase_file or settings.key_passphrase_file,
        )
        return
    client = await open_cluster(location)
    try:
        yield SecretKeyStore(client, namespace=settings.system_namespace)
    finally:
        await client.close()


async def _place(
    data_dir: Path | None, passphrase_file: Path | None, change: Callable[[Orders], Orders]
) -> None:
    async with _store(data_dir, passphrase_file) as store:
        await place_order(store, change)


async def _roots(data_dir: Path | None, passphrase_file: Path | None) -> str:
    """Return the trusted roots; those of a given authority are where the process wrote them."""
    if _given_in() is None:
        return bundle_pem((await _kept(data_dir, passphrase_file)).authorities)
    path = _folder(data_dir) / _ROOT_FILE
    try:
        return await asyncio.to_thread(path.read_text)
    except OSError as error:
        raise KeyStoreError(f"cannot read {path}: {error.strerror or error}") from error


async def _kept(data_dir: Path | None, passphrase_file: Path | None) -> KeptAuthorities:
    async with _store(data_dir, passphrase_file) as store:
        kept = await store.load()
        if kept is None:
            in_files = isinstance(store, FileKeyStore)
            place = _folder(data_dir) / _FOLDER if in_files else store.reference
            raise KeyStoreError(f"there are no authorities in {place}: the first start makes them")
        return kept.content


async def _look(data_dir: Path | None, passphrase_file: Path | None) -> Found:
    kept = await _kept(data_dir, passphrase_file)
    try:
        view = await _view(data_dir, kept.authorities.state.trust_domain)
    except StoreError as error:
        return Found(kept=kept, view=JournalView(), problem=str(error))
    return Found(kept=kept, view=view, problem="")


async def _view(data_dir: Path | None, trust_domain: str) -> JournalView:
    settings = Settings()
    url = database_url(settings.database_url, data_dir=_folder(data_dir))
    require_file(url)
    database = Database(url)
    try:
        journal = Journal(database, clock=SystemClock())
        return await StoreJournal(
            journal, trust_domain=trust_domain, replica_id=settings.replica_id
        ).read()
    finally:
        await database.close()
