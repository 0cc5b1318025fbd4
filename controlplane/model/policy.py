"""An authorization policy as ztunnel enforces it (docs/protocol/policies.md).

Groups are ORed, rules within a group are ANDed, matches within a rule are ORed, fields within a
match are ANDed, values within a field are ORed and ``not_*`` means: none of them.
"""

from dataclasses import dataclass, fields
from enum import Enum, IntEnum
from typing import NamedTuple

from controlplane.model.names import Name


class Scope(IntEnum):
    """Which workloads a policy covers."""

    GLOBAL = 0
    NAMESPACE = 1
    WORKLOAD_SELECTOR = 2


class Action(IntEnum):
    """What happens on a match."""

    ALLOW = 0
    DENY = 1


class MatchType(Enum):
    """How a string is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    PRESENCE = "presence"


class StringMatch(NamedTuple):
    """One comparison; ``value`` is "" for PRESENCE."""

    type: MatchType
    value: str = ""


class AddressMatch(NamedTuple):
    """An address block: packed address as written and prefix length."""

    address: bytes
    length: int


class ServiceAccountMatch(NamedTuple):
    """A service account of any trust domain."""

    namespace: str
    service_account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One match. A match with no field set never fires at ztunnel."""

    namespaces: tuple[StringMatch, ...] = ()
    not_namespaces: tuple[StringMatch, ...] = ()
    service_accounts: tuple[ServiceAccountMatch, ...] = ()
    not_service_accounts: tuple[ServiceAccountMatch, ...] = ()
    principals: tuple[StringMatch, ...] = ()
    not_principals: tuple[StringMatch, ...] = ()
    source_ips: tuple[AddressMatch, ...] = ()
    not_source_ips: tuple[AddressMatch, ...] = ()
    destination_ips: tuple[AddressMatch, ...] = ()
    not_destination_ips: tuple[AddressMatch, ...] = ()
    destination_ports: tuple[int, ...] = ()
    not_destination_ports: tuple[int, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Return whether no field is set, so that the match can never fire."""
        return not any(getattr(self, field.name) for field in fields(self))


class Rule(NamedTuple):
    """Matches, ORed. A rule with no matches holds; one with only empty matches does not."""

    matches: tuple[Match, ...] = ()


class Group(NamedTuple):
    """Rules, ANDed. A group with no rules matches everything."""

    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """One policy; without groups it never matches (an ALLOW then denies all it covers)."""

    name: str
    namespace: str
    scope: Scope
    action: Action
    groups: tuple[Group, ...] = ()
    dry_run: bool = False

    @property
    def key(self) -> Name:
        """Return the name workloads list it under: its resource name on the wire."""
        return Name(self.namespace, self.name)
