"""What users are told about their policies: conditions and problems as values.

A manifest and what became of it come in, one ``ZtunnelAccepted`` condition and the problems of
that object go out; ``controlplane.mesh.policies`` collects them. docs/protocol/policies.md ST-n.
"""

from typing import Final

from controlplane.manifests.istio import AuthorizationPolicy, PeerAuthentication
from controlplane.mesh.authorization import DRY_RUN, Refusal, Translation, can_fire
from controlplane.mesh.peer_authentication import is_port
from controlplane.model.policy import Action, Authorization
from controlplane.model.problem import Condition, Problem, Severity

ZTUNNEL_ACCEPTED: Final = "ZtunnelAccepted"
ZTUNNEL_MANAGER: Final = "istio-ambient-ztunnel-policy"

_NAMED_VALUES = 10


def ztunnel_condition(policy: AuthorizationPolicy, translation: Translation) -> Condition:
    """Return how ztunnel takes ``policy``, which has no target references."""
    message = _message(policy, translation)
    return Condition(
        object=policy.reference,
        type=ZTUNNEL_ACCEPTED,
        status=translation.authorization is not None,
        reason="UnsupportedValue" if message else "Accepted",
        message=message or "attached to ztunnel",
        manager=ZTUNNEL_MANAGER,
        observed_generation=policy.metadata.generation,
    )


def authorization_problems(
    policy: AuthorizationPolicy, translation: Translation
) -> tuple[Problem, ...]:
    """Return everything of ``policy`` that is not in force as written."""
    problems: list[Problem] = []

    def found(severity: Severity, code: str, message: str, field: str) -> None:
        problems.append(
            Problem(
                severity=severity, code=code, message=message, object=policy.reference, field=field
            )
        )

    annotation = f"metadata.annotations[{DRY_RUN}]"
    if translation.refusal is not None:
        code, field = {
            Refusal.DRY_RUN: ("policy.unsupported-dry-run", annotation),
            Refusal.ACTION: ("policy.unsupported-action", "spec.action"),
        }[translation.refusal]
        found(Severity.ERROR, code, _message(policy, translation), field)
    if translation.unreadable_dry_run:
        text = policy.metadata.annotations[DRY_RUN]
        message = f"{text!r} is not a boolean: the policy is enforced"
        found(Severity.WARNING, "policy.invalid-annotation", message, annotation)
    for unusable in translation.unusable:
        what = f"{unusable.value!r} cannot be used" if unusable.value else "it is empty"
        found(Severity.ERROR, "policy.unusable-value", what, unusable.field)
    authorization = translation.authorization
    if translation.unsupported and authorization is not None:
        is_void = authorization.action is Action.DENY and not can_fire(authorization)
        severity = Severity.ERROR if is_void else Severity.WARNING
        for rule in dict.fromkeys(item.field for item in translation.unsupported):
            names = {item.attribute for item in translation.unsupported if item.field == rule}
            message = f"ztunnel does not see HTTP attributes: {', '.join(sorted(names))}"
            found(severity, "policy.http-attribute", message, rule)
    return tuple(problems)


def peer_problems(manifest: PeerAuthentication, root_namespace: str) -> tuple[Problem, ...]:
    """Return everything of ``manifest`` that is not in force as written."""
    problems: list[Problem] = []

    def found(code: str, message: str, field: str) -> None:
        problems.append(
            Problem(
                severity=Severity.ERROR,
                code=code,
                message=message,
                object=manifest.reference,
                field=field,
            )
        )

    if manifest.selector and manifest.metadata.namespace == root_namespace:
        message = "in the root namespace a PeerAuthentication with a selector is ignored"
        found("peer-authentication.ignored-selector", message, "spec.selector")
    elif manifest.port_modes and not manifest.selector:
        message = "ports are ignored without a selector that names labels"
        found("peer-authentication.ignored-ports", message, "spec.portLevelMtls")
    else:
        for port in sorted(manifest.port_modes):
            if not is_port(port):
                message = f"{port} is not a port"
                found("peer-authentication.invalid-port", message, f"spec.portLevelMtls[{port}]")
    return tuple(problems)


def _message(policy: AuthorizationPolicy, translation: Translation) -> str:
    """Return what was dropped, "" when nothing was."""
    authorization = translation.authorization
    if authorization is None:
        if translation.refusal is Refusal.DRY_RUN:
            return (
                f'found policy "{policy.key}" using dry-run annotation, but support for ambient '
                "dry-run authorizationPolicies isn't enabled"
            )
        return f"ztunnel does not support the {policy.action} action"
    sentences = []
    if translation.unsupported:
        names = sorted({item.attribute for item in translation.unsupported})
        sentences.append(
            f"ztunnel does not support HTTP attributes (found: {', '.join(names)}). In ambient "
            f"mode you must use a waypoint proxy to enforce HTTP rules. {_http(authorization)}"
        )
    if translation.unusable:
        fields = [unusable.field for unusable in translation.unusable]
        listed = ", ".join(fields[:_NAMED_VALUES])
        more = len(fields) - _NAMED_VALUES
        if more > 0:
            listed += f" and {more} more"
        sentences.append(
            f"ztunnel cannot use some values (found: {listed}). {_lost(authorization)}"
        )
    return " ".join(sentences)


def _http(authorization: Authorization) -> str:
    if authorization.action is Action.ALLOW:
        return (
            "Within an ALLOW policy, rules matching HTTP attributes are omitted. This will be "
            "more restrictive than requested."
        )
    if can_fire(authorization):
        return (
            "DENY policy with HTTP attributes is enforced without the HTTP rules. This will be "
            "more restrictive than requested."
        )
    return (
        "After omitting unsupported HTTP attributes, this DENY policy has no enforceable rules at "
        "ztunnel and will have no effect. Deploy a waypoint proxy and use a targetRef to enforce "
        "this policy."
    )


def _lost(authorization: Authorization) -> str:
    if authorization.action is Action.ALLOW:
        return "Within an ALLOW policy, rules with such values are omitted."
    return (
        "Within a DENY policy, such values are left out and a field without any other value "
        "matches everything."
    )
