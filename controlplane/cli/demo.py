"""``istiod-lite demo``: the demonstration of ``controlplane.lab``, told in tables."""

import asyncio
import signal
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from cryptography import x509
from cryptography.x509.oid import NameOID
from rich.console import Console
from rich.table import Table

from controlplane.app.errors import StartupError
from controlplane.lab.certificates import HeldCertificate
from controlplane.lab.demonstration import Demonstration, Edit, Refusal, demonstration
from controlplane.lab.expectations import Finding, NodeView
from controlplane.logs import configure_logs

_ADMIN_PORT = 15014
_XDS_PORT = 15012
_WIDTH = 180


def demo(
    check: Annotated[  # noqa: FBT002 - a flag of the command line is a boolean
        bool,
        typer.Option("--check", help="Stop after the checks. So when the output is no terminal."),
    ] = False,
) -> None:
    """Run a small mesh on this machine and show what its node proxies receive.

    Exit code 0 when everything expected happened, 1 otherwise.
    """
    stays = sys.stdout.isatty() and not check
    configure_logs(level="error", style="console")
    with tempfile.TemporaryDirectory(prefix="istiod-lite-demo-") as folder:
        try:
            met = uvloop.run(
                _demo(Path(folder), Console(width=None if stays else _WIDTH), stays=stays)
            )
        except* StartupError as errors:
            for error in errors.exceptions:
                typer.echo(f"istiod-lite: {error}", err=True)
            raise typer.Exit(1) from errors
    raise typer.Exit(0 if met else 1)


async def _demo(folder: Path, console: Console, *, stays: bool) -> bool:
    ports = (_XDS_PORT, _ADMIN_PORT) if stays else (0, 0)
    async with demonstration(folder, ports=ports) as shown:
        findings = await shown.first_state()
        for node in shown.nodes:
            console.print(_workloads(node))
            console.print(_services(node))
            console.print(_policies(node))
        held = await shown.certificates()
        for name, certificates in held.items():
            console.print(_certificates(name, certificates))
        refusal = await shown.refused_certificate()
        console.print(_refusal(refusal))
        findings += [_every_identity(shown, held), _was_refused(refusal)]
        edits = [
            await shown.allow_notsleep(),
            await shown.scale_details(),
            await shown.break_policies(),
        ]
        console.print(_edits(edits))
        findings += await shown.reconnect()
        findings += shown.verdicts()
        findings += [Finding(expected=edit.what, met=edit.reached_all) for edit in edits]
        console.print(_findings(findings))
        met = all(finding.met for finding in findings)
        if stays:
            _tell_where_to_look(shown, console)
            await _interrupted()
    return met


async def _interrupted() -> None:
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted.set)
    await interrupted.wait()


def _tell_where_to_look(shown: Demonstration, console: Console) -> None:
    process = shown.process
    host = process.host
    for what, where in (
        ("edit the manifests in", shown.folder),
        ("discovery over TLS at", f"{host}:{process.xds_port}"),
        ("its root certificate", process.root_file),
        ("readiness", f"http://{host}:{process.admin_port}/ready"),
        ("metrics", f"http://{host}:{process.admin_port}/metrics"),
    ):
        console.print(f"  {what:<24} {where}", soft_wrap=True, highlight=False)
    console.print("Serving until Ctrl-C.")


def _workloads(node: NodeView) -> Table:
    table = _table(
        f"{node.name}: workloads", "NAMESPACE", "POD NAME", "ADDRESS", "NODE", "PROTOCOL"
    )
    for workload in node.workloads():
        table.add_row(
            workload.namespace,
            workload.name,
            ",".join(map(str, workload.addresses)) or workload.hostname,
            workload.node,
            "HBONE" if workload.tunnel.name == "HBONE" else "TCP",
        )
    return table


def _services(node: NodeView) -> Table:
    table = _table(
        f"{node.name}: services", "NAMESPACE", "SERVICE NAME", "VIP", "WAYPOINT", "ENDPOINTS"
    )
    for service in node.services():
        waypoint = service.waypoint
        table.add_row(
            service.namespace,
            service.name,
            ",".join(str(address).removeprefix("/") for address in service.addresses),
            "None" if waypoint is None else str(waypoint.destination),
            str(len(node.state.services.endpoints(service.key))),
        )
    return table


def _policies(node: NodeView) -> Table:
    table = _table(f"{node.name}: policies", "POLICY NAME", "ACTION", "SCOPE")
    for name, policy in sorted(node.state.policies.by_name.items()):
        table.add_row(name, policy.action.name, policy.scope.name)
    return table


def _certificates(node: str, certificates: Iterable[HeldCertificate]) -> Table:
    table = _table(f"{node}: certificates", "IDENTITY", "SERIAL NUMBER", "NOT AFTER", "CHAIN")
    for held in certificates:
        above = [_common_name(each) for each in (*held.chain[1:], *held.roots)]
        table.add_row(
            held.identity, held.serial, f"{held.not_after:%Y-%m-%dT%H:%M:%SZ}", " < ".join(above)
        )
    return table


def _refusal(refusal: Refusal) -> Table:
    table = _table("a certificate that must be refused", "NODE", "IDENTITY", "ANSWER", "IN LEDGER")
    row = refusal.row
    known = "no row" if row is None else f"#{row.sequence} {getattr(row.value, 'reason', '')}"
    table.add_row(refusal.node, refusal.identity, refusal.answer, known)
    return table


def _every_identity(shown: Demonstration, held: dict[str, list[HeldCertificate]]) -> Finding:
    missing = [name for name in shown.clients if not held.get(name)]
    return Finding(
        expected="each node holds a certificate for every identity on it",
        met=not missing,
        detail=", ".join(missing),
    )


def _was_refused(refusal: Refusal) -> Finding:
    met = refusal.answer.startswith("UNAUTHENTICATED") and refusal.row is not None
    return Finding(
        expected="an identity of the other node is refused, and the ledger says so",
        met=met,
        detail="" if met else refusal.answer,
    )


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else "unnamed"


def _edits(edits: Iterable[Edit]) -> Table:
    table = _table("live edits", "EDIT", "ARRIVED AFTER")
    for edit in edits:
        arrived = "\n".join(
            f"{node}: never" if after is None else f"{node}: {after:.1f} ms"
            for node, after in edit.arrived.items()
        )
        table.add_row(edit.what, arrived)
    return table


def _findings(findings: Iterable[Finding]) -> Table:
    table = _table("expected", "EXPECTATION", "MET", "SEEN")
    for finding in findings:
        met = "yes" if finding.met else "NO"
        table.add_row(finding.expected, met, finding.detail, style=None if finding.met else "red")
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
