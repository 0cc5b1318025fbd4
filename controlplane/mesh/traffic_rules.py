"""VirtualServices and DestinationRules that somebody would expect a waypoint to follow.

None of them is in force: those that mean something a waypoint serves come out with a condition and
a Problem that say so, the others with nothing. Each looks up the services that it means; the index
behind that is kept per service. docs/protocol/traffic-rules.md.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from controlplane.dataflow import Collection, Fetch, Graph, Index
from controlplane.manifests.traffic_rules import DestinationRule, VirtualService
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.policy_targets import WAYPOINT_ACCEPTED
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.root_namespace import RootNamespace
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.model.names import ObjectReference
from controlplane.model.problem import Condition, Problem, Severity
from controlplane.model.waypoint_traffic import ServedService

TRAFFIC_RULE_MANAGER: Final = "istiod-lite-traffic-rule"
UNSUPPORTED: Final = "waypoint.unsupported-rule"

_ANY: Final = "*"
_OF_THE_MESH: Final = "mesh"
_GATEWAY_NAME: Final = "gateway.networking.k8s.io/gateway-name"
_NAMED: Final = 10

TrafficRule = VirtualService | DestinationRule


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficRules:
    """What the authors of such rules are told."""

    conditions: Collection[tuple[ObjectReference, str], Condition]
    problems: Collection[ProblemKey, Problem]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotInForce:
    """What one rule is told."""

    condition: Condition
    problem: Problem


def build_traffic_rules(
    graph: Graph,
    membership: Membership,
    root: RootNamespace,
    served: Collection[WaypointHost, ServedService],
    domain_suffix: str,
) -> TrafficRules:
    """Declare what is told to rules that are for what waypoints serve on ``graph``."""
    by_pattern = served.index(
        "services of waypoints by host pattern", lambda value: patterns_of(value.hostname)
    )

    def of_virtual_service(fetch: Fetch, rule: VirtualService) -> NotInForce | None:
        if rule.gateways and _OF_THE_MESH not in rule.gateways:
            return None
        hosts = [_full_name(host, rule, domain_suffix) for host in rule.hosts]
        concerned = {
            (service.waypoint, service.hostname)
            for service in _meant(fetch, by_pattern, hosts)
            if _is_visible(rule, service.waypoint.namespace)
        }
        return _not_in_force(rule, concerned, "spec.hosts")

    def of_destination_rule(fetch: Fetch, rule: DestinationRule) -> NotInForce | None:
        host = _full_name(rule.host, rule, domain_suffix)
        own = rule.metadata.namespace
        concerned = {
            (service.waypoint, service.hostname)
            for service in _meant(fetch, by_pattern, [host])
            if own in (service.waypoint.namespace, service.service.namespace, root.of(fetch))
            and _is_visible(rule, service.waypoint.namespace)
            and _selects(rule, service)
        }
        return _not_in_force(rule, concerned, "spec.host")

    found = graph.union(
        "traffic rules not in force",
        graph.derive_many(
            "virtual services not in force",
            membership.virtual_services,
            lambda fetch, rule: _by_object(of_virtual_service(fetch, rule)),
        ),
        graph.derive_many(
            "destination rules not in force",
            membership.destination_rules,
            lambda fetch, rule: _by_object(of_destination_rule(fetch, rule)),
        ),
    )
    return TrafficRules(
        conditions=graph.derive_many(
            "traffic rule conditions",
            found,
            lambda _, value: {(value.condition.object, value.condition.type): value.condition},
        ),
        problems=graph.derive_many(
            "traffic rule problems",
            found,
            lambda _, value: {problem_key(value.problem): value.problem},
        ),
    )


def patterns_of(hostname: str) -> Iterator[str]:
    """Yield every host by which a rule can mean ``hostname``: itself and all wildcards above."""
    yield hostname
    yield from wildcards_above(hostname)


def wildcards_above(hostname: str) -> Iterator[str]:
    """Yield the wildcards that cover ``hostname``, the narrowest first, other than itself."""
    rest = hostname.removeprefix("*.").partition(".")[2]
    while rest:
        yield f"*.{rest}"
        rest = rest.partition(".")[2]
    if hostname != _ANY:
        yield _ANY


def _meant(
    fetch: Fetch, by_pattern: Index[str, WaypointHost, ServedService], hosts: Iterable[str]
) -> Iterator[ServedService]:
    for host in dict.fromkeys(hosts):
        yield from fetch.where(by_pattern, host)
        # A service whose own name is a wildcard answers for the host, too.
        for wildcard in wildcards_above(host):
            if wildcard != _ANY:
                yield from fetch.where(by_pattern, wildcard, partial(_is_named, wildcard))


def _is_named(hostname: str, service: ServedService) -> bool:
    return service.hostname == hostname


def _full_name(host: str, rule: TrafficRule, domain_suffix: str) -> str:
    if host == _ANY or "." in host or not host:
        return host.lower()
    return f"{host}.{rule.metadata.namespace}.svc.{domain_suffix}".lower()


def _is_visible(rule: TrafficRule, namespace: str) -> bool:
    own = rule.metadata.namespace
    return not rule.visible_in or any(
        each in (_ANY, namespace) or (each == "." and namespace == own) for each in rule.visible_in
    )


def _selects(rule: DestinationRule, service: ServedService) -> bool:
    """Tell whether the pods of the waypoint are among the clients that the rule is for."""
    known = {_GATEWAY_NAME: service.waypoint.name}
    return all(known.get(key) == value for key, value in rule.workload_selector.items())


def _not_in_force(
    rule: TrafficRule, concerned: Iterable[tuple[object, str]], field: str
) -> NotInForce | None:
    places = [f"{hostname} (waypoint {waypoint})" for waypoint, hostname in sorted(concerned)]
    if not places:
        return None
    named = ", ".join(places[:_NAMED])
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    message = f"waypoints do not follow a {rule.kind}: it is not in force for {named}{more}"
    return NotInForce(
        condition=Condition(
            object=rule.reference,
            type=WAYPOINT_ACCEPTED,
            status=False,
            reason="UnsupportedKind",
            message=message,
            manager=TRAFFIC_RULE_MANAGER,
            observed_generation=rule.metadata.generation,
        ),
        problem=Problem(
            severity=Severity.ERROR,
            code=UNSUPPORTED,
            message=message,
            object=rule.reference,
            field=field,
        ),
    )


def _by_object(found: NotInForce | None) -> Mapping[ObjectReference, NotInForce]:
    return {} if found is None else {found.condition.object: found}
