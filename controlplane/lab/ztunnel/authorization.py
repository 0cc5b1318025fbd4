"""An authorization policy as a ztunnel knows it (Source: istio.security.Authorization)."""

from dataclasses import dataclass, fields
from enum import Enum, IntEnum
from typing import NamedTuple

from controlplane.lab.ztunnel.network import IpPrefix


class Scope(IntEnum):
    """Which workloads a policy covers."""

    GLOBAL = 0
    NAMESPACE = 1
    WORKLOAD_SELECTOR = 2


class Action(IntEnum):
    """What a match means."""

    ALLOW = 0
    DENY = 1


class Comparison(Enum):
    """How a text is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    PRESENCE = "presence"


class TextMatch(NamedTuple):
    """One comparison of a text; ``text`` is "" for PRESENCE."""

    comparison: Comparison
    text: str

    def holds(self, value: str) -> bool:
        """Return whether ``value`` matches."""
        match self.comparison:
            case Comparison.EXACT:
                return value == self.text
            case Comparison.PREFIX:
                return value.startswith(self.text)
            case Comparison.SUFFIX:
                return value.endswith(self.text)
            case Comparison.PRESENCE:
                return value != ""


class ServiceAccountMatch(NamedTuple):
    """A service account, whatever its trust domain."""

    namespace: str
    service_account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Conditions that must all hold; one without any is skipped."""

    namespaces: tuple[TextMatch, ...] = ()
    not_namespaces: tuple[TextMatch, ...] = ()
    service_accounts: tuple[ServiceAccountMatch, ...] = ()
    not_service_accounts: tuple[ServiceAccountMatch, ...] = ()
    principals: tuple[TextMatch, ...] = ()
    not_principals: tuple[TextMatch, ...] = ()
    source_ips: tuple[IpPrefix, ...] = ()
    not_source_ips: tuple[IpPrefix, ...] = ()
    destination_ips: tuple[IpPrefix, ...] = ()
    not_destination_ips: tuple[IpPrefix, ...] = ()
    destination_ports: tuple[int, ...] = ()
    not_destination_ports: tuple[int, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Return whether no condition is left."""
        return not any(getattr(self, field.name) for field in fields(self))


class Rule(NamedTuple):
    """Matches of which one must hold; without any the rule holds."""

    matches: tuple[Match, ...] = ()


class Group(NamedTuple):
    """Rules that must all hold."""

    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """One policy. It is kept under the resource's name, whatever its own fields say."""

    name: str
    namespace: str
    scope: Scope
    action: Action
    groups: tuple[Group, ...]
    dry_run: bool
