"""What Gateway API's tests for meshes ask of GRPCRoutes, of a real Envoy as the waypoint.

The mesh is that of ``tests.support.echoes``, in manifests; two applications answer calls.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import yaml

from controlplane.lab.envoy import Envoy
from controlplane.lab.hbone import HboneClient, Waypoint
from controlplane.lab.hbone_terminator import Terminator
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import read_documents
from controlplane.model.names import Name
from controlplane.snapshots.scope import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE
from tests.e2e.waypoint.hand_written import hand_written
from tests.support.builders import HBONE, a_pod, a_waypoint
from tests.support.echoes import ECHOES, a_route, the_services
from tests.support.envoy_inline import WaypointResources, inlined
from tests.support.hbone_certificates import an_identity, held
from tests.support.waypoint_snapshots import ON_ONE_MACHINE, Waypoints

WAYPOINT = an_identity("waypoint")
NODE = an_identity("default")
CALLER = an_identity("caller", ECHOES)
PODS = {"v1": "127.0.1.1", "v2": "127.0.1.2"}
VIP = "10.96.0.10"
ECHO, ECHO_TWO = "/conformance.Echo/Echo", "/conformance.Echo/EchoTwo"
CALLS = 300


class _Application(grpc.GenericRpcHandler):
    """Answers every call with its version and the metadata that it got."""

    def __init__(self, version: str) -> None:
        self._version = version

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            told: dict[str, list[str]] = {}
            for name, value in context.invocation_metadata() or ():
                told.setdefault(name, []).append(str(value))
            joined = {name: ",".join(values) for name, values in told.items()}
            return yaml.safe_dump({"version": self._version, "told": joined}).encode()

        return grpc.unary_unary_rpc_method_handler(answer)


def _resources(*routes: Mapping[str, Any]) -> WaypointResources:
    waypoints = Waypoints(settings=ON_ONE_MACHINE)
    pods = [
        a_pod(
            f"echo-{version}",
            ECHOES,
            labels={"app": "echo", "version": version},
            annotations=HBONE,
            ips=[address],
        )
        for version, address in PODS.items()
    ]
    services = the_services()
    for number, service in enumerate(services):
        service["spec"]["clusterIP"] = f"10.96.0.{10 + number}"
    waypoints.apply(a_waypoint("waypoint", ECHOES), *pods, *_read([*services, *routes]))
    key = Name(ECHOES, "waypoint")
    documents = {
        type_url: [
            {name: value for name, value in each.items() if name != "@type"}
            for each in waypoints.documents(type_url, key).values()
        ]
        for type_url in (LISTENER_TYPE, CLUSTER_TYPE, ROUTE_TYPE, ENDPOINT_TYPE)
    }
    return WaypointResources(
        listeners=documents[LISTENER_TYPE],
        clusters=documents[CLUSTER_TYPE],
        routes=documents[ROUTE_TYPE],
        endpoints=documents[ENDPOINT_TYPE],
        secrets=hand_written().secrets,
    )


def _read(documents: list[Mapping[str, Any]]) -> list[Manifest]:
    reading = read_documents(yaml.safe_dump_all(documents))
    assert reading.problems == ()
    return [each.manifest for each in reading.documents if isinstance(each.manifest, Manifest)]


@asynccontextmanager
async def _calling(directory: Path, *routes: Mapping[str, Any]) -> AsyncIterator[grpc.aio.Channel]:
    async with AsyncExitStack() as stack:
        leads_to = {}
        for version, address in PODS.items():
            server = grpc.aio.server()
            server.add_generic_rpc_handlers((_Application(version),))
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            stack.push_async_callback(server.stop, None)
            leads_to[f"{address}:7070"] = ("127.0.0.1", port)
        hbone_port = 0
        for address in PODS.values():
            terminator = Terminator(
                held(NODE),
                admits=lambda peer: peer == WAYPOINT,
                application=leads_to.get,
                host=address,
                port=hbone_port,
            )
            await stack.enter_async_context(terminator)
            hbone_port = terminator.address[1]
        bootstrap = inlined(_resources(*routes), hbone_port=hbone_port)
        envoy = await stack.enter_async_context(Envoy(bootstrap, directory))
        host, port = await envoy.address("connect_terminate")
        waypoint = Waypoint(host=host, port=port, identities={WAYPOINT})
        client = await stack.enter_async_context(HboneClient(waypoint, held(CALLER)))
        way = await stack.enter_async_context(client.forwarded(f"{VIP}:7070"))
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        yield await stack.enter_async_context(
            grpc.aio.insecure_channel(f"{way.host}:{way.port}", options=options)
        )


async def _call(
    channel: grpc.aio.Channel, method: str = ECHO, **metadata: str
) -> tuple[str, dict[str, str]]:
    """Return the version that answered and the metadata that it got."""
    sent = [(name.replace("_", "-"), value) for name, value in metadata.items()]
    calling = channel.unary_unary(method, request_serializer=None, response_deserializer=None)
    answer = yaml.safe_load(await calling(b"", metadata=sent, timeout=5))
    return answer["version"], answer["told"]


async def test_weights_are_shares(tmp_path: Path) -> None:
    """What MeshGRPCRouteWeight asks."""
    route = a_route(
        """
- backendRefs:
  - {name: echo-v1, port: 7070, weight: 70}
  - {name: echo-v2, port: 7070, weight: 30}
""",
        kind="GRPCRoute",
        port=7070,
    )
    async with _calling(tmp_path, route) as channel:
        found = Counter([(await _call(channel))[0] for _ in range(CALLS)])
    assert sum(found.values()) == CALLS
    assert 0.55 * CALLS <= found["v1"] <= 0.85 * CALLS


async def test_headers_are_changed(tmp_path: Path) -> None:
    """What MeshGRPCRouteRequestHeaderModifier asks."""
    route = a_route(
        """
- matches: [{method: {service: conformance.Echo, method: Echo}}]
  filters:
  - type: RequestHeaderModifier
    requestHeaderModifier:
      set: [{name: X-Header-Set, value: new}]
  backendRefs: [{name: echo-v1, port: 7070}]
- matches: [{method: {service: conformance.Echo, method: EchoTwo}}]
  filters:
  - type: RequestHeaderModifier
    requestHeaderModifier:
      set: [{name: X-Header-Set-1, value: one}, {name: X-Header-Set-2, value: two}]
      add: [{name: X-Header-Add, value: more}]
      remove: [X-Header-Remove-1, X-Header-Remove-2]
  backendRefs: [{name: echo-v2, port: 7070}]
""",
        kind="GRPCRoute",
        port=7070,
    )
    async with _calling(tmp_path, route) as channel:
        version, told = await _call(channel)
        assert (version, told["x-header-set"]) == ("v1", "new")
        version, told = await _call(channel, x_header_set="old", other="kept")
        assert (told["x-header-set"], told["other"]) == ("new", "kept")
        version, told = await _call(
            channel,
            ECHO_TWO,
            x_header_set_2="old",
            x_header_add="first",
            x_header_remove_1="gone",
            x_header_remove_2="gone",
        )
        assert version == "v2"
        assert (told["x-header-set-1"], told["x-header-set-2"]) == ("one", "two")
        assert told["x-header-add"] == "first,more"
        assert not {name for name in told if name.startswith("x-header-remove")}


async def test_calls_share_the_endpoints_without_a_route(tmp_path: Path) -> None:
    async with _calling(tmp_path) as channel:
        assert {(await _call(channel))[0] for _ in range(40)} == {"v1", "v2"}


async def test_rules_have_names(tmp_path: Path) -> None:
    """What is asked about GRPCRouteNamedRouteRule: a name changes nothing."""
    route = a_route(
        """
- name: named
  matches: [{method: {service: conformance.Echo, method: Echo}}]
  backendRefs: [{name: echo-v1, port: 7070}]
- matches: [{method: {service: conformance.Echo, method: EchoTwo}}]
  backendRefs: [{name: echo-v2, port: 7070}]
""",
        kind="GRPCRoute",
        port=7070,
    )
    async with _calling(tmp_path, route) as channel:
        assert {(await _call(channel))[0] for _ in range(10)} == {"v1"}
        assert {(await _call(channel, ECHO_TWO))[0] for _ in range(10)} == {"v2"}
