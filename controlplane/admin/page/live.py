"""Live parts: who looks at the page hears that something changed, and asks again for what he sees.

In: the committed state. Out: server-sent events that carry a number and nothing else, so that they
tell nobody what he may not see. However much changes, a listener hears at most one event a second;
while nobody listens nothing is looked at.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import structlog

from controlplane.admin.mesh_view import MeshView
from controlplane.clock import Clock

LISTENERS: Final = 64
"""Listeners at a time."""

LASTS: Final = 600.0
"""Seconds after which a stream ends; the browser then asks for another by itself."""

_EVERY: Final = 1.0
_BEAT: Final = 15.0
_SLICE: Final = 64
_LATER: Final = b"retry: 30000\n\n"

_log = structlog.get_logger()


class Live:
    """Tells listeners of changes until it is closed."""

    def __init__(
        self,
        view: MeshView,
        clock: Clock,
        *,
        waiting_for: Callable[[], list[str]] = list,
        listeners: int = LISTENERS,
    ) -> None:
        self._view = view
        self._clock = clock
        self._waiting_for = waiting_for
        self._most = listeners
        self._turned = asyncio.Event()
        self._listeners = 0
        self._number = 0
        self._seen = 0
        self._closed = False
        self._watching: asyncio.Task[None] | None = None

    @property
    def listeners(self) -> int:
        """Return how many listen."""
        return self._listeners

    @property
    def is_open(self) -> bool:
        """Return whether there is room for one more listener."""
        return not self._closed and self._listeners < self._most

    def close(self) -> None:
        """End all streams: the server that waits for them may stop."""
        self._closed = True
        self._turn()

    async def events(self) -> AsyncIterator[bytes]:
        """Yield one event now and one whenever something has changed, at most one a second.

        Where there is no room any more the listener is told to come back later, and nothing else:
        many may have asked whether there is room before the first of them took a place.
        """
        if not self.is_open:
            yield _LATER
            return
        self._listeners += 1
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        began = spoke = self._clock.monotonic()
        told = self._number
        try:
            yield _event(told)
            while not self._closed and self._clock.monotonic() - began < LASTS:
                await self._turned.wait()
                now = self._clock.monotonic()
                if self._number != told:  # also once it is closed: that is the last word
                    told, spoke = self._number, now
                    yield _event(told)
                elif now - spoke >= _BEAT:
                    spoke = now
                    yield b": still here\n\n"
        finally:
            self._listeners -= 1
            if not self._listeners and self._watching is not None:
                self._watching.cancel()
                self._watching = None

    async def _watch(self) -> None:
        """Look once a second, and let every listener go on."""
        while not self._closed:
            await self._clock.sleep(_EVERY)
            try:
                seen = await self._look()
            except Exception:  # noqa: BLE001 - whatever it is, the next look may succeed
                _log.exception("page.unwatched")
                seen = self._seen
            if seen != self._seen:
                self._seen = seen
                self._number += 1
            self._turn()

    def _turn(self) -> None:
        turned, self._turned = self._turned, asyncio.Event()
        turned.set()

    async def _look(self) -> int:
        """Return a number that is another one once there is something else to show."""
        now = await self._view.fleet()
        seen = hash((self._view.commit, tuple(self._waiting_for()), now.view.trouble))
        for number, connection in enumerate(now.view.connections, start=1):
            types = tuple(
                (each.commit_held, each.commit_due, each.is_in_flight, each.last_error_at)
                for each in connection.types
            )
            seen = hash((seen, connection.replica, connection.number, types))
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        return seen


def _event(number: int) -> bytes:
    return f"event: changed\nid: {number}\ndata: {number}\n\n".encode()
