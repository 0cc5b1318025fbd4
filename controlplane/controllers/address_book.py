"""Who uses which address, and which addresses a host is to have: entries and Services in, out.

Pure. Beside what the watch has shown it keeps what was seen in a newer answer and what is reserved
for a write that is under way, so that nothing is handed out twice while the watch lags behind
(docs/protocol/address-allocation.md AL-1 to AL-12).
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from controlplane.controllers.address_pool import AddressPool, Block
from controlplane.manifests.istio import AllocatedAddress, ServiceEntry
from controlplane.mesh.service_entries import wants_allocation
from controlplane.model.names import Name
from controlplane.model.network import address_from_text, prefix_from_text, text_from_address

Addresses = tuple[AllocatedAddress, ...]

_NONE: Final[frozenset[Name]] = frozenset()


class Rank(NamedTuple):
    """Of two that hold one address, the smaller keeps it: the older entry, then by name."""

    created: float
    key: Name
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What an entry is to have in ``status.addresses``; ``missing`` says what could not be had.

    ``concerned`` are others that may get what this one no longer asks for.
    """

    addresses: Addresses
    missing: tuple[str, ...] = ()
    concerned: frozenset[Name] = frozenset()


@dataclass(slots=True)
class _Page:
    """All that is known of one ServiceEntry."""

    entry: ServiceEntry | None = None
    is_member: bool = False
    shown: Addresses = ()
    seen: Addresses | None = None
    reserved: Addresses | None = None
    stated: frozenset[bytes] = frozenset()
    held: frozenset[bytes] = frozenset()

    @property
    def known(self) -> Addresses:
        """Return what is in its status, as far as is known."""
        return self.shown if self.seen is None else self.seen

    @property
    def is_ours(self) -> bool:
        """Return whether its addresses are ours to allocate."""
        return self.is_member and self.entry is not None and not self.entry.metadata.deleting

    @property
    def current(self) -> Addresses:
        """Return what it has, or is about to have."""
        return self.known if self.reserved is None else self.reserved


@dataclass(slots=True)
class AddressBook:
    """Every method that takes news returns the entries that these may concern."""

    pools: tuple[AddressPool, ...]
    _pages: dict[Name, _Page] = field(default_factory=dict)
    _services: dict[Name, frozenset[bytes]] = field(default_factory=dict)
    _blocks: dict[Name, tuple[Block, ...]] = field(default_factory=dict)
    _stated: dict[bytes, int] = field(default_factory=dict)
    _holders: dict[bytes, set[Name]] = field(default_factory=dict)
    _starved: set[Name] = field(default_factory=set)
    _used_up: set[AddressPool] = field(default_factory=set)

    def put(self, entry: ServiceEntry) -> set[Name]:
        """Take what the watch shows of an entry."""
        page = self._pages.setdefault(entry.key, _Page())
        page.entry, page.shown = entry, entry.status_addresses
        if page.seen == page.shown:
            page.seen = None
        return self._indexed(entry.key)

    def looked(self, entry: ServiceEntry) -> set[Name]:
        """Take what an answer of the API server says of an entry that the watch has shown."""
        page = self._pages.get(entry.key)
        if page is not None and page.entry is not None:
            page.entry = entry
        return self.saw(entry.key, entry.status_addresses)

    def remove(self, key: Name) -> set[Name]:
        """Take that the watch shows an entry no more."""
        page = self._pages.get(key)
        if page is None:
            return set()
        page.entry = page.seen = page.reserved = None
        page.shown = ()
        concerned = self._indexed(key)
        self._starved.discard(key)
        if not page.is_member:
            del self._pages[key]
        return concerned

    def admit(self, key: Name, *, is_member: bool) -> set[Name]:
        """Take whether an entry belongs to the mesh, so that its addresses are ours to allocate."""
        page = self._pages.setdefault(key, _Page())
        page.is_member = is_member
        if page.entry is None and page.seen is None and not is_member:
            del self._pages[key]
            return set()
        if not is_member:
            page.reserved = None
        return self._indexed(key) | self._rivals(key)

    def use(self, service: Name, addresses: Iterable[bytes]) -> set[Name]:
        """Take which addresses a Service has."""
        before, after = self._services.get(service, frozenset()), frozenset(addresses)
        self._services[service] = after
        if not after:
            del self._services[service]
        return self._restated(before, after)

    def saw(self, key: Name, addresses: Addresses | None) -> set[Name]:
        """Take what an answer of the API server says is in a status; None: there is no object."""
        page = self._pages.setdefault(key, _Page())
        if addresses is None or addresses != page.known:
            page.reserved = None
        page.seen = addresses
        if page.entry is not None and addresses == page.shown:
            page.seen = None
        concerned = self._indexed(key)
        if page.entry is None and page.seen is None and not page.is_member:
            del self._pages[key]
        return concerned

    def release(self, key: Name) -> set[Name]:
        """Give up what was reserved for a write that did not come about."""
        page = self._pages.get(key)
        if page is None or page.reserved is None:
            return set()
        page.reserved = None
        return self._indexed(key)

    def release_all(self) -> None:
        """Give up everything that was reserved."""
        for key in [key for key, page in self._pages.items() if page.reserved is not None]:
            self.release(key)

    def known(self, key: Name) -> Addresses:
        """Return what is in the status of an entry, as far as is known."""
        page = self._pages.get(key)
        return () if page is None else page.known

    def keys(self) -> list[Name]:
        """Return every entry, oldest first."""
        return self.in_order(self._pages)

    def in_order(self, keys: Iterable[Name]) -> list[Name]:
        """Return ``keys``, the oldest entries first."""
        return sorted(keys, key=self._age)

    def seen(self) -> list[Name]:
        """Return the entries that an answer has said something newer of than the watch."""
        return [key for key, page in self._pages.items() if page.seen is not None]

    def is_settled(self, key: Name) -> bool:
        """Tell whether an entry has what it is to have, and the watch has shown that."""
        page = self._pages.get(key)
        if page is None or page.entry is None or not page.is_ours:
            return True
        if page.seen is not None or page.reserved is not None:
            return False
        wanted = self._allocation(page.entry, page, is_dry=True)
        return not wanted.missing and wanted.addresses == page.known

    def reserve(self, key: Name) -> Allocation | None:
        """Return what an entry is to have, and reserve it; None for one that is not ours."""
        page = self._pages.get(key)
        if page is None or page.entry is None or not page.is_ours:
            return None
        wanted = self._allocation(page.entry, page, is_dry=False)
        page.reserved = None if wanted.addresses == page.known else wanted.addresses
        (self._starved.add if wanted.missing else self._starved.discard)(key)
        return replace(wanted, concerned=frozenset(self._indexed(key) - {key}))

    def _allocation(self, entry: ServiceEntry, page: _Page, *, is_dry: bool) -> Allocation:
        found: list[AllocatedAddress] = []
        missing: list[str] = []
        mine: set[bytes] = set()
        for position, host in enumerate(_eligible(entry)):
            for pool in self.pools:
                address = self._kept(entry, page, position, host, pool, mine)
                if address is None and not is_dry:
                    address = self._fresh(entry.key, host, pool, mine)
                if address is None:
                    missing.append(f"no address of {pool} is left for host {host}")
                    continue
                found.append(address)
                packed = address_from_text(address.value)
                if packed is not None:
                    mine.add(packed)
        addresses = tuple(found)
        # The order that somebody else has written is as good as ours.
        if len(found) == len(page.known) and set(found) == set(page.known):
            addresses = page.known
        return Allocation(addresses=addresses, missing=tuple(missing))

    def _kept(
        self,
        entry: ServiceEntry,
        page: _Page,
        position: int,
        host: str,
        pool: AddressPool,
        mine: Collection[bytes],
    ) -> AllocatedAddress | None:
        """Return the first address of the pool's family that the host has and may keep."""
        rank = Rank(entry.metadata.created, entry.key, position)
        # What is known but about to go may stay after all.
        for given in (*page.current, *page.known):
            packed = address_from_text(given.value)
            if given.host != host or packed is None or len(packed) != pool.width:
                continue
            if packed not in mine and not self._is_stated(packed) and self._is_first(packed, rank):
                return given
        return None

    def _fresh(
        self, key: Name, host: str, pool: AddressPool, mine: Collection[bytes]
    ) -> AllocatedAddress | None:
        if pool in self._used_up:
            return None
        blocks = [block for each in self._blocks.values() for block in each]

        def is_used(packed: bytes) -> bool:
            return packed in self._stated or packed in self._holders or packed in mine

        packed = pool.first_free(f"{key}/{host}", is_used, blocks)
        if packed is None:
            self._used_up.add(pool)
            return None
        return AllocatedAddress(text_from_address(packed), host)

    def _is_stated(self, packed: bytes) -> bool:
        return packed in self._stated or any(
            block.contains(packed) for blocks in self._blocks.values() for block in blocks
        )

    def _is_first(self, packed: bytes, rank: Rank) -> bool:
        return all(
            rank <= other
            for key in self._holders.get(packed, _NONE)
            for other in self._ranks(key, packed)
        )

    def _ranks(self, key: Name, packed: bytes) -> Iterator[Rank]:
        """Yield the ranks of the hosts of ``key`` that hold an address and may."""
        page = self._pages[key]
        if page.entry is None:
            # Nothing but its status is known: when the watch shows it, this is decided.
            return
        created = page.entry.metadata.created
        hosts = _eligible(page.entry) if page.is_member else tuple(dict.fromkeys(page.entry.hosts))
        holding = {given.host for given in page.current if address_from_text(given.value) == packed}
        for position, host in enumerate(hosts):
            if host in holding:
                yield Rank(created, key, position)

    def _indexed(self, key: Name) -> set[Name]:
        """Bring the indexes up to date with the page of ``key``; return whom that concerns."""
        page = self._pages[key]
        entry = page.entry
        stated, blocks = _stated_by(entry)
        texts = [given.value for given in (*page.known, *page.current)]
        held = frozenset(packed for text in texts if (packed := address_from_text(text)))
        concerned = {key} | self._restated(page.stated, stated)
        for packed in page.held - held:
            holders = self._holders[packed]
            holders.discard(key)
            if not holders:
                del self._holders[packed]
                concerned |= self._freed()
        for packed in held - page.held:
            self._holders.setdefault(packed, set()).add(key)
        for packed in held ^ page.held:
            concerned |= self._holders.get(packed, _NONE)
        page.stated, page.held = stated, held
        if self._blocks.get(key, ()) != blocks:
            concerned |= self._freed()
            concerned |= {
                each
                for block in (*blocks, *self._blocks.get(key, ()))
                for packed, holders in self._holders.items()
                if block.contains(packed)
                for each in holders
            }
            self._blocks[key] = blocks
            if not blocks:
                del self._blocks[key]
        return concerned

    def _restated(self, before: frozenset[bytes], after: frozenset[bytes]) -> set[Name]:
        concerned: set[Name] = set()
        for packed in before - after:
            self._stated[packed] -= 1
            if not self._stated[packed]:
                del self._stated[packed]
                concerned |= self._freed()
        for packed in after - before:
            self._stated[packed] = self._stated.get(packed, 0) + 1
            concerned |= self._holders.get(packed, _NONE)
        return concerned

    def _freed(self) -> set[Name]:
        """Return those that went without: one address more may be had."""
        self._used_up.clear()
        return set(self._starved)

    def _rivals(self, key: Name) -> set[Name]:
        return {each for packed in self._pages[key].held for each in self._holders[packed]}

    def _age(self, key: Name) -> tuple[float, Name]:
        page = self._pages.get(key)
        entry = None if page is None else page.entry
        return (0.0 if entry is None else entry.metadata.created), key


def _eligible(entry: ServiceEntry) -> tuple[str, ...]:
    return tuple(host for host in dict.fromkeys(entry.hosts) if wants_allocation(entry, host))


def _stated_by(entry: ServiceEntry | None) -> tuple[frozenset[bytes], tuple[Block, ...]]:
    """Return the addresses and the blocks that users have given an entry."""
    single: set[bytes] = set()
    blocks: list[Block] = []
    for text in () if entry is None else entry.addresses:
        packed = address_from_text(text)
        prefix = None if packed else prefix_from_text(text)
        if packed is None and prefix is not None:
            packed, length = prefix
            if length < len(packed) * 8:
                blocks.append(Block.of(packed, length))
                continue
        if packed is not None:
            single.add(packed)
    return frozenset(single), tuple(blocks)
