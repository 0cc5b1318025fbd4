"""``istiod-lite proxy-status``: who is connected, and who is in sync."""

from typing import Annotated

import typer

from controlplane.cli.documents import Output, print_document
from controlplane.cli.errors import CommandError
from controlplane.cli.proxy_connections import Told, connections, find_proxies
from controlplane.cli.proxy_tables import GAP, by_type, detail, refusals, summary, type_rows
from controlplane.cli.server import DEFAULT, Server, ServerUrl, Token, TokenFile, answered
from controlplane.cli.tables import one_line, print_table


def proxy_status(  # noqa: PLR0913, PLR0917 - one parameter for each option
    proxy: Annotated[
        str | None, typer.Argument(metavar="PROXY", help="One proxy: pod or pod.namespace.")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Only proxies of this namespace.")
    ] = None,
    node: Annotated[str | None, typer.Option(help="Only proxies on this node.")] = None,
    verbosity: Annotated[
        int,
        typer.Option("--verbosity", "-v", min=0, max=1, help="1: a column for each type."),
    ] = 0,
    output: Annotated[Output, typer.Option("--output", "-o", help="Format.")] = Output.TABLE,
    server: ServerUrl = DEFAULT,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Print who is connected to any replica and how far each is (alias: ps).

    With -v 1 a type is SYNCED (the proxy has all that concerns it), STALE (it lacks something, or
    has not answered yet), NOT SENT (it asked and got nothing), ERROR (it refused something) or
    IGNORED (it did not ask); in brackets since when. One proxy is shown with the resources it
    refused and the objects behind them.

    Exit code 1 when the server cannot tell, or there is no such proxy.

    Example: istiod-lite proxy-status -v 1
    """
    with answered(server, token, token_file) as asked:
        if proxy is not None:
            _print_one(asked, proxy, output)
            return
        found = connections(asked, namespace=namespace, node=node)
        if not output.is_table:
            print_document([each.document for each in found], output)
        elif not found:
            typer.echo("No proxies are connected.", err=True)
        else:
            values = [each.connection for each in found]
            header, rows = by_type(values, asked.now) if verbosity else summary(values)
            print_table(header, rows, gap=GAP)
        _warn(asked)


def _print_one(server: Server, proxy: str, output: Output) -> None:
    found = find_proxies(server, proxy)
    if not output.is_table:
        print_document([each.document for each in found], output)
        return
    for number, each in enumerate(found):
        if number:
            typer.echo()
        _print_detail(server, each)


def _print_detail(server: Server, told: Told) -> None:
    now = server.now
    facts = detail(told.connection, now)
    width = max(len(name) for name, _ in facts) + 2
    for name, value in facts:
        typer.echo(f"{name + ':':{width}}{one_line(value)}")
    if told.connection.types:
        typer.echo()
        print_table(*type_rows(told.connection, now))
    for number, line in enumerate(refusals(told.connection, now)):
        if number == 0:
            typer.echo()
        indent = "  " if line.startswith(" ") else ""
        typer.echo(f"{indent}{one_line(line)}")


def _warn(server: Server) -> None:
    """Say beside the output why connections may be missing."""
    try:
        trouble = server.get("/api/v1/fleet").get("trouble")
    except (CommandError, AttributeError):
        return
    if isinstance(trouble, str) and trouble:
        typer.echo(f"istiod-lite: other replicas may be missing: {one_line(trouble)}", err=True)
