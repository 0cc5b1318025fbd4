"""Waypoints without a network: their resources, sessions, and a client that works like Envoy."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.service.discovery.v3 import discovery_pb2

from controlplane.encode.envelope import (
    CLUSTER_TYPE,
    ENDPOINT_TYPE,
    LISTENER_TYPE,
    ROUTE_TYPE,
    SECRET_TYPE,
    resource,
)
from controlplane.encode.resource import Resource
from controlplane.model.names import Name
from controlplane.model.waypoint import WaypointPod
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import waypoint_resources
from controlplane.xds.node import Node
from controlplane.xds.session import Session
from controlplane.xds.settings import XdsSettings
from tests.support.discovery import FakeClock, a_request, introduced

WAYPOINT = Name("shop", "waypoint")
ORDER = (CLUSTER_TYPE, ENDPOINT_TYPE, SECRET_TYPE, LISTENER_TYPE, ROUTE_TYPE)


def a_cluster(name: str, *, edition: int = 0, is_discovered: bool = True) -> Resource:
    message = cluster_pb2.Cluster(name=name, alt_stat_name=str(edition))
    message.type = cluster_pb2.Cluster.EDS if is_discovered else cluster_pb2.Cluster.STATIC
    return resource(name, message.SerializeToString(), CLUSTER_TYPE)


def some_endpoints(name: str, *, edition: int = 0) -> Resource:
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    message.endpoints.add(priority=edition)
    return resource(name, message.SerializeToString(), ENDPOINT_TYPE)


def a_listener(
    name: str, *, clusters: Iterable[str] = (), routes: Iterable[str] = (), edition: int = 0
) -> Resource:
    """Return a listener that leads to clusters and to routes, in a form that is easy to read."""
    message = listener_pb2.Listener(name=name, stat_prefix=str(edition))
    for cluster in clusters:
        message.filter_chains.add(name=f"cluster:{cluster}")
    for route in routes:
        message.filter_chains.add(name=f"routes:{route}")
    return resource(name, message.SerializeToString(), LISTENER_TYPE)


def some_routes(name: str, *, clusters: Iterable[str] = (), edition: int = 0) -> Resource:
    message = route_pb2.RouteConfiguration(name=name)
    host = message.virtual_hosts.add(name=str(edition), domains=["*"])
    for cluster in clusters:
        host.routes.add(match={"prefix": "/"}, route={"cluster": cluster})
    return resource(name, message.SerializeToString(), ROUTE_TYPE)


def put(
    catalog: Catalog,
    waypoint: Name = WAYPOINT,
    /,
    **resources: Iterable[Resource | str],
) -> int:
    """Commit resources of types (``cluster=[...]``); a name alone is removed."""
    types = {
        "cluster": CLUSTER_TYPE,
        "endpoint": ENDPOINT_TYPE,
        "listener": LISTENER_TYPE,
        "route": ROUTE_TYPE,
        "secret": SECRET_TYPE,
    }
    for kind, values in resources.items():
        catalog.stage(
            waypoint_resources(waypoint, types[kind]),
            [(each, None) if isinstance(each, str) else (each.name, each) for each in values],
        )
    return catalog.publish()


def a_waypoint_session(
    catalog: Catalog,
    clock: FakeClock | None = None,
    *,
    authorize: Callable[[Node], WaypointPod | None] = lambda _: WaypointPod(WAYPOINT),
    **settings: Any,
) -> Session:
    return Session(catalog, XdsSettings(**settings), clock or FakeClock(), authorize=authorize)


def from_waypoint(request: Any) -> Any:
    """Return ``request`` as the first of a waypoint's stream."""
    return introduced(request, kind="waypoint", namespace="shop")


@dataclass
class EnvoyModel:
    """A client that behaves as Envoy was seen to: what it holds, what serves, what is warming.

    Asserts after every response that whatever serves is there. ``refuses`` are versions that it
    refuses, ``refuses_listeners`` editions of listeners: clusters and listeners by name, anything
    else with the whole response. A changed cluster waits for its endpoints and the response it came
    in is acknowledged when all clusters are warm. ``asks_for_secrets`` are asked for at first.
    """

    held: dict[str, dict[str, str]] = field(default_factory=lambda: {each: {} for each in ORDER})
    content: dict[tuple[str, str], Any] = field(default_factory=dict)
    refuses: set[str] = field(default_factory=set)
    refuses_listeners: frozenset[int] = frozenset()
    asks_for_secrets: tuple[str, ...] = ()
    nonces: set[str] = field(default_factory=set)
    responses: list[Any] = field(default_factory=list)
    _asked: dict[str, set[str]] = field(default_factory=lambda: {each: set() for each in ORDER})
    _warming: set[str] = field(default_factory=set)
    _waiting: list[Any] = field(default_factory=list)

    def requests(self) -> list[Any]:
        """Return what opens a stream, with what is held, in the order of Envoy."""
        self.nonces, self._waiting = set(), []
        known = self.held
        first = from_waypoint(a_request(CLUSTER_TYPE, known=known[CLUSTER_TYPE]))
        found = [first]
        if any(known.values()):
            for type_url in ORDER[1:]:
                if type_url != LISTENER_TYPE and not self._asked[type_url]:
                    continue
                names = () if type_url == LISTENER_TYPE else sorted(self._asked[type_url])
                held = {
                    name: version
                    for name, version in known[type_url].items()
                    if type_url == LISTENER_TYPE or name in self._asked[type_url]
                }
                found.append(a_request(type_url, subscribe=names, known=held))
        return found

    def apply(self, body: bytes) -> list[Any]:
        """Apply a response; return the requests that follow."""
        response = discovery_pb2.DeltaDiscoveryResponse.FromString(body)
        assert response.nonce not in self.nonces, f"nonce {response.nonce} was used before"
        self.nonces.add(response.nonce)
        self.responses.append(response)
        type_url = response.type_url
        held = self.held[type_url]
        refused = [each.name for each in response.resources if self._refuses(each)]
        is_whole = type_url not in {CLUSTER_TYPE, LISTENER_TYPE}
        updated = {each.name for each in response.resources}
        assert len(updated) == len(response.resources), "a name is updated twice"
        assert not updated & set(response.removed_resources), "updated and removed"
        for each in response.resources:
            is_wanted = (
                type_url in {CLUSTER_TYPE, LISTENER_TYPE} or each.name in self._asked[type_url]
            )
            if each.name in refused or (refused and is_whole) or not is_wanted:
                continue
            held[each.name] = each.version
            self._apply(type_url, each.name, each.resource.value)
        for name in response.removed_resources:
            if type_url in {ROUTE_TYPE, ENDPOINT_TYPE} and self._is_in_use(type_url, name):
                assert name not in held, f"{name} of {type_url} is removed while it is in use"
            held.pop(name, None)
            self.content.pop((type_url, name), None)
            self._warming.discard(name)
        if type_url == ENDPOINT_TYPE and not refused:
            self._warming -= updated | set(response.removed_resources)
        self._check()
        answer = a_request(type_url, nonce=response.nonce)
        if refused:
            detail = "\n".join(f"{name}: it is refused" for name in refused)
            message = "missing ]: [" if is_whole else f"Error adding/updating thing(s) {detail}\n"
            answer = a_request(type_url, nonce=response.nonce, error=message)
        # The acknowledgement of clusters is held back while one of them is warming.
        follow = self._questions()
        if type_url == CLUSTER_TYPE and not refused:
            self._waiting.append(answer)
        else:
            follow.insert(0, answer)
        return follow + self._acknowledgements()

    @property
    def is_warm(self) -> bool:
        return not self._warming

    def _refuses(self, sent: Any) -> bool:
        if sent.resource.type_url == LISTENER_TYPE:
            listener = listener_pb2.Listener.FromString(sent.resource.value)
            return int(listener.stat_prefix) in self.refuses_listeners
        return sent.version in self.refuses

    def _apply(self, type_url: str, name: str, value: bytes) -> None:
        if type_url == CLUSTER_TYPE:
            message = cluster_pb2.Cluster.FromString(value)
            if message.type == cluster_pb2.Cluster.EDS:
                self._warming.add(name)
        elif type_url == LISTENER_TYPE:
            message = listener_pb2.Listener.FromString(value)
        elif type_url == ROUTE_TYPE:
            message = route_pb2.RouteConfiguration.FromString(value)
        else:
            return
        self.content[type_url, name] = message

    def _questions(self) -> list[Any]:
        """Return requests for names that became needed, or are needed no more."""
        endpoints = {
            name
            for (type_url, name), message in self.content.items()
            if type_url == CLUSTER_TYPE and message.type == cluster_pb2.Cluster.EDS
        }
        wanted = {ENDPOINT_TYPE: endpoints, ROUTE_TYPE: set(self._named("routes"))}
        found = []
        if self.asks_for_secrets and not self._asked[SECRET_TYPE]:
            wanted[SECRET_TYPE] = set(self.asks_for_secrets)
        if not self._asked[LISTENER_TYPE] and not self._warming:
            self._asked[LISTENER_TYPE] = {"*"}
            found.append(a_request(LISTENER_TYPE))
        for type_url, names in wanted.items():
            new, old = names - self._asked[type_url], self._asked[type_url] - names
            self._asked[type_url] = names
            for name in old:
                self.held[type_url].pop(name, None)
                self.content.pop((type_url, name), None)
            if new or old:
                found.append(a_request(type_url, subscribe=sorted(new), unsubscribe=sorted(old)))
        return found

    def _acknowledgements(self) -> list[Any]:
        if self._warming:
            return []
        found, self._waiting = self._waiting, []
        return found

    def _named(self, kind: str) -> list[str]:
        return [
            chain.name.removeprefix(f"{kind}:")
            for (type_url, _), message in self.content.items()
            if type_url == LISTENER_TYPE
            for chain in message.filter_chains
            if chain.name.startswith(f"{kind}:")
        ]

    def _is_in_use(self, type_url: str, name: str) -> bool:
        if type_url == ROUTE_TYPE:
            return name in self._named("routes")
        return (CLUSTER_TYPE, name) in self.content

    def _check(self) -> None:
        clusters = self.held[CLUSTER_TYPE].keys()
        for name in self._named("cluster"):
            assert name in clusters, f"a listener leads to {name}, which is not there"
        for (type_url, name), message in self.content.items():
            if type_url == ROUTE_TYPE and name in self._named("routes"):
                for host in message.virtual_hosts:
                    for route in host.routes:
                        target = route.route.cluster
                        assert target in clusters, f"a route leads to {target}, which is not there"


def versions(catalog: Catalog, type_url: str, waypoint: Name = WAYPOINT) -> Mapping[str, str]:
    table = catalog.table(waypoint_resources(waypoint, type_url))
    return {each.name: each.version for each in table.resources()}
