"""Addresses for the hosts of ServiceEntries that have none: entries in, ``status.addresses`` out.

Only the leader allocates, and only once it has listed what its predecessors have allocated. An
address is written by a JSON patch that tests what was there before, so that nothing is written
over that was not seen (docs/protocol/address-allocation.md).
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from controlplane.cluster.apply import Applied, Outcome, Target
from controlplane.controllers.address_book import AddressBook, Addresses, Allocation
from controlplane.controllers.address_pool import AddressPool
from controlplane.controllers.errors import UnlistedError
from controlplane.controllers.listing import pages_of, target_at
from controlplane.controllers.status_addresses import StatusAddresses, addresses_in, patch_of
from controlplane.controllers.status_patches import StatusPatches
from controlplane.controllers.work_in_rounds import WorkInRounds, WritingTerms
from controlplane.dataflow import Change, Collection
from controlplane.manifests.core import Service
from controlplane.manifests.decoding import KINDS, decode_object
from controlplane.manifests.istio import ServiceEntry
from controlplane.model.names import Name
from controlplane.model.network import address_from_text

MANAGER: Final = "istiod-lite-address-allocation"
GROUP: Final = "networking.istio.io"
KIND: Final = "ServiceEntry"

_EVERYTHING: Final = Name("", "")
_MAY_BE_THERE: Final = frozenset(
    {Outcome.UNCHANGED, Outcome.EXHAUSTED, Outcome.UNAVAILABLE, Outcome.NOT_LEADING}
)
"""What addresses that were reserved outlive: they are written, or may be."""
_objects: Final = msgspec.json.Decoder(StatusAddresses)


class AddressAllocation(WorkInRounds[Name]):
    """Allocates for ``members``, the entries of the mesh.

    ``entries`` and ``services`` are all of the cluster: their addresses are taken. ``ranges`` are
    CIDRs, one address of each for every host. "/" stands for the list of all entries.

    Raises:
        ValueError: one of ``ranges`` is not a CIDR.
    """

    def __init__(
        self,
        terms: WritingTerms,
        *,
        entries: Collection[Name, ServiceEntry],
        members: Collection[Name, ServiceEntry],
        services: Collection[Name, Service],
        ranges: Sequence[str],
    ) -> None:
        super().__init__(terms, name="address-allocation")
        self._patches = StatusPatches(terms.client, manager=MANAGER, lead=terms.lead)
        self._book = AddressBook(tuple(AddressPool.from_text(text) for text in ranges))
        self._is_listed = False
        self._concerned: set[Name] = set()
        self._busy: set[Name] = set()
        self._touched: set[Name] = set()
        entries.subscribe(self._entries_changed)
        members.subscribe(self._members_changed)
        services.subscribe(self._services_changed)

    def _everything(self) -> Iterable[Name]:
        return (_EVERYTHING,)

    def _forget(self) -> None:
        self._is_listed = False

    def _entries_changed(self, changes: Sequence[Change[Name, ServiceEntry]]) -> Iterator[None]:
        for key, _, entry in changes:
            self._touched.add(key)
            news = self._book.remove(key) if entry is None else self._book.put(entry)
            self._concerned |= news
            yield
        yield from self._follow()

    def _members_changed(self, changes: Sequence[Change[Name, ServiceEntry]]) -> Iterator[None]:
        for key, before, after in changes:
            if before is None or after is None:
                self._concerned |= self._book.admit(key, is_member=after is not None)
                yield
        yield from self._follow()

    def _services_changed(self, changes: Sequence[Change[Name, Service]]) -> Iterator[None]:
        for key, _, service in changes:
            texts = () if service is None else service.cluster_ips
            packed = [address_from_text(text) for text in texts]
            self._concerned |= self._book.use(key, [each for each in packed if each])
            yield
        yield from self._follow()

    def _follow(self) -> Iterator[None]:
        """Queue those that need something; nothing before it is known what was allocated.

        Yields wherever others may have their turn.
        """
        concerned, self._concerned = self._concerned, set()
        if not (self._is_listed and self._rounds.is_begun):
            return
        for key in self._book.in_order(concerned):
            if not self._book.is_settled(key):
                # At once and in order: who gets which address does not depend on who answers first.
                wanted = self._book.reserve(key)
                others = () if wanted is None else wanted.concerned
                self._queue.add(key, *(each for each in others if not self._book.is_settled(each)))
            elif key in self.troubles:
                self._queue.add(key)
            yield

    def _take(self, concerned: set[Name], key: Name) -> None:
        """Follow what came of the work on ``key``, which is seen to already."""
        self._concerned |= concerned - {key}
        for _ in self._follow():
            pass

    async def _see_to(self, key: Name) -> Applied:
        path = self._terms.paths(KIND)
        if path is None:
            return Applied(outcome=Outcome.GONE)
        if key == _EVERYTHING:
            return await self._go_over(path)
        if not self._is_listed:
            # The list that is under way, or to come, finds out what it needs.
            return Applied(outcome=Outcome.NOT_LEADING)
        self._busy.add(key)
        self._touched.add(key)
        try:
            return await self._allocate(key, target_at(path, *key))
        finally:
            self._busy.discard(key)

    async def _go_over(self, path: str) -> Applied:
        """Learn what every entry has, and queue those that need something else."""
        self._touched = set(self._busy)
        found: dict[Name, Addresses] = {}
        try:
            async for page in pages_of(self._terms.client, self._terms.lead, path, _objects):
                for live in page:
                    found[Name(live.metadata.namespace, live.metadata.name)] = live.addresses
        except UnlistedError as error:
            return error.applied
        if not self._is_listed:
            self._book.release_all()
        # What was written or shown since the list began is newer than the list.
        for key, addresses in found.items():
            if key not in self._touched and addresses != self._book.known(key):
                self._book.saw(key, addresses)
                await asyncio.sleep(0)
        for key in self._book.seen():
            if key not in self._touched and key not in found:
                self._book.saw(key, None)
        self._is_listed = True
        self._concerned.update(self._book.keys(), self.troubles.keys() - {_EVERYTHING})
        for _ in self._follow():
            await asyncio.sleep(0)
        return Applied(outcome=Outcome.UNCHANGED)

    async def _allocate(self, key: Name, target: Target) -> Applied:
        sought: list[Allocation] = []

        def decide(live: Mapping[str, Any]) -> list[dict[str, Any]] | Applied:
            # The write is decided on what is there, not on what the watch has shown by now.
            before, entry = addresses_in(live), _entry_in(live)
            news = self._book.saw(key, before) if entry is None else self._book.looked(entry)
            wanted = self._book.reserve(key)
            self._take(news.union(wanted.concerned if wanted else ()), key)
            if wanted is None or wanted.addresses == before:
                return _short_of(wanted.missing if wanted else ())
            sought.append(wanted)
            return patch_of(live, wanted.addresses)

        written = await self._patches.patch(target, decide)
        if isinstance(written, Applied):
            return self._gave_up(key, written)
        wanted = sought[-1]
        self._take(self._book.saw(key, wanted.addresses), key)
        return _short_of(wanted.missing) if wanted.missing else Applied(outcome=Outcome.WRITTEN)

    def _gave_up(self, key: Name, applied: Applied) -> Applied:
        """Let go of what was reserved, unless it may have been written all the same."""
        if applied.outcome not in _MAY_BE_THERE:
            self._take(self._book.release(key), key)
        return applied


def _short_of(missing: Sequence[str]) -> Applied:
    if not missing:
        return Applied(outcome=Outcome.UNCHANGED)
    return Applied(outcome=Outcome.EXHAUSTED, message="; ".join(missing))


def _entry_in(live: Mapping[str, Any]) -> ServiceEntry | None:
    """Return ``live`` as sources read it; None where they refuse to."""
    found = decode_object(KINDS[GROUP, KIND], msgspec.json.encode(live))
    return found if isinstance(found, ServiceEntry) else None
