"""What a change at a waypoint does to traffic that flows: the change, and nothing else."""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from controlplane.lab.errors import LabError
from controlplane.lab.hbone_stream import HboneStream
from controlplane.lab.mesh import Lab
from tests.support.lab_mesh import (
    a_cluster,
    a_document,
    a_lab,
    a_service,
    a_waypoint,
    an_application,
    write,
)

WAYPOINT = "shop/waypoint"
SLEEP = "cluster.local/ns/shop/sa/sleep"
DRAINING = "listener_manager.total_listeners_draining"


def a_shop(*, replicas: int = 2) -> list[dict[str, Any]]:
    """Return a service behind a waypoint, in two versions, and two clients."""
    versions = [
        a_service(f"web-{version}", selector={"app": "web", "version": version})
        for version in ("v1", "v2")
    ]
    return [
        *a_cluster("shop"),
        a_waypoint(),
        *an_application("web", replicas=replicas),
        *an_application("web", version="v2"),
        a_service("web", waypoint="waypoint"),
        *versions,
        *an_application("sleep"),
        a_service("sleep"),
        *an_application("notsleep"),
        a_service("notsleep"),
    ]


def a_policy(name: str, action: str, *rules: Mapping[str, Any], to: str = "web") -> dict[str, Any]:
    """Return a policy that the waypoint enforces for a Service."""
    target = {"group": "", "kind": "Service", "name": to}
    return a_document(
        "AuthorizationPolicy",
        name,
        spec={"targetRefs": [target], "action": action, "rules": list(rules)},
    )


def a_route(name: str, *rules: Mapping[str, Any], to: str = "web") -> dict[str, Any]:
    """Return an HTTPRoute of a Service."""
    parent = {"group": "", "kind": "Service", "name": to}
    return a_document("HTTPRoute", name, spec={"parentRefs": [parent], "rules": list(rules)})


class KeptAlive:
    """One connection through the waypoint that stays open between requests."""

    def __init__(self, tunnel: HboneStream) -> None:
        self._tunnel = tunnel

    @classmethod
    async def open(cls, mesh: Lab, source: str, host: str = "web") -> "KeptAlive":
        connected = await mesh.connect(source, host, 80)
        assert connected.tunnel is not None
        return cls(connected.tunnel)

    async def get(self, path: str = "/") -> int:
        request = f"GET {path} HTTP/1.1\r\nHost: web\r\n\r\n"
        await self._tunnel.write(request.encode())
        head = b""
        while b"\r\n\r\n" not in head:
            piece = await self._tunnel.read()
            assert piece, "the connection ended"
            head += piece
        top, _, body = head.partition(b"\r\n\r\n")
        fields = dict(
            line.lower().split(b": ", 1) for line in top.split(b"\r\n")[1:] if b": " in line
        )
        length = int(fields.get(b"content-length", b"0"))
        while len(body) < length:
            body += await self._tunnel.read()
        return int(top.split(b" ", 2)[1])


async def test_a_request_goes_through_the_waypoint_as_the_client(tmp_path: Path) -> None:
    async with a_lab(tmp_path, *a_shop()) as (mesh, _):
        answer = await mesh.request("sleep", "http://web/hello")
        assert (answer.status, answer.failure) == (200, "")
        inbound = [record for record in answer.records if record.direction == "inbound"]
        assert {record.source_identity for record in inbound} == {
            "spiffe://cluster.local/ns/shop/sa/waypoint"
        }
        outbound = [record for record in answer.records if record.direction == "outbound"]
        assert {record.destination_identity for record in outbound} == {
            "spiffe://cluster.local/ns/shop/sa/waypoint"
        }


async def test_a_policy_reaches_the_next_request_of_an_open_connection(tmp_path: Path) -> None:
    get_only = {
        "from": [{"source": {"principals": [SLEEP]}}],
        "to": [{"operation": {"methods": ["GET"], "paths": ["/open*"]}}],
    }
    async with a_lab(tmp_path, *a_shop()) as (mesh, folder):
        kept = await KeptAlive.open(mesh, "sleep")
        assert await kept.get("/closed") == 200
        envoy = mesh.waypoint(WAYPOINT).envoy
        drained = await envoy.stats("listener_manager.total_filter_chains_draining")
        write(folder, "policy.yaml", a_policy("web", "ALLOW", get_only))
        await _until(lambda: kept.get("/closed"), 403)
        assert await kept.get("/open/sesame") == 200
        assert (await mesh.request("notsleep", "http://web/open")).status == 403
        assert (await mesh.request("sleep", "http://web/open", method="DELETE")).status == 403
        write(folder, "policy.yaml")
        await _until(lambda: kept.get("/closed"), 200)
        assert await envoy.stats("listener_manager.total_filter_chains_draining") == drained


async def test_a_session_of_bytes_survives_every_push_that_is_not_its_own(tmp_path: Path) -> None:
    bytes_port = a_service("web", waypoint="waypoint", port_name="tcp")
    documents = [
        each for each in a_shop() if each["metadata"]["name"] != "web" or each["kind"] != "Service"
    ]
    async with a_lab(tmp_path, *documents, bytes_port) as (mesh, folder):
        kept = await KeptAlive.open(mesh, "sleep")
        assert await kept.get() == 200
        other = [*an_application("other"), a_service("other", waypoint="waypoint")]
        write(folder, "other.yaml", *other)
        await _until_status(mesh, "http://other/", 200)
        write(folder, "policy.yaml", a_policy("other", "DENY", {}, to="other"))
        await _until_status(mesh, "http://other/", 403)
        write(folder, "other.yaml")
        await _until_status(mesh, "http://other/", 0)
        assert await kept.get() == 200


@pytest.mark.proves("WC-54")
@pytest.mark.timeout(60)
async def test_a_session_survives_what_makes_others_be_listened_to(tmp_path: Path) -> None:
    replaced = {("Gateway", "waypoint"), ("Service", "web")}
    named = [each for each in a_shop() if (each["kind"], each["metadata"]["name"]) not in replaced]
    everything = a_waypoint(labels={"istio.io/waypoint-for": "all"})
    ports = a_service("web", waypoint="waypoint", port_name="tcp")
    async with a_lab(tmp_path, *named, everything, ports) as (mesh, folder):
        envoy = mesh.waypoint(WAYPOINT).envoy
        kept = await KeptAlive.open(mesh, "sleep")
        assert await kept.get() == 200
        for number in range(3):
            unknown = a_service(
                "other", selector={"app": "web"}, waypoint="waypoint", port_name="unknown"
            )
            write(folder, "other.yaml", unknown)
            await _until_status(mesh, "http://other/", 200)
            other = await KeptAlive.open(mesh, "notsleep", "other")
            assert await other.get() == 200
            # Pods behind the waypoint by their own addresses.
            direct = an_application(f"alone-{number}")
            labels = direct[-1]["spec"]["template"]["metadata"]["labels"]
            labels["istio.io/use-waypoint"] = "waypoint"
            # The Service is who says on what ports an application listens.
            write(folder, "direct.yaml", *direct, a_service(f"alone-{number}"))
            await _until_reached_by_address(mesh, f"alone-{number}")
            assert [await kept.get(), await other.get()] == [200, 200]
            write(folder, "direct.yaml")
            await mesh.until(lambda name=f"alone-{number}": not _is_there(mesh, name), "it goes")
            assert [await kept.get(), await other.get()] == [200, 200]
            # The last port that somebody is listened to on.
            write(folder, "other.yaml")
            await _until_status(mesh, "http://other/", 0)
            assert await kept.get() == 200
        stats = await envoy.stats("listener_manager.listener_")
        found = {name.rpartition("_")[2]: count for name, count in stats.items()}
        assert found["updated"] == found["modified"] > 0, "every change was made in place"
        assert found["removed"] == 3, "the second listener goes when there is nobody to listen to"


@pytest.mark.timeout(180)
async def test_two_hundred_edits_lose_no_request(tmp_path: Path) -> None:
    # There is always somebody to be listened to: without, the second listener goes, and drains.
    heard = a_service("heard", selector={"app": "web"}, waypoint="waypoint", port_name="unknown")
    async with a_lab(tmp_path, *a_shop(), heard) as (mesh, folder):
        envoy = mesh.waypoint(WAYPOINT).envoy
        edits = Edits(random.Random(6), folder)
        failures: list[str] = []
        counted = 0
        done = asyncio.Event()

        async def traffic(source: str) -> None:
            nonlocal counted
            kept = await KeptAlive.open(mesh, source)
            sniffed = await KeptAlive.open(mesh, source, "heard")
            while not done.is_set():
                answer = await mesh.request(source, "http://web/always")
                counted += 1
                if answer.status != 200:
                    failures.append(
                        f"{edits.number} {edits.what}: {answer.status} {answer.failure}"
                    )
                statuses = [await kept.get("/always"), await sniffed.get("/always")]
                if statuses != [200, 200]:
                    failures.append(f"{edits.number} {edits.what}: kept alive {statuses}")
                await asyncio.sleep(0.01)

        clients = [asyncio.create_task(traffic(name)) for name in ("sleep", "notsleep")]
        before = await _rejections(mesh)
        for _ in range(200):
            edits.make()
            await asyncio.sleep(0.05)
        write(folder, "sentinel.yaml", a_policy("sentinel", "DENY", _path("/sentinel")))
        await _until_status(mesh, "http://web/sentinel", 403)
        done.set()
        await asyncio.gather(*clients)
        assert failures == []
        assert counted > 200
        assert await _rejections(mesh) == before
        # Only what was edited ends: everything else stays where it is.
        assert set((await envoy.stats(DRAINING)).values()) == {0}
        warming = (await envoy.stats("cluster_manager.warming_clusters")).values()
        assert set(warming) == {0}
        for connection in mesh.process.connections:
            assert {each.last_error for each in connection.types} == {""}


def _path(path: str) -> dict[str, Any]:
    return {"to": [{"operation": {"paths": [path]}}]}


class Edits:
    """Random changes none of which may touch ``GET /always`` of either client."""

    def __init__(self, draw: random.Random, folder: Path) -> None:
        self.number = 0
        self.what = "nothing yet"
        self._draw = draw
        self._folder = folder
        self._present: set[str] = set()

    def make(self) -> None:
        """Make the next one."""
        self.number += 1
        choices: list[Callable[[], None]] = [
            self._route,
            self._weights,
            self._allow,
            self._deny,
            self._scale,
            self._service,
            self._foreign,
        ]
        change = self._draw.choice(choices)
        self.what = change.__name__
        change()

    def _toggle(self, file: str, *documents: Mapping[str, Any]) -> None:
        if file in self._present and self._draw.random() < 0.4:
            self._present.discard(file)
            write(self._folder, file)
            return
        self._present.add(file)
        write(self._folder, file, *documents)

    def _route(self) -> None:
        path = {"type": "PathPrefix", "value": f"/route-{self._draw.randrange(5)}"}
        header = {"name": "x-edit", "value": str(self.number)}
        filters = [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [header]}}]
        rules = (
            {"matches": [{"path": path}], "filters": filters, "backendRefs": [_backend("web")]},
            {"backendRefs": [_backend("web")]},
        )
        self._toggle("route.yaml", a_route("a-route", *rules))

    def _weights(self) -> None:
        share = self._draw.randrange(101)
        backends = [_backend("web-v1", share), _backend("web-v2", 100 - share)]
        self._toggle("weights.yaml", a_route("b-weights", {"backendRefs": backends}))

    def _allow(self) -> None:
        rules = [{"to": [{"operation": {"paths": ["/always", f"/{self.number}"]}}]}]
        self._toggle("allow.yaml", a_policy("allow", "ALLOW", *rules))

    def _deny(self) -> None:
        self._toggle("deny.yaml", a_policy("deny", "DENY", _path(f"/never-{self.number}")))

    def _scale(self) -> None:
        replicas = self._draw.randint(1, 3)
        more = an_application("web", version="v3", replicas=replicas)
        self._toggle("more.yaml", *more[1:])

    def _service(self) -> None:
        name = f"other-{self._draw.randrange(3)}"
        port_name = self._draw.choice(["http", "tcp", "grpc", "unknown"])
        self._toggle(
            f"{name}.yaml",
            a_service(name, selector={"app": "web"}, waypoint="waypoint", port_name=port_name),
        )

    def _foreign(self) -> None:
        rule = {
            "matches": [{"path": {"type": "Exact", "value": "/foreign"}}],
            "backendRefs": [_backend("sleep")],
        }
        self._toggle("foreign.yaml", a_route("c-foreign", rule, {"backendRefs": [_backend("web")]}))


def _backend(name: str, weight: int = 1) -> dict[str, Any]:
    return {"name": name, "port": 80, "weight": weight}


def _is_there(mesh: Lab, name: str) -> bool:
    try:
        return bool(mesh.workload(name).addresses)
    except LabError:
        return False


async def _until_reached_by_address(mesh: Lab, name: str) -> None:
    """Wait until a pod is reached by its own address, through the waypoint."""
    await mesh.until(lambda: _is_there(mesh, name), f"{name} comes")
    url = f"http://{mesh.workload(name).addresses[0]}:8080/"

    async def request() -> str:
        answer = await mesh.request("sleep", url)
        outbound = [each for each in answer.records if each.direction == "outbound"]
        return f"{answer.status} {outbound[0].destination_identity}" if outbound else ""

    await _until(request, "200 spiffe://cluster.local/ns/shop/sa/waypoint")


async def _rejections(mesh: Lab) -> dict[str, int]:
    return await mesh.waypoint(WAYPOINT).envoy.stats("update_rejected")


async def _until(request: Callable[[], Any], status: int | str) -> None:
    for _ in range(250):
        if await request() == status:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"never {status}")


async def _until_status(mesh: Lab, url: str, status: int) -> None:
    async def request() -> int:
        with suppress(OSError):
            return (await mesh.request("sleep", url)).status
        return -1

    await _until(request, status)
