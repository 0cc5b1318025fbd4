"""``istiod-lite ca ledger`` and ``ca verify-ledger``: who got which certificate, and is it so."""

import json
import re
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from controlplane.app.surroundings import chosen_cluster
from controlplane.cli.clusters import Context, Kubeconfig
from controlplane.cli.databases import with_database
from controlplane.cli.tables import aligned
from controlplane.clock import SystemClock
from controlplane.cluster.api_server import open_cluster
from controlplane.model.certificate import IssuedCertificate
from controlplane.settings import Settings
from controlplane.store.anchors import FileAnchors
from controlplane.store.chain import LedgerKey
from controlplane.store.database import Database
from controlplane.store.ledger_key import LedgerKeyError, read_key_file, read_ledger_key
from controlplane.store.ledger_queries import (
    MOST_ROWS,
    LedgerFilter,
    issued_rows,
    refused_rows,
)
from controlplane.store.ledger_rows import LedgerRow
from controlplane.store.secret_ledger_key import SecretLedgerKey
from controlplane.store.verification import Verification, verify_ledger

FOUND: Final = 3
_DURATION: Final = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?")
_HEADER: Final = ("TIME", "OUTCOME", "IDENTITY", "NODE", "CALLER", "SERIAL OR REASON", "NOT AFTER")
_DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where database and keys are.", show_default="./.istiod-lite"),
]


class Output(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


def ledger(  # noqa: PLR0913 - one option each
    *,
    identity: Annotated[
        str | None, typer.Option(metavar="SPIFFE-ID", help="Issued, or asked for.")
    ] = None,
    node: Annotated[str | None, typer.Option(help="Node of the caller.")] = None,
    since: Annotated[
        str | None, typer.Option(help="How far back, such as 90m or 7d, or a time with its zone.")
    ] = None,
    authority: Annotated[
        str | None, typer.Option(metavar="ID", help="Only what this authority signed.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=MOST_ROWS, help="At most so many of each kind.")
    ] = 100,
    output: Annotated[Output, typer.Option("--output", "-o", help="Format.")] = Output.TABLE,
    data_dir: _DataDir = None,
) -> None:
    """Print certificates issued and requests refused, newest first.

    Exit code 0; 1 when the database cannot be used, 2 for options that make no sense.

    Example: istiod-lite ca ledger --node node-1 --since 1h -o json
    """
    wanted = LedgerFilter(
        identity=identity,
        node=node,
        since=None if since is None else _moment(since),
        authority=authority,
        limit=limit,
    )

    async def act(database: Database, _: Path) -> tuple[LedgerRow, ...]:
        return (*await issued_rows(database, wanted), *await refused_rows(database, wanted))

    rows = sorted(with_database(data_dir, act), key=_time, reverse=True)
    if output is Output.JSON:
        typer.echo(json.dumps([_document(row) for row in rows], indent=2))
    else:
        typer.echo(aligned(_HEADER, map(_cells, rows)))


def verify(
    data_dir: _DataDir = None, kubeconfig: Kubeconfig = None, context: Context = None
) -> None:
    """Compare the whole ledger with its codes, and with the heads kept outside the database.

    The key is read where `serve` has it: the file that ISTIOD_LITE_LEDGER_KEY_FILE names, else in
    a pod, or where --kubeconfig, --context or KUBECONFIG names a cluster, the Secret
    istiod-lite-ledger there, else the data folder. Heads are those of the data folder.

    Exit code 0 when nobody touched it, 3 with every finding when somebody did, 1 when that
    cannot be told: the database, the key or the heads cannot be used.

    Example: kubectl -n istio-system exec deploy/istiod -- istiod-lite ca verify-ledger
    """
    named: dict[str, Any] = {"kubeconfig": kubeconfig, "context": context}
    settings = Settings(**{name: value for name, value in named.items() if value is not None})

    async def act(database: Database, folder: Path) -> Verification:
        key = await _key(settings, folder)
        anchors = FileAnchors(folder, key).read()
        return await verify_ledger(database, key=key, anchors=anchors)

    verified = with_database(data_dir, act)
    for chain in verified.chains:
        parts = [f"{chain.replica_id}: {chain.rows} rows, the last is {chain.last}"]
        if chain.dropped_segments:
            parts.append(
                f"rows 1 to {chain.dropped_through} were dropped by retention"
                f" ({chain.dropped_segments} segments)"
            )
        if not chain.is_anchored:
            parts.append("no head kept here: rows cut off at its end would not be found")
        typer.echo("; ".join(parts))
    for finding in verified.findings:
        rows = str(finding.first)
        if finding.last > finding.first:
            rows += f" to {finding.last}"
        typer.echo(f"{finding.replica_id}: {finding.violation} (row {rows}): {finding.message}")
    if not verified.is_intact:
        raise typer.Exit(FOUND)
    typer.echo("intact")


async def _key(settings: Settings, folder: Path) -> LedgerKey:
    if settings.ledger_key_file is not None:
        return read_key_file(settings.ledger_key_file)
    location = chosen_cluster(settings)
    if location is None:
        return read_ledger_key(folder)
    client = await open_cluster(location)
    try:
        kept = SecretLedgerKey(client, namespace=settings.system_namespace)
        key = await kept.read()
    finally:
        await client.close()
    if key is None:
        raise LedgerKeyError(
            f"there is no {kept.reference} in the cluster at {client.url}: a ledger written without"
            " a cluster is verified with ISTIOD_LITE_CLUSTER=none"
        )
    return key


def _moment(text: str) -> datetime:
    match = _DURATION.fullmatch(text)
    if text and match:
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        age = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        return SystemClock().now() - age
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise typer.BadParameter(f"{text!r} is neither an age such as 90m nor a time with a zone")
    return moment


def _time(row: LedgerRow) -> tuple[datetime, int]:
    value = row.value
    moment = value.issued_at if isinstance(value, IssuedCertificate) else value.refused_at
    return moment, row.sequence


def _cells(row: LedgerRow) -> tuple[str, ...]:
    value, moment = row.value, _shown(_time(row)[0])
    if isinstance(value, IssuedCertificate):
        until = _shown(value.not_after)
        return moment, "issued", value.spiffe_id, value.node, value.caller_id, value.serial, until
    return moment, "refused", value.requested_id, value.node, value.caller_id, value.reason, ""


def _shown(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _document(row: LedgerRow) -> dict[str, Any]:
    outcome = "issued" if isinstance(row.value, IssuedCertificate) else "refused"
    values = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(row.value).items()
    }
    return {"outcome": outcome, "replica": row.replica_id, "sequence": row.sequence, **values}
