"""Following one resource: list it in pages, watch from there, list again only when told to.

In: pages and lines of a ``ClusterClient``. Out: calls of a ``Receiver``. It never ends by itself:
whatever fails is tried again, and what the receiver holds stays meanwhile
(docs/protocol/cluster.md KS-7 to KS-13).
"""

import asyncio
import random
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from controlplane.clock import Clock
from controlplane.cluster.client import ClusterClient
from controlplane.cluster.errors import ClusterError, ClusterRefusedError, ClusterUnavailableError
from controlplane.sources.kubernetes.backoff import Backoff, Waits
from controlplane.sources.kubernetes.wire import (
    NotUnderstoodError,
    Page,
    read_event,
    read_page,
    status_code,
    version_of,
)

_GONE: Final = 410
_OK: Final = 200
_WATCHES_REFUSED: Final = 3
_LASTED: Final = 1.0
_UNAVAILABLE: Final = Waits(first=0.05, most=0.5)
_REFUSED: Final = Waits(first=0.1, most=30.0)
_CHANCE: Final = random.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowSettings:
    """How resources are listed and watched.

    ``page``: objects asked for at once. ``slice_seconds``: the longest the loop is held.
    ``watch_seconds``: a watch is asked to end after this long, up to double, so that connections
    move when API servers come and go. ``unavailable`` is for an API server that is away: tried
    often, because whoever waits for it serves old data. ``refused`` is for one that says no.
    """

    page: int = 500
    slice_seconds: float = 0.005
    watch_seconds: float = 300.0
    request_seconds: float = 60.0
    unavailable: Waits = _UNAVAILABLE
    refused: Waits = _REFUSED


class Receiver(Protocol):
    """What a follower hands over."""

    def list_began(self) -> None:
        """A list of everything starts, maybe again."""
        ...

    def listed(self, text: msgspec.Raw) -> None:
        """One object of the list."""
        ...

    def list_ended(self) -> None:
        """The list was whole."""
        ...

    def happened(self, event: str, text: msgspec.Raw) -> None:
        """One object was ADDED, MODIFIED or DELETED."""
        ...

    def heard(self) -> None:
        """The API server answered: a list is whole, or a watch says something."""
        ...

    def troubled(self, error: ClusterError | NotUnderstoodError) -> None:
        """The resource cannot be read for now."""
        ...


class _StaleError(Exception):
    """The version to go on from is no longer known: list again."""


class Follower:
    """Follows the resource at ``path``, narrowed by ``parameters``."""

    def __init__(
        self,
        client: ClusterClient,
        path: str,
        parameters: Mapping[str, str],
        *,
        clock: Clock,
        settings: FollowSettings,
    ) -> None:
        self._client = client
        self._path = path
        self._parameters = dict(parameters)
        self._clock = clock
        self._settings = settings
        self._backoff = Backoff()
        self._version = ""
        self._latest: msgspec.Raw | None = None
        self._slice_end = 0.0
        self._is_paged = True
        self._watches_refused = 0

    async def run(self, receiver: Receiver) -> None:
        """Feed ``receiver`` until cancelled."""
        while True:
            try:
                self._remember()
                if not self._version:
                    await self._list(receiver)
                await self._watch(receiver)
            except _StaleError:
                self._version, self._latest = "", None
                await self._clock.sleep(self._backoff.failed(self._settings.unavailable))
            except (ClusterError, NotUnderstoodError) as error:
                receiver.troubled(error)
                await self._clock.sleep(self._wait(error))

    def _wait(self, error: ClusterError | NotUnderstoodError) -> float:
        """Return the seconds until the next try: no fewer than the API server asks for."""
        waits, least = self._settings.refused, 0.0
        if isinstance(error, ClusterRefusedError):
            least = error.retry_after
        if isinstance(error, ClusterError) and error.is_passing:
            waits = self._settings.unavailable
        return max(self._backoff.failed(waits), least)

    async def _list(self, receiver: Receiver) -> None:
        """Hand over everything there is; remember the version it was read at."""
        receiver.list_began()
        page = await self._page("")
        version = page.version
        while True:
            self._begin_slice()
            for text in page.items:
                receiver.listed(text)
                await self._breathe()
            if not page.next_page:
                break
            page = await self._page(page.next_page)
        self._is_paged = True
        receiver.list_ended()
        self._version = version
        receiver.heard()

    async def _page(self, next_page: str) -> Page:
        parameters = dict(self._parameters)
        if self._is_paged:
            parameters["limit"] = str(self._settings.page)
        if next_page:
            parameters["continue"] = next_page
        answer = await self._client.request(
            "GET", self._path, params=parameters, timeout=self._settings.request_seconds
        )
        if answer.status == _GONE and next_page:
            # A list too long for the time its pages are kept: ask for all of it at once.
            self._is_paged = False
            raise _StaleError
        if answer.status != _OK:
            raise ClusterRefusedError(answer.status, retry_after=answer.retry_after)
        return read_page(answer.body)

    async def _watch(self, receiver: Receiver) -> None:
        """Hand over what happens until the watch ends; remember how far it came."""
        began = self._clock.monotonic()
        seconds = self._settings.watch_seconds * _CHANCE.uniform(1.0, 2.0)
        parameters = {
            **self._parameters,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(max(1, int(seconds))),
        }
        lines = 0
        try:
            async with aclosing(self._client.stream(self._path, parameters)) as stream:
                self._begin_slice()
                async for line in stream:
                    self._take(line, receiver)
                    lines += 1
                    await self._breathe()
        except ClusterRefusedError as error:
            if error.status == _GONE:
                raise _StaleError from error
            # An API server restored from a backup refuses versions that it has yet to reach.
            self._watches_refused += 1
            if self._watches_refused >= _WATCHES_REFUSED:
                self._watches_refused = 0
                self._version = ""
            raise
        finally:
            if self._clock.monotonic() - began >= _LASTED:
                self._backoff.succeeded()
        if lines <= 1 and self._clock.monotonic() - began < _LASTED:
            raise ClusterUnavailableError("the watch ended at once")

    def _take(self, line: bytes, receiver: Receiver) -> None:
        if not line:
            receiver.heard()
            return
        event = read_event(line)
        if event.type == "ERROR":
            code = status_code(event.object)
            if code == _GONE:
                raise _StaleError
            raise ClusterRefusedError(code)
        self._backoff.succeeded()
        self._watches_refused = 0
        if event.type != "BOOKMARK":
            receiver.happened(event.type, event.object)
        self._latest = event.object
        receiver.heard()

    def _remember(self) -> None:
        """Note the version of the last event; only now, because each event has one."""
        latest, self._latest = self._latest, None
        if latest is not None:
            self._version = version_of(latest)

    def _begin_slice(self) -> None:
        self._slice_end = self._clock.monotonic() + self._settings.slice_seconds

    async def _breathe(self) -> None:
        """Let the loop do other things when this slice of time is used up."""
        if self._clock.monotonic() >= self._slice_end:
            await asyncio.sleep(0)
            self._begin_slice()
