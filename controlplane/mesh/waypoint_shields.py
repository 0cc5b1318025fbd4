"""Whether the policies at a node proxy keep everybody out but waypoints.

Authorizations and a test of who is a waypoint come in, a verdict goes out; ``bypasses`` asks once
for each set of policies. Whatever is not sure counts as letting others in.
docs/protocol/guards.md BY-2.
"""

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Final

from controlplane.model.policy import (
    Action,
    Authorization,
    Group,
    Match,
    MatchType,
    Rule,
    ServiceAccountMatch,
    StringMatch,
)

Account = tuple[str, str]
"""Namespace and name of a service account."""

IsWaypoint = Callable[[Account], bool]

_PARTS: Final = 5
_EXEMPTING: Final = frozenset({"not_principals", "not_service_accounts"})


def lets_only_waypoints_in(
    policies: Iterable[Authorization], trust_domain: str, is_waypoint: IsWaypoint
) -> bool:
    """Tell whether ``policies`` together refuse everybody but waypoints of ``trust_domain``."""
    in_force = [policy for policy in policies if not policy.dry_run]
    allowing = [policy for policy in in_force if policy.action is Action.ALLOW]
    test = _Test(trust_domain, is_waypoint)
    if allowing and all(test.is_for_waypoints(each) for one in allowing for each in one.groups):
        return True
    denying = (policy for policy in in_force if policy.action is Action.DENY)
    return any(test.refuses_others(each) for policy in denying for each in policy.groups)


class _Test:
    def __init__(self, trust_domain: str, is_waypoint: IsWaypoint) -> None:
        self._trust_domain = trust_domain
        self._is_waypoint = is_waypoint

    def is_for_waypoints(self, group: Group) -> bool:
        """Tell whether nobody but waypoints can meet all rules of ``group``."""
        return any(self._is_limited(rule) for rule in group.rules)

    def refuses_others(self, group: Group) -> bool:
        """Tell whether everybody but waypoints meets all rules of ``group``."""
        return all(
            not rule.matches or any(self._exempts_only_waypoints(each) for each in rule.matches)
            for rule in group.rules
        )

    def _is_limited(self, rule: Rule) -> bool:
        return bool(rule.matches) and all(self._limits(match) for match in rule.matches)

    def _limits(self, match: Match) -> bool:
        # One without any field never fires.
        return match.is_empty or any(
            self._are_waypoints(named)
            for named in (match.principals, match.service_accounts)
            if named
        )

    def _exempts_only_waypoints(self, match: Match) -> bool:
        used = {field.name for field in fields(match) if getattr(match, field.name)}
        return (
            bool(used)
            and used <= _EXEMPTING
            and self._are_waypoints(match.not_principals)
            and self._are_waypoints(match.not_service_accounts)
        )

    def _are_waypoints(self, named: Iterable[StringMatch | ServiceAccountMatch]) -> bool:
        accounts = [self._account(each) for each in named]
        return all(each is not None and self._is_waypoint(each) for each in accounts)

    def _account(self, named: StringMatch | ServiceAccountMatch) -> Account | None:
        if isinstance(named, ServiceAccountMatch):
            return named.namespace, named.service_account
        parts = named.value.split("/")
        if named.type is not MatchType.EXACT or len(parts) != _PARTS:
            return None
        domain, ns, namespace, sa, account = parts
        is_ours = (domain, ns, sa) == (self._trust_domain, "ns", "sa")
        return (namespace, account) if is_ours else None
