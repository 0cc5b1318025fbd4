"""Whose address a transport address is, for limits by address."""

from ipaddress import IPv4Address, ip_address, ip_network
from urllib.parse import unquote


def address_of(peer: str) -> str:
    """Return whose address a transport address such as ``ipv4:10.0.0.1:4711`` is.

    All of a ``/64`` is one machine's, as far as anybody can tell. What has no address, such as a
    socket of this machine, is one address of its own.
    """
    family, _, rest = unquote(peer).partition(":")
    host = rest.rpartition(":")[0].strip("[]")
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return family
    if isinstance(address, IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, 64), strict=False))
