"""Which node a question is about, and what its ztunnel is sent: a server asked, a dump out."""

from urllib.parse import quote

import typer

from controlplane.cli.errors import CommandError
from controlplane.cli.proxy_connections import find_proxy
from controlplane.cli.server import Server
from controlplane.cli.ztunnel_dump import Dump


def dump_of_node(server: Server, *, node: str | None, proxy: str | None) -> Dump:
    """Return what the ztunnel of ``node``, or the one called ``proxy``, is sent.

    Without either it is that of the first node somebody is connected from, which is said beside
    the output when there are others.

    Raises:
        CommandError: there is no such node or proxy, or the server cannot tell.
    """
    if proxy is not None:
        node = find_proxy(server, proxy).node
        if not node:
            raise CommandError(f"{proxy} does not say on which node it runs: give --node")
    elif node is None:
        node = _first_node(server)
    document = server.get(f"/api/v1/nodes/{quote(node, safe='')}/dump")
    return Dump.of(document, f"the answer for node {node}")


def _first_node(server: Server) -> str:
    nodes = [each for each in server.pages("/api/v1/nodes") if isinstance(each.get("name"), str)]
    if not nodes:
        raise CommandError("the mesh has no nodes")
    connected = [each for each in nodes if each.get("connections")]
    found: str = (connected or nodes)[0]["name"]
    if len(nodes) > 1:
        typer.echo(f"istiod-lite: node {found}, one of {len(nodes)}: see --node", err=True)
    return found
