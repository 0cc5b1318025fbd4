"""``istiod-lite ztunnel-config``: what a node's ztunnel is sent, or what one says it has."""

import ipaddress
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Generic, NamedTuple, TypeVar

import typer

from controlplane.cli.documents import Output, print_document
from controlplane.cli.errors import CommandError
from controlplane.cli.server import DEFAULT, ServerUrl, Token, TokenFile, answered, told_errors
from controlplane.cli.tables import print_table
from controlplane.cli.ztunnel_dump import Dump, Policy, Secret, Service, Workload
from controlplane.cli.ztunnel_nodes import dump_of_node
from controlplane.cli.ztunnel_tables import (
    CERTIFICATES,
    POLICIES,
    SERVICES,
    WORKLOADS,
    Form,
    Names,
    Row,
    certificate_rows,
    policy_rows,
    service_rows,
    workload_rows,
)

_Part = TypeVar("_Part", Workload, Service, Policy)

Proxy = Annotated[
    str | None,
    typer.Argument(metavar="ZTUNNEL", help="Proxy whose node is meant: pod or pod.namespace."),
]
Node = Annotated[
    str | None, typer.Option("--node", help="Node. Default: the first that is connected.")
]
File = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "-f",
        help="Read a dump from this file, - for standard input, instead of asking the server.",
    ),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="Format.")]

ztunnel_commands = typer.Typer(
    name="ztunnel-config",
    help="What the ztunnel of a node is sent (alias: zc); or, with -f, what a ztunnel has.",
    no_args_is_help=True,
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Where a dump is from."""

    proxy: str | None
    node: str | None
    file: Path | None
    server: str
    token: str | None
    token_file: Path | None

    @contextmanager
    def dump(self) -> Iterator[tuple[Dump, datetime]]:
        """Give the dump and the time it is now there; errors are told, and end the command."""
        if sum(each is not None for each in (self.proxy, self.node, self.file)) > 1:
            raise typer.BadParameter("give one of: a ztunnel, --node, --file")
        if self.file is not None:
            with told_errors():
                yield Dump.read(_bytes(self.file), str(self.file)), datetime.now(UTC)
            return
        with answered(self.server, self.token, self.token_file) as server:
            found = dump_of_node(server, node=self.node, proxy=self.proxy)
            yield found, server.now


class _Element(NamedTuple, Generic[_Part]):
    value: _Part
    document: Any


@ztunnel_commands.command()
def workload(  # noqa: PLR0913, PLR0917 - one parameter for each option
    proxy: Proxy = None,
    node: Node = None,
    address: Annotated[
        str | None, typer.Option(help="Only with this IP address or hostname.")
    ] = None,
    workload_namespace: Annotated[
        str | None, typer.Option(help="Only workloads of this namespace.")
    ] = None,
    workload_node: Annotated[str | None, typer.Option(help="Only workloads on this node.")] = None,
    file: File = None,
    output: OutputOption = Output.SHORT,
    server: ServerUrl = DEFAULT,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Print workloads (aliases: w, workloads).

    Exit code 1 when they cannot be had.

    Example: istiod-lite ztunnel-config workload --node node-1 --workload-namespace bookinfo
    """
    asked = _Asked(proxy, node, file, server, token, token_file)

    def keep(value: Workload) -> bool:
        return (
            (address is None or _has_address(value, address))
            and _is(workload_namespace, value.namespace)
            and _is(workload_node, value.node or "")
        )

    with asked.dump() as (dump, _):
        found = _elements(dump, "workloads", Workload, keep)
        if output.is_table:
            names = Names(dump.part("services", Service))
            _print(WORKLOADS, workload_rows([each.value for each in found], names))
        else:
            print_document([each.document for each in found], output)


@ztunnel_commands.command()
def service(  # noqa: PLR0913, PLR0917 - one parameter for each option
    proxy: Proxy = None,
    node: Node = None,
    service_namespace: Annotated[
        str | None, typer.Option(help="Only services of this namespace.")
    ] = None,
    file: File = None,
    output: OutputOption = Output.SHORT,
    server: ServerUrl = DEFAULT,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Print services (aliases: s, svc, services). ENDPOINTS is healthy ones of all.

    Exit code 1 when they cannot be had.

    Example: istiod-lite ztunnel-config service -f dump.json
    """
    asked = _Asked(proxy, node, file, server, token, token_file)
    with asked.dump() as (dump, _):
        found = _elements(
            dump, "services", Service, lambda each: _is(service_namespace, each.namespace)
        )
        if output.is_table:
            _print(SERVICES, _service_rows(dump, [each.value for each in found]))
        else:
            print_document([each.document for each in found], output)


@ztunnel_commands.command()
def policy(  # noqa: PLR0913, PLR0917 - one parameter for each option
    proxy: Proxy = None,
    node: Node = None,
    policy_namespace: Annotated[
        str | None, typer.Option(help="Only policies of this namespace.")
    ] = None,
    file: File = None,
    output: OutputOption = Output.SHORT,
    server: ServerUrl = DEFAULT,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Print policies (aliases: p, pol, policies).

    Exit code 1 when they cannot be had.

    Example: istiod-lite ztunnel-config policy --node node-1 -o json
    """
    asked = _Asked(proxy, node, file, server, token, token_file)
    with asked.dump() as (dump, _):
        found = _elements(
            dump, "policies", Policy, lambda each: _is(policy_namespace, each.namespace)
        )
        if output.is_table:
            _print(POLICIES, policy_rows(each.value for each in found))
        else:
            print_document([each.document for each in found], output)


@ztunnel_commands.command()
def certificate(  # noqa: PLR0913, PLR0917 - one parameter for each option
    proxy: Proxy = None,
    node: Node = None,
    file: File = None,
    output: OutputOption = Output.SHORT,
    server: ServerUrl = DEFAULT,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Print certificates (aliases: cert, certs, certificates), a row for each of a chain.

    Exit code 1 when they cannot be had.

    Example: istiod-lite ztunnel-config certificate -f dump.json
    """
    asked = _Asked(proxy, node, file, server, token, token_file)
    with asked.dump() as (dump, now):
        if output.is_table:
            _print(CERTIFICATES, certificate_rows(dump.part("certificates", Secret), now))
        else:
            print_document(dump.elements("certificates"), output)


@ztunnel_commands.command("all")
def all_(  # noqa: PLR0913, PLR0917 - one parameter for each option
    proxy: Proxy = None,
    node: Node = None,
    with_headers: Annotated[  # noqa: FBT002 - a flag of the command line is a boolean
        bool, typer.Option("--with-headers", help="A title above each table.")
    ] = False,
    file: File = None,
    output: OutputOption = Output.SHORT,
    server: ServerUrl = DEFAULT,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Print workloads, services, policies and certificates; as JSON and YAML the whole dump.

    Exit code 1 when they cannot be had.

    Example: istiod-lite ztunnel-config all --node node-1 -o json > dump.json
    """
    asked = _Asked(proxy, node, file, server, token, token_file)
    with asked.dump() as (dump, now):
        if not output.is_table:
            print_document(dump.document, output)
            return
        services = dump.part("services", Service)
        tables = (
            (WORKLOADS, workload_rows(dump.part("workloads", Workload), Names(services))),
            (SERVICES, _service_rows(dump, services)),
            (POLICIES, policy_rows(dump.part("policies", Policy))),
            (CERTIFICATES, certificate_rows(dump.part("certificates", Secret), now)),
        )
        for number, (form, rows) in enumerate(tables):
            if number:
                typer.echo()
            _print(form, rows, has_title=with_headers)


_ALIASES: Final[tuple[tuple[Callable[..., None], tuple[str, ...]], ...]] = (
    (workload, ("w", "workloads")),
    (service, ("s", "svc", "services")),
    (policy, ("p", "pol", "policies")),
    (certificate, ("cert", "certs", "certificates")),
)
for _command, _names in _ALIASES:
    for _name in _names:
        ztunnel_commands.command(_name, hidden=True)(_command)


def _bytes(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error}") from error


def _elements(
    dump: Dump, part: str, kind: type[_Part], keep: Callable[[_Part], bool]
) -> list[_Element[_Part]]:
    """Return what is kept of a part, by namespace and name."""
    found = [
        _Element(value, document)
        for document in dump.elements(part)
        if keep(value := dump.read_as(document, kind))
    ]
    return sorted(found, key=lambda each: (each.value.namespace, each.value.name))


def _service_rows(dump: Dump, services: list[Service]) -> list[Row]:
    statuses = {each.uid: each.status or "" for each in dump.part("workloads", Workload)}
    return service_rows(services, statuses, Names(dump.part("services", Service)))


def _print(form: Form, rows: list[Row], *, has_title: bool = False) -> None:
    print_table(form.header, rows, gap=form.gap, title=form.title if has_title else "")


def _is(wanted: str | None, held: str) -> bool:
    return wanted is None or wanted.lower() == held.lower()


def _has_address(workload: Workload, wanted: str) -> bool:
    held = workload.workload_ips or ()
    if wanted.lower() in {*map(str.lower, held), (workload.hostname or "").lower()}:
        return True
    try:
        address = ipaddress.ip_address(wanted)
        return any(ipaddress.ip_address(each) == address for each in held)
    except ValueError:
        return False
