"""Key sets kept fresh: requests come in, what was fetched goes out whenever it changes.

One task for each address, so that none is asked twice at a time and none waits for another's
answer. What was good stays for a while when an issuer cannot be asked; then tokens fail.
docs/protocol/request-authentication.md RA-24 to RA-27.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from controlplane.authentication.errors import KeySetError
from controlplane.clock import Clock
from controlplane.model.token_rule import FetchedKeySet, KeySetRequest
from controlplane.sources.key_sets.download import Download
from controlplane.sources.kubernetes.backoff import Backoff, Waits

_AT_ONCE: Final = 8
_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 300.0
_TOO_MANY: Final = "there are more key sets than are fetched"
_CHANCE: Final = random.SystemRandom()

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepingSettings:
    """Seconds between two looks, seconds that an old set is good for, and how many are kept."""

    refresh: float
    lifetime: float
    most: int = 256


class KeySets:
    """Fetches what is ``want``ed, again and again while ``run`` runs."""

    def __init__(
        self,
        download: Download,
        clock: Clock,
        settings: KeepingSettings,
        found: Callable[[FetchedKeySet], None],
        tried: Callable[[bool], None] = lambda _: None,
        chance: random.Random = _CHANCE,
    ) -> None:
        self._download = download
        self._clock = clock
        self._settings = settings
        self._found = found
        self._tried = tried
        self._chance = chance
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._wanted: dict[str, KeySetRequest] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stirred = asyncio.Event()

    def want(self, request: KeySetRequest) -> None:
        """Keep a key set from now on; one that is kept is asked for with the new limits."""
        self._wanted[request.uri] = request
        self._stirred.set()

    def forget(self, uri: str) -> None:
        """Keep a key set no longer."""
        self._wanted.pop(uri, None)
        self._stirred.set()

    async def run(self) -> None:
        """Fetch until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._stirred.wait()
                self._stirred.clear()
                self._adjust(group)

    def _adjust(self, group: asyncio.TaskGroup) -> None:
        for uri in self._tasks.keys() - self._wanted.keys():
            self._tasks.pop(uri).cancel()
        for uri in sorted(self._wanted.keys() - self._tasks.keys()):
            if len(self._tasks) < self._settings.most:
                self._tasks[uri] = group.create_task(self._keep(self._wanted[uri]), name="keys")
            else:
                self._found(FetchedKeySet(uri, "", _TOO_MANY))

    async def _keep(self, first: KeySetRequest) -> None:
        uri, backoff = first.uri, Backoff(self._chance)
        known, good_at = FetchedKeySet(uri, ""), 0.0
        waits = Waits(first=_FIRST_WAIT, most=min(_LONGEST_WAIT, self._settings.refresh))
        while True:
            try:
                async with self._slots:
                    keys = await self._download(self._wanted.get(uri, first))
            except KeySetError as error:
                is_old = self._clock.monotonic() - good_at > self._settings.lifetime
                new = FetchedKeySet(uri, "" if is_old else known.keys, error.reason)
                wait = backoff.failed(waits)
            else:
                good_at = self._clock.monotonic()
                new = FetchedKeySet(uri, keys)
                backoff.succeeded()
                wait = self._settings.refresh * self._chance.uniform(0.9, 1.0)
            self._tell(known, new)
            known = new
            await self._clock.sleep(wait)

    def _tell(self, known: FetchedKeySet, new: FetchedKeySet) -> None:
        self._tried(not new.failure)
        if new.failure and new.failure != known.failure:
            log.warning("key_set.unavailable", uri=new.uri, reason=new.failure, kept=bool(new.keys))
        elif not new.failure and new != known:
            log.info("key_set.fetched", uri=new.uri)
        # Whoever forgot it a moment ago is told no more.
        if new.uri in self._wanted:
            self._found(new)
