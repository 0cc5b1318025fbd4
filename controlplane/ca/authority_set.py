"""All authorities of one trust domain and what is trusted, at one generation: an immutable value.

In: the key store or the journal. Out: ``rotation`` decides on it, ``transitions`` makes the next
one, ``signing`` makes the snapshot that issuance uses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from controlplane.ca.authority import AuthorityKey
from controlplane.model.certificate import (
    AuthorityRecord,
    AuthorityState,
    AuthorityStatus,
    AuthorityTier,
    BundleEntry,
)

ENDED = frozenset({AuthorityStatus.REMOVED, AuthorityStatus.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthoritySet:
    """Authorities in the order they were made, roots that are or were trusted, their state."""

    state: AuthorityState
    authorities: tuple[AuthorityRecord, ...] = ()
    bundle: tuple[BundleEntry, ...] = ()

    def find(self, authority_id: str) -> AuthorityRecord | None:
        """Return the authority with this id."""
        return next((each for each in self.authorities if each.authority_id == authority_id), None)

    def of_tier(
        self, tier: AuthorityTier, *statuses: AuthorityStatus
    ) -> tuple[AuthorityRecord, ...]:
        """Return authorities of ``tier`` in one of ``statuses`` (any when none is given)."""
        return tuple(
            each
            for each in self.authorities
            if each.tier is tier and (not statuses or each.status in statuses)
        )

    @property
    def living(self) -> tuple[AuthorityRecord, ...]:
        """Authorities that still have a key: neither removed nor failed."""
        return tuple(each for each in self.authorities if each.status not in ENDED)

    @property
    def active_root(self) -> AuthorityRecord | None:
        """The root that is in force; it may be tainted."""
        return self.find(self.state.active_root)

    @property
    def active_intermediate(self) -> AuthorityRecord | None:
        """The authority that signs leaves."""
        return self.find(self.state.active_intermediate)

    @property
    def trusted(self) -> tuple[BundleEntry, ...]:
        """The roots that are trusted now, the longest trusted first."""
        found = [entry for entry in self.bundle if entry.removed_version is None]
        return tuple(sorted(found, key=lambda entry: (entry.added_version, entry.sha256)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What an operator asked for and has not happened yet.

    ``tainted`` are ids of authorities. ``is_hard`` lets a root take over without waiting for
    anybody: peers may stop trusting each other until they have fetched certificates again.
    """

    is_paused: bool = False
    rotates: frozenset[AuthorityTier] = frozenset()
    tainted: frozenset[str] = frozenset()
    is_hard: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAuthorities:
    """Everything a key store keeps: the authorities, their keys by id, and open orders."""

    authorities: AuthoritySet
    keys: Mapping[str, AuthorityKey] = field(
        default_factory=lambda: MappingProxyType({}), repr=False
    )
    orders: Orders = field(default_factory=Orders)

    def __reduce__(self) -> str:
        raise TypeError("keys stay where they are")
