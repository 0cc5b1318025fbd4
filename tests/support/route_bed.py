"""A waypoint with routes between real parties: a real Envoy, and backends that say who they are.

The mesh: service ``web`` has the routes; ``v1``, ``v2``, ``two`` (two pods), ``down`` (none) and
``broken`` and ``refused`` (pods outside and inside the mesh where nobody listens) are where they
lead. Every application answers with what it got; a query may ask it to wait (``sleep``), to fail
the first times (``fail`` for an ``id``), or to answer in pieces (``pieces``). A path that ends in
``/socket`` is a WebSocket that says everything back.
"""

import asyncio
import ssl
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
from aiohttp import web

from controlplane.encode.document import envoy_json
from controlplane.encode.http_route import encode_http_routes
from controlplane.encode.override import Overrides, encode_overrides
from controlplane.encode.route import encode_service_routes
from controlplane.encode.waypoint_names import service_name
from controlplane.lab.envoy import Envoy
from controlplane.lab.hbone import HboneClient, Waypoint
from controlplane.lab.hbone_terminator import Terminator
from controlplane.lab.hbone_tls import chain_pem, key_pem, roots_pem
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.model.http_route import (
    Destination,
    HttpRoute,
    PathKind,
    PathMatch,
    RequestMatch,
    RouteBackend,
)
from controlplane.model.names import Name, ObjectReference
from controlplane.model.waypoint_traffic import Layer
from controlplane.snapshots.scope import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE
from tests.support.builders import HBONE, a_pod, a_service, a_service_port, a_waypoint
from tests.support.envoy_inline import WaypointResources, inlined
from tests.support.hbone_certificates import an_identity, held
from tests.support.waypoint_snapshots import ON_ONE_MACHINE, Waypoints

ALICE = an_identity("alice", "client")
WAYPOINT = an_identity("waypoint")
NODE = an_identity("default")
DOMAIN = "app.svc.cluster.local"
OWNER = ObjectReference("HTTPRoute", "app", "web")
PODS = ("127.0.1.1", "127.0.1.2")
PORT = 80
OTHER_PORT = 8080
CALLS = 7070
SAY = "/bench.Echo/Say"
COUNT = "/bench.Echo/Count"

# Services: their address, the port of their pods, and which pods they have.
_SERVICES = {
    "web": ("10.96.0.10", 8080, "one"),
    "v1": ("10.96.0.11", 8081, "one"),
    "v2": ("10.96.0.12", 8082, "one"),
    "two": ("10.96.0.13", 8083, "any"),
    "down": ("10.96.0.14", 8084, "none"),
    "broken": ("10.96.0.15", 8085, "outside"),
    "refused": ("10.96.0.16", 8086, "one"),
}
_CALLED_AT = 7071
_PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def to(name: str, weight: int = 1, **changes: Any) -> RouteBackend:
    """A backend: a service of the bed by its name, "" for one that cannot be."""
    destination = Destination(hostname=f"{name}.{DOMAIN}", port=PORT, is_valid=bool(name))
    return RouteBackend(destination=destination, weight=weight, **changes)


def under(prefix: str, **conditions: Any) -> RequestMatch:
    """Requests below a path."""
    return RequestMatch(path=PathMatch(PathKind.PREFIX, prefix), **conditions)


def a_route(prefix: str, *backends: RouteBackend, **rest: Any) -> HttpRoute:
    """A route for what is below ``prefix``, which is its name too."""
    rest = {"match": under(prefix), "name": prefix} | rest
    return HttpRoute(owner=OWNER, backends=backends, **rest)


@dataclass(slots=True)
class RoutedApplications:
    """Applications by the name of their service; ``requests`` is what each of them got."""

    requests: dict[str, list[Mapping[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    failures: Counter[str] = field(default_factory=Counter)

    def paths(self, backend: str) -> list[str]:
        """Return the paths that a backend was asked for."""
        return [request["path"] for request in self.requests[backend]]

    async def answer(self, request: web.Request, backend: str) -> web.StreamResponse:
        """Answer a request to ``backend``."""
        said = {
            "backend": backend,
            "method": request.method,
            "path": request.path,
            "query": request.query_string,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "all": [[name.lower(), value] for name, value in request.headers.items()],
        }
        self.requests[backend].append(said)
        if request.path.endswith("/socket"):
            return await _socket(request)
        query = request.query
        if "sleep" in query:
            await asyncio.sleep(float(query["sleep"]))
        if "fail" in query:
            key = query.get("id", "")
            self.failures[key] += 1
            if self.failures[key] <= int(query["fail"]):
                return web.Response(status=int(query.get("status", "503")))
        if "pieces" in query:
            return await _pieces(request, int(query["pieces"]))
        return web.json_response(said, headers={"x-pod": backend, "x-secret": "told"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteBed:
    """A running waypoint."""

    envoy: Envoy
    waypoint: Waypoint
    applications: RoutedApplications

    def client(self, identity: str = ALICE) -> HboneClient:
        """Return a client that is not connected yet."""
        return HboneClient(self.waypoint, held(identity))

    @asynccontextmanager
    async def http(
        self, identity: str = ALICE, *, port: int = PORT, http2: bool = False
    ) -> AsyncIterator[httpx.AsyncClient]:
        """Return a client of HTTP whose connections lead to ``web``."""
        authority = f"{_SERVICES['web'][0]}:{port}"
        async with (
            self.client(identity) as client,
            client.forwarded(authority) as way,
            httpx.AsyncClient(
                base_url=way.url,
                verify=_PLAIN,
                trust_env=False,
                http1=not http2,
                http2=http2,
                timeout=10.0,
                headers={"host": "web"},
            ) as http,
        ):
            yield http

    @asynccontextmanager
    async def calls(self, identity: str = ALICE) -> AsyncIterator[grpc.aio.Channel]:
        """Return a channel to the gRPC port of ``web``."""
        authority = f"{_SERVICES['web'][0]}:{CALLS}"
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        async with (
            self.client(identity) as client,
            client.forwarded(authority) as way,
            grpc.aio.insecure_channel(f"{way.host}:{way.port}", options=options) as channel,
        ):
            yield channel


@asynccontextmanager
async def a_route_bed(
    routes: Sequence[HttpRoute],
    directory: Path,
    *,
    calls: Sequence[HttpRoute] = (),
    overrides: Overrides | None = None,
) -> AsyncIterator[RouteBed]:
    """Run a waypoint whose service ``web`` has ``routes`` for HTTP and ``calls`` for gRPC."""
    resources = routed(
        {PORT: routes, OTHER_PORT: routes, CALLS: calls},
        encode_overrides(()) if overrides is None else overrides,
    )
    applications = RoutedApplications()
    async with AsyncExitStack() as stack:
        leads_to = {}
        for name, (_, port, pods) in _SERVICES.items():
            if name in ("broken", "refused"):
                continue
            for number, pod in enumerate(PODS if pods == "any" else PODS[:1]):
                backend = f"{name}{number}" if pods == "any" else name
                address = await stack.enter_async_context(_served(applications, backend))
                leads_to[f"{pod}:{port}"] = address
        leads_to[f"{PODS[0]}:{_CALLED_AT}"] = await stack.enter_async_context(_called())
        hbone_port = 0
        for pod in PODS:
            terminator = Terminator(
                held(NODE),
                admits=lambda peer: peer == WAYPOINT,
                application=leads_to.get,
                host=pod,
                port=hbone_port,
            )
            await stack.enter_async_context(terminator)
            hbone_port = terminator.address[1]
        bootstrap = inlined(resources, hbone_port=hbone_port)
        envoy = await stack.enter_async_context(Envoy(bootstrap, directory))
        host, port = await envoy.address("connect_terminate")
        waypoint = Waypoint(host=host, port=port, identities={WAYPOINT})
        yield RouteBed(envoy=envoy, waypoint=waypoint, applications=applications)


def routed(routes: Mapping[int, Sequence[HttpRoute]], overrides: Overrides) -> WaypointResources:
    """Return the waypoint of the bed with these routes by port of ``web``, none of them faulty."""
    waypoints = Waypoints(settings=ON_ONE_MACHINE)
    waypoints.apply(a_waypoint("waypoint", "app"), *_services(), *_pods())
    documents = {
        type_url: [_bare(each) for each in waypoints.documents(type_url, _KEY).values()]
        for type_url in (LISTENER_TYPE, CLUSTER_TYPE, ROUTE_TYPE, ENDPOINT_TYPE)
    }
    by_name = {each["name"]: each for each in documents[ROUTE_TYPE]}
    served = waypoints.pipeline.world.traffic.services.get(WaypointHost(_KEY, f"web.{DOMAIN}"))
    assert served is not None
    for number, of_port in routes.items():
        if not of_port:
            continue
        port = next(each for each in served.ports if each.number == number)
        encoded = encode_http_routes(of_port, number, ("cluster.local",))
        assert encoded.faults == ()
        resource = encode_service_routes(served, port, overrides, encoded.messages)
        by_name[service_name(number, Layer.HTTP, served.hostname)] = _bare(envoy_json(resource))
    certificate = held(WAYPOINT)
    return WaypointResources(
        listeners=documents[LISTENER_TYPE],
        clusters=documents[CLUSTER_TYPE],
        routes=list(by_name.values()),
        endpoints=documents[ENDPOINT_TYPE],
        secrets=[
            {
                "name": "default",
                "tls_certificate": {
                    "certificate_chain": {"inline_string": chain_pem(certificate)},
                    "private_key": {"inline_string": key_pem(certificate)},
                },
            },
            {
                "name": "ROOTCA",
                "validation_context": {"trusted_ca": {"inline_string": roots_pem(certificate)}},
            },
        ],
    )


_KEY = Name("app", "waypoint")


def _services() -> list[Any]:
    found = []
    for name, (address, target, pods) in _SERVICES.items():
        ports = [a_service_port(PORT, name="http", target_port=target)]
        if name == "web":
            ports.append(a_service_port(OTHER_PORT, name="http-alt", target_port=target))
            ports.append(a_service_port(CALLS, name="grpc", target_port=_CALLED_AT))
        found.append(
            a_service(
                name,
                "app",
                ips=[address],
                labels={"istio.io/use-waypoint": "waypoint"},
                selector={pods: "yes"},
                ports=ports,
            )
        )
    return found


def _pods() -> list[Any]:
    labels = ({"one": "yes", "any": "yes"}, {"any": "yes"})
    outside = a_pod("outside", "app", labels={"outside": "yes"}, ips=["127.0.1.3"])
    return [
        outside,
        *(
            a_pod(f"pod-{number}", "app", labels=each, annotations=HBONE, ips=[pod])
            for number, (pod, each) in enumerate(zip(PODS, labels, strict=True))
        ),
    ]


def _bare(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "@type"}


@asynccontextmanager
async def _served(applications: RoutedApplications, backend: str) -> AsyncIterator[Any]:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await applications.answer(request, backend)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][:2]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _called() -> AsyncIterator[Any]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Calls(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield "127.0.0.1", port
    finally:
        await server.stop(grace=None)


class _Calls(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        match details.method:
            case "/bench.Echo/Say":
                return grpc.unary_unary_rpc_method_handler(_say)
            case "/bench.Echo/Count":
                return grpc.stream_stream_rpc_method_handler(_count)
        return None


async def _say(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    if request.startswith(b"sleep "):
        await asyncio.sleep(float(request.split()[1]))
    told = dict(context.invocation_metadata() or ())
    return request + b" " + str(told.get("x-added", "")).encode()


async def _count(requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request * 2


async def _socket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(f"{message.data}!")
    return socket


async def _pieces(request: web.Request, count: int) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(count):
        await response.write(f"{number}\n".encode())
        await asyncio.sleep(0.1)
    await response.write_eof()
    return response
