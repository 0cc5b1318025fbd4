"""Who may call what: the policies that apply to a workload come in, its callers come out.

A picture and not a verdict: it tells callers by identity and leaves ports, addresses and whatever
a policy excludes aside, so it names no fewer callers than are let in. Source of how policies are
read: docs/protocol/policies.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from controlplane.model.policy import Action, Authorization, Group, Match, MatchType, StringMatch

_SPIFFE: Final = "spiffe://"


class Caller(NamedTuple):
    """Callers alike: of a namespace, of one account in it, or those whose identity looks so.

    Empty parts restrict nothing: a caller with all of them empty is anybody.
    """

    namespace: str = ""
    account: str = ""
    pattern: str = ""

    def __str__(self) -> str:
        if self.pattern:
            return self.pattern
        if self.account:
            return f"{self.namespace}/{self.account}"
        return f"{self.namespace}/*" if self.namespace else "anybody"


ANYBODY: Final = Caller()
ANY_IDENTITY: Final = Caller(pattern="any identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """Who may call something.

    ``is_open`` says that no policy allows callers by name, so that everybody is let in whom none
    denies; else only ``allowed`` are. ``denied`` are callers that are turned away at least for
    something, ``denies_more`` that some are whom a policy describes otherwise, such as all but a
    few. ``needs_identity`` is mutual TLS: who cannot say who they are is turned away.
    """

    is_open: bool = True
    allowed: frozenset[Caller] = frozenset()
    denied: frozenset[Caller] = frozenset()
    denies_more: bool = False
    needs_identity: bool = False

    def joined(self, other: "Callers") -> "Callers":
        """Return who may call one of the two."""
        return Callers(
            is_open=self.is_open or other.is_open,
            allowed=self.allowed | other.allowed,
            denied=self.denied | other.denied,
            denies_more=self.denies_more or other.denies_more,
            needs_identity=self.needs_identity and other.needs_identity,
        )


def callers(policies: Iterable[Authorization]) -> Callers:
    """Return who may call a workload to which ``policies`` apply; rehearsed ones do not count."""
    is_open, needs_identity, denies_more = True, False, False
    allowed: set[Caller] = set()
    denied: set[Caller] = set()
    for policy in policies:
        if policy.dry_run:
            continue
        if policy.action is Action.ALLOW:
            is_open = False
            for group in policy.groups:
                allowed |= _of_group(group)
            continue
        for group in policy.groups:
            if _turns_away_strangers(group):
                needs_identity = True
            elif _excludes(group):
                denies_more = True
            else:
                denied |= _of_group(group)
    return Callers(
        is_open=is_open,
        allowed=frozenset(allowed),
        denied=frozenset(denied),
        denies_more=denies_more,
        needs_identity=needs_identity,
    )


def _of_group(group: Group) -> set[Caller]:
    found = {ANYBODY}
    for rule in group.rules:
        if rule.matches:
            several = (_of_match(match) for match in rule.matches)
            found = _both(found, {caller for each in several for caller in each})
    return found


def _of_match(match: Match) -> set[Caller]:
    if match.is_empty:
        return set()
    found = {ANYBODY}
    if match.principals:
        found = _both(found, {_of_principal(each) for each in match.principals})
    if match.namespaces:
        found = _both(found, {_of_namespace(each) for each in match.namespaces})
    if match.service_accounts:
        named = {Caller(*each) for each in match.service_accounts}
        found = _both(found, named)
    return found


def _of_principal(match: StringMatch) -> Caller:
    if match.type is MatchType.PRESENCE:
        return ANY_IDENTITY
    parts = match.value.removeprefix(_SPIFFE).split("/")
    is_name = len(parts) == 5 and parts[1] == "ns" and parts[3] == "sa"
    if match.type is MatchType.EXACT and is_name:
        return Caller(parts[2], parts[4])
    if match.type is MatchType.PREFIX and is_name and not parts[4]:
        return Caller(parts[2])
    return Caller(pattern=_pattern(match))


def _of_namespace(match: StringMatch) -> Caller:
    if match.type is MatchType.PRESENCE:
        return ANY_IDENTITY
    if match.type is MatchType.EXACT:
        return Caller(match.value)
    return Caller(pattern=f"namespace {_pattern(match)}")


def _pattern(match: StringMatch) -> str:
    match match.type:
        case MatchType.PREFIX:
            return f"{match.value}*"
        case MatchType.SUFFIX:
            return f"*{match.value}"
        case _:
            return match.value


def _both(left: set[Caller], right: set[Caller]) -> set[Caller]:
    """Return the callers that are of both; of two that cannot be compared, both."""
    found: set[Caller] = set()
    for one in left:
        for other in right:
            found |= _narrower(one, other)
    return found


def _narrower(one: Caller, other: Caller) -> set[Caller]:
    for wide, narrow in ((one, other), (other, one)):
        if wide == ANYBODY or (wide == ANY_IDENTITY and narrow != ANYBODY):
            return {narrow}
    if one.pattern or other.pattern:
        # Whoever is named outright is fewer than those who look like something.
        named = {each for each in (one, other) if not each.pattern}
        return named or {one, other}
    if one.namespace != other.namespace:
        return set()
    if one.account and other.account:
        return {one} if one == other else set()
    return {one if one.account else other}


def _excludes(group: Group) -> bool:
    return any(
        match.not_principals or match.not_namespaces or match.not_service_accounts
        for rule in group.rules
        for match in rule.matches
    )


def _turns_away_strangers(group: Group) -> bool:
    """Return whether whoever has no identity is turned away, on all ports or on some."""
    return any(
        match.not_principals == (StringMatch(MatchType.PRESENCE),)
        for rule in group.rules
        for match in rule.matches
    )
