"""The fleet as the admin side sees it: connections of all replicas, looked at now and then.

Asking every stream costs time, and many viewers ask at once: what was found is shown for a moment.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from controlplane.clock import Clock
from controlplane.model.connection import Connection
from controlplane.store.connections import FleetView

_SLICE: Final = 32


class FleetReader(Protocol):
    """Knows the connections of other replicas (``store.connections.ConnectionTable``)."""

    async def everywhere(self, own: Sequence[Connection]) -> FleetView:
        """Return the connections of all replicas; ``own`` are those of this one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetNow:
    """The fleet at one moment; ``own`` are the connections of this replica."""

    own: tuple[Connection, ...]
    view: FleetView
    at: datetime

    @property
    def others(self) -> tuple[Connection, ...]:
        """Return the connections of other replicas; the view has this one's first."""
        return self.view.connections[len(self.own) :]


class FleetReading:
    """Looks at the fleet at most every ``shown_for`` seconds, however many ask."""

    def __init__(
        self,
        connections: Callable[[], Iterable[Connection]],
        clock: Clock,
        *,
        others: Callable[[], FleetReader | None] = lambda: None,
        shown_for: float = 0.5,
    ) -> None:
        self._connections = connections
        self._others = others
        self._clock = clock
        self._shown_for = shown_for
        self._looking = asyncio.Lock()
        self._found: FleetNow | None = None
        self._found_at = 0.0

    async def now(self) -> FleetNow:
        """Return the fleet as it is, or was a moment ago."""
        async with self._looking:
            found = self._found
            if found is None or self._clock.monotonic() - self._found_at >= self._shown_for:
                self._found = found = await self._look()
                self._found_at = self._clock.monotonic()
            return found

    async def _look(self) -> FleetNow:
        own: list[Connection] = []
        for connection in self._connections():
            own.append(connection)
            if len(own) % _SLICE == 0:
                await asyncio.sleep(0)
        view = FleetView(connections=tuple(own))
        others = self._others()
        if others is not None:
            view = await others.everywhere(own)
        return FleetNow(own=tuple(own), view=view, at=self._clock.now())
