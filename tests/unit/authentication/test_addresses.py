"""Whose address a transport address is."""

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.authentication.addresses import address_of


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.0.0.1:4711", "10.0.0.1"),
        ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::/64"),
        ("ipv6:[2001:db8::ffff:2]:1", "2001:db8::/64"),
        ("ipv6:[::ffff:10.0.0.1]:1", "10.0.0.1"),
        ("ipv6:[fe80::1%25eth0]:1", "fe80::/64"),
        ("unix:", "unix"),
        ("unix:/run/socket", "unix"),
        ("ipv4:nonsense:1", "ipv4"),
        ("", ""),
    ],
)
def test_an_address_is_told_without_its_port(peer: str, address: str) -> None:
    assert address_of(peer) == address


@given(st.ip_addresses(v=6), st.integers(1, 65535), st.integers(0, 2**64 - 1))
def test_a_network_of_sixty_four_bits_is_one_address(
    address: IPv6Address, port: int, other: int
) -> None:
    if address.ipv4_mapped is None:
        neighbour = IPv6Address(int(address) >> 64 << 64 | other)
        if neighbour.ipv4_mapped is None:
            assert address_of(f"ipv6:[{address}]:{port}") == address_of(f"ipv6:[{neighbour}]:1")
