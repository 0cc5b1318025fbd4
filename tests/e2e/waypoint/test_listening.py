"""Clients that a real Envoy listens to: they are who they are, and get their answers whole.

Service ``web`` has a port that does not say what it is, beside one that says HTTP and one of bytes;
``vm`` is a workload reached by its own address.
"""

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.service.auth.v3 import external_auth_pb2

from controlplane.lab.hbone_errors import HboneError
from controlplane.manifests.istio import (
    AuthorizationRule,
    Operation,
    ServiceEntry,
    ServiceEntryPort,
    Source,
    TargetReference,
)
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.mesh.settings import MeshSettings
from tests.e2e.waypoint.hand_written import ALICE
from tests.e2e.waypoint.test_data_path import BOB
from tests.e2e.waypoint.test_identity_mix_up import mixed_up, status_for
from tests.support.builders import (
    HBONE,
    a_pod,
    a_service,
    a_service_entry,
    a_service_port,
    a_waypoint,
)
from tests.support.policed_waypoint import (
    GREETING,
    POD,
    VIP,
    PolicedWaypoint,
    a_policed_waypoint,
    a_web_policy,
)
from tests.support.waypoint_snapshots import Waypoints

CHECK = "/envoy.service.auth.v3.Authorization/Check"
HOST = "web.app.svc.cluster.local"
VIP6 = "fd00::10"
GATEWAY = TargetReference("Gateway", "waypoint", group="gateway.networking.k8s.io")
FROM_ALICE = (Source(principals=(ALICE.removeprefix("spiffe://"),)),)
FROM_HERE = (Source(ip_blocks=("127.0.0.1",)),)
FROM_ELSEWHERE = (Source(ip_blocks=("127.0.0.7",)),)


def a_listening_mesh(*manifests: Any, **rule: Any) -> Waypoints:
    """Return a mesh that lets alice in, everywhere."""
    mesh = Waypoints(settings=MeshSettings(waypoints_listen_on_pods=True))
    use = {"istio.io/use-waypoint": "waypoint"}
    ports = [
        a_service_port(81, name="", target_port=80),
        a_service_port(82, name="", target_port=8091),
        a_service_port(9000, name="tcp", target_port=9000),
        a_service_port(9001, name="", target_port=9001),
    ]
    allowed = AuthorizationRule(**({"sources": FROM_ALICE} | rule))
    mesh.apply(
        a_waypoint("waypoint", "app", labels={"istio.io/waypoint-for": "all"}),
        a_service("web", "app", ips=[VIP, VIP6], labels=use, selector={"app": "web"}, ports=ports),
        a_pod("web", "app", labels={"app": "web"} | use, annotations=HBONE, ips=[POD]),
        a_web_policy("p", allowed, target_references=(GATEWAY,)),
        *manifests,
    )
    return mesh


async def first_bytes(waypoint: PolicedWaypoint, who: str, authority: str) -> tuple[bytes, float]:
    """Say nothing, and return what comes, and after how many seconds."""
    received, since = b"", time.monotonic()
    async with waypoint.client(who) as client:
        with suppress(HboneError):
            stream = await client.open(authority)
            while len(received) < len(GREETING) and (data := await stream.read()):
                received += data
    return received, time.monotonic() - since


AUTHORITIES = [f"{VIP}:81", f"[{VIP6}]:81", f"{HOST}:81", f"{POD}:80"]


@pytest.mark.proves("WC-16", "WC-53")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("authority", [f"{VIP}:81", f"{HOST}:81", f"{POD}:80"])
async def test_nobody_inherits_the_identity_of_a_tunnel_that_was_given_up(
    tmp_path: Path, authority: str
) -> None:
    async with a_policed_waypoint(tmp_path, a_listening_mesh()) as waypoint:
        assert await mixed_up(waypoint, rounds=200, until=1, authority=authority) == (200, 0)
        given_up = await waypoint.envoy.stats("connect_terminate.downstream_rq_rx_reset")
        assert sum(given_up.values()) > 200
        assert waypoint.asked.application == []
        async with waypoint.client(ALICE) as alice:
            assert await status_for(alice, authority) == 200


@pytest.mark.proves("WC-53", "WC-17")
@pytest.mark.refutes("WC-53")
@pytest.mark.parametrize(("sources", "status"), [(FROM_HERE, 200), (FROM_ELSEWHERE, 403)])
async def test_the_client_has_its_own_address_and_meant_its_own_destination(
    tmp_path: Path, sources: tuple[Source, ...], status: int
) -> None:
    ports = (Operation(ports=("80", "81")),)
    mesh = a_listening_mesh(sources=sources, operations=ports)
    async with a_policed_waypoint(tmp_path, mesh) as waypoint:
        async with waypoint.client(ALICE) as alice:
            found = [await status_for(alice, authority) for authority in AUTHORITIES]
        assert found == [status] * len(AUTHORITIES), found


@pytest.mark.proves("WC-28", "WC-37")
async def test_calls_reach_a_port_that_does_not_say_what_it_is(tmp_path: Path) -> None:
    async def call(who: str, authority: str) -> grpc.StatusCode:
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        async with waypoint.client(who) as client, client.forwarded(authority) as way:
            target = f"{way.host}:{way.port}"
            async with grpc.aio.insecure_channel(target, options=options) as channel:
                method = channel.unary_unary(CHECK, None, None)
                request = external_auth_pb2.CheckRequest().SerializeToString()
                calling = method(request, timeout=5)
                return await calling.code()

    async with a_policed_waypoint(tmp_path, a_listening_mesh()) as waypoint:
        for authority in (f"{VIP}:82", f"[{VIP6}]:82", f"{HOST}:82", f"{POD}:8091"):
            assert await call(ALICE, authority) is grpc.StatusCode.OK, authority
            assert await call(BOB, authority) is grpc.StatusCode.PERMISSION_DENIED, authority
        assert len(waypoint.asked.court) == 4


@pytest.mark.proves("WC-29", "WC-28", "HP-24")
@pytest.mark.timeout(40)
async def test_only_who_has_to_be_listened_to_is_waited_for(tmp_path: Path) -> None:
    places = [f"{where}:{port}" for where in (VIP, HOST, POD) for port in (9000, 9001)]
    async with a_policed_waypoint(tmp_path, a_listening_mesh()) as waypoint:
        found = await asyncio.gather(*(first_bytes(waypoint, ALICE, each) for each in places))
        refused = await asyncio.gather(*(first_bytes(waypoint, BOB, each) for each in places))
        opened = waypoint.asked.connections
    assert opened == len(places), (opened, found, refused)
    assert [said for said, _ in found] == [GREETING] * len(places)
    assert [said for said, _ in refused] == [b""] * len(places)
    took = dict(zip(places, (after for _, after in found), strict=True))
    assert all((after > 4) is place.endswith(":9001") for place, after in took.items()), took


@pytest.mark.proves("WC-53")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("authority", AUTHORITIES)
async def test_an_answer_is_whole_though_the_connection_ends_with_it(
    tmp_path: Path, authority: str
) -> None:
    request = b"GET /%b HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n" % (b"a" * 5000)
    async with (
        a_policed_waypoint(tmp_path, a_listening_mesh()) as waypoint,
        waypoint.client(ALICE) as alice,
    ):
        for _ in range(100):
            tunnel = await alice.open(authority)
            await tunnel.write(request)
            answer = b""
            # Envoy resets a tunnel whose inner connection ended; nothing may be missing by then.
            with suppress(HboneError):
                while data := await tunnel.read():
                    answer += data
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            assert body == b"/" + b"a" * 5000


def a_wide_entry(network: str, protocol: str, target: int) -> ServiceEntry:
    """Return what is reached at every address of a network, on port 8080."""
    name = network.replace(".", "-").replace(":", "-").partition("/")[0].strip("-")
    return a_service_entry(
        f"wide-{name}",
        "app",
        hosts=[f"wide-{name}.example"],
        addresses=(network,),
        ports=[ServiceEntryPort(number=8080, name="p", protocol=protocol, target_port=target)],
        workload_selector={"app": "web"},
        labels={"istio.io/use-waypoint": "waypoint"},
    )


@pytest.mark.proves("WC-55")
@pytest.mark.refutes("WC-55")
@pytest.mark.timeout(60)
async def test_ranges_of_addresses_are_listened_to_by_the_number_of_their_port(
    tmp_path: Path,
) -> None:
    mesh = a_listening_mesh(
        a_wide_entry("10.200.0.0/16", "", 80),
        a_wide_entry("fd01::/64", "", 80),
        a_wide_entry("10.201.0.0/16", "HTTP", 80),
        a_wide_entry("10.202.0.0/16", "TCP", 9000),
        a_service(
            "bytes",
            "app",
            ips=["10.200.0.7"],
            labels={"istio.io/use-waypoint": "waypoint"},
            selector={"app": "web"},
            ports=[a_service_port(8080, name="tcp", target_port=9000)],
        ),
    )
    requests = [f"{where}:8080" for where in ("10.200.3.4", "[fd01::7]", "10.201.3.4")]
    told = ["10.200.0.7:8080", "bytes.app.svc.cluster.local:8080"]
    async with a_policed_waypoint(tmp_path, mesh) as waypoint:
        async with waypoint.client(ALICE) as alice:
            assert [await status_for(alice, each) for each in requests] == [200] * 3
        async with waypoint.client(BOB) as bob:
            assert [await status_for(bob, each) for each in requests] == [403] * 3
        heard = [await first_bytes(waypoint, ALICE, each) for each in (*told, "10.202.3.4:8080")]
        unknown = [
            await first_bytes(waypoint, ALICE, each) for each in ("10.203.3.4:8080", "a:8080")
        ]
        # Written as nobody writes it, an address is known to its own listener alone.
        odd = await first_bytes(waypoint, ALICE, "[fd00:0::10]:81")
    assert [said for said, _ in heard] == [GREETING] * 3
    assert [after > 4 for _, after in heard] == [False, False, True]
    assert [said for said, _ in (*unknown, odd)] == [b""] * 3


@pytest.mark.proves("WC-60")
async def test_what_is_listened_to_is_told_once(tmp_path: Path) -> None:
    config = MeshConfig(access_log_file="/dev/stdout", access_log_encoding="JSON")
    async with a_policed_waypoint(tmp_path, a_listening_mesh(config)) as waypoint:
        async with waypoint.client(ALICE) as alice:
            assert await status_for(alice, f"{VIP}:81") == 200
        async with waypoint.client(BOB) as bob:
            assert await status_for(bob, f"{VIP}:81") == 403
    lines = [line for line in waypoint.envoy.lines if line.startswith("{")]
    assert len(lines) == 2, lines
