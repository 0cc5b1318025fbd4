"""Addresses for the hosts of ServiceEntries that have none: entries in, ``status.addresses`` out.

Only the leader allocates, and only once it has listed what its predecessors have allocated. An
address is written by a JSON patch that tests what was there before, so that nothing is written
over that was not seen (docs/protocol/address-allocation.md).
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from controlplane.clock import Clock
from controlplane.cluster.apply import Applied, Lead, Outcome, Target, ask_as_leader, outcome_of
from controlplane.cluster.client import ClusterClient
from controlplane.cluster.refusal import refusal_in
from controlplane.controllers.address_book import AddressBook, Addresses
from controlplane.controllers.address_pool import AddressPool
from controlplane.controllers.errors import UnlistedError
from controlplane.controllers.listing import pages_of, target_at
from controlplane.controllers.queue import Pace, Trouble, WorkQueue
from controlplane.controllers.rounds import Rounds
from controlplane.controllers.status_addresses import StatusAddresses, addresses_in, patch_of
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
_TRIES: Final = 3
_JSON_PATCH: Final = "application/json-patch+json"
_objects: Final = msgspec.json.Decoder(StatusAddresses)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationPace:
    """Seconds between two looks at the lead, and until everything is gone over again."""

    look: float = 1.0
    resync: float = 600.0


class AddressAllocation:
    """Allocates for ``members``, the entries of the mesh. Implements ``Controller``.

    ``entries`` and ``services`` are all of the cluster: their addresses are taken. ``ranges`` are
    CIDRs, one address of each for every host; ``paths`` returns where a kind is listed, None for
    one that the cluster does not have; ``is_ready`` tells whether the collections are complete.

    Raises:
        ValueError: one of ``ranges`` is not a CIDR.
    """

    def __init__(  # noqa: PLR0913 - what the composition root decides, by name
        self,
        client: ClusterClient,
        *,
        lead: Lead,
        entries: Collection[Name, ServiceEntry],
        members: Collection[Name, ServiceEntry],
        services: Collection[Name, Service],
        ranges: Sequence[str],
        paths: Callable[[str], str | None],
        is_ready: Callable[[], bool],
        clock: Clock,
        draw: Callable[[], float],
        pace: AllocationPace | None = None,
        queue_pace: Pace | None = None,
    ) -> None:
        self._client = client
        self._lead = lead
        self._paths = paths
        self._clock = clock
        self._pace = pace or AllocationPace()
        self._book = AddressBook(tuple(AddressPool.from_text(text) for text in ranges))
        self._rounds = Rounds(lead=lead, clock=clock, is_ready=is_ready, every=self._pace.resync)
        self._queue: WorkQueue[Name] = WorkQueue(
            self._see_to, name=self.name, clock=clock, draw=draw, pace=queue_pace
        )
        self._is_listed = False
        self._concerned: set[Name] = set()
        self._busy: set[Name] = set()
        self._touched: set[Name] = set()
        entries.subscribe(self._entries_changed)
        members.subscribe(self._members_changed)
        services.subscribe(self._services_changed)

    @property
    def name(self) -> str:
        """Return its name for people."""
        return "address-allocation"

    @property
    def troubles(self) -> Mapping[Name, Trouble]:
        """Return what is wrong, by ServiceEntry; "/" stands for the list of all of them."""
        return self._queue.troubles

    @property
    def is_idle(self) -> bool:
        """Return whether everything that is known to differ was seen to."""
        return self._queue.is_idle

    async def run(self) -> None:
        """Allocate until cancelled."""
        self._start_over()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run())
            while True:
                if not self._rounds.is_begun:
                    self._is_listed = False
                if self._rounds.is_due():
                    self._queue.add(_EVERYTHING)
                await self._clock.sleep(self._pace.look)

    def _start_over(self) -> None:
        self._is_listed = False
        self._rounds.start_over()

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
        path = self._paths(KIND)
        if path is None:
            return Applied(outcome=Outcome.GONE)
        if key == _EVERYTHING:
            applied = await self._go_over(path)
        elif not self._is_listed:
            # The list that is under way, or to come, finds out what it needs.
            return Applied(outcome=Outcome.NOT_LEADING)
        else:
            self._busy.add(key)
            self._touched.add(key)
            try:
                applied = await self._allocate(key, target_at(path, *key))
            finally:
                self._busy.discard(key)
        if applied.outcome is Outcome.NOT_LEADING:
            self._start_over()
        return applied

    async def _go_over(self, path: str) -> Applied:
        """Learn what every entry has, and queue those that need something else."""
        self._touched = set(self._busy)
        found: dict[Name, Addresses] = {}
        try:
            async for page in pages_of(self._client, self._lead, path, _objects):
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
        applied = Applied(outcome=Outcome.CONFLICT, message="it changes again and again")
        for _ in range(_TRIES):
            found = await self._ask("GET", target.path)
            if isinstance(found, Applied):
                return self._gave_up(key, found)
            # The write is decided on what is there, not on what the watch has shown by now.
            before, entry = addresses_in(found), _entry_in(found)
            news = self._book.saw(key, before) if entry is None else self._book.looked(entry)
            wanted = self._book.reserve(key)
            self._take(news.union(wanted.concerned if wanted else ()), key)
            if wanted is None or wanted.addresses == before:
                return _short_of(wanted.missing if wanted else ())
            operations = patch_of(found, wanted.addresses)
            written = await self._ask("PATCH", f"{target.path}/status", operations)
            if not isinstance(written, Applied):
                self._take(self._book.saw(key, wanted.addresses), key)
                missed = _short_of(wanted.missing)
                return missed if wanted.missing else Applied(outcome=Outcome.WRITTEN)
            applied = written
            if not await self._is_stale(target, found, written):
                break
        return self._gave_up(key, applied)

    async def _is_stale(self, target: Target, found: Mapping[str, Any], written: Applied) -> bool:
        """Tell whether a patch was refused because the object is no longer the one looked at."""
        if written.outcome is Outcome.CONFLICT:
            return True
        if written.outcome is not Outcome.REFUSED:
            return False
        now = await self._ask("GET", target.path)
        return not isinstance(now, Applied) and _version(now) != _version(found)

    def _gave_up(self, key: Name, applied: Applied) -> Applied:
        """Let go of what was reserved, unless it may have been written all the same."""
        if applied.outcome not in {Outcome.UNAVAILABLE, Outcome.NOT_LEADING}:
            self._take(self._book.release(key), key)
        return applied

    async def _ask(
        self, method: str, path: str, operations: Sequence[Mapping[str, Any]] | None = None
    ) -> Mapping[str, Any] | Applied:
        """Return the object that was answered with, or what came of there being none."""
        answer = await ask_as_leader(
            self._client,
            self._lead,
            method,
            path,
            body=None if operations is None else msgspec.json.encode(operations),
            params=None if operations is None else {"fieldManager": MANAGER},
            content_type=_JSON_PATCH,
        )
        if isinstance(answer, Applied):
            return answer
        refusal = refusal_in(answer)
        if refusal is not None:
            message = refusal.message or str(refusal)
            return Applied(outcome=outcome_of(refusal), message=message)
        try:
            found = msgspec.json.decode(answer.body)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            found = None
        if isinstance(found, dict):
            return found
        return Applied(outcome=Outcome.UNAVAILABLE, message="the answer is no object")


def _short_of(missing: Sequence[str]) -> Applied:
    if not missing:
        return Applied(outcome=Outcome.UNCHANGED)
    return Applied(outcome=Outcome.EXHAUSTED, message="; ".join(missing))


def _entry_in(live: Mapping[str, Any]) -> ServiceEntry | None:
    """Return ``live`` as sources read it; None where they refuse to."""
    found = decode_object(KINDS[GROUP, KIND], msgspec.json.encode(live))
    return found if isinstance(found, ServiceEntry) else None


def _version(live: Mapping[str, Any]) -> str:
    return str((live.get("metadata") or {}).get("resourceVersion") or "")
