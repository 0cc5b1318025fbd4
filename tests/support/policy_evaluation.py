"""What policies do to a connection, by brute force over ``controlplane.model.policy`` values.

Written from the rules of docs/protocol/policies.md alone, without any of the code under test: it
is the judge of the property tests.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.model.names import Name
from controlplane.model.policy import (
    Action,
    AddressMatch,
    Authorization,
    Group,
    Match,
    MatchType,
    Rule,
    Scope,
    StringMatch,
)


@dataclass(frozen=True, kw_only=True)
class Connection:
    """One inbound connection as the destination's proxy sees it.

    ``identity`` is None for plaintext, else ``<trust domain>/ns/<namespace>/sa/<account>``.
    """

    identity: str | None = None
    source: str = "10.0.0.1"
    destination: str = "10.0.0.2"
    port: int = 8080


def allows(
    authorizations: Iterable[Authorization],
    *,
    namespace: str,
    listed: Iterable[Name],
    connection: Connection,
) -> bool:
    """Return whether a workload in ``namespace`` that lists ``listed`` takes ``connection``."""
    names = set(listed)
    applicable = [
        policy
        for policy in authorizations
        if not policy.dry_run
        and (
            policy.scope is Scope.GLOBAL
            or (policy.scope is Scope.NAMESPACE and policy.namespace == namespace)
            or Name(policy.namespace, policy.name) in names
        )
    ]
    if any(policy.action is Action.DENY and fires(policy, connection) for policy in applicable):
        return False
    allowing = [policy for policy in applicable if policy.action is Action.ALLOW]
    return not allowing or any(fires(policy, connection) for policy in allowing)


def fires(policy: Authorization, connection: Connection) -> bool:
    """Return whether ``policy`` matches ``connection``."""
    return any(_group(group, connection) for group in policy.groups)


def _group(group: Group, connection: Connection) -> bool:
    return all(_rule(rule, connection) for rule in group.rules)


def _rule(rule: Rule, connection: Connection) -> bool:
    if len(rule.matches) == 0:
        return True
    return any(_match(match, connection) for match in rule.matches)


def _match(match: Match, connection: Connection) -> bool:
    results: list[bool] = []

    def one_of(values: tuple[object, ...], *, holds: Iterable[bool]) -> None:
        if values:
            results.append(any(holds))

    def none_of(values: tuple[object, ...], *, holds: Iterable[bool]) -> None:
        if values:
            results.append(not any(holds))

    identity = connection.identity or ""
    owner = account = ""
    if identity:
        _, ns, owner, sa, account = identity.split("/")
        assert (ns, sa) == ("ns", "sa")
    for judge, prefix in ((one_of, ""), (none_of, "not_")):
        principals = getattr(match, f"{prefix}principals")
        judge(principals, holds=[_string(value, identity) for value in principals])
        namespaces = getattr(match, f"{prefix}namespaces")
        judge(namespaces, holds=[_string(value, owner) for value in namespaces])
        accounts = getattr(match, f"{prefix}service_accounts")
        judge(accounts, holds=[bool(identity) and value == (owner, account) for value in accounts])
        sources = getattr(match, f"{prefix}source_ips")
        judge(sources, holds=[_address(value, connection.source) for value in sources])
        destinations = getattr(match, f"{prefix}destination_ips")
        judge(
            destinations, holds=[_address(value, connection.destination) for value in destinations]
        )
        ports = getattr(match, f"{prefix}destination_ports")
        judge(ports, holds=[value == connection.port for value in ports])
    return bool(results) and all(results)


def _string(expected: StringMatch, value: str) -> bool:
    match expected.type:
        case MatchType.PRESENCE:
            return value != ""
        case MatchType.EXACT:
            return value == expected.value
        case MatchType.PREFIX:
            return value.startswith(expected.value)
        case MatchType.SUFFIX:
            return value.endswith(expected.value)


def _address(expected: AddressMatch, value: str) -> bool:
    base = ipaddress.ip_address(expected.address)
    block = ipaddress.ip_network(f"{base}/{expected.length}", strict=False)
    return ipaddress.ip_address(value) in block
