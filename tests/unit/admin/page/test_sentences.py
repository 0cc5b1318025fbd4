from controlplane.admin.page.sentences import alternatives
from controlplane.model.policy import (
    Action,
    AddressMatch,
    Authorization,
    Group,
    Match,
    MatchType,
    Rule,
    Scope,
    ServiceAccountMatch,
    StringMatch,
)

PRESENT = StringMatch(MatchType.PRESENCE)


def _told(*groups: tuple[tuple[Match, ...], ...]) -> list[tuple[str, ...]]:
    policy = Authorization(
        name="p",
        namespace="n",
        scope=Scope.GLOBAL,
        action=Action.ALLOW,
        groups=tuple(Group(tuple(map(Rule, group))) for group in groups),
    )
    return [each.conditions for each in alternatives(policy)]


def test_each_group_is_an_alternative_and_each_rule_a_condition() -> None:
    sleep = Match(principals=(StringMatch(MatchType.EXACT, "td/ns/a/sa/sleep"),))
    port = Match(destination_ports=(80, 81))
    assert _told(((sleep,), (port,)), ()) == [
        ("identity is td/ns/a/sa/sleep", "port is 80 or 81"),
        (),
    ]


def test_fields_of_a_match_hold_together_and_matches_one_for_another() -> None:
    one = Match(
        namespaces=(StringMatch(MatchType.PREFIX, "team-"),),
        not_namespaces=(StringMatch(MatchType.SUFFIX, "-test"),),
    )
    other = Match(source_ips=(AddressMatch(bytes((10, 0, 0, 0)), 8),))
    assert _told(((one, other),)) == [
        ("namespace is team-* and namespace is not *-test, or source address in 10.0.0.0/8",)
    ]


def test_presence_and_accounts_are_said_plainly() -> None:
    assert _told(((Match(not_principals=(PRESENT,)),),)) == [("there is no identity",)]
    assert _told(((Match(principals=(PRESENT,)),),)) == [("there is some identity",)]
    account = Match(service_accounts=(ServiceAccountMatch("a", "b"),))
    assert _told(((account,),)) == [("account is a/b",)]


def test_an_empty_match_never_holds() -> None:
    assert _told(((Match(),),)) == [("never",)]
