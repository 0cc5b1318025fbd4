"""Whose tokens each waypoint takes, and for which of its services.

RequestAuthentications with targets, waypoints, what they serve and fetched key sets come in. The
rules of every service and of every waypoint go out, with the key sets they need and what is wrong
with them. docs/protocol/request-authentication.md RA-4 to RA-11.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from controlplane.dataflow import Collection, Fetch, Graph
from controlplane.manifests.istio import RequestAuthentication, TokenIssuer
from controlplane.mesh.namespaces import Membership
from controlplane.mesh.policy_attachment import (
    Target,
    build_attachments,
    targets_elsewhere,
    targets_of,
)
from controlplane.mesh.problems import ProblemKey, problem_key
from controlplane.mesh.root_namespace import RootNamespace
from controlplane.mesh.token_keys import (
    FetchedKeySets,
    IssuerKeys,
    build_needed_keys,
    keys_of,
)
from controlplane.mesh.waypoint_services import WaypointHost
from controlplane.mesh.waypoints import Waypoints
from controlplane.model.names import Name
from controlplane.model.problem import Problem, Severity
from controlplane.model.token_rule import ClaimHeader, KeySetRequest, TokenHeader, TokenRule
from controlplane.model.waypoint_traffic import ServedService


class TokenPolicy(NamedTuple):
    """The rules of one RequestAuthentication, what it is attached to, and what is wrong."""

    key: Name
    rules: tuple[TokenRule, ...]
    targets: tuple[Target, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRules:
    """The rules that waypoints enforce, sorted by issuer.

    Every service and every waypoint has an entry, without rules an empty one. ``by_waypoint`` is
    for workloads reached by address. ``needed`` are the key sets to fetch.
    """

    by_service: Collection[WaypointHost, tuple[TokenRule, ...]]
    by_waypoint: Collection[Name, tuple[TokenRule, ...]]
    needed: Collection[str, KeySetRequest]
    problems: Collection[ProblemKey, Problem]


def build_token_rules(
    graph: Graph,
    membership: Membership,
    root: RootNamespace,
    waypoints: Waypoints,
    served: Collection[WaypointHost, ServedService],
    fetched: FetchedKeySets,
) -> TokenRules:
    """Declare the rules about tokens that waypoints enforce on ``graph``."""

    def translate(fetch: Fetch, manifest: RequestAuthentication) -> TokenPolicy:
        if not manifest.target_references:
            return TokenPolicy(manifest.key, (), (), (_without_targets(manifest),))
        problems = list(targets_elsewhere(manifest))
        rules = []
        for index, issuer in enumerate(manifest.issuers):
            keys = keys_of(fetch, fetched, issuer)
            rules.append(_rule(issuer, keys.text))
            if keys.message:
                problems.append(_about_keys(manifest, index, keys))
        return TokenPolicy(
            key=manifest.key,
            rules=tuple(rules),
            targets=targets_of(manifest, root.of(fetch)),
            problems=tuple(problems),
        )

    policies = graph.derive("token policies", membership.request_authentications, translate)
    attachments = build_attachments("token policies by target", membership, policies)

    inherited = graph.derive(
        "token policies of waypoints", waypoints.expected, attachments.at_waypoint
    )

    def of_service(fetch: Fetch, service: ServedService) -> tuple[TokenRule, ...] | None:
        shared = fetch.one(inherited, service.waypoint)
        if shared is None:
            return None
        return _sorted((*shared, *attachments.at_service(fetch, service)))

    return TokenRules(
        by_service=graph.derive("token rules of served services", served, of_service),
        by_waypoint=graph.derive(
            "token rules of waypoints", inherited, lambda _, policies: _sorted(policies)
        ),
        needed=build_needed_keys(graph, membership.request_authentications),
        problems=graph.derive_many(
            "problems of token policies",
            policies,
            lambda _, policy: {problem_key(problem): problem for problem in policy.problems},
        ),
    )


def _rule(issuer: TokenIssuer, keys: str) -> TokenRule:
    return TokenRule(
        issuer=issuer.issuer,
        keys=keys,
        audiences=issuer.audiences,
        headers=tuple(TokenHeader(each.name, each.prefix) for each in issuer.headers),
        parameters=issuer.parameters,
        cookies=issuer.cookies,
        forwards=issuer.forwards,
        payload_header=issuer.payload_header,
        claim_headers=tuple(ClaimHeader(each.header, each.claim) for each in issuer.claim_headers),
        lists=issuer.lists,
    )


def _sorted(policies: Iterable[TokenPolicy]) -> tuple[TokenRule, ...]:
    rules_by_key: Mapping[Name, tuple[TokenRule, ...]] = {each.key: each.rules for each in policies}
    rules = (rule for key in sorted(rules_by_key) for rule in rules_by_key[key])
    return tuple(sorted(dict.fromkeys(rules), key=lambda rule: rule.issuer))


def _without_targets(manifest: RequestAuthentication) -> Problem:
    return Problem(
        severity=Severity.WARNING,
        code="token.no-targets",
        message="only waypoints check tokens, and without targetRefs none does this: no token is "
        "checked because of it",
        object=manifest.reference,
        field="spec.targetRefs",
    )


def _about_keys(manifest: RequestAuthentication, index: int, keys: IssuerKeys) -> Problem:
    is_unknown = keys.severity is Severity.INFO
    return Problem(
        severity=keys.severity,
        code="token.keys-not-fetched" if is_unknown else "token.unusable-keys",
        message=keys.message,
        object=manifest.reference,
        field=f"spec.jwtRules[{index}].{keys.field}",
    )
