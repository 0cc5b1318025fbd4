"""A waypoint with policies between real parties: what it is sent is made of manifests.

Service ``web`` is in front of one pod, with port 80 (HTTP), 7070 (gRPC), 9000 (bytes; the server
speaks first) and 9001 (the same, and the port does not say what it is). ``auth`` and ``calls`` are
providers that let pass what has the header ``x-pass: yes``. Routes are files that can be replaced.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
from aiohttp import web
from envoy.service.auth.v3 import external_auth_pb2

from controlplane.lab.certificates import HeldCertificate
from controlplane.lab.envoy import Envoy
from controlplane.lab.hbone import HboneClient, Waypoint
from controlplane.lab.hbone_terminator import Terminator
from controlplane.manifests.core import Service
from controlplane.manifests.istio import AuthorizationPolicy, TargetReference
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.read_mesh_config import read_mesh_config
from controlplane.snapshots.scope import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE
from tests.e2e.waypoint.hand_written import ALICE, WAYPOINT, hand_written
from tests.support.builders import (
    HBONE,
    a_pod,
    a_service,
    a_service_port,
    a_waypoint,
    an_authorization_policy,
)
from tests.support.envoy_inline import WaypointResources, inlined
from tests.support.hbone_certificates import an_identity, held
from tests.support.waypoint_snapshots import ON_ONE_MACHINE, Waypoints

POD = "127.0.1.1"
NODE = an_identity("default")
VIP = "10.96.0.10"
WEB = TargetReference(kind="Service", name="web")
GREETING = b"the server speaks first\n"
_USE = {"istio.io/use-waypoint": "waypoint"}
_PORTS = {80: "http", 7070: "grpc", 9000: "tcp", 9001: ""}
_PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def a_web_policy(name: str, *rules: Any, **fields: Any) -> AuthorizationPolicy:
    """A policy on ``web``."""
    fields = {"target_references": (WEB,)} | fields
    return an_authorization_policy(name, "app", rules=rules, **fields)


def providers(**fields: Any) -> MeshConfig:
    """A mesh configuration with the providers ``judge`` (HTTP) and ``court`` (gRPC)."""
    entries = [
        {
            "name": "judge",
            "envoyExtAuthzHttp": {
                "service": "auth.app.svc.cluster.local",
                "port": 8090,
                "pathPrefix": "/check",
                "includeRequestHeadersInCheck": ["x-pass"],
                "includeAdditionalHeadersInCheck": {"x-from": "100% mesh"},
                "headersToUpstreamOnAllow": ["x-user"],
                "headersToDownstreamOnDeny": ["x-reason"],
                "headersToDownstreamOnAllow": ["x-seen"],
            }
            | fields,
        },
        {
            "name": "court",
            "envoyExtAuthzGrpc": {"service": "app/calls.app.svc.cluster.local", "port": 8091}
            | fields,
        },
    ]
    return read_mesh_config({"extensionProviders": entries})


@dataclass(slots=True)
class Asked:
    """What providers and the application were asked."""

    judge: list[Mapping[str, str]] = field(default_factory=list)
    court: list[Mapping[str, str]] = field(default_factory=list)
    application: list[Mapping[str, str]] = field(default_factory=list)
    connections: int = 0

    async def decide(self, request: web.Request) -> web.Response:
        """Answer as ``judge``."""
        self.judge.append({**_headers(request), ":path": request.path})
        if request.headers.get("x-pass") == "yes":
            return web.Response(headers={"x-user": "alice", "x-seen": "judge", "x-secret": "s"})
        return web.Response(status=401, text="no", headers={"x-reason": "pass", "x-secret": "s"})

    async def answer(self, request: web.Request) -> web.Response:
        """Answer as the application."""
        self.application.append(
            {
                **_headers(request),
                ":path": request.path,
                ":target": request.raw_path,
                ":method": request.method,
            }
        )
        return web.Response(text=request.path)

    async def call(self, content: bytes, _: object) -> bytes:
        """Answer as ``court``."""
        request = external_auth_pb2.CheckRequest.FromString(content)
        headers = dict(request.attributes.request.http.headers)
        self.court.append(headers)
        answer = external_auth_pb2.CheckResponse()
        answer.status.code = 0 if headers.get("x-pass") == "yes" else 7
        return answer.SerializeToString()

    async def greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak first, then say everything back."""
        self.connections += 1
        writer.write(GREETING)
        try:
            while data := await reader.read(65_536):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()


class _Court(grpc.GenericRpcHandler):
    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method != "/envoy.service.auth.v3.Authorization/Check":
            return None
        return grpc.unary_unary_rpc_method_handler(self._asked.call)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicedWaypoint:
    """A running waypoint; ``mesh`` is what it is configured from."""

    envoy: Envoy
    waypoint: Waypoint
    asked: Asked
    mesh: Waypoints
    routes: Path

    def client(self, who: str | HeldCertificate = ALICE) -> HboneClient:
        """Return a client that is not connected yet."""
        return HboneClient(self.waypoint, held(who) if isinstance(who, str) else who)

    @asynccontextmanager
    async def browsing(
        self, who: str | HeldCertificate = ALICE, authority: str = f"{VIP}:80"
    ) -> AsyncIterator[httpx.AsyncClient]:
        """Return a client for requests that keeps its connection."""
        async with (
            self.client(who) as client,
            client.forwarded(authority) as way,
            httpx.AsyncClient(
                base_url=way.url, verify=_PLAIN, trust_env=False, timeout=5.0
            ) as http,
        ):
            yield http

    async def get(
        self, path: str = "/", *, who: str | HeldCertificate = ALICE, **rest: Any
    ) -> httpx.Response:
        """Ask once."""
        async with self.browsing(who) as http:
            return await http.request(rest.pop("method", "GET"), path, **rest)

    async def status(self, *arguments: Any, **rest: Any) -> int:
        """Ask once; return the status."""
        return (await self.get(*arguments, **rest)).status_code

    def change(self, *manifests: Manifest, removed: tuple[Manifest, ...] = ()) -> None:
        """Change the mesh; the running Envoy hears of its routes only."""
        self.mesh.apply(*manifests, removed=removed)
        write_routes(self.mesh, self.routes)


def the_web(*addresses: str) -> Service:
    """Return service ``web`` at ``addresses``."""
    return a_service(
        "web",
        "app",
        ips=addresses,
        labels=_USE,
        selector={"app": "web"},
        ports=[
            a_service_port(number, name=name, target_port=number) for number, name in _PORTS.items()
        ],
    )


def a_policed_mesh(*manifests: Manifest | MeshConfig) -> Waypoints:
    """Return the mesh with ``manifests`` besides its services."""
    mesh = Waypoints(settings=ON_ONE_MACHINE)
    mesh.apply(
        a_waypoint("waypoint", "app"),
        the_web(VIP),
        a_service(
            "auth",
            "app",
            ips=["10.96.0.11"],
            selector={"app": "web"},
            ports=[a_service_port(8090, name="http", target_port=8090)],
        ),
        a_service(
            "calls",
            "app",
            ips=["10.96.0.12"],
            selector={"app": "web"},
            ports=[a_service_port(8091, name="grpc", target_port=8091)],
        ),
        a_pod("web", "app", labels={"app": "web"}, annotations=HBONE, ips=[POD]),
        *manifests,
    )
    return mesh


def write_routes(mesh: Waypoints, directory: Path) -> None:
    """Put the routes where a waypoint looks for them."""
    documents = mesh.documents(ROUTE_TYPE, mesh.waypoints()[0])
    for number, document in enumerate(documents.values()):
        fresh = directory / f"{number}.new"
        fresh.write_text(json.dumps({"resources": [document]}))
        fresh.rename(directory / f"{number}.json")


@asynccontextmanager
async def a_policed_waypoint(
    directory: Path, mesh: Waypoints, *, without: tuple[int, ...] = ()
) -> AsyncIterator[PolicedWaypoint]:
    """Run a waypoint of ``mesh``; nobody listens on the pod's ports in ``without``."""
    asked = Asked()
    async with AsyncExitStack() as stack:
        leads_to = await _listen(stack, asked)
        for port in without:
            del leads_to[f"{POD}:{port}"]
        terminator = await stack.enter_async_context(
            Terminator(
                held(NODE),
                admits=lambda peer: peer == WAYPOINT,
                application=leads_to.get,
                host=POD,
            )
        )
        routes = directory / "routes"
        routes.mkdir()
        write_routes(mesh, routes)
        bootstrap = _bootstrap(mesh, routes, terminator.address[1])
        envoy = await stack.enter_async_context(Envoy(bootstrap, directory))
        host, port = await envoy.address("connect_terminate")
        yield PolicedWaypoint(
            envoy=envoy,
            waypoint=Waypoint(host=host, port=port, identities={WAYPOINT}),
            asked=asked,
            mesh=mesh,
            routes=routes,
        )


async def _listen(stack: AsyncExitStack, asked: Asked) -> dict[str, tuple[str, int]]:
    leads_to = {}
    for port, answer in ((80, asked.answer), (8090, asked.decide)):
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        leads_to[f"{POD}:{port}"] = runner.addresses[0][:2]
    court = grpc.aio.server()
    court.add_generic_rpc_handlers((_Court(asked),))
    leads_to[f"{POD}:8091"] = ("127.0.0.1", court.add_insecure_port("127.0.0.1:0"))
    await court.start()
    stack.push_async_callback(court.stop, None)
    greeter = await asyncio.start_server(asked.greet, "127.0.0.1", 0)
    stack.callback(greeter.close)
    for port in (9000, 9001):
        leads_to[f"{POD}:{port}"] = greeter.sockets[0].getsockname()[:2]
    return leads_to


def _bootstrap(mesh: Waypoints, routes: Path, hbone_port: int) -> dict[str, Any]:
    (waypoint,) = mesh.waypoints()
    documents = {
        type_url: [_bare(each) for each in mesh.documents(type_url, waypoint).values()]
        for type_url in (LISTENER_TYPE, CLUSTER_TYPE, ENDPOINT_TYPE)
    }
    names = list(mesh.documents(ROUTE_TYPE, waypoint))
    files = {name: routes / f"{number}.json" for number, name in enumerate(names)}
    _rename(documents[LISTENER_TYPE], "rds", "kept")
    bootstrap = inlined(
        WaypointResources(
            listeners=documents[LISTENER_TYPE],
            clusters=documents[CLUSTER_TYPE],
            endpoints=documents[ENDPOINT_TYPE],
            secrets=hand_written().secrets,
        ),
        hbone_port=hbone_port,
    )
    _rename(bootstrap, "kept", "rds", files)
    return {"node": {"id": "policed", "cluster": "policed"}, **bootstrap}


def _rename(part: Any, old: str, new: str, files: Mapping[str, Path] | None = None) -> None:
    """Keep what is fetched by name as it is, but for where it is fetched from."""
    if isinstance(part, list):
        for each in part:
            _rename(each, old, new, files)
    elif isinstance(part, dict):
        if old in part:
            part[new] = part.pop(old)
            if files is not None:
                path = str(files[part[new]["route_config_name"]])
                part[new]["config_source"] = {
                    "path_config_source": {"path": path},
                    "resource_api_version": "V3",
                }
        for each in part.values():
            _rename(each, old, new, files)


def _bare(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "@type"}


def _headers(request: web.Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}
