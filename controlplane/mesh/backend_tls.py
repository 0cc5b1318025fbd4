"""Which service ports are spoken to over TLS, and what their endpoints have to show.

BackendTLSPolicies and the ConfigMaps that they name come in; one ``BackendTls`` for each port of
a target goes out, what the author is told about each target, and what is wrong as Problems. A
policy that cannot be used still claims its ports: nothing is sent there in the clear or
unchecked. docs/protocol/backend-tls.md BT-1 to BT-9.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.connections import BackendTLSPolicy, PolicyTarget
from controlplane.manifests.core import ConfigMap
from controlplane.manifests.read_connections import AUTHORITY_KEY
from controlplane.mesh.authorities import authorities_from_text
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.model.backend_tls import BackendTls, CertificateName, NameKind
from controlplane.model.names import Name, ObjectReference
from controlplane.model.problem import Problem, Severity
from controlplane.model.route_parent import ParentCondition, ParentReference, RouteParent

_SYSTEM: Final = "System"
_HOSTNAME: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*"
)
_ADDRESS: Final = re.compile(r"[0-9.]+")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
_TARGET_KINDS: Final = {
    ("", "Service"): "Service",
    ("core", "Service"): "Service",
    ("networking.istio.io", "ServiceEntry"): "ServiceEntry",
}


class PortKey(NamedTuple):
    """A port of a Service or ServiceEntry."""

    owner: ObjectReference
    port: int


class AncestorKey(NamedTuple):
    """One target of one policy."""

    policy: ObjectReference
    target: ParentReference


class Verdict(NamedTuple):
    """What is made of a policy, whatever its targets: its TLS, and what is wrong with it.

    ``fault`` is the reason and message of condition Accepted where it is False, ``reference`` that
    of ResolvedRefs.
    """

    policy: BackendTLSPolicy
    tls: BackendTls
    fault: tuple[str, str] | None = None
    reference: tuple[str, str] | None = None

    @property
    def age(self) -> tuple[float, Name]:
        """Return the sort key of "oldest first"."""
        return self.policy.metadata.created, self.policy.key


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendTlsRules:
    """What is spoken to over TLS, and what the authors of policies are told."""

    by_port: Collection[PortKey, BackendTls]
    ancestors: Collection[AncestorKey, RouteParent]
    problems: Collection[ProblemKey, Problem]


class _Claim(NamedTuple):
    """That a policy is for a port; a named port goes before all ports of the target."""

    is_general: bool
    age: tuple[float, Name]
    tls: BackendTls


def build_backend_tls(
    graph: Graph,
    membership: Membership,
    policies: Collection[Name, BackendTLSPolicy],
    config_maps: Collection[Name, ConfigMap],
) -> BackendTlsRules:
    """Declare how backends are spoken to on ``graph``."""
    authorities = graph.derive(
        "authorities in config maps",
        config_maps,
        lambda _, value: authorities_from_text(value.data.get(AUTHORITY_KEY, "")) or None,
    )

    def judge(fetch: Fetch, policy: BackendTLSPolicy) -> Verdict | None:
        if not membership.includes(fetch, policy.metadata.namespace):
            return None
        return judged(fetch, policy, authorities)

    verdicts = graph.derive("judged backend TLS policies", policies, judge)
    by_target = verdicts.index(
        "backend TLS policies by target",
        lambda verdict: {
            owner
            for target in verdict.policy.targets
            if (owner := target_object(verdict.policy, target)) is not None
        },
    )
    targets = graph.distinct("targets of backend TLS policies", by_target)

    def apply(fetch: Fetch, owner: ObjectReference) -> Mapping[PortKey, BackendTls]:
        found: dict[PortKey, BackendTls] = {}
        verdicts = fetch.where(by_target, owner)
        for number, name in _ports(fetch, membership, owner):
            claims = list(_claims(verdicts, owner, name))
            if claims:
                found[PortKey(owner, number)] = min(claims, key=lambda claim: claim[:2]).tls
        return found

    by_port = graph.derive_many("TLS of backends", targets, apply)

    def tell(fetch: Fetch, verdict: Verdict) -> Mapping[AncestorKey, RouteParent]:
        policy = verdict.policy
        return {
            AncestorKey(policy.reference, _ancestor(target)): RouteParent(
                route=policy.reference,
                parent=_ancestor(target),
                conditions=_conditions(
                    verdict, _target_fault(fetch, membership, by_port, verdict, target)
                ),
                observed_generation=policy.metadata.generation or 0,
            )
            for target in policy.targets
        }

    ancestors = graph.derive_many("ancestors of backend TLS policies", verdicts, tell)
    return BackendTlsRules(
        by_port=by_port,
        ancestors=ancestors,
        problems=graph.derive_many(
            "problems of backend TLS policies", ancestors, lambda _, told: _problems(told)
        ),
    )


def judged(fetch: Fetch, policy: BackendTLSPolicy, authorities: Collection[Name, str]) -> Verdict:
    """Return what is made of ``policy``."""
    trusted: list[str] = []
    reference: tuple[str, str] | None = None
    for each in policy.authorities:
        if (each.group, each.kind) not in {("", "ConfigMap"), ("core", "ConfigMap")}:
            reference = reference or ("InvalidKind", f"{each.kind} {each.name} is no ConfigMap")
            continue
        name = Name(policy.metadata.namespace, each.name)
        found = fetch.one(authorities, name)
        if found is None:
            message = f"ConfigMap {name} has no certificates in {AUTHORITY_KEY}"
            reference = reference or ("InvalidCACertificateRef", message)
        else:
            trusted.append(found)
    fault = _fault(policy)
    if fault is None and policy.authorities and not trusted:
        fault = ("NoValidCACertificate", "no authority that the policy names can be used")
    tls = BackendTls(policy=policy.reference, is_usable=False)
    if fault is None:
        tls = BackendTls(
            policy=policy.reference,
            server_name=policy.hostname.lower(),
            authorities="".join(dict.fromkeys(trusted)),
            names=tuple(
                CertificateName(NameKind(each.type), each.value)
                for each in policy.alternative_names
            )
            or (CertificateName(NameKind.HOSTNAME, policy.hostname.lower()),),
        )
    return Verdict(policy, tls, fault, reference)


def target_object(policy: BackendTLSPolicy, target: PolicyTarget) -> ObjectReference | None:
    """Return the object that ``target`` is; None for one of another kind."""
    kind = _TARGET_KINDS.get((target.group, target.kind))
    if kind is None:
        return None
    return ObjectReference(kind, policy.metadata.namespace, target.name)


def _fault(policy: BackendTLSPolicy) -> tuple[str, str] | None:
    if not _is_hostname(policy.hostname.lower()):
        return "Invalid", f"validation.hostname {policy.hostname!r} is no hostname"
    if bool(policy.authorities) == bool(policy.well_known):
        message = "exactly one of caCertificateRefs and wellKnownCACertificates is needed"
        return "NoValidCACertificate", message
    if policy.well_known not in {"", _SYSTEM}:
        message = f"wellKnownCACertificates {policy.well_known!r} is not {_SYSTEM}"
        return "Invalid", message
    for each in policy.alternative_names:
        if not _is_certificate_name(each.type, each.value):
            return "Invalid", f"subjectAltNames: {each.type} {each.value!r} cannot be compared"
    return None


def _is_certificate_name(kind: str, value: str) -> bool:
    if kind == NameKind.URI:
        return _URI.fullmatch(value) is not None
    return kind == NameKind.HOSTNAME and _is_hostname(value.removeprefix("*.").lower())


def _is_hostname(text: str) -> bool:
    return _HOSTNAME.fullmatch(text) is not None and _ADDRESS.fullmatch(text) is None


def _ports(
    fetch: Fetch, membership: Membership, owner: ObjectReference
) -> Iterator[tuple[int, str]]:
    """Yield numbers and names of the ports of ``owner``."""
    key = Name(owner.namespace, owner.name)
    if owner.kind == "Service":
        service = fetch.one(membership.services, key)
        for port in () if service is None else service.ports:
            if port.protocol == "TCP":
                yield port.port, port.name
    else:
        entry = fetch.one(membership.service_entries, key)
        for entry_port in () if entry is None else entry.ports:
            yield entry_port.number, entry_port.name


def _claims(
    verdicts: tuple[Verdict, ...], owner: ObjectReference, port_name: str
) -> Iterator[_Claim]:
    for verdict in verdicts:
        for target in verdict.policy.targets:
            is_here = target_object(verdict.policy, target) == owner
            if is_here and target.section in {"", port_name}:
                yield _Claim(not target.section, verdict.age, verdict.tls)


def _target_fault(
    fetch: Fetch,
    membership: Membership,
    by_port: Collection[PortKey, BackendTls],
    verdict: Verdict,
    target: PolicyTarget,
) -> tuple[str, str] | None:
    """Return why ``target`` does not get what the policy says, although it can be used."""
    owner = target_object(verdict.policy, target)
    if owner is None:
        return "TargetNotFound", f"{target.kind} is no backend: use Service or ServiceEntry"
    ports = [
        number for number, name in _ports(fetch, membership, owner) if target.section in {"", name}
    ]
    if not ports:
        port = f" with a port {target.section}" if target.section else ""
        return "TargetNotFound", f"there is no {owner}{port}"
    for number in ports:
        applied = fetch.one(by_port, PortKey(owner, number))
        if applied is not None and applied.policy == verdict.policy.reference:
            return None
    return "Conflicted", f"another policy has the ports of {owner}"


def _ancestor(target: PolicyTarget) -> ParentReference:
    return ParentReference(
        group=target.group, kind=target.kind, namespace="", name=target.name, section=target.section
    )


def _conditions(
    verdict: Verdict, target_fault: tuple[str, str] | None
) -> tuple[ParentCondition, ...]:
    fault = verdict.fault or target_fault
    reference = verdict.reference
    return (
        ParentCondition(
            "Accepted", fault is None, *(fault or ("Accepted", "Policy has been accepted"))
        ),
        ParentCondition(
            "ResolvedRefs",
            reference is None,
            *(reference or ("ResolvedRefs", "All references resolved")),
        ),
    )


def _problems(told: RouteParent) -> Mapping[ProblemKey, Problem]:
    problems = [
        Problem(
            severity=Severity.ERROR if condition.type == "Accepted" else Severity.WARNING,
            code="backend-tls.conflict"
            if condition.reason == "Conflicted"
            else "backend-tls.not-in-force",
            message=condition.message,
            object=told.route,
            field=f"{told.parent.kind}/{told.parent.name}/{told.parent.section}/{condition.type}",
        )
        for condition in told.conditions
        if not condition.status
    ]
    return {problem_key(problem): problem for problem in problems}
