"""Who may call, as policies of ztunnel's shape say it."""

from controlplane.insight.reachability import ANY_IDENTITY, ANYBODY, Caller, Callers, callers
from controlplane.model.policy import (
    Action,
    Authorization,
    Group,
    Match,
    MatchType,
    Rule,
    Scope,
    ServiceAccountMatch,
    StringMatch,
)

SLEEP = Match(principals=(StringMatch(MatchType.EXACT, "cluster.local/ns/shop/sa/sleep"),))
STRANGERS = Match(not_principals=(StringMatch(MatchType.PRESENCE),))


def _policy(
    *groups: tuple[tuple[Match, ...], ...], action: Action = Action.ALLOW, dry_run: bool = False
) -> Authorization:
    return Authorization(
        name="policy",
        namespace="shop",
        scope=Scope.NAMESPACE,
        action=action,
        groups=tuple(Group(tuple(Rule(matches) for matches in group)) for group in groups),
        dry_run=dry_run,
    )


def _namespace(name: str) -> Match:
    return Match(namespaces=(StringMatch(MatchType.EXACT, name),))


def test_without_policies_everybody_may_call() -> None:
    assert callers([]) == Callers(is_open=True)


def test_an_allow_lets_in_whom_it_names_and_nobody_else() -> None:
    found = callers([_policy(((SLEEP,),))])
    assert not found.is_open
    assert found.allowed == {Caller("shop", "sleep")}


def test_an_allow_without_groups_lets_nobody_in() -> None:
    found = callers([_policy()])
    assert (found.is_open, found.allowed) == (False, frozenset())


def test_a_group_without_rules_lets_everybody_in() -> None:
    assert callers([_policy(())]).allowed == {ANYBODY}


def test_alternatives_add_up_and_rules_of_one_narrow() -> None:
    either = callers([_policy(((_namespace("shop"),),), ((_namespace("till"),),))])
    assert either.allowed == {Caller("shop"), Caller("till")}
    both = callers([_policy(((SLEEP,), (_namespace("shop"),)))])
    assert both.allowed == {Caller("shop", "sleep")}
    neither = callers([_policy(((SLEEP,), (_namespace("till"),)))])
    assert neither.allowed == frozenset()


def test_an_empty_match_lets_nobody_in() -> None:
    assert callers([_policy(((Match(),),))]).allowed == frozenset()


def test_ports_do_not_narrow_who_calls() -> None:
    assert callers([_policy(((SLEEP,), (Match(destination_ports=(80,)),)))]).allowed == {
        Caller("shop", "sleep")
    }


def test_accounts_are_callers_and_any_identity_is_narrowed_by_them() -> None:
    account = Match(service_accounts=(ServiceAccountMatch("shop", "sleep"),))
    anyone = Match(principals=(StringMatch(MatchType.PRESENCE),))
    assert callers([_policy(((anyone,),))]).allowed == {ANY_IDENTITY}
    assert callers([_policy(((anyone,), (account,)))]).allowed == {Caller("shop", "sleep")}


def test_patterns_are_told_as_they_are_written() -> None:
    prefix = Match(principals=(StringMatch(MatchType.PREFIX, "cluster.local/ns/shop/sa/"),))
    suffix = Match(principals=(StringMatch(MatchType.SUFFIX, "/sa/sleep"),))
    spaces = Match(namespaces=(StringMatch(MatchType.PREFIX, "team-"),))
    found = callers([_policy(((prefix,),), ((suffix,),), ((spaces,),))]).allowed
    assert {str(each) for each in found} == {"shop/*", "*/sa/sleep", "namespace team-*"}


def test_a_deny_leaves_the_rest_open_and_names_whom_it_turns_away() -> None:
    found = callers([_policy(((SLEEP,),), action=Action.DENY)])
    assert found.is_open
    assert found.denied == {Caller("shop", "sleep")}


def test_strict_mutual_tls_is_told_as_such() -> None:
    found = callers([_policy(((STRANGERS,),), action=Action.DENY)])
    assert (found.needs_identity, found.denied, found.denies_more) == (True, frozenset(), False)


def test_a_deny_of_all_but_some_is_told_without_names() -> None:
    but_one = Match(not_namespaces=(StringMatch(MatchType.EXACT, "shop"),))
    found = callers([_policy(((but_one,),), action=Action.DENY)])
    assert (found.denies_more, found.denied) == (True, frozenset())


def test_what_is_rehearsed_does_not_count() -> None:
    assert callers([_policy(dry_run=True)]).is_open


def test_of_two_workloads_the_callers_of_either_count() -> None:
    one = callers([_policy(((SLEEP,),))])
    assert one.joined(Callers()).is_open
    other = callers([_policy(((_namespace("till"),),))])
    assert one.joined(other).allowed == {Caller("shop", "sleep"), Caller("till")}
