"""Where key sets may be fetched from: an address in, yes or no out.

Whoever may write a policy names a URL that the control plane asks. What answers only to the
machine itself, such as our own admin port or a cloud's metadata, is never asked for it
(docs/protocol/request-authentication.md RA-22).
"""

import ipaddress
from typing import Final

_METADATA: Final = frozenset(
    ipaddress.ip_address(address)
    for address in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")
)
"""Services about the machine that clouds have at addresses that are not link-local."""

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_near(text: str) -> bool:
    """Return whether an address is the machine's own, its link's, its cloud's or nobody's.

    What is no address is near too.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return True
    return any(
        each.is_loopback
        or each.is_link_local
        or each.is_unspecified
        or each.is_multicast
        or each in _METADATA
        for each in _meant(address)
    )


def _meant(address: Address) -> tuple[Address, ...]:
    """Return ``address`` and what it is another way to write."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return (address,) if inner is None else (address, inner)
