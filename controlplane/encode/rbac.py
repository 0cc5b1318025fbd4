"""Policies of a chain -> filters that enforce them, and their overrides in route configurations.

HTTP chains get ``RBACPerRoute`` messages by filter name, TCP chains network filters in order.
docs/protocol/http-policies.md HP-12 to HP-19.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2

from controlplane.encode.errors import EncodeError
from controlplane.encode.rbac_criteria import permission, principal
from controlplane.encode.waypoint_names import ASKED, RBAC_ALLOW, RBAC_AUDIT, RBAC_CUSTOM, RBAC_DENY
from controlplane.model.http_policy import Criteria, HttpAction, HttpPolicy, HttpRule

CUSTOM_PREFIX: Final = "istio_ext_authz_"
DRY_RUN_PREFIXES: Final = {
    HttpAction.ALLOW: "istio_dry_run_allow_",
    HttpAction.DENY: "istio_dry_run_deny_",
    HttpAction.AUDIT: "istio_dry_run_audit_",
}

_FILTERS: Final = {
    HttpAction.AUDIT: (RBAC_AUDIT, rbac_pb2.RBAC.LOG),
    HttpAction.DENY: (RBAC_DENY, rbac_pb2.RBAC.DENY),
    HttpAction.ALLOW: (RBAC_ALLOW, rbac_pb2.RBAC.ALLOW),
}
_NOBODY_DECIDES: Final = "-deny-due-to-bad-CUSTOM-action"


class _Rules(NamedTuple):
    """What one filter enforces and what it only tells; None where there is nothing of it."""

    enforced: Any = None
    told: Any = None
    prefix: str = ""


def encode_http_policies(
    policies: Iterable[HttpPolicy], *, asked: str = ""
) -> Mapping[str, http_rbac_pb2.RBACPerRoute]:
    """Return the override of each filter that ``policies`` concern, by its name.

    The filter for ALLOW denies by itself and always has one. ``asked`` is the provider that the
    chain can ask: what others would decide is denied.

    Raises EncodeError for values an Envoy would reject.
    """
    overrides = {}
    for name, rules in _by_filter(policies, asked).items():
        body = None
        if rules.enforced is not None or rules.told is not None:
            body = http_rbac_pb2.RBAC(
                rules=rules.enforced,
                shadow_rules=rules.told,
                shadow_rules_stat_prefix=rules.prefix,
            )
        overrides[name] = http_rbac_pb2.RBACPerRoute(rbac=body)
    overrides.setdefault(RBAC_ALLOW, http_rbac_pb2.RBACPerRoute())
    return overrides


def encode_network_policies(
    policies: Iterable[HttpPolicy],
) -> tuple[tuple[str, network_rbac_pb2.RBAC], ...]:
    """Return the network filters of a TCP chain, named, in the order in which they are asked.

    Nobody can be asked about a connection: what CUSTOM policies match is denied.

    Raises EncodeError for values an Envoy would reject.
    """
    found = _by_filter([policy.for_connections() for policy in policies], "")
    return tuple(
        (
            name,
            network_rbac_pb2.RBAC(
                stat_prefix="tcp.",
                rules=found[name].enforced,
                shadow_rules=found[name].told,
                shadow_rules_stat_prefix=found[name].prefix,
            ),
        )
        for name in (RBAC_CUSTOM, RBAC_AUDIT, RBAC_DENY, RBAC_ALLOW)
        if name in found
    )


def asked_prefix(provider: str) -> str:
    """Return how the names of rules start that ``provider`` is asked about."""
    return f"istio-ext-authz-{provider}-"


def rule_name(policy: HttpPolicy, rule: HttpRule) -> str:
    """Return the name that logs of Envoy give one rule of ``policy``."""
    namespace, name = policy.key
    return f"ns[{namespace}]-policy[{name}]-rule[{rule.place}]"


def _by_filter(policies: Iterable[HttpPolicy], asked: str) -> dict[str, _Rules]:
    ordered = sorted(policies, key=lambda policy: policy.key)
    found = {}
    custom = [policy for policy in ordered if policy.action is HttpAction.CUSTOM]
    if custom:
        found[RBAC_CUSTOM] = _custom(custom, asked)
    for action, (name, verdict) in _FILTERS.items():
        enforced = [each for each in ordered if each.action is action and not each.is_dry_run]
        told = [each for each in ordered if each.action is action and each.is_dry_run]
        if enforced or told:
            found[name] = _Rules(
                enforced=_rbac(verdict, enforced),
                told=_rbac(verdict, told),
                prefix=DRY_RUN_PREFIXES[action] if told else "",
            )
    return found


def _custom(policies: Sequence[HttpPolicy], asked: str) -> _Rules:
    """Return shadow rules, whose matches are asked about, and the denial of what nobody decides."""
    about = [each for each in policies if not each.is_dry_run]
    known, unknown = {}, {}
    for policy in about:
        for rule in policy.rules:
            name, body = rule_name(policy, rule), _policy(policy, rule)
            if asked and policy.provider == asked:
                known[f"{asked_prefix(asked)}{name}"] = body
                # Routes may come to a chain that does not ask yet, or no longer.
                body = _unless_asked(body, asked)
            unknown[f"{name}{_NOBODY_DECIDES}"] = body
    deny = rbac_pb2.RBAC.DENY
    return _Rules(
        enforced=rbac_pb2.RBAC(action=deny, policies=unknown) if unknown else None,
        told=rbac_pb2.RBAC(action=deny, policies=known) if known else None,
        prefix=CUSTOM_PREFIX if known else "",
    )


def _unless_asked(policy: Any, provider: str) -> Any:
    asked = rbac_pb2.Principal(
        filter_state={"key": ASKED, "string_match": {"exact": provider}},
    )
    both = [
        rbac_pb2.Principal(
            and_ids=rbac_pb2.Principal.Set(ids=[each, rbac_pb2.Principal(not_id=asked)])
        )
        for each in policy.principals
    ]
    return rbac_pb2.Policy(permissions=policy.permissions, principals=both)


def _rbac(verdict: Any, policies: Sequence[HttpPolicy]) -> Any:
    if not policies:
        return None
    rules = {
        rule_name(policy, rule): _policy(policy, rule)
        for policy in policies
        for rule in policy.rules
    }
    return rbac_pb2.RBAC(action=verdict, policies=rules)


def _policy(policy: HttpPolicy, rule: HttpRule) -> Any:
    """Return one rule: its conditions go with every set of their side."""
    of_operation = tuple(each for each in rule.conditions if each.attribute.is_of_operation)
    of_source = tuple(each for each in rule.conditions if not each.attribute.is_of_operation)
    try:
        return rbac_pb2.Policy(
            permissions=[_permissions((*each, *of_operation)) for each in rule.operations or ((),)],
            principals=[_principals((*each, *of_source)) for each in rule.sources or ((),)],
        )
    except (ValueError, TypeError) as error:
        raise EncodeError(str(policy.key), str(error)) from error


def _permissions(criteria: Criteria) -> Any:
    parts = [permission(each) for each in criteria]
    if len(parts) < 2:
        return parts[0] if parts else rbac_pb2.Permission(any=True)
    return rbac_pb2.Permission(and_rules=rbac_pb2.Permission.Set(rules=parts))


def _principals(criteria: Criteria) -> Any:
    parts = [principal(each) for each in criteria]
    if len(parts) < 2:
        return parts[0] if parts else rbac_pb2.Principal(any=True)
    return rbac_pb2.Principal(and_ids=rbac_pb2.Principal.Set(ids=parts))
