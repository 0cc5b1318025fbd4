"""AuthorizationPolicy with targets in, what a waypoint enforces of it out.

Pure: one manifest gives one ``HttpTranslation``. What cannot be used makes a policy stricter, and
is a Problem. docs/protocol/http-policies.md HP-3 to HP-12, HP-22, HP-27.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from controlplane.manifests.istio import AuthorizationPolicy, AuthorizationRule, Operation, Source
from controlplane.mesh.authorization import DRY_RUN
from controlplane.mesh.http_values import READERS, attribute_of, host_in_any_form
from controlplane.mesh.trust_domains import in_every_domain
from controlplane.model.http_policy import (
    Attribute,
    Criteria,
    Criterion,
    HttpAction,
    HttpPolicy,
    HttpRule,
)
from controlplane.model.problem import Problem, Severity

_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})

_OF_TOKENS: Final = frozenset(
    {Attribute.TOKEN_PRINCIPAL, Attribute.AUDIENCE, Attribute.PRESENTER, Attribute.CLAIM}
)
"""What is not known yet when somebody else is asked."""
_SOURCE: Final = (
    ("principals", "principals", Attribute.PRINCIPAL),
    ("namespaces", "namespaces", Attribute.NAMESPACE),
    ("service_accounts", "serviceAccounts", Attribute.SERVICE_ACCOUNT),
    ("trust_domains", "trustDomains", Attribute.TRUST_DOMAIN),
    ("ip_blocks", "ipBlocks", Attribute.SOURCE_IP),
    ("remote_ip_blocks", "remoteIpBlocks", Attribute.REMOTE_IP),
    ("request_principals", "requestPrincipals", Attribute.TOKEN_PRINCIPAL),
)
_OPERATION: Final = (
    ("hosts", "hosts", Attribute.HOST),
    ("methods", "methods", Attribute.METHOD),
    ("paths", "paths", Attribute.PATH),
    ("ports", "ports", Attribute.DESTINATION_PORT),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpTranslation:
    """What became of one policy; ``policy`` is None when nothing of it is enforced."""

    policy: HttpPolicy | None
    problems: tuple[Problem, ...] = ()


def translate_http_policy(
    manifest: AuthorizationPolicy,
    *,
    providers: Collection[str] = (),
    trust_domains: Collection[str] = (),
) -> HttpTranslation:
    """Return what waypoints enforce of ``manifest``.

    ``providers`` can be asked by CUSTOM. Of ``trust_domains`` each stands for all (HP-22).
    """
    reader = _Reader(manifest, trust_domains)
    is_dry_run = reader.dry_run()
    action = HttpAction(manifest.action)
    if is_without_effect(manifest):
        message = "what somebody else decides cannot be tried: nobody is asked"
        reader.found("policy.unsupported-dry-run", message, f"metadata.annotations[{DRY_RUN}]")
        return HttpTranslation(policy=None, problems=tuple(reader.problems))
    if action is HttpAction.CUSTOM and manifest.provider not in providers:
        message = f"no provider {manifest.provider!r} is configured: what matches is denied"
        reader.found("policy.unknown-provider", message, "spec.provider.name")
    policy = HttpPolicy(
        key=manifest.key,
        action=action,
        rules=tuple(reader.rules()),
        provider=manifest.provider,
        is_dry_run=is_dry_run,
    )
    return HttpTranslation(policy=policy, problems=tuple(reader.problems))


def is_without_effect(manifest: AuthorizationPolicy) -> bool:
    """Return whether waypoints do nothing about it: somebody else's decision cannot be tried."""
    text = manifest.metadata.annotations.get(DRY_RUN)
    return text in _TRUE and manifest.action == HttpAction.CUSTOM


class _Reader:
    """Reads one policy and collects what is wrong with it."""

    def __init__(self, manifest: AuthorizationPolicy, trust_domains: Collection[str]) -> None:
        self.problems: list[Problem] = []
        self._manifest = manifest
        self._trust_domains = trust_domains
        self._is_allow = manifest.action == HttpAction.ALLOW
        self._is_custom = manifest.action == HttpAction.CUSTOM
        self._namespace = manifest.metadata.namespace
        self._lost = 0

    def found(self, code: str, message: str, field: str) -> None:
        reference = self._manifest.reference
        self.problems.append(
            Problem(
                severity=Severity.ERROR, code=code, message=message, object=reference, field=field
            )
        )

    def dry_run(self) -> bool:
        text = self._manifest.metadata.annotations.get(DRY_RUN)
        if text is not None and text not in _TRUE | _FALSE:
            message = f"{text!r} is not a boolean: the policy is enforced"
            self.found("policy.invalid-annotation", message, f"metadata.annotations[{DRY_RUN}]")
        return text in _TRUE

    def rules(self) -> Iterator[HttpRule]:
        """Yield the rules; one of an ALLOW policy that lost anything would allow too much."""
        for index, rule in enumerate(self._manifest.rules):
            self._lost = 0
            read = self._rule(index, rule)
            if not self._lost or not self._is_allow:
                yield read

    def _rule(self, index: int, rule: AuthorizationRule) -> HttpRule:
        path = f"spec.rules[{index}]"
        sources = tuple(
            self._element(source, _SOURCE, f"{path}.from[{number}].source")
            for number, source in enumerate(rule.sources)
        )
        operations = tuple(
            self._element(operation, _OPERATION, f"{path}.to[{number}].operation")
            for number, operation in enumerate(rule.operations)
        )
        conditions: list[Criterion] = []
        for number, when in enumerate(rule.when):
            place = f"{path}.when[{number}]"
            known = attribute_of(when.key)
            if known is None:
                self._unusable(f"{place}.key", when.key)
                continue
            if not when.values and not when.not_values:
                self._unusable(place, "")
            for name, values, negated in (
                ("values", when.values, False),
                ("notValues", when.not_values, True),
            ):
                where = f"{place}.{name}"
                conditions += self._criterion(known[0], values, where, negated, known[1])
        return HttpRule(index, sources, operations, tuple(conditions))

    def _element(
        self,
        element: Source | Operation,
        fields: tuple[tuple[str, str, Attribute], ...],
        path: str,
    ) -> Criteria:
        criteria: list[Criterion] = []
        is_written = False
        for name, label, attribute in fields:
            for twin, written, negated in (
                (name, label, False),
                (f"not_{name}", f"not{label[0].upper()}{label[1:]}", True),
            ):
                texts: tuple[str, ...] = getattr(element, twin)
                is_written = is_written or bool(texts)
                criteria += self._criterion(attribute, texts, f"{path}.{written}", negated)
        if not is_written:
            self._unusable(path, "")
        return tuple(criteria)

    def _criterion(
        self,
        attribute: Attribute,
        texts: tuple[str, ...],
        path: str,
        negated: bool,  # noqa: FBT001 - of a table, next to the name it gives
        way: tuple[str, ...] = (),
    ) -> Iterator[Criterion]:
        """Yield what is left of one field: nothing where it would be met by too little.

        That is for policies that refuse. Of an ALLOW policy the rule is left out as a whole.
        """
        if self._is_custom and attribute in _OF_TOKENS:
            for index, text in enumerate(texts):
                self._unusable(f"{path}[{index}]", text)
            return
        read = [READERS[attribute](text, self._namespace) for text in texts]
        for index, (text, value) in enumerate(zip(texts, read, strict=True)):
            if value is None:
                self._unusable(f"{path}[{index}]", text)
        is_refused = negated if self._is_allow else not negated
        if attribute is Attribute.HOST and is_refused:
            read = [host_in_any_form(value) for value in read]
        usable = tuple(
            dict.fromkeys(
                meant
                for value in read
                if value is not None
                for meant in in_every_domain(attribute, value, self._trust_domains)
            )
        )
        if usable and (negated or None not in read):
            yield Criterion(attribute, usable, negated, way)

    def _unusable(self, field: str, value: str) -> None:
        self._lost += 1
        what = f"{value!r} cannot be used" if value else "it is empty"
        self.found("policy.unusable-value", what, field)
