"""Policies in words: one in, a line for each alternative out, as an operator would say it."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from controlplane.model.network import text_from_address
from controlplane.model.policy import (
    AddressMatch,
    Authorization,
    Group,
    Match,
    MatchType,
    ServiceAccountMatch,
    StringMatch,
)

_PRESENT: Final = (StringMatch(MatchType.PRESENCE),)


class Alternative(NamedTuple):
    """One group of a policy: it matches when all ``conditions`` hold; none always matches."""

    conditions: tuple[str, ...]


def alternatives(policy: Authorization) -> tuple[Alternative, ...]:
    """Return what of a policy must match, one after the other."""
    return tuple(Alternative(_conditions(group)) for group in policy.groups)


def _conditions(group: Group) -> tuple[str, ...]:
    return tuple(", or ".join(map(_match, rule.matches)) for rule in group.rules if rule.matches)


def _match(match: Match) -> str:
    if match.is_empty:
        return "never"
    parts = [
        *_either("identity is", "identity is not", match.principals, match.not_principals),
        *_either("namespace is", "namespace is not", match.namespaces, match.not_namespaces),
        *_either(
            "account is", "account is not", match.service_accounts, match.not_service_accounts
        ),
        *_either(
            "source address in", "source address not in", match.source_ips, match.not_source_ips
        ),
        *_either("address in", "address not in", match.destination_ips, match.not_destination_ips),
        *_either("port is", "port is not", match.destination_ports, match.not_destination_ports),
    ]
    return " and ".join(parts)


def _either(
    says: str, denies: str, wanted: Sequence[object], unwanted: Sequence[object]
) -> Iterable[str]:
    if wanted == _PRESENT:
        yield f"there is some {says.removesuffix(' is')}"
    elif wanted:
        yield f"{says} {' or '.join(map(_text, wanted))}"
    if unwanted == _PRESENT:
        yield f"there is no {says.removesuffix(' is')}"
    elif unwanted:
        yield f"{denies} {' nor '.join(map(_text, unwanted))}"


def _text(value: object) -> str:
    match value:
        case ServiceAccountMatch(namespace, account):
            return f"{namespace}/{account}"
        case AddressMatch(address, length):
            return f"{text_from_address(address)}/{length}"
        case StringMatch():
            return _compared(value)
        case _:
            return str(value)


def _compared(match: StringMatch) -> str:
    match match.type:
        case MatchType.PRESENCE:
            return "anything"
        case MatchType.PREFIX:
            return f"{match.value}*"
        case MatchType.SUFFIX:
            return f"*{match.value}"
        case _:
            return match.value
