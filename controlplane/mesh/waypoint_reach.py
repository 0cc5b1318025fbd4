"""Where a waypoint must not send: to itself, where its Envoy's admin port asks nobody who they are.

An address or a name and a port come in, whether they may be that port goes out, and whether they
are a waypoint: connections must not go round in circles. docs/protocol/waypoint-config.md WC-77,
WC-78.
"""

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final

from controlplane.dataflow import Collection, Fetch

ADMIN_PORT: Final = 15000
"""Where the Envoy of a waypoint is administered, on loopback (docs/protocol/waypoint-config.md)."""

_MAPPED: Final = bytes(10) + b"\xff\xff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What is known of addresses: ``waypoints`` are those of their pods.

    ``on_loopback`` says that pods have addresses there, as they do when they share a machine.
    """

    waypoints: Collection[bytes, bytes]
    on_loopback: bool

    def is_waypoint(self, fetch: Fetch, address: bytes | str) -> bool:
        """Return whether ``address`` is one of a waypoint's pod; of a name nobody knows."""
        if isinstance(address, str):
            return False
        return fetch.one(self.waypoints, address.removeprefix(_MAPPED)) is not None


def may_be_itself(address: bytes | str, port: int, *, on_loopback: bool = False) -> bool:
    """Return whether a waypoint that connects to ``address`` may reach its own admin port.

    ``address`` is 4 or 16 bytes or a name: nobody knows where a name leads to, so the port of one
    decides. ``on_loopback`` says that pods have addresses there, as they do when they share a
    machine.
    """
    if isinstance(address, str):
        return port == ADMIN_PORT or _is_local_name(address)
    found = ip_address(address)
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return (found.is_loopback and not on_loopback) or found.is_unspecified


def _is_local_name(name: str) -> bool:
    last = name.rstrip(".").rpartition(".")[2]
    return last.lower() == "localhost"
