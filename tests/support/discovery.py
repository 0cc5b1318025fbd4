"""Discovery without a network: resources, requests, a clock and a small model client."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2

from controlplane.encode.envelope import resource
from controlplane.encode.resource import Resource
from controlplane.pb import authorization_pb2, workload_pb2
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import (
    ADDRESS_TYPE,
    ADDRESSES,
    AUTHORIZATION_TYPE,
    AUTHORIZATIONS,
    TableKey,
)
from controlplane.xds.response import Response
from controlplane.xds.session import Session
from controlplane.xds.settings import XdsSettings


class FakeClock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.time)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


def a_workload(
    uid: str,
    *,
    ips: Iterable[str] = (),
    node: str = "",
    services: tuple[str, ...] = (),
    policies: Iterable[str] = (),
    padding: str = "",
) -> Resource:
    """Return an Address resource; ``padding`` makes it differ, or large."""
    message = workload_pb2.Address()
    message.workload.uid = uid
    message.workload.canonical_name = padding
    message.workload.node = node
    message.workload.authorization_policies.extend(policies)
    made = resource(uid, message.SerializeToString(), ADDRESS_TYPE)
    aliases = tuple(f"net/{ip}" for ip in ips)
    return replace(made, aliases=aliases, node=node, services=services)


def a_service(name: str, *, vips: Iterable[str] = (), padding: str = "") -> Resource:
    namespace, _, hostname = name.partition("/")
    message = workload_pb2.Address()
    message.service.namespace = namespace
    message.service.hostname = hostname
    message.service.name = padding
    made = resource(name, message.SerializeToString(), ADDRESS_TYPE)
    return replace(made, aliases=tuple(f"net/{vip}" for vip in vips))


def a_policy(name: str, *, padding: int = 0, dry_run: bool = False) -> Resource:
    namespace, _, short = name.partition("/")
    message = authorization_pb2.Authorization(namespace=namespace, name=short, dry_run=dry_run)
    if padding:
        rules = message.groups.add().rules.add()
        rules.matches.add().destination_ports.append(padding)
    return resource(name, message.SerializeToString(), AUTHORIZATION_TYPE)


def a_catalog(
    *addresses: Resource, policies: Iterable[Resource] = (), key: TableKey = AUTHORIZATIONS
) -> Catalog:
    """Return a catalog at commit 1 (0 if it is empty)."""
    catalog = Catalog()
    catalog.stage(ADDRESSES, [(each.name, each) for each in addresses])
    catalog.stage(key, [(each.name, each) for each in policies])
    catalog.publish()
    return catalog


def put(catalog: Catalog, *resources: Resource, key: TableKey = ADDRESSES) -> int:
    catalog.stage(key, [(each.name, each) for each in resources])
    return catalog.publish()


def remove(catalog: Catalog, *names: str, key: TableKey = ADDRESSES) -> int:
    catalog.stage(key, [(name, None) for name in names])
    return catalog.publish()


def a_request(
    type_url: str = ADDRESS_TYPE,
    *,
    subscribe: Iterable[str] = (),
    unsubscribe: Iterable[str] = (),
    known: Mapping[str, str] | None = None,
    nonce: str = "",
    error: str | None = None,
) -> Any:
    """Return a request without a node."""
    request = discovery_pb2.DeltaDiscoveryRequest(
        type_url=type_url,
        resource_names_subscribe=subscribe,
        resource_names_unsubscribe=unsubscribe,
        initial_resource_versions=known or {},
        response_nonce=nonce,
    )
    if error is not None:
        request.error_detail.message = error
    return request


def introduced(
    request: Any,
    *,
    kind: str = "ztunnel",
    node_name: str = "",
    namespace: str = "istio-system",
    **metadata: str,
) -> Any:
    """Return ``request`` with a node, as the first of a stream has."""
    domain = f"{namespace}.svc.cluster.local"
    request.node.id = f"{kind}~10.0.0.9~proxy-1.{namespace}~{domain}"
    request.node.metadata.update({"NAMESPACE": namespace, **metadata})
    if node_name:
        request.node.metadata.update({"NODE_NAME": node_name})
    return request


def a_session(catalog: Catalog, clock: FakeClock | None = None, **settings: Any) -> Session:
    return Session(catalog, XdsSettings(**settings), clock or FakeClock())


def taken(session: Session) -> list[Response]:
    """Return every response that may be sent now."""
    return [response for response in session.responses() if response is not None]


def parsed(response: Response) -> Any:
    return discovery_pb2.DeltaDiscoveryResponse.FromString(response.body)


def names(response: Response) -> list[str]:
    return [each.name for each in parsed(response).resources]


def removed(response: Response) -> list[str]:
    return [*parsed(response).removed_resources]


def acknowledge(session: Session, *responses: Response) -> None:
    for response in responses:
        session.receive(a_request(response.type_url, nonce=response.nonce))


@dataclass
class ModelClient:
    """What a client holds after every response; raises AssertionError on what it must never see.

    ``held`` is type -> name -> version. ``policies_of`` are the policies each workload lists, of
    workloads on ``node`` only unless that is "".
    """

    watches_policies: bool = True
    node: str = ""
    held: dict[str, dict[str, str]] = field(
        default_factory=lambda: {ADDRESS_TYPE: {}, AUTHORIZATION_TYPE: {}}
    )
    policies_of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    nonces: set[str] = field(default_factory=set)
    responses: list[Any] = field(default_factory=list)

    def requests(self, **node: str) -> list[Any]:
        """Return what opens a stream, with the versions held."""
        self.nonces = set()
        first = introduced(a_request(ADDRESS_TYPE, known=self.held[ADDRESS_TYPE]), **node)
        return [first, a_request(AUTHORIZATION_TYPE, known=self.held[AUTHORIZATION_TYPE])]

    def apply(self, body: bytes) -> Any:
        """Apply a response; return the request that acknowledges it."""
        response = discovery_pb2.DeltaDiscoveryResponse.FromString(body)
        assert response.nonce, "a response without a nonce"
        assert response.nonce not in self.nonces, f"nonce {response.nonce} was used before"
        self.nonces.add(response.nonce)
        updated = [each.name for each in response.resources]
        assert len(updated) == len(set(updated)), "a name is updated twice in one response"
        assert not set(updated) & set(response.removed_resources), "updated and removed"
        held = self.held.setdefault(response.type_url, {})
        for each in response.resources:
            assert each.resource.type_url == response.type_url
            held[each.name] = each.version
            if response.type_url == ADDRESS_TYPE:
                workload = workload_pb2.Address.FromString(each.resource.value).workload
                is_watched = not self.node or workload.node == self.node
                policies = tuple(workload.authorization_policies) if is_watched else ()
                self.policies_of[each.name] = policies
        for name in response.removed_resources:
            held.pop(name, None)
            if response.type_url == ADDRESS_TYPE:
                self.policies_of.pop(name, None)
        if self.watches_policies:
            known = self.held[AUTHORIZATION_TYPE].keys()
            for workload, policies in self.policies_of.items():
                missing = set(policies) - known
                assert not missing, f"{workload} lists {missing}, which the client does not hold"
        self.responses.append(response)
        return a_request(response.type_url, nonce=response.nonce)
