"""Addresses that follow from a name alone.

A range and a name come in, one address of the range goes out, the same whatever else exists;
who keeps an address that two names lead to is decided by the callers, always for the smallest
name. Also the short hashes that generated names end in. Source: docs/protocol/expansion.md EX-1,
EX-2.
"""

import ipaddress
from hashlib import blake2b
from typing import Final, NamedTuple

_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
"""Characters of generated names: no vowels, so that no words appear, as Kubernetes does it."""

_STEP: Final = 7_368_787
"""Prime, and no factor of a power of 27: steps of it reach every suffix once."""


class AddressRange(NamedTuple):
    """The addresses that may be handed out: ``size`` of them from ``first``, ``width`` bytes."""

    first: int
    size: int
    width: int

    def address(self, name: str) -> bytes:
        """Return the packed address that ``name`` leads to."""
        return (self.first + _number(name) % self.size).to_bytes(self.width)


def range_from_text(text: str) -> AddressRange:
    """Return the range of a CIDR, without its network and broadcast address where it has them.

    Raises:
        ValueError: ``text`` is not a CIDR.
    """
    network = ipaddress.ip_network(text, strict=False)
    first, size = int(network.network_address), network.num_addresses
    if size > 2:
        first, size = first + 1, size - 2
    return AddressRange(first, size, network.max_prefixlen // 8)


def template_hash(content: bytes) -> str:
    """Return ten characters that follow from ``content``."""
    return _spelled(int.from_bytes(_digest(content)), 10)


def pod_suffix(owner: str, position: int) -> str:
    """Return five characters for the pod at ``position`` of ``owner``.

    Shape: no two positions below 27**5 of one owner share them.
    """
    return _spelled(_number(owner) + position * _STEP, 5)


def preferred(names: tuple[str, ...], subject: str) -> str:
    """Return the one of ``names`` that ``subject`` prefers: taking another away changes nothing.

    Each pair of subject and name has a rank of its own, so that adding or removing a name moves
    only the subjects that prefer it.
    """
    return max(names, key=lambda name: (_number(f"{subject}\0{name}"), name))


def _number(text: str) -> int:
    return int.from_bytes(_digest(text.encode()))


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()


def _spelled(number: int, length: int) -> str:
    letters: list[str] = []
    for _ in range(length):
        number, letter = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[letter])
    return "".join(letters)
