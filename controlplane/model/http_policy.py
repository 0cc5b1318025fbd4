"""An authorization policy as a waypoint enforces it: who asks, what for, and what follows.

``mesh.http_policies`` makes these of AuthorizationPolicies, ``encode.rbac`` makes filters of them
and ``insight.http_decision`` judges requests by them. docs/protocol/http-policies.md HP-n.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from controlplane.model.names import Name
from controlplane.model.policy import AddressMatch, ServiceAccountMatch, StringMatch


class HttpAction(StrEnum):
    """What a match leads to: for AUDIT a note, for CUSTOM a question to somebody else."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    AUDIT = "AUDIT"
    CUSTOM = "CUSTOM"


class Attribute(StrEnum):
    """What a criterion looks at, by the name that conditions of a policy use."""

    PRINCIPAL = "source.principal"
    NAMESPACE = "source.namespace"
    SERVICE_ACCOUNT = "source.serviceAccount"
    TRUST_DOMAIN = "source.trustDomain"
    SOURCE_IP = "source.ip"
    REMOTE_IP = "remote.ip"
    TOKEN_PRINCIPAL = "request.auth.principal"  # noqa: S105 - the name of an attribute
    AUDIENCE = "request.auth.audiences"
    PRESENTER = "request.auth.presenter"
    CLAIM = "request.auth.claims"
    HEADER = "request.headers"
    HOST = "host"
    METHOD = "method"
    PATH = "path"
    DESTINATION_PORT = "destination.port"
    DESTINATION_IP = "destination.ip"
    SERVER_NAME = "connection.sni"
    METADATA = "experimental.envoy.filters"

    @property
    def is_of_operation(self) -> bool:
        """Return whether it tells what is asked for; otherwise it tells who asks."""
        return self in _OPERATION

    @property
    def needs_http(self) -> bool:
        """Return whether only a request has it, and a mere connection has not (HP-16).

        Nobody reads the name of the server from connections: of requests it is known to be none.
        """
        return self in _HTTP


_OPERATION = frozenset(
    {
        Attribute.HOST,
        Attribute.METHOD,
        Attribute.PATH,
        Attribute.DESTINATION_PORT,
        Attribute.DESTINATION_IP,
        Attribute.SERVER_NAME,
        Attribute.METADATA,
    }
)
_HTTP = frozenset(
    {
        Attribute.TOKEN_PRINCIPAL,
        Attribute.AUDIENCE,
        Attribute.PRESENTER,
        Attribute.CLAIM,
        Attribute.HEADER,
        Attribute.HOST,
        Attribute.METHOD,
        Attribute.PATH,
        Attribute.SERVER_NAME,
    }
)


class Wildcard(NamedTuple):
    """Text with holes between its ``parts``; a hole is filled by anything without a slash."""

    parts: tuple[str, ...]


class TokenPrincipal(NamedTuple):
    """The issuer and the subject of a token."""

    issuer: StringMatch
    subject: StringMatch


class PathTemplate(NamedTuple):
    """A path in which ``*`` is one segment and ``**``, at the end, all that follows."""

    text: str


class HostInAnyForm(NamedTuple):
    """A host, whatever a client writes around it.

    That is a port or a dot behind it, a user in front of it, or other hosts next to it.
    """

    match: StringMatch


class ListItem(NamedTuple):
    """Any item of a list, where ``StringMatch`` would be the whole of a text."""

    match: StringMatch


Value = (
    StringMatch
    | AddressMatch
    | ServiceAccountMatch
    | Wildcard
    | TokenPrincipal
    | PathTemplate
    | HostInAnyForm
    | ListItem
    | int
)
"""What one value of a criterion can be; which, its attribute decides (HP-4)."""


class Criterion(NamedTuple):
    """That an attribute has one of ``values``, or none of them.

    ``path`` is the name of a header, the way to a claim, or a filter and its key.
    """

    attribute: Attribute
    values: tuple[Value, ...]
    is_negated: bool = False
    path: tuple[str, ...] = ()


Settled = Criterion | bool
"""What is left of a criterion where something is known: whether it is met, or what to look at."""
Criteria = tuple[Criterion, ...]
"""What has to be met together; nothing is met by anything."""


class HttpRule(NamedTuple):
    """Any of ``sources``, any of ``operations`` and every condition; none of them is anything.

    ``place`` is where the rule stands in its policy, from 0.
    """

    place: int
    sources: tuple[Criteria, ...] = ()
    operations: tuple[Criteria, ...] = ()
    conditions: Criteria = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpPolicy:
    """One policy: it matches what any rule matches. ``provider`` is whom CUSTOM asks."""

    key: Name
    action: HttpAction
    rules: tuple[HttpRule, ...] = ()
    provider: str = ""
    is_dry_run: bool = False

    @property
    def needs_http(self) -> bool:
        """Return whether part of it cannot be enforced on connections that are not HTTP."""
        return any(_needs_http(rule) for rule in self.rules)

    def at_port(self, port: int) -> "HttpPolicy":
        """Return what it says about ``port``, which no rule of it looks at any more.

        A client may come by hostname, and then nobody but the chain knows the port (HP-25).
        """

        def at(criterion: Criterion) -> Settled:
            if criterion.attribute is not Attribute.DESTINATION_PORT:
                return criterion
            return (port in criterion.values) is not criterion.is_negated

        return self.settled(at)

    def settled(self, settle: Callable[[Criterion], Settled]) -> "HttpPolicy":
        """Return what is left of it where ``settle`` knows what is met and what is not.

        A criterion that is met goes, one that is not takes what needs it with it.
        """
        read = tuple(_settled_rule(rule, settle) for rule in self.rules)
        rules = tuple(rule for rule in read if rule is not None)
        return self if rules == self.rules else replace(self, rules=rules)

    def for_connections(self) -> "HttpPolicy":
        """Return what is enforced of it on a TCP port, which is never less strict (HP-16)."""
        if not self.needs_http:
            return self
        if self.action is HttpAction.ALLOW:
            return replace(self, rules=tuple(rule for rule in self.rules if not _needs_http(rule)))
        return replace(self, rules=tuple(_without_http(rule) for rule in self.rules))


def _needs_http(rule: HttpRule) -> bool:
    sets = (*rule.sources, *rule.operations, rule.conditions)
    return any(criterion.attribute.needs_http for criteria in sets for criterion in criteria)


def _settled_rule(rule: HttpRule, settle: Callable[[Criterion], Settled]) -> HttpRule | None:
    """Return what is left of the rule; None if it is never met."""
    sources = _settled_sets(rule.sources, settle)
    operations = _settled_sets(rule.operations, settle)
    conditions = _settled(rule.conditions, settle)
    if conditions is None or (rule.sources and not sources):
        return None
    if rule.operations and not operations:
        return None
    return rule._replace(sources=sources, operations=operations, conditions=conditions)


def _settled_sets(
    sets: tuple[Criteria, ...], settle: Callable[[Criterion], Settled]
) -> tuple[Criteria, ...]:
    found = (_settled(criteria, settle) for criteria in sets)
    return tuple(criteria for criteria in found if criteria is not None)


def _settled(criteria: Criteria, settle: Callable[[Criterion], Settled]) -> Criteria | None:
    found = [settle(criterion) for criterion in criteria]
    if any(each is False for each in found):
        return None
    return tuple(each for each in found if not isinstance(each, bool))


def _without_http(rule: HttpRule) -> HttpRule:
    return rule._replace(
        sources=tuple(_kept(criteria) for criteria in rule.sources),
        operations=tuple(_kept(criteria) for criteria in rule.operations),
        conditions=_kept(rule.conditions),
    )


def _kept(criteria: Criteria) -> Criteria:
    return tuple(criterion for criterion in criteria if not criterion.attribute.needs_http)
