"""AuthorizationPolicy in, what ztunnel can enforce of it out (docs/protocol/policies.md AP-n).

Pure: one manifest and the mesh's root namespace give one ``Translation``, which names everything
that could not be carried over. ``controlplane.mesh.policies`` puts it on the graph,
``controlplane.mesh.policy_conditions`` tells users about it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from controlplane.manifests.istio import AuthorizationPolicy, AuthorizationRule, Operation, Source
from controlplane.mesh.authorization_values import (
    MatchValue,
    ReadValue,
    address_match,
    port_match,
    service_account_match,
    string_match,
)
from controlplane.model.policy import Action, Authorization, Group, Match, Rule, Scope

DRY_RUN: Final = "istio.io/dry-run"

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class Refusal(StrEnum):
    """Why a policy is not sent at all."""

    DRY_RUN = "dry-run"
    ACTION = "action"


class Unusable(NamedTuple):
    """A value that cannot be used: where it stands and what it is."""

    field: str
    value: str


class Unsupported(NamedTuple):
    """An HTTP attribute, which ztunnel cannot see: the rule that uses it and its name."""

    field: str
    attribute: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """What became of one AuthorizationPolicy without target references.

    ``authorization`` is None exactly when ``refusal`` says why. ``unreadable_dry_run`` is set
    when the dry-run annotation is no boolean; the policy is then enforced.
    """

    authorization: Authorization | None
    refusal: Refusal | None = None
    unsupported: tuple[Unsupported, ...] = ()
    unusable: tuple[Unusable, ...] = ()
    unreadable_dry_run: bool = False


class _Field(NamedTuple):
    """One field of a source or operation: its attribute, its name in YAML, where it lands."""

    attribute: str
    name: str
    match: str
    read: ReadValue


class _Element(NamedTuple):
    """One source, operation or condition, read.

    ``matches_anything`` says that no restriction is left although the author wrote no HTTP
    attribute alone: nothing usable remains, or there was nothing to begin with.
    """

    match: Match
    matches_anything: bool


_SOURCE: Final = (
    _Field("principals", "principals", "principals", string_match),
    _Field("not_principals", "notPrincipals", "not_principals", string_match),
    _Field("namespaces", "namespaces", "namespaces", string_match),
    _Field("not_namespaces", "notNamespaces", "not_namespaces", string_match),
    _Field("service_accounts", "serviceAccounts", "service_accounts", service_account_match),
    _Field(
        "not_service_accounts",
        "notServiceAccounts",
        "not_service_accounts",
        service_account_match,
    ),
    _Field("ip_blocks", "ipBlocks", "source_ips", address_match),
    _Field("not_ip_blocks", "notIpBlocks", "not_source_ips", address_match),
)
_SOURCE_HTTP: Final = (
    ("remote_ip_blocks", "remoteIpBlocks"),
    ("not_remote_ip_blocks", "notRemoteIpBlocks"),
    ("request_principals", "requestPrincipals"),
    ("not_request_principals", "notRequestPrincipals"),
    # Nothing of HTTP, but node proxies have no word for it either.
    ("trust_domains", "trustDomains"),
    ("not_trust_domains", "notTrustDomains"),
)
_OPERATION: Final = (
    _Field("ports", "ports", "destination_ports", port_match),
    _Field("not_ports", "notPorts", "not_destination_ports", port_match),
)
_OPERATION_HTTP: Final = (
    ("hosts", "hosts"),
    ("not_hosts", "notHosts"),
    ("methods", "methods"),
    ("not_methods", "notMethods"),
    ("paths", "paths"),
    ("not_paths", "notPaths"),
)
_WHEN: Final[dict[str, tuple[str, ReadValue]]] = {
    "source.ip": ("source_ips", address_match),
    "source.namespace": ("namespaces", string_match),
    "source.principal": ("principals", string_match),
    "destination.ip": ("destination_ips", address_match),
    "destination.port": ("destination_ports", port_match),
}


def translate_authorization(
    policy: AuthorizationPolicy, *, root_namespace: str, sends_dry_run: bool
) -> Translation:
    """Return what ztunnel can enforce of ``policy``, which has no target references."""
    annotation = policy.metadata.annotations.get(DRY_RUN)
    dry_run = annotation in _TRUE
    unreadable = annotation is not None and not dry_run and annotation not in _FALSE
    if dry_run and not sends_dry_run:
        return Translation(authorization=None, refusal=Refusal.DRY_RUN)
    if policy.action not in Action.__members__:
        return Translation(
            authorization=None, refusal=Refusal.ACTION, unreadable_dry_run=unreadable
        )
    translator = _Translator(policy)
    authorization = Authorization(
        name=policy.metadata.name,
        namespace=policy.metadata.namespace,
        scope=_scope(policy, root_namespace),
        action=translator.action,
        groups=translator.groups(),
        dry_run=dry_run,
    )
    return Translation(
        authorization=authorization,
        unsupported=tuple(translator.unsupported),
        unusable=tuple(translator.unusable),
        unreadable_dry_run=unreadable,
    )


def can_fire(authorization: Authorization) -> bool:
    """Return whether some group can match: it has no rules, or each has a match with a field."""
    return any(
        all(not rule.matches or any(not match.is_empty for match in rule.matches) for rule in group)
        for (group,) in authorization.groups
    )


def _scope(policy: AuthorizationPolicy, root_namespace: str) -> Scope:
    if policy.selector is not None:
        return Scope.WORKLOAD_SELECTOR
    return Scope.GLOBAL if policy.metadata.namespace == root_namespace else Scope.NAMESPACE


class _Translator:
    """Reads the rules of one policy and collects what it could not carry over."""

    def __init__(self, policy: AuthorizationPolicy) -> None:
        self.policy = policy
        self.namespace = policy.metadata.namespace
        self.action = Action[policy.action]
        self.unsupported: list[Unsupported] = []
        self.unusable: list[Unusable] = []

    def groups(self) -> tuple[Group, ...]:
        """Return one group per rule that can be enforced, in order."""
        groups = []
        for index, rule in enumerate(self.policy.rules):
            path = f"spec.rules[{index}]"
            findings = len(self.unsupported) + len(self.unusable)
            clauses = tuple(self._clauses(rule, path))
            if self.action is Action.DENY:
                groups.append(Group(_deny(clauses)))
            elif findings == len(self.unsupported) + len(self.unusable):
                # An ALLOW rule that lost anything would allow more than its author said.
                groups.append(Group(tuple(Rule(_matches(clause)) for clause in clauses)))
        return tuple(groups)

    def _clauses(self, rule: AuthorizationRule, path: str) -> Iterator[tuple[_Element, ...]]:
        if rule.operations:
            yield tuple(
                self._operation(operation, path, f"{path}.to[{index}].operation")
                for index, operation in enumerate(rule.operations)
            )
        if rule.sources:
            yield tuple(
                self._source(source, path, f"{path}.from[{index}].source")
                for index, source in enumerate(rule.sources)
            )
        for index, when in enumerate(rule.when):
            if not when.key:
                self.unusable.append(Unusable(f"{path}.when[{index}].key", ""))
                yield (_Element(Match(), matches_anything=True),)
                continue
            known = _WHEN.get(when.key)
            if known is None:
                self.unsupported.append(Unsupported(path, when.key))
                yield (_Element(Match(), matches_anything=False),)
                continue
            match, read = known
            fields = (
                _Field("values", "values", match, read),
                _Field("not_values", "notValues", f"not_{match}", read),
            )
            yield (self._element(when, fields, f"{path}.when[{index}]", has_http=False),)

    def _operation(self, operation: Operation, rule: str, path: str) -> _Element:
        has_http = self._has_http(operation, _OPERATION_HTTP, rule)
        return self._element(operation, _OPERATION, path, has_http=has_http)

    def _source(self, source: Source, rule: str, path: str) -> _Element:
        has_http = self._has_http(source, _SOURCE_HTTP, rule)
        return self._element(source, _SOURCE, path, has_http=has_http)

    def _has_http(
        self, value: Source | Operation, attributes: tuple[tuple[str, str], ...], rule: str
    ) -> bool:
        found = [name for attribute, name in attributes if getattr(value, attribute)]
        self.unsupported.extend(Unsupported(rule, name) for name in found)
        return bool(found)

    def _element(
        self, value: Any, fields: tuple[_Field, ...], path: str, *, has_http: bool
    ) -> _Element:
        """Return the match of one element; values that cannot be used are noted and dropped."""
        usable: dict[str, tuple[MatchValue, ...]] = {}
        is_written = False
        for field in fields:
            texts: tuple[str, ...] = getattr(value, field.attribute)
            if not texts:
                continue
            is_written = True
            read = [field.read(text, self.namespace) for text in texts]
            self.unusable.extend(
                Unusable(f"{path}.{field.name}[{index}]", text)
                for index, (text, result) in enumerate(zip(texts, read, strict=True))
                if result is None
            )
            usable[field.match] = tuple(result for result in read if result is not None)
        if not is_written and not has_http:
            self.unusable.append(Unusable(path, ""))
        match = Match(**usable)  # type: ignore[arg-type]  # the tables pair field and reader
        return _Element(match, match.is_empty and (is_written or not has_http))


def _matches(clause: tuple[_Element, ...]) -> tuple[Match, ...]:
    return tuple(element.match for element in clause)


def _deny(clauses: tuple[tuple[_Element, ...], ...]) -> tuple[Rule, ...]:
    """Return the rules of a DENY group; a clause that any traffic meets is left out.

    A match without fields never fires, so it cannot say "anything": only a missing rule can.
    """
    return tuple(
        Rule(_matches(clause))
        for clause in clauses
        if not any(element.matches_anything for element in clause)
    )
