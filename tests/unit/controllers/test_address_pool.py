import ipaddress

import pytest

from controlplane.controllers.address_pool import AddressPool, Block
from controlplane.model.network import address_from_text, prefix_from_text


def packed(text: str) -> bytes:
    found = address_from_text(text)
    assert found is not None
    return found


def block(text: str) -> Block:
    found = prefix_from_text(text)
    assert found is not None
    return Block.of(*found)


def handed_out(text: str, *blocks: str) -> list[str]:
    """Return everything that a pool gives before it is used up, sorted."""
    pool, found = AddressPool.from_text(text), set[bytes]()
    while True:
        free = pool.first_free("name", found.__contains__, [block(each) for each in blocks])
        if free is None:
            return [str(ipaddress.ip_address(each)) for each in sorted(found)]
        assert free not in found
        found.add(free)


@pytest.mark.proves("AL-4")
def test_the_unusual_addresses_are_left_out() -> None:
    found = handed_out("10.1.0.0/22")
    assert len(found) == 4 * 254
    assert not [each for each in found if each.endswith((".0", ".255"))]
    assert handed_out("10.1.0.128/29") == [f"10.1.0.{number}" for number in range(129, 135)]
    assert handed_out("2001:db8::/126") == ["2001:db8::1", "2001:db8::2"]


@pytest.mark.refutes("AL-4")
def test_all_others_are_handed_out() -> None:
    assert handed_out("10.1.0.4/31") == ["10.1.0.4", "10.1.0.5"]
    assert handed_out("10.1.0.4/32") == ["10.1.0.4"]
    ipv6 = handed_out("2001:db8::/119")
    assert {"2001:db8::ff", "2001:db8::100"} <= set(ipv6)
    assert len(ipv6) == 510


@pytest.mark.proves("AL-2")
def test_blocks_are_passed_over_in_one_step() -> None:
    assert handed_out("10.1.0.0/29", "10.1.0.0/30", "10.1.0.6/32", "::/0") == [
        "10.1.0.4",
        "10.1.0.5",
    ]
    # Half of a range that nobody could go through one by one.
    pool = AddressPool.from_text("2001:2::/48")
    for name in ("a", "b", "c", "d"):
        free = pool.first_free(name, lambda _: False, [block("2001:2::/49")])
        assert free is not None
        assert not block("2001:2::/49").contains(free)
    assert pool.first_free("a", lambda _: False, [block("2001:2::/49"), block("::/0")]) is None


def test_a_block_is_of_one_family() -> None:
    assert block("10.0.0.9/8").contains(packed("10.255.0.1"))
    assert not block("10.0.0.0/8").contains(packed("11.0.0.0"))
    assert not block("0.0.0.0/0").contains(packed("::1"))
    assert str(AddressPool.from_text("10.0.0.0/8")) == "10.0.0.0/8"
