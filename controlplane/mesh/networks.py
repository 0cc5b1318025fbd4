"""Networks: where this cluster is and how others are reached.

Namespaces and Gateways come in; the local network, the gateway of each network and one workload
per gateway go out, to the rules of services, waypoints and workloads.
docs/protocol/networks.md, NW-1 to NW-8.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.core import Namespace
from controlplane.manifests.gateway import Gateway
from controlplane.mesh.inputs import Manifests
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.settings import MeshSettings
from controlplane.model.names import Name, ObjectReference
from controlplane.model.network import NetworkAddress, address_from_text
from controlplane.model.problem import Problem, Severity
from controlplane.model.workload import GatewayAddress, NamespacedHostname, Workload

NETWORK_LABEL: Final = "topology.istio.io/network"
SERVICE_ACCOUNT_ANNOTATION: Final = "gateway.istio.io/service-account"
REMOTE_CLASS: Final = "istio-remote"


class GatewayKey(NamedTuple):
    """One address of one Gateway: ordered, so that the first gateway of a network is stable."""

    network: str
    namespace: str
    name: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkGateway:
    """One way into another network: ``value`` is the address as written, ``port`` its HBONE port.

    ``address`` is None when ``value`` is a hostname, looked up in the namespace of the service
    account.
    """

    key: GatewayKey
    value: str
    address: bytes | None
    port: int
    service_account: str

    @property
    def network(self) -> str:
        """Return the network that is entered."""
        return self.key.network

    @property
    def namespace(self) -> str:
        """Return the namespace of the Gateway and its service account."""
        return self.key.namespace

    @property
    def uid(self) -> str:
        """Return the uid and name of the workload that stands for the gateway."""
        return f"NetworkGateway/{self.network}/{self.value}/{self.port}"

    @property
    def destination(self) -> GatewayAddress:
        """Return where workloads of the network are reached."""
        if self.address is None:
            hostname = NamespacedHostname(self.namespace, self.value)
            return GatewayAddress(hostname, self.port)
        return GatewayAddress(NetworkAddress(self.network, self.address), self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The local network and the gateways of all others."""

    locals: Collection[Name, str]
    gateways: Collection[GatewayKey, NetworkGateway]
    destinations: Collection[str, GatewayAddress]
    workloads: Collection[str, Workload]
    problems: Collection[ProblemKey, Problem]
    system_namespace: Name

    def local(self, fetch: Fetch) -> str:
        """Return the network of this cluster, "" when it is not named."""
        return fetch.one(self.locals, self.system_namespace) or ""

    def gateway(self, fetch: Fetch, network: str) -> GatewayAddress | None:
        """Return where ``network`` is entered, None when no gateway is known."""
        return fetch.one(self.destinations, network)


def build_networks(
    graph: Graph, manifests: Manifests, membership: Membership, settings: MeshSettings
) -> Networks:
    """Declare the networks on ``graph``."""
    system = Name("", settings.system_namespace)

    def local(_: Fetch, namespace: Namespace) -> str | None:
        return namespace.metadata.labels.get(NETWORK_LABEL) if namespace.key == system else None

    locals_ = graph.derive("local network", manifests.namespaces, local)
    gateways = graph.derive_many(
        "network gateways", membership.gateways, lambda _, gateway: gateways_of(gateway)
    )
    by_network = gateways.index("network gateways by network", lambda value: (value.network,))
    networks = graph.distinct("networks with a gateway", by_network)

    def destination(fetch: Fetch, network: str) -> GatewayAddress | None:
        known = fetch.where(by_network, network)
        return known[0].destination if known else None

    destinations = graph.derive("network gateway addresses", networks, destination)

    by_uid = gateways.index("network gateways by uid", lambda value: (value.uid,))
    uids = graph.distinct("network gateway uids", by_uid)

    def workload(fetch: Fetch, uid: str) -> Workload:
        gateway = fetch.where(by_uid, uid)[0]
        return Workload(
            uid=uid,
            name=uid,
            namespace=gateway.namespace,
            addresses=() if gateway.address is None else (gateway.address,),
            hostname=gateway.value if gateway.address is None else "",
            network=gateway.network,
            trust_domain=membership.trust_domain(fetch),
            service_account=gateway.service_account,
        )

    def repetitions(fetch: Fetch, uid: str) -> Mapping[ProblemKey, Problem]:
        first, *others = fetch.where(by_uid, uid)
        problems = (_repetition(other.key, first.key) for other in others)
        return {problem_key(problem): problem for problem in problems}

    return Networks(
        locals=locals_,
        gateways=gateways,
        destinations=destinations,
        workloads=graph.derive("network gateway workloads", uids, workload),
        problems=graph.union(
            "network gateway problems",
            graph.derive_many(
                "unusable network gateways",
                membership.gateways,
                lambda _, gateway: problems_of(gateway),
            ),
            graph.derive_many("repeated network gateways", uids, repetitions),
        ),
        system_namespace=system,
    )


def gateways_of(gateway: Gateway) -> Mapping[GatewayKey, NetworkGateway]:
    """Return the network gateways that ``gateway`` declares, none when it is an ordinary one."""
    network = gateway.metadata.labels.get(NETWORK_LABEL, "")
    port = _hbone_port(gateway)
    if not network or gateway.class_name != REMOTE_CLASS or not port:
        return {}
    namespace, name = gateway.key
    account = gateway.metadata.annotations.get(SERVICE_ACCOUNT_ANNOTATION, f"{name}-{REMOTE_CLASS}")
    found: dict[GatewayKey, NetworkGateway] = {}
    for position, given in enumerate(gateway.status_addresses):
        address = address_from_text(given.value)
        is_hostname = given.type == "Hostname"
        # The Gateway API says an address without a type is an IP address.
        if not is_hostname and (given.type not in {"", "IPAddress"} or address is None):
            continue
        key = GatewayKey(network, namespace, name, position)
        found[key] = NetworkGateway(
            key=key,
            value=given.value,
            address=None if is_hostname else address,
            port=port,
            service_account=account,
        )
    return found


def problems_of(gateway: Gateway) -> Mapping[ProblemKey, Problem]:
    """Return what keeps a Gateway that names a remote network from being used."""
    if not gateway.metadata.labels.get(NETWORK_LABEL) or gateway.class_name != REMOTE_CLASS:
        return {}
    found: list[Problem] = []
    if not _hbone_port(gateway):
        found.append(
            Problem(
                severity=Severity.WARNING,
                code="network-gateway.no-hbone-listener",
                message="the Gateway names a remote network but has no listener of protocol HBONE",
                object=gateway.reference,
                field="spec.listeners",
            )
        )
    found.extend(
        Problem(
            severity=Severity.WARNING,
            code="network-gateway.unusable-address",
            message=f"{given.value!r} is not an address of type {given.type or 'IPAddress'}",
            object=gateway.reference,
            field=f"status.addresses[{position}]",
        )
        for position, given in enumerate(gateway.status_addresses)
        if given.type != "Hostname"
        and (given.type not in {"", "IPAddress"} or address_from_text(given.value) is None)
    )
    return {problem_key(problem): problem for problem in found}


def _repetition(key: GatewayKey, first: GatewayKey) -> Problem:
    return Problem(
        severity=Severity.WARNING,
        code="network-gateway.repeated-address",
        message=f"Gateway {first.namespace}/{first.name} has this address and port already",
        object=ObjectReference("Gateway", key.namespace, key.name),
        field=f"status.addresses[{key.position}]",
    )


def _hbone_port(gateway: Gateway) -> int:
    ports = (listener.port for listener in gateway.listeners if listener.protocol == "HBONE")
    return next(ports, 0)
