"""The mesh joined: inputs come in, everything clients are sent and users are told goes out.

``controlplane.encode`` turns workloads, services and authorizations into bytes; conditions and
problems go to status, admin and ``snapshot``.
"""

from dataclasses import dataclass

from controlplane.dataflow import Collection, Graph
from controlplane.manifests.core import Namespace
from controlplane.manifests.gateway import Gateway
from controlplane.manifests.istio import ServiceEntry
from controlplane.mesh.access_logs import AccessLogs, build_access_logs
from controlplane.mesh.authorization_providers import (
    AuthorizationProviders,
    ProviderSources,
    build_authorization_providers,
    build_configured_providers,
)
from controlplane.mesh.backend_tls import BackendTlsRules, build_backend_tls
from controlplane.mesh.bypasses import Ground, build_bypasses
from controlplane.mesh.candidates import Candidate, CandidateKey
from controlplane.mesh.client_naming import build_client_naming
from controlplane.mesh.connection_routes import ConnectionRoutes, build_connection_routes
from controlplane.mesh.endpoint_slices import (
    build_references,
    build_slice_problems,
    build_slice_workloads,
)
from controlplane.mesh.entry_endpoints import build_endpoint_problems, build_entry_endpoints
from controlplane.mesh.expansion import expand
from controlplane.mesh.foreign_services import ForeignServices, build_foreign_services
from controlplane.mesh.hostnames import build_services
from controlplane.mesh.http_policies import HttpPolicies, build_http_policies
from controlplane.mesh.http_routes import HttpRoutes, HttpRouteSources, build_http_routes
from controlplane.mesh.inputs import Inputs
from controlplane.mesh.localities import build_localities
from controlplane.mesh.namespaces import Membership, build_membership
from controlplane.mesh.networks import Networks, build_networks
from controlplane.mesh.parts import Parts
from controlplane.mesh.path_normalizations import PathNormalizations, build_path_normalizations
from controlplane.mesh.policies import build_policies
from controlplane.mesh.problems import ProblemKey
from controlplane.mesh.residents import build_residents
from controlplane.mesh.route_backends import build_route_backends
from controlplane.mesh.route_detours import build_route_detours
from controlplane.mesh.route_parents import build_route_parents
from controlplane.mesh.scopes import build_node_policies
from controlplane.mesh.selection import build_selections
from controlplane.mesh.service_conditions import build_service_conditions
from controlplane.mesh.service_entries import build_entry_candidates, build_entry_problems
from controlplane.mesh.services import build_service_candidates, build_service_problems
from controlplane.mesh.settings import MeshSettings
from controlplane.mesh.token_rules import TokenRules, build_token_rules
from controlplane.mesh.told_conditions import build_told_conditions
from controlplane.mesh.traffic_distribution import build_namespace_distributions
from controlplane.mesh.traffic_rules import build_traffic_rules
from controlplane.mesh.visibility import EntryVisibilities, build_visibilities
from controlplane.mesh.waypoint_endpoints import index_members
from controlplane.mesh.waypoint_limits import build_waypoint_limits
from controlplane.mesh.waypoint_traffic import WaypointTraffic, build_waypoint_traffic
from controlplane.mesh.waypoints import build_waypoints
from controlplane.mesh.workload_entries import build_workload_entries
from controlplane.mesh.workloads import build_pod_problems, build_pod_workloads
from controlplane.model.names import Name, ObjectReference, ServiceName
from controlplane.model.policy import Authorization
from controlplane.model.problem import Condition, Problem
from controlplane.model.resident import Resident
from controlplane.model.service import Service
from controlplane.model.waypoint import Waypoint
from controlplane.model.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the mesh is.

    ``node_policies`` is keyed by (node, policy): the policies that are not global and that a node
    needs. ``conditions`` are keyed by object and type, ``problems`` by object, code and field;
    ``told`` are these conditions and those about parents of routes.
    ``namespaces``, ``gateways`` and ``service_entries`` are those of the mesh. ``waypoints`` are
    ready, ``traffic`` is what every waypoint serves or will, ``http_policies`` what it enforces and
    ``authorization_providers`` whom it asks. ``client_naming`` has those that name clients.
    """

    namespaces: Collection[Name, Namespace]
    workloads: Collection[str, Workload]
    services: Collection[ServiceName, Service]
    service_entries: Collection[Name, ServiceEntry]
    gateways: Collection[Name, Gateway]
    authorizations: Collection[Name, Authorization]
    node_policies: Collection[tuple[str, Name], Name]
    waypoints: Collection[Name, Waypoint]
    traffic: WaypointTraffic
    foreign: ForeignServices
    http_routes: HttpRoutes
    http_policies: HttpPolicies
    authorization_providers: AuthorizationProviders
    client_naming: Collection[Name, bool]
    token_rules: TokenRules
    access_logs: AccessLogs
    path_normalizations: PathNormalizations
    connection_routes: ConnectionRoutes
    backend_tls: BackendTlsRules
    residents: Collection[Name, Resident]
    conditions: Collection[tuple[ObjectReference, str], Condition]
    told: Collection[tuple[ObjectReference, str], Condition]
    problems: Collection[ProblemKey, Problem]


def build_world(graph: Graph, inputs: Inputs, settings: MeshSettings) -> World:
    """Declare every rule of the mesh on ``graph``, in the order in which they read each other."""
    expansion = expand(graph, inputs, settings)
    manifests = expansion.manifests
    membership = build_membership(graph, manifests, settings)
    networks = build_networks(graph, manifests, membership, settings)
    waypoints = build_waypoints(graph, membership, manifests, networks)
    visibilities = build_visibilities(graph, manifests, membership)
    policies = build_policies(graph, membership, waypoints, visibilities, settings, manifests)
    candidates = _candidates(graph, membership, networks, visibilities, settings)
    services = build_services(graph, candidates, waypoints)
    parts = Parts(
        manifests=manifests,
        membership=membership,
        networks=networks,
        waypoints=waypoints,
        policies=policies,
        services=services,
        served_before=inputs.served_before,
        settings=settings,
    )
    selections = build_selections(graph, parts)
    localities = build_localities(graph, manifests)
    references = build_references(graph, parts)
    workloads = graph.union(
        "workloads",
        build_pod_workloads(graph, parts, selections, localities, references),
        build_workload_entries(graph, parts, selections),
        build_entry_endpoints(graph, parts, selections),
        build_slice_workloads(graph, parts),
        networks.workloads,
    )
    members = index_members(workloads)
    residents = build_residents(graph, manifests.pods)
    traffic = build_waypoint_traffic(graph, parts, workloads, members, residents, localities)
    providers = build_configured_providers(graph, membership.configured)
    http_policies = build_http_policies(
        graph, membership, policies.root_namespace, waypoints, traffic.services, providers
    )
    access_logs = build_access_logs(graph, membership)
    token_rules = build_token_rules(
        graph, membership, policies.root_namespace, waypoints, traffic.services, inputs.key_sets
    )
    backends = build_route_backends(graph, services, traffic.services)
    parents = build_route_parents(membership, services, waypoints, backends)
    http_routes = build_http_routes(
        graph,
        HttpRouteSources(
            manifests=manifests,
            membership=membership,
            parents=parents,
            served=traffic.services,
            settings=settings,
        ),
    )
    connection_routes = build_connection_routes(
        graph, membership, manifests.connection_routes, traffic.services, parents
    )
    backend_tls = build_backend_tls(
        graph, membership, manifests.backend_tls_policies, manifests.config_maps
    )
    authorization_providers = build_authorization_providers(
        graph,
        ProviderSources(
            configured=membership.configured,
            providers=providers,
            policies=http_policies,
            backends=backends,
            served=traffic.services,
            direct=traffic.direct,
            wanted=http_routes.wanted,
        ),
    )
    foreign = build_foreign_services(
        graph,
        backends,
        members,
        networks,
        http_routes.wanted,
        connection_routes.wanted,
        authorization_providers.wanted,
        reach=traffic.reach,
    )
    told = build_service_conditions(graph, membership, waypoints, visibilities)
    traffic_rules = build_traffic_rules(
        graph, membership, policies.root_namespace, traffic.services, settings.domain_suffix
    )
    conditions = graph.union(
        "conditions", told.conditions, policies.conditions, traffic_rules.conditions
    )
    return World(
        namespaces=membership.namespaces,
        workloads=workloads,
        services=services.services,
        service_entries=membership.service_entries,
        gateways=membership.gateways,
        authorizations=policies.authorizations,
        node_policies=build_node_policies(graph, workloads, policies.authorizations),
        waypoints=waypoints.ready,
        traffic=traffic,
        foreign=foreign,
        http_routes=http_routes,
        http_policies=http_policies,
        authorization_providers=authorization_providers,
        client_naming=build_client_naming(graph, membership, waypoints, manifests.gateway_classes),
        token_rules=token_rules,
        access_logs=access_logs,
        path_normalizations=build_path_normalizations(graph, membership),
        connection_routes=connection_routes,
        backend_tls=backend_tls,
        residents=residents,
        conditions=conditions,
        told=build_told_conditions(
            graph,
            conditions,
            http_routes.parents,
            connection_routes.parents,
            backend_tls.ancestors,
        ),
        problems=graph.union(
            "problems",
            *expansion.problems,
            networks.problems,
            waypoints.problems,
            told.problems,
            policies.problems,
            http_policies.problems,
            authorization_providers.problems,
            token_rules.problems,
            access_logs.problems,
            http_routes.problems,
            build_route_detours(graph, http_routes.leads, parents, http_policies),
            connection_routes.problems,
            backend_tls.problems,
            build_waypoint_limits(graph, membership, traffic),
            services.problems,
            traffic.problems,
            traffic_rules.problems,
            build_bypasses(
                graph,
                Ground(
                    membership=membership,
                    waypoints=waypoints,
                    traffic=traffic,
                    http_policies=http_policies,
                    workloads=workloads,
                    members=members,
                    authorizations=policies.authorizations,
                ),
            ),
            build_service_problems(graph, membership),
            build_entry_problems(graph, membership),
            build_endpoint_problems(graph, membership),
            build_slice_problems(graph, membership),
            build_pod_problems(graph, parts),
        ),
    )


def _candidates(
    graph: Graph,
    membership: Membership,
    networks: Networks,
    visibilities: EntryVisibilities,
    settings: MeshSettings,
) -> Collection[CandidateKey, Candidate]:
    distributions = build_namespace_distributions(graph, membership)
    return graph.union(
        "candidates",
        build_service_candidates(graph, membership, networks, distributions, settings),
        build_entry_candidates(graph, membership, networks, distributions, visibilities, settings),
    )
