"""Network addresses as the wire wants them: packed bytes, canonical text.

Text in: what users write in manifests. Bytes out: 4 or 16 raw bytes, kept as they are sent.
"""

import ipaddress
from typing import NamedTuple


class NetworkAddress(NamedTuple):
    """An address on a named network; ``length`` is a prefix length, None for a host address."""

    network: str
    address: bytes
    length: int | None = None

    def __str__(self) -> str:
        text = f"{self.network}/{text_from_address(self.address)}"
        return text if self.length is None else f"{text}/{self.length}"


def address_from_text(text: str) -> bytes | None:
    """Return the 4 or 16 packed bytes of an IP address, or None when ``text`` is not one.

    Zones (``fe80::1%eth0``) are not addresses here: they mean nothing on another host.
    """
    if "%" in text:
        return None
    try:
        return ipaddress.ip_address(text).packed
    except ValueError:
        return None


def prefix_from_text(text: str) -> tuple[bytes, int] | None:
    """Return (packed address as written, prefix length) of a CIDR, or None when it is not one."""
    address, slash, length = text.partition("/")
    packed = address_from_text(address)
    if packed is None or not slash or not length.isascii() or not length.isdigit():
        return None
    if length != str(int(length)) or int(length) > len(packed) * 8:
        return None
    return packed, int(length)


def masked(address: bytes, length: int) -> bytes:
    """Return ``address`` with every bit after the first ``length`` cleared."""
    bits = len(address) * 8
    mask = ((1 << bits) - 1) ^ ((1 << (bits - length)) - 1)
    return (int.from_bytes(address) & mask).to_bytes(len(address))


def text_from_address(address: bytes) -> str:
    """Return the canonical text (RFC 5952; IPv4-mapped addresses keep the dotted form)."""
    if len(address) == 16 and address[:12] == b"\0" * 10 + b"\xff\xff":
        return f"::ffff:{ipaddress.IPv4Address(address[12:])}"
    return str(ipaddress.ip_address(address))
