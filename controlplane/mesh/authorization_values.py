"""Single values of an AuthorizationPolicy: text as users write it in, model values out.

Every reader takes the text and the policy's namespace and returns None for a value that cannot be
used; what follows from that is decided by ``controlplane.mesh.authorization``.
"""

from collections.abc import Callable

from controlplane.model.network import address_from_text, prefix_from_text
from controlplane.model.policy import AddressMatch, MatchType, ServiceAccountMatch, StringMatch

MatchValue = StringMatch | AddressMatch | ServiceAccountMatch | int
ReadValue = Callable[[str, str], MatchValue | None]

_HIGHEST_PORT = 65535


def string_match(value: str, _namespace: str) -> StringMatch | None:
    """Return how ``value`` compares (docs/protocol/policies.md AP-9), None when it is empty."""
    if not value:
        return None
    if value == "*":
        return StringMatch(MatchType.PRESENCE)
    if value.startswith("*"):
        return StringMatch(MatchType.SUFFIX, value[1:])
    if value.endswith("*"):
        return StringMatch(MatchType.PREFIX, value[:-1])
    return StringMatch(MatchType.EXACT, value)


def service_account_match(value: str, namespace: str) -> ServiceAccountMatch | None:
    """Return the account of ``ns/sa``, or of ``sa`` in ``namespace``; None for anything else."""
    head, slash, tail = value.partition("/")
    owner, account = (head, tail) if slash else (namespace, head)
    if not owner or not account or "/" in account or "*" in value:
        return None
    return ServiceAccountMatch(owner, account)


def address_match(value: str, _namespace: str) -> AddressMatch | None:
    """Return the block of an IP address or CIDR, its base as written; None for anything else."""
    block = prefix_from_text(value)
    if block is not None:
        return AddressMatch(*block)
    address = address_from_text(value)
    return None if address is None else AddressMatch(address, len(address) * 8)


def port_match(value: str, _namespace: str) -> int | None:
    """Return a decimal port from 1 to 65535, None for anything else."""
    digits = value.lstrip("0")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > len(str(_HIGHEST_PORT)):
        return None
    port = int(digits)
    return port if port <= _HIGHEST_PORT else None
