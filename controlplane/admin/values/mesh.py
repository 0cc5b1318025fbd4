"""What the mesh is: workloads, services, policies, waypoints, gateways, nodes, findings."""

from typing import Any

from controlplane.admin.values.common import Holder, Reference, Served, Source, Value


class PortValue(Value):
    """A port of a service; ``target_port`` 0 means that the workload decides."""

    port: int
    target_port: int
    protocol: str


class WorkloadValue(Value):
    """One workload. ``identity`` is its SPIFFE id; ``waypoint`` is empty when it has none.

    ``policies`` are those that select it by name (namespace/name); those of its namespace and of
    the whole mesh apply besides. ``served`` is null when it could not be encoded.
    """

    uid: str
    name: str
    namespace: str
    cluster: str
    addresses: tuple[str, ...]
    hostname: str
    network: str
    node: str
    service_account: str
    identity: str
    protocol: str
    waypoint: str
    network_gateway: str
    workload_name: str
    workload_type: str
    canonical_name: str
    canonical_revision: str
    status: str
    locality: str
    services: tuple[str, ...]
    policies: tuple[str, ...]
    source: Source
    served: Served | None


class ServiceValue(Value):
    """One service; ``healthy`` of ``endpoints`` workloads may take its traffic."""

    name: str
    namespace: str
    hostname: str
    addresses: tuple[str, ...]
    ports: tuple[PortValue, ...]
    waypoint: str
    weighted_waypoints: tuple[str, ...]
    canonical: bool
    visibility: str
    ip_families: str
    load_balancing: str
    subject_alt_names: tuple[str, ...]
    healthy: int
    endpoints: int
    source: Source
    served: Served | None


class ConditionValue(Value):
    """One status condition; ``manager`` is the field manager that writes it.

    ``parent`` is that of a route or policy that it is about, "" for the object itself.
    """

    object: Reference
    type: str
    parent: str
    status: bool
    reason: str
    message: str
    manager: str
    observed_generation: int | None
    source: Source


class PolicyValue(Value):
    """One policy as node proxies enforce it; converted PeerAuthentications are among them.

    ``scope`` is Global, Namespace or WorkloadSelector. ``rules`` counts the alternatives of which
    one must match.
    """

    name: str
    namespace: str
    action: str
    scope: str
    dry_run: bool
    rules: int
    source: Source
    served: Served | None
    conditions: tuple[ConditionValue, ...]


class WorkloadDetail(WorkloadValue):
    """One workload with every policy that applies to it, in the order of evaluation.

    ``document`` is what node proxies are sent, as protobuf JSON; null when nothing is.
    """

    policies_in_order: tuple[PolicyValue, ...]
    holders: tuple[Holder, ...]
    document: dict[str, Any] | None


class EndpointValue(Value):
    """One workload of a service."""

    uid: str
    name: str
    namespace: str
    addresses: tuple[str, ...]
    node: str
    healthy: bool


class ServiceDetail(ServiceValue):
    """One service with some of its workloads (``endpoints`` counts all of them)."""

    workloads: tuple[EndpointValue, ...]
    conditions: tuple[ConditionValue, ...]
    holders: tuple[Holder, ...]
    document: dict[str, Any] | None


class PolicyDetail(PolicyValue):
    """One policy with what node proxies are sent of it."""

    holders: tuple[Holder, ...]
    document: dict[str, Any] | None


class WaypointValue(Value):
    """One usable waypoint. ``serves`` is service, workload, all or none.

    ``service_accounts`` are those of its pods: empty means that it has none.
    """

    name: str
    namespace: str
    address: str
    port: int
    serves: str
    allowed_namespaces: str
    service_accounts: tuple[str, ...]
    source: Source
    conditions: tuple[ConditionValue, ...]


class WaypointServiceValue(Value):
    """One service that a waypoint serves, with the routes and policies that apply to it there."""

    namespace: str
    hostname: str
    ports: tuple[int, ...]
    routes: tuple[Reference, ...]
    policies: tuple[Reference, ...]


class InForceValue(Value):
    """A route or policy that applies at a waypoint, and what its author is told."""

    source: Source
    conditions: tuple[ConditionValue, ...]


class WaypointReach(Value):
    """Some of the services that a waypoint serves (``service_count`` counts all), and what applies.

    ``routes`` and ``policies`` are those of the services told, with those of the whole waypoint.
    """

    services: tuple[WaypointServiceValue, ...]
    service_count: int
    routes: tuple[InForceValue, ...]
    policies: tuple[InForceValue, ...]


class WaypointDetail(WaypointValue, WaypointReach):
    """One usable waypoint, with what it serves."""


class ListenerValue(Value):
    """A listener of a Gateway."""

    name: str
    port: int
    protocol: str


class GatewayValue(Value):
    """One Gateway; ``is_waypoint`` when it is a usable waypoint."""

    name: str
    namespace: str
    class_name: str
    listeners: tuple[ListenerValue, ...]
    addresses: tuple[str, ...]
    is_waypoint: bool
    source: Source
    conditions: tuple[ConditionValue, ...]


class ProblemValue(Value):
    """Something wrong with the configuration; ``code`` and ``short`` are stable."""

    severity: str
    code: str
    short: str
    message: str
    advice: str
    field: str
    source: Source


class NodeValue(Value):
    """One node: how much of the mesh is on it, and how its proxies are doing.

    ``policies`` counts the policies its ztunnel is sent. ``state`` is the worst of its
    connections', empty without any; ``connections`` are their names.
    """

    name: str
    workloads: int
    policies: int
    connections: tuple[str, ...]
    state: str
    lag_commits: int
    lag_seconds: float | None


class NodeDetail(NodeValue):
    """One node with what its ztunnel is sent, in numbers; ``dump`` is where all of it is."""

    total_workloads: int
    total_services: int
    commit: int
    dump: str
