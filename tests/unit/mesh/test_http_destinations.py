"""What policies about addresses say at a service, for every way to come to it."""

from ipaddress import ip_address, ip_network
from itertools import product
from random import Random

import pytest

from controlplane.insight.http_decision import Caller, HttpRequest, matched
from controlplane.manifests.istio import AuthorizationRule, When
from controlplane.mesh.http_destinations import at_addresses
from controlplane.mesh.http_translation import translate_http_policy
from controlplane.model.http_policy import HttpPolicy
from controlplane.model.waypoint_traffic import AddressRange
from tests.support.builders import an_authorization_policy

BY_HOSTNAME = HttpRequest(caller=Caller(identity="spiffe://td/ns/a/sa/b"), destination=b"", port=0)
VIP, OTHER, LONG = "10.96.0.10", "10.96.0.11", "fd00::10"
ACTIONS = ("ALLOW", "DENY", "AUDIT", "CUSTOM")
SIDES = list(product(ACTIONS, (False, True)))


def _ranges(*written: str) -> tuple[AddressRange, ...]:
    networks = [ip_network(each) for each in written]
    return tuple(
        sorted(AddressRange(each.network_address.packed, each.prefixlen) for each in networks)
    )


def _policy(action: str, *values: str, negated: bool = False) -> HttpPolicy:
    values_of = {"not_values" if negated else "values": values}
    rule = AuthorizationRule(when=(When(key="destination.ip", **values_of),))
    manifest = an_authorization_policy("p", action=action, rules=[rule], provider="judge")
    policy = translate_http_policy(manifest, providers=("judge",)).policy
    assert policy is not None
    return policy


def _is_met(policy: HttpPolicy, address: str = "") -> bool:
    destination = ip_address(address).packed if address else b""
    request = HttpRequest(caller=BY_HOSTNAME.caller, destination=destination)
    return matched(request, policy) is not None


@pytest.mark.proves("HP-26")
@pytest.mark.refutes("HP-26")
@pytest.mark.parametrize("action", ACTIONS)
def test_what_all_addresses_have_in_common_is_not_looked_at(action: str) -> None:
    ranges = _ranges(VIP, OTHER)
    for values, negated, expected in (
        (("10.96.0.0/16",), False, True),
        ((VIP, OTHER), False, True),
        (("10.97.0.0/16", LONG, "::ffff:10.96.0.10"), False, False),
        (("10.96.0.0/16",), True, False),
        (("10.97.0.0/16", "::/0"), True, True),
    ):
        there = at_addresses(_policy(action, *values, negated=negated), ranges)
        assert all(not rule.conditions for rule in there.rules)
        assert _is_met(there) is expected
        assert bool(there.rules) is expected


@pytest.mark.proves("HP-26")
@pytest.mark.refutes("HP-26")
@pytest.mark.parametrize(("action", "negated"), SIDES)
def test_where_addresses_differ_who_has_none_gets_the_stricter_answer(
    action: str, *, negated: bool
) -> None:
    written = _policy(action, VIP, "10.98.0.0/16", negated=negated)
    there = at_addresses(written, _ranges(VIP, OTHER, LONG, "10.98.7.0/24"))
    assert _is_met(there) is (action != "ALLOW")
    for address in (VIP, OTHER, LONG, "10.98.7.9"):
        assert _is_met(there, address) is _is_met(written, address)
    assert _is_met(there, VIP) is not negated
    assert _is_met(there, LONG) is negated


@pytest.mark.proves("HP-26")
@pytest.mark.refutes("HP-26")
@pytest.mark.parametrize(("action", "negated"), SIDES)
def test_of_a_service_without_addresses_nothing_is_known(action: str, *, negated: bool) -> None:
    there = at_addresses(_policy(action, "0.0.0.0/0", "::/0", negated=negated), ())
    assert _is_met(there) is (action != "ALLOW")


def test_policies_about_other_things_stay_what_they_are() -> None:
    rule = AuthorizationRule(when=(When(key="source.ip", values=("10.0.0.0/8",)),))
    policy = translate_http_policy(an_authorization_policy("p", rules=[rule])).policy
    assert policy is not None
    assert at_addresses(policy, _ranges(VIP)) is policy


def test_by_address_it_says_what_is_written_whatever_the_ranges_are() -> None:
    random = Random(26)
    differing = 0
    for _ in range(400):
        blocks, ranges = ([_block(random) for _ in range(random.randint(1, 5))] for _ in range(2))
        written = _policy(random.choice(ACTIONS), *blocks, negated=random.random() < 0.5)
        there = at_addresses(written, _ranges(*ranges))
        for block in ranges:
            network = ip_network(block)
            for number in {0, network.num_addresses - 1, random.randrange(network.num_addresses)}:
                address = str(network[number])
                assert _is_met(there, address) is _is_met(written, address)
        met = {_is_met(written, str(address)) for block in ranges for address in ip_network(block)}
        strict = written.action.value != "ALLOW"
        assert _is_met(there) is (strict if len(met) > 1 else met.pop())
        differing += any(rule.conditions for rule in there.rules)
    assert 50 < differing < 350


def _block(random: Random) -> str:
    if random.random() < 0.3:
        length = random.randint(122, 128)
        return str(ip_network((0xFD << 120 | random.randrange(64), length), strict=False))
    length = random.randint(26, 32)
    return str(ip_network((0x0A600000 | random.randrange(64), length), strict=False))


@pytest.mark.proves("HP-26")
@pytest.mark.refutes("HP-26")
def test_many_addresses_cost_little() -> None:
    blocks = [f"10.{high}.{low}.1" for high in range(4) for low in range(250)]
    there = at_addresses(_policy("DENY", *blocks), _ranges("10.0.0.0/8"))
    assert _is_met(there, "10.0.0.2")
    assert not at_addresses(_policy("ALLOW", *blocks), _ranges("10.0.0.0/8")).rules
    for count, is_met in ((64, False), (65, True)):
        there = at_addresses(_policy("DENY", *blocks[:count]), _ranges("10.0.0.0/8"))
        assert _is_met(there)
        assert _is_met(there, blocks[0])
        assert _is_met(there, "10.0.0.2") is is_met
    single = at_addresses(_policy("DENY", *blocks), _ranges(*blocks[:500], "10.0.0.2"))
    assert _is_met(single, blocks[0])
    assert not _is_met(single, "10.0.0.2")
