"""A snapshot as tables: encoded resources, problems and conditions in, text out.

The columns are those that users of ``ztunnel-config`` know.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from envoy.service.discovery.v3 import discovery_pb2

from controlplane.cli.tables import aligned
from controlplane.encode.envelope import ADDRESS_TYPE, AUTHORIZATION_TYPE, WORKLOAD_TYPE
from controlplane.encode.resource import Resource
from controlplane.model.network import text_from_address
from controlplane.model.problem import Condition, Problem
from controlplane.pb import authorization_pb2, workload_pb2

_NONE: Final = "None"
_SCOPES: Final = ("Global", "Namespace", "WorkloadSelector")
_WORKLOAD: Final = ("NAMESPACE", "POD NAME", "ADDRESS", "NODE", "WAYPOINT", "PROTOCOL")
_SERVICE: Final = ("NAMESPACE", "SERVICE NAME", "SERVICE VIP", "WAYPOINT", "ENDPOINTS")
_POLICY: Final = ("NAMESPACE", "POLICY NAME", "ACTION", "SCOPE")
_PROBLEM: Final = ("SEVERITY", "CODE", "OBJECT", "PLACE", "MESSAGE")
_CONDITION: Final = ("OBJECT", "CONDITION", "STATUS", "REASON", "MESSAGE")


def snapshot_tables(
    resources: Iterable[Resource], problems: Iterable[Problem], conditions: Iterable[Condition]
) -> str:
    """Return one table for each kind of thing there is, separated by empty lines."""
    workloads: list[workload_pb2.Workload] = []
    services: list[workload_pb2.Service] = []
    policies: list[authorization_pb2.Authorization] = []
    for resource in resources:
        content = discovery_pb2.Resource.FromString(resource.body).resource
        if content.type_url == AUTHORIZATION_TYPE:
            policies.append(authorization_pb2.Authorization.FromString(content.value))
        elif content.type_url == WORKLOAD_TYPE:
            workloads.append(workload_pb2.Workload.FromString(content.value))
        elif content.type_url == ADDRESS_TYPE:
            address = workload_pb2.Address.FromString(content.value)
            if address.HasField("workload"):
                workloads.append(address.workload)
            else:
                services.append(address.service)
    tables = (
        (_WORKLOAD, sorted(map(_workload_row, workloads))),
        (_SERVICE, sorted(_service_rows(services, workloads))),
        (_POLICY, sorted(map(_policy_row, policies))),
        (_PROBLEM, list(map(_problem_row, problems))),
        (_CONDITION, list(map(_condition_row, conditions))),
    )
    parts = [aligned(header, rows) for header, rows in tables if rows]
    return "\n\n".join(parts) if parts else "nothing to send"


def message_of(problem: Problem) -> str:
    """Return the problem's sentence, after the path of the field it is about."""
    return f"{problem.field}: {problem.message}" if problem.field else problem.message


def _workload_row(workload: workload_pb2.Workload) -> tuple[str, ...]:
    addresses = ",".join(map(text_from_address, workload.addresses))
    return (
        workload.namespace,
        workload.name,
        addresses or workload.hostname or _NONE,
        workload.node or _NONE,
        _waypoint(workload),
        "HBONE" if workload.tunnel_protocol == workload_pb2.TunnelProtocol.HBONE else "TCP",
    )


def _service_rows(
    services: Iterable[workload_pb2.Service], workloads: Iterable[workload_pb2.Workload]
) -> Iterator[tuple[str, ...]]:
    healthy: dict[str, int] = {}
    total: dict[str, int] = {}
    for workload in workloads:
        for name in workload.services:
            total[name] = total.get(name, 0) + 1
            if workload.status == workload_pb2.WorkloadStatus.HEALTHY:
                healthy[name] = healthy.get(name, 0) + 1
    for service in services:
        name = f"{service.namespace}/{service.hostname}"
        yield (
            service.namespace,
            service.name,
            ",".join(map(_block, service.addresses)) or _NONE,
            _waypoint(service),
            f"{healthy.get(name, 0)}/{total.get(name, 0)}",
        )


def _policy_row(policy: authorization_pb2.Authorization) -> tuple[str, ...]:
    action = authorization_pb2.Action.Name(policy.action).capitalize()
    return policy.namespace, policy.name, action, _SCOPES[policy.scope]


def _problem_row(problem: Problem) -> tuple[str, ...]:
    place = problem.file or _NONE
    return (
        problem.severity.value,
        problem.code,
        str(problem.object) if problem.object else _NONE,
        place if problem.line is None else f"{place}:{problem.line}",
        message_of(problem),
    )


def _condition_row(condition: Condition) -> tuple[str, ...]:
    return (
        str(condition.object),
        f"{condition.type} ({condition.parent})" if condition.parent else condition.type,
        str(condition.status),
        condition.reason,
        condition.message,
    )


def _waypoint(message: workload_pb2.Workload | workload_pb2.Service) -> str:
    """Return the name of the waypoint's service, or its address."""
    gateway = message.waypoint
    if not message.HasField("waypoint"):
        return _NONE
    if gateway.WhichOneof("destination") == "address":
        return _block(gateway.address)
    return gateway.hostname.hostname.partition(".")[0]


def _block(address: workload_pb2.NetworkAddress) -> str:
    text = text_from_address(address.address)
    return f"{text}/{address.length}" if address.HasField("length") else text
