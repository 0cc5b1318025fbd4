"""The decision of our evaluator is that of a real Envoy, about thousands of pairs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from controlplane.insight.http_decision import Caller, HttpRequest, decide, matched, meets
from controlplane.lab.envoy_binary import validate
from controlplane.mesh.http_destinations import at_addresses
from controlplane.mesh.http_translation import translate_http_policy
from controlplane.model.http_policy import (
    Attribute,
    Criterion,
    HttpAction,
    HttpPolicy,
    HttpRule,
    PathTemplate,
)
from controlplane.model.policy import MatchType, StringMatch
from controlplane.model.waypoint_traffic import AddressRange
from tests.support.connection_bed import Place, connection_bootstrap, let_through
from tests.support.policy_bed import PROVIDER, Answer, Asked, PolicyBed, policy_bootstrap
from tests.support.policy_cases import (
    a_request,
    every_criterion,
    odd_policies,
    some_ends,
    some_policies,
)

PROVIDERS = frozenset({PROVIDER, "nobody"})
SEED = 20261
DRAWN = 130
ODD = 600
WHOLE_CASES, OTHER_CASES = 60, 40
IDENTITIES = ("spiffe://td/ns/shop/sa/web", "spiffe://td/ns/shop/sa/db", "spiffe://o/ns/x/sa/y")
SOURCES = {
    4: (b"\x0a\1\2\3", b"\xc0\xa8\0\7", b"\xac\x10\0\1"),
    16: (b"\xfd" + bytes(14) + b"\1", b"\x20\1\x0d\xb8" + bytes(11) + b"\1"),
}
OF_EACH_SINGLE = 24
OF_EACH_DRAWN = 8


# Every request has a host, a method and a path.
ALWAYS = {
    (attribute, MatchType.PRESENCE, negated)
    for attribute in (Attribute.HOST, Attribute.METHOD, Attribute.PATH)
    for negated in (False, True)
}


def _cases(random: Random) -> list[list[HttpPolicy]]:
    manifests = [*every_criterion(random), *(some_policies(random) for _ in range(DRAWN))]
    cases = []
    for written in manifests:
        translations = [translate_http_policy(each, providers=PROVIDERS) for each in written]
        assert [each.problems for each in translations] == [()] * len(written)
        cases.append([each.policy for each in translations if each.policy is not None])
    return cases


class Seen(NamedTuple):
    """What is compared; ``asks`` is whether the provider would be asked."""

    status: int
    audits: bool
    asks: bool
    tries_allow: str
    tries_deny: str


def _expected(request: HttpRequest, policies: Sequence[HttpPolicy]) -> Seen:
    verdict = decide(request, policies, asked=PROVIDER)
    met = {policy.key for policy in policies if matched(request, policy) is not None}
    denies = None if verdict.because is None or verdict.is_allowed else verdict.because.policy
    denying = next((policy.action for policy in policies if policy.key == denies), None)
    tried = {each.policy for each in verdict.tried}

    def result(action: HttpAction, if_met: str, if_not: str) -> str:
        asked = {each.key for each in policies if each.is_dry_run and each.action is action}
        is_reached = denying is None or (denying, action) == (HttpAction.DENY, HttpAction.DENY)
        return "" if not asked or not is_reached else if_met if asked & tried else if_not

    return Seen(
        status=200 if verdict.is_allowed else 403,
        audits=bool(verdict.audited),
        asks=any(policy.provider == PROVIDER and policy.key in met for policy in policies),
        tries_allow=result(HttpAction.ALLOW, "allowed", "denied"),
        tries_deny=result(HttpAction.DENY, "denied", "allowed"),
    )


def _done(answer: Answer) -> Seen:
    asked = answer.told["asked"] or ""
    return Seen(
        status=answer.status,
        audits=answer.told["audited"] is True,
        asks=asked.startswith(f"istio-ext-authz-{PROVIDER}-ns[default]-policy["),
        tries_allow=answer.told["tried-allow"] or "",
        tries_deny=answer.told["tried-deny"] or "",
    )


@pytest.mark.proves("HP-21")
@pytest.mark.refutes("HP-21")
@pytest.mark.timeout(60)
async def test_a_real_envoy_decides_as_we_do(tmp_path: Path) -> None:
    random = Random(SEED)
    cases = _cases(random)
    ends = some_ends(random, 40)
    asked = [
        Asked(case=number, request=a_request(random, random.choice(ends)))
        for number in range(len(cases))
        for _ in range(OF_EACH_DRAWN if number >= len(cases) - DRAWN else OF_EACH_SINGLE)
    ]
    answers = await PolicyBed(cases, tmp_path).ask(asked)
    verdicts: Counter[int] = Counter()
    seen: dict[tuple[object, ...], set[bool]] = {}
    differing = []
    for each, answer in zip(asked, answers, strict=True):
        policies = cases[each.case]
        expected = _expected(each.request, policies)
        verdicts[expected.status] += 1
        if _done(answer) != expected:
            differing.append((policies, each.request, expected, answer))
        for key, found in _met(each.request, policies):
            seen.setdefault(key, set()).add(found)
    assert differing == []
    assert len(asked) >= 2000
    assert min(verdicts.values()) >= 0.3 * len(asked), verdicts
    assert {key[0] for key in seen} == set(Attribute)
    assert {key for key, found in seen.items() if found != {True, False}} == ALWAYS


@pytest.mark.proves("HP-16", "HP-21")
@pytest.mark.refutes("HP-16", "HP-21", "HP-24")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("is_gated", [False, True], ids=["by filters", "by the choice of chains"])
async def test_a_real_envoy_decides_about_connections_as_we_do(
    tmp_path: Path, is_gated: bool
) -> None:
    random = Random(SEED)
    places, asked = [], []
    cases = _cases(random)
    whole = [each for each in cases if not any(policy.needs_http for policy in each)]
    for policies in [*random.sample(whole, WHOLE_CASES), *random.sample(cases, OTHER_CASES)]:
        weaker = [policy.for_connections() for policy in policies]
        for identity in random.sample(IDENTITIES, 2):
            for ends in some_ends(random, 4):
                source = random.choice(SOURCES[len(ends.destination)])
                # There is nothing but the connection, and nobody to ask about it.
                caller = Caller(identity=identity, source=source, remote=source)
                request = HttpRequest(
                    caller=caller,
                    destination=ends.destination,
                    port=ends.port,
                    server_name=ends.server_name,
                )
                asked.append((len(places), request, decide(request, weaker).is_allowed))
            places.append(Place(policies=policies, identity=identity, is_gated=is_gated))
    requests = [(place, request) for place, request, _ in asked]
    answered = await let_through(places, requests, tmp_path)
    expected = [is_allowed for _, _, is_allowed in asked]
    assert answered == expected
    assert 0.3 * len(asked) <= expected.count(True) <= 0.7 * len(asked)


@pytest.mark.proves("HP-8")
@pytest.mark.timeout(60)
async def test_whatever_is_written_envoy_accepts_what_is_made_of_it(tmp_path: Path) -> None:
    random = Random(SEED)
    translations = [
        translate_http_policy(policy, providers=PROVIDERS)
        for _ in range(ODD)
        for policy in odd_policies(random)
    ]
    assert sum(1 for each in translations if each.problems) > ODD / 2
    assert sum(1 for each in translations if not each.problems) > ODD / 20
    policies = [each.policy for each in translations if each.policy is not None]
    cases = [[policy] for policy in policies]
    assert await validate(policy_bootstrap(cases, tmp_path)) is None
    places = [Place(policies=case, identity=IDENTITIES[0]) for case in cases]
    places += [replace(place, is_gated=True) for place in places]
    assert await validate(connection_bootstrap(places)) is None
    (fault,) = [HttpRule(0, operations=((Criterion(Attribute.PATH, (PathTemplate("/{a"),)),),))]
    broken = replace(policies[0], rules=(fault,))
    assert await validate(policy_bootstrap([[broken]], tmp_path)) is not None


def _met(
    request: HttpRequest, policies: Sequence[HttpPolicy]
) -> list[tuple[tuple[object, ...], bool]]:
    """Whether each operator of ``policies`` is met, by attribute, kind of value and negation."""
    found = []
    for policy in policies:
        for rule in policy.rules:
            sets = (*rule.sources, *rule.operations, rule.conditions)
            for criterion in (one for criteria in sets for one in criteria):
                for value in criterion.values:
                    kind = value.type if isinstance(value, StringMatch) else type(value).__name__
                    key = (criterion.attribute, kind, criterion.is_negated)
                    found.append((key, meets(request, criterion._replace(values=(value,)))))
    return found


@pytest.mark.proves("HP-25")
@pytest.mark.refutes("HP-25")
def test_a_policy_at_a_port_is_the_policy_without_its_ports() -> None:
    random = Random(SEED)
    ends = some_ends(random, 20)
    changed = 0
    for policies in _cases(random):
        for _ in range(4):
            request = a_request(random, random.choice(ends))
            there = [policy.at_port(request.port) for policy in policies]
            changed += there != policies
            verdict = decide(request, policies, asked=PROVIDER)
            assert decide(request, there, asked=PROVIDER) == verdict
            nowhere = replace(request, port=0)
            assert decide(nowhere, there, asked=PROVIDER) == verdict
    assert changed > 100


@pytest.mark.proves("HP-26")
@pytest.mark.refutes("HP-26")
def test_who_comes_by_hostname_may_no_more_than_by_any_address() -> None:
    random = Random(SEED)
    ends = some_ends(random, 20)
    addresses = sorted({each.destination for each in ends})
    allowed = {False: 0, True: 0}
    for policies in _cases(random):
        for _ in range(4):
            request = a_request(random, random.choice(ends))
            chosen = sorted(random.sample(addresses, random.randint(1, 3)))
            ranges = tuple(AddressRange(each, len(each) * 8) for each in chosen)
            there = [at_addresses(policy, ranges).at_port(request.port) for policy in policies]
            verdicts = set()
            for each in chosen:
                by_address = replace(request, destination=each)
                verdict = decide(by_address, policies, asked=PROVIDER)
                assert decide(by_address, there, asked=PROVIDER) == verdict
                verdicts.add(verdict.is_allowed)
            nameless = replace(request, destination=b"", port=0)
            by_hostname = decide(nameless, there, asked=PROVIDER).is_allowed
            assert not by_hostname or verdicts == {True}
            allowed[by_hostname] += 1
    assert min(allowed.values()) > 100
