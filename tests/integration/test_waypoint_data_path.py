"""The configuration that manifests become, on a real Envoy between a client and a node proxy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.encode.static_bootstrap import Secrets, static_bootstrap
from controlplane.lab.certificates import HeldCertificate
from controlplane.lab.envoy import Envoy
from controlplane.lab.hbone import HboneClient, Waypoint
from controlplane.lab.hbone_errors import ConnectRefusedError
from controlplane.lab.hbone_terminator import Terminator
from tests.support.builders import HBONE, a_pod, a_service, a_service_port, a_waypoint
from tests.support.hbone_certificates import an_identity, held
from tests.support.waypoint_snapshots import ON_ONE_MACHINE, Waypoints

USE = {"istio.io/use-waypoint": "waypoint"}
HBONE_POD, PLAIN_POD = "127.0.1.1", "127.0.1.2"
WAYPOINT = an_identity("waypoint", "shop")
WEB = "web.shop.svc.cluster.local"


@dataclass(frozen=True, slots=True)
class Bed:
    """A client in front of a waypoint, and the node proxy behind it."""

    client: HboneClient
    terminator: Terminator

    async def get(self, authority: str, path: str = "/") -> httpx.Response:
        async with self.client.forwarded(authority) as tunnel, httpx.AsyncClient() as http:
            return await http.get(tunnel.url + path)

    async def echo(self, authority: str, data: bytes) -> bytes:
        stream = await self.client.open(authority)
        await stream.write(data)
        return await stream.read()


async def _application(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer an HTTP request with its first line, and anything else with itself."""
    with closing(writer):
        data = await reader.read(65536)
        if b"HTTP/1.1" in data:
            first = data.partition(b"\r\n")[0]
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(first), first))
        else:
            writer.write(b"echo " + data)
        await writer.drain()


def _secrets(certificate: HeldCertificate) -> Secrets:
    key = certificate.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Secrets(
        chain="".join(each.public_bytes(Encoding.PEM).decode() for each in certificate.chain),
        key=key.decode(),
        roots="".join(each.public_bytes(Encoding.PEM).decode() for each in certificate.roots),
    )


def _resources(traffic: str = "all") -> dict[str, Any]:
    waypoints = Waypoints(settings=ON_ONE_MACHINE)
    ports = [
        a_service_port(80, name="http", target_port=8080),
        a_service_port(7000, name="", target_port=8080),
        a_service_port(9000, name="tcp", target_port=8080),
    ]
    waypoints.apply(
        a_waypoint("waypoint", "shop", labels={"istio.io/waypoint-for": traffic}),
        a_service(
            "web",
            "shop",
            ips=["10.96.0.1", "fd00::10"],
            selector={"app": "web"},
            labels=USE,
            ports=ports,
        ),
        a_pod("web", "shop", labels={"app": "web"} | USE, annotations=HBONE, ips=[HBONE_POD]),
        a_service("gone", "shop", ips=["10.96.0.9"], labels=USE),
    )
    return waypoints.static(_secrets(held(WAYPOINT)))


def _on_loopback(resources: dict[str, Any], hbone_port: int) -> dict[str, Any]:
    """Put the open listener on a free port and node proxies on another than theirs."""
    moved = deepcopy(resources)
    for each in moved["listeners"]:
        if "address" in each:
            each["address"] = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    for each in moved["clusters"]:
        if "original_dst_lb_config" in each:
            each["original_dst_lb_config"]["upstream_port_override"] = hbone_port
    return moved


@asynccontextmanager
async def _bed(directory: Path, resources: dict[str, Any]) -> AsyncIterator[Bed]:
    application = await asyncio.start_server(_application, "127.0.0.1", 0)
    host, port = application.sockets[0].getsockname()
    try:
        async with (
            Terminator(
                held(an_identity("web", "shop")),
                admits=lambda identity: identity == WAYPOINT,
                application=lambda _: (host, port),
                host=HBONE_POD,
            ) as terminator,
            Envoy(
                static_bootstrap(_on_loopback(resources, terminator.address[1])), directory
            ) as envoy,
        ):
            entry, entry_port = await envoy.address("connect_terminate")
            waypoint = Waypoint(host=entry, port=entry_port, identities=[WAYPOINT])
            async with HboneClient(waypoint, held(an_identity("alice", "client"))) as client:
                yield Bed(client, terminator)
    finally:
        application.close()


@pytest.mark.timeout(40)
@pytest.mark.proves("WC-26", "WC-20", "WC-15")
async def test_every_way_in_leads_to_the_endpoint(tmp_path: Path) -> None:
    async with _bed(tmp_path, _resources()) as bed:
        for authority in (
            "10.96.0.1:80",
            "[fd00::10]:80",
            f"{WEB}:80",
            "10.96.0.1:7000",
            f"{HBONE_POD}:8080",
        ):
            answer = await bed.get(authority, "/a//b/../c")
            assert answer.status_code == 200, authority
            assert answer.text == "GET /a//c HTTP/1.1", "normalised"
            access = bed.terminator.accesses[-1]
            assert access.authority == f"{HBONE_POD}:8080"
            assert access.line()["src.identity"] == WAYPOINT
        assert await bed.echo("10.96.0.1:9000", b"hello") == b"echo hello"
        assert await bed.echo("10.96.0.1:7000", b"\x00\x01\x02") == b"echo \x00\x01\x02"


@pytest.mark.timeout(40)
@pytest.mark.refutes("WC-26")
async def test_what_nobody_serves_is_refused(tmp_path: Path) -> None:
    async with _bed(tmp_path, _resources("service")) as bed:
        for authority in ("10.96.0.77:80", "10.96.0.1:81", f"{HBONE_POD}:8080"):
            with pytest.raises(ConnectRefusedError, match="503"):
                await bed.client.open(authority)
        assert (await bed.get("10.96.0.9:80")).status_code == 503, "no endpoints"
        assert await bed.client.request("GET", "/") == 404, "no CONNECT"


@pytest.mark.timeout(40)
@pytest.mark.refutes("WC-26")
async def test_a_tunnel_that_has_to_be_listened_to_ends_when_it_leads_nowhere(
    tmp_path: Path,
) -> None:
    async with _bed(tmp_path, _resources()) as bed:
        unknown = ("10.96.0.77:80", "10.96.0.1:81", "other.example.com:80", f"{PLAIN_POD}:8080")
        for authority in unknown:
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await bed.get(authority)
        assert list(bed.terminator.accesses) == []


@pytest.mark.timeout(40)
@pytest.mark.proves("WC-30", "WC-31")
async def test_routes_that_lost_their_policies_let_nothing_through(tmp_path: Path) -> None:
    resources = _resources()
    for listener in resources["listeners"]:
        for chain in listener["filter_chains"]:
            configuration = chain["filters"][-1]["typed_config"].get("route_config", {})
            for host in configuration.get("virtual_hosts", []):
                host.pop("typed_per_filter_config", None)
    async with _bed(tmp_path, resources) as bed:
        answer = await bed.get("10.96.0.1:80")
        assert (answer.status_code, answer.text) == (403, "RBAC: access denied")
        assert (await bed.get(f"{HBONE_POD}:8080")).status_code == 403
