"""Policies as the control plane sends them, on a real Envoy: requests, connections, and changes."""

import asyncio
import json
import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc.aio
import httpx
import pytest

from controlplane.lab.hbone_errors import HandshakeError, HboneError
from controlplane.lab.hbone_tls import client_context
from controlplane.manifests.istio import AuthorizationRule, Operation, Source, TargetReference, When
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.mesh.authorization import DRY_RUN
from controlplane.mesh.client_naming import CLIENT_NAMING
from tests.e2e.waypoint.hand_written import ALICE, NEAR, WAYPOINT
from tests.support.builders import a_waypoint
from tests.support.hbone_certificates import an_identity, held
from tests.support.policed_waypoint import (
    GREETING,
    VIP,
    PolicedWaypoint,
    a_policed_mesh,
    a_policed_waypoint,
    a_web_policy,
    the_web,
)

BOB = an_identity("bob", "client")
FROM_ALICE = AuthorizationRule(sources=(Source(principals=("cluster.local/ns/client/sa/alice",)),))
FROM_BOB = AuthorizationRule(sources=(Source(principals=("cluster.local/ns/client/sa/bob",)),))
ANYTHING = AuthorizationRule()
HOST = "web.app.svc.cluster.local"
SECOND = "10.96.0.20"


def _path(text: str) -> AuthorizationRule:
    return AuthorizationRule(operations=(Operation(paths=(text,)),))


@pytest.mark.proves("HP-20", "HP-15")
async def test_deny_wins_and_what_only_notes_blocks_nothing(tmp_path: Path) -> None:
    mesh = a_policed_mesh(
        a_web_policy("allow", FROM_ALICE),
        a_web_policy("deny", _path("/admin*"), action="DENY"),
        a_web_policy("note", ANYTHING, action="AUDIT"),
        a_web_policy("try", ANYTHING, action="DENY", annotations={DRY_RUN: "true"}),
    )
    async with a_policed_waypoint(tmp_path, mesh) as waypoint:
        assert await waypoint.status("/open") == 200
        assert await waypoint.status("/admin/x") == 403
        assert await waypoint.status("/open", who=BOB) == 403
        assert len(waypoint.asked.application) == 1
        code = await _call_status(waypoint, BOB)
        assert code is grpc.StatusCode.PERMISSION_DENIED


async def _call_status(waypoint: PolicedWaypoint, who: str) -> grpc.StatusCode:
    async with waypoint.client(who) as client, client.forwarded(f"{VIP}:7070") as way:
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"{way.host}:{way.port}", options=options) as channel:
            try:
                await channel.unary_unary("/a.B/C")(b"", timeout=5.0)
            except grpc.aio.AioRpcError as error:
                return error.code()
    return grpc.StatusCode.OK


@pytest.mark.proves("HP-13")
async def test_addresses_and_ports_are_those_of_the_connection(tmp_path: Path) -> None:
    near = AuthorizationRule(
        sources=(Source(ip_blocks=(NEAR,)),), operations=_path("/near").operations
    )
    remote = AuthorizationRule(
        sources=(Source(remote_ip_blocks=(NEAR,)),), operations=_path("/remote").operations
    )
    port = AuthorizationRule(operations=(Operation(ports=("80",), paths=("/port",)),))
    other = AuthorizationRule(operations=(Operation(ports=("8080",), paths=("/other",)),))
    mesh = a_policed_mesh(a_web_policy("allow", near, remote, port, other))
    async with a_policed_waypoint(tmp_path, mesh) as waypoint:
        forged = {"x-forwarded-for": NEAR}
        assert await waypoint.status("/near") == 403
        assert await waypoint.status("/near", headers=forged) == 403
        assert await waypoint.status("/remote", headers=forged) == 200
        assert await waypoint.status("/remote") == 403
        assert await waypoint.status("/port") == 200
        assert await waypoint.status("/other") == 403


@pytest.mark.proves("HP-13", "WC-17")
async def test_what_is_written_at_the_tunnel_is_no_address(tmp_path: Path) -> None:
    far = "203.0.113.9"
    written = [(name, far) for name in ("x-forwarded-for", "x-real-ip", "x-envoy-external-address")]
    fields = {"/source": {"ip_blocks": (far,)}, "/remote": {"remote_ip_blocks": (far,)}}
    rules = [
        AuthorizationRule(sources=(Source(**source),), operations=_path(path).operations)
        for path, source in fields.items()
    ]
    mesh = a_policed_mesh(a_web_policy("allow", *rules))
    async with (
        a_policed_waypoint(tmp_path, mesh) as waypoint,
        waypoint.client() as client,
        client.forwarded(f"{VIP}:80", written) as way,
        httpx.AsyncClient(base_url=way.url, trust_env=False, timeout=5.0) as http,
    ):
        assert (await http.get("/source")).status_code == 403
        assert (await http.get("/remote")).status_code == 403
        assert (await http.get("/remote", headers=dict(written))).status_code == 200


@pytest.mark.proves("HP-25")
async def test_who_comes_by_hostname_is_bound_by_what_is_said_about_ports(tmp_path: Path) -> None:
    here = AuthorizationRule(operations=(Operation(ports=("80", "9000"), paths=("/x",)),))
    elsewhere = AuthorizationRule(operations=(Operation(ports=("8080",)),))
    mesh = a_policed_mesh(a_web_policy("deny", here, elsewhere, action="DENY"))
    async with a_policed_waypoint(tmp_path, mesh) as waypoint:
        async with waypoint.browsing(authority=f"{HOST}:80") as http:
            assert (await http.get("/x")).status_code == 403
            assert (await http.get("/")).status_code == 200
        assert await _first_bytes(waypoint, ALICE, f"{HOST}:9000") == b""
        assert await _first_bytes(waypoint, ALICE, f"{VIP}:9000") == b""
        assert waypoint.asked.connections == 0


@pytest.mark.proves("HP-26")
@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
async def test_who_comes_by_hostname_is_bound_by_what_is_said_about_addresses(
    tmp_path: Path, action: str
) -> None:
    rules = [_of("10.96.0.0/24", "/all"), _of(VIP, "/some"), _of("10.97.0.1", "/none")]
    mesh = a_policed_mesh(a_web_policy("p", *rules, action=action), the_web(VIP, SECOND))
    met, unmet = (200, 403) if action == "ALLOW" else (403, 200)
    expected = {"/all": (met,) * 3, "/some": (met, unmet, 403), "/none": (unmet,) * 3}
    async with a_policed_waypoint(tmp_path, mesh) as waypoint:
        for number, authority in enumerate((f"{VIP}:80", f"{SECOND}:80", f"{HOST}:80")):
            async with waypoint.browsing(authority=authority) as http:
                for path, statuses in expected.items():
                    assert (await http.get(path)).status_code == statuses[number], path


@pytest.mark.proves("HP-26")
async def test_nor_do_connections_by_hostname_get_around_it(tmp_path: Path) -> None:
    denied = a_web_policy("p", _of(VIP), action="DENY")
    async with a_policed_waypoint(tmp_path, a_policed_mesh(denied)) as waypoint:
        assert await _first_bytes(waypoint, ALICE, f"{VIP}:9000") == b""
        assert await _first_bytes(waypoint, ALICE, f"{HOST}:9000") == b""
        assert waypoint.asked.connections == 0


def _of(address: str, *paths: str) -> AuthorizationRule:
    when = (When(key="destination.ip", values=(address,)),)
    return AuthorizationRule(operations=(Operation(paths=paths),) if paths else (), when=when)


@pytest.mark.proves("WC-14", "HP-22")
async def test_only_domains_of_the_mesh_come_in_and_each_is_all(tmp_path: Path) -> None:
    config = MeshConfig(trust_domain_aliases=("old.example",))
    mesh = a_policed_mesh(config, a_web_policy("allow", FROM_ALICE))
    async with a_policed_waypoint(tmp_path, mesh) as waypoint:
        assert await waypoint.status(who=an_identity("alice", "client", "old.example")) == 200
        assert await waypoint.status(who=an_identity("bob", "client", "old.example")) == 403
        for domain in ("old.example.evil", "cluster.local.evil", "old", "evil.example"):
            with pytest.raises(HandshakeError):
                async with waypoint.client(held(an_identity("alice", "client", domain))) as client:
                    await client.open(f"{VIP}:80")


@pytest.mark.proves("WC-14")
async def test_an_expired_certificate_comes_in_by_no_older_session(tmp_path: Path) -> None:
    async with a_policed_waypoint(tmp_path, a_policed_mesh()) as waypoint:
        address = (waypoint.waypoint.host, waypoint.waypoint.port)
        mine = held(ALICE, begins=timedelta(seconds=-60), life=timedelta(seconds=65))
        context = client_context(mine)
        before = await asyncio.to_thread(_first_answer, context, address, None)
        assert not before.has_ticket
        await asyncio.sleep((mine.not_after - datetime.now(UTC)).total_seconds() + 1)
        for session in (None, before):
            with pytest.raises(OSError, match=r"SSL|EOF|reset"):
                await asyncio.to_thread(_first_answer, context, address, session)


def _first_answer(
    context: ssl.SSLContext, address: tuple[str, int], session: ssl.SSLSession | None
) -> ssl.SSLSession:
    """Wait for the first bytes of a waypoint; return the session, with all that came along."""
    with (
        socket.create_connection(address, timeout=5.0) as plain,
        context.wrap_socket(plain, session=session) as connection,
    ):
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
        if not connection.recv(65_536):
            raise ConnectionResetError("SSL: the connection ended")
        assert connection.session is not None
        return connection.session


@pytest.mark.proves("WC-52")
@pytest.mark.refutes("WC-52")
@pytest.mark.parametrize("value", ["true", "false"])
async def test_applications_are_told_who_asks_and_nobody_else_tells_them(
    tmp_path: Path, value: str
) -> None:
    mesh = a_policed_mesh(a_waypoint("waypoint", "app", annotations={CLIENT_NAMING: value}))
    async with a_policed_waypoint(tmp_path, mesh) as waypoint:
        forged = {"x-forwarded-client-cert": "By=x;URI=spiffe://cluster.local/ns/a/sa/admin"}
        assert await waypoint.status(headers=forged) == 200
        told = waypoint.asked.application[-1].get("x-forwarded-client-cert")
        assert told == (f"By={WAYPOINT};URI={ALICE}" if value == "true" else None)


@pytest.mark.proves("WC-50")
async def test_an_edit_reaches_the_next_request_of_an_open_connection(tmp_path: Path) -> None:
    mesh = a_policed_mesh()
    async with a_policed_waypoint(tmp_path, mesh) as waypoint, waypoint.browsing() as http:
        assert (await http.get("/")).status_code == 200
        denied = a_web_policy("deny", ANYTHING, action="DENY")
        waypoint.change(denied)
        assert await _turns(http, 403)
        waypoint.change(removed=(denied,))
        assert await _turns(http, 200)


@pytest.mark.refutes("WC-31")
async def test_routes_that_lost_their_policies_let_nobody_in(tmp_path: Path) -> None:
    mesh = a_policed_mesh()
    async with a_policed_waypoint(tmp_path, mesh) as waypoint, waypoint.browsing() as http:
        assert (await http.get("/")).status_code == 200
        for file in sorted(waypoint.routes.glob("*.json")):
            content = json.loads(file.read_text())
            for host in content["resources"][0]["virtual_hosts"]:
                # Those of tunnels have none.
                host.pop("typed_per_filter_config", None)
            fresh = file.with_suffix(".new")
            fresh.write_text(json.dumps(content))
            fresh.rename(file)
        assert await _turns(http, 403)


async def _turns(http: object, status: int) -> bool:
    for _ in range(1000):
        if (await http.get("/")).status_code == status:  # type: ignore[attr-defined]
            return True
        await asyncio.sleep(0.02)
    return False


CONNECTION_POLICIES = {
    "allow": [a_web_policy("p", FROM_ALICE)],
    "deny": [a_web_policy("p", FROM_BOB, action="DENY")],
    "custom": [a_web_policy("p", FROM_BOB, action="CUSTOM", provider="judge")],
    "negated": [
        a_web_policy(
            "p",
            AuthorizationRule(
                sources=(Source(not_principals=("cluster.local/ns/client/sa/bob",)),),
                operations=(Operation(ports=("9000", "9001")),),
                when=(When(key="source.ip", values=("127.0.0.0/8",)),),
            ),
        )
    ],
    "http, too": [
        a_web_policy("a", FROM_ALICE, _path("/a")),
        a_web_policy(
            "d",
            AuthorizationRule(sources=FROM_BOB.sources, operations=_path("/a").operations),
            action="DENY",
        ),
    ],
}


CONNECTIONS = [(case, f"{where}:9000") for case in CONNECTION_POLICIES for where in (VIP, HOST)]


@pytest.mark.proves("HP-24", "HP-16")
@pytest.mark.refutes("HP-24")
@pytest.mark.parametrize(("case", "authority"), CONNECTIONS)
async def test_who_is_denied_hears_not_one_byte_of_a_server_that_speaks_first(
    tmp_path: Path, case: str, authority: str
) -> None:
    async with a_policed_waypoint(tmp_path, a_policed_mesh(*CONNECTION_POLICIES[case])) as waypoint:
        assert await _first_bytes(waypoint, BOB, authority) == b""
        assert waypoint.asked.connections == 0
        assert await _first_bytes(waypoint, ALICE, authority) == GREETING
        assert waypoint.asked.connections == 1


@pytest.mark.proves("HP-24")
@pytest.mark.timeout(40)
async def test_nor_where_the_port_does_not_say_that_it_is_no_http(tmp_path: Path) -> None:
    mesh = a_policed_mesh(a_web_policy("p", FROM_ALICE))
    async with a_policed_waypoint(tmp_path, mesh) as waypoint:
        denied, allowed = await asyncio.gather(
            _first_bytes(waypoint, BOB, f"{VIP}:9001"), _first_bytes(waypoint, ALICE, f"{VIP}:9001")
        )
        assert (denied, allowed) == (b"", GREETING)
        assert waypoint.asked.connections == 1


@pytest.mark.proves("HP-24")
async def test_what_nobody_may_is_open_to_nobody(tmp_path: Path) -> None:
    gateway = TargetReference("Gateway", "waypoint", group="gateway.networking.k8s.io")
    nothing = a_web_policy("p", target_references=(gateway,))
    async with a_policed_waypoint(tmp_path, a_policed_mesh(nothing)) as waypoint:
        assert await _first_bytes(waypoint, ALICE, f"{VIP}:9000") == b""
        assert waypoint.asked.connections == 0


async def _first_bytes(waypoint: PolicedWaypoint, who: str, authority: str) -> bytes:
    """Connect, say nothing, and return what comes, up to the end or a greeting."""
    received = b""
    async with waypoint.client(who) as client:
        with suppress(HboneError):
            stream = await client.open(authority)
            while len(received) < len(GREETING) and (data := await stream.read()):
                received += data
    return received
