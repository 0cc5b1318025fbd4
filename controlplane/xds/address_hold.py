"""Addresses wait for waypoints: commits and progress of streams come in, whether they may go out.

A node proxy that hears of a new binding before the waypoint does sends it what it refuses. What a
commit does to listeners is looked at once, for all streams. docs/protocol/waypoint-sessions.md
WS-31 to WS-36.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from controlplane.clock import Clock
from controlplane.model.names import Name
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import (
    ADDRESSES,
    ROUTE_TYPE,
    TableKey,
    waypoint_of_listeners,
    waypoint_resources,
)
from controlplane.xds.settings import XdsSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a waypoint has to work with: the commits of its types, and routes it has to have."""

    listeners: int
    routes: int
    names: tuple[str, ...] = ()


class WaypointStream(Protocol):
    """The stream of one pod of a waypoint, as far as it is waited for."""

    @property
    def waypoint(self) -> Name:
        """Return whose pod it is."""
        ...

    def works_with(self, expected: Expected) -> bool:
        """Return whether the client has accepted all of that."""
        ...


@dataclass(slots=True, kw_only=True)
class _Wait:
    """For one waypoint: from the commit after ``since``, until all ``streams`` have it."""

    since: int
    expected: Expected
    streams: set[WaypointStream]
    earliest: float
    latest: float


class AddressHold:
    """Whether addresses may be sent. Closed while waypoints have yet to take in new listeners.

    ``pods`` tells how many pods a waypoint has: those without a stream here are told by others,
    and are given a short while. ``on_open`` is called when it opens; ``on_held`` hears of every
    time that addresses were held for how many seconds, and which waypoints were not awaited.
    """

    def __init__(
        self,
        catalog: Catalog,
        settings: XdsSettings,
        clock: Clock,
        *,
        pods: Callable[[Name], int] = lambda _: 0,
        on_open: Callable[[], None] = lambda: None,
        on_held: Callable[[float, tuple[Name, ...]], None] = lambda _seconds, _late: None,
    ) -> None:
        self._catalog = catalog
        self._settings = settings
        self._clock = clock
        self._pods = pods
        self._on_open = on_open
        self._on_held = on_held
        self._streams: dict[Name, set[WaypointStream]] = {}
        self._waits: dict[Name, _Wait] = {}
        self._late: set[Name] = set()
        self._closed_at = 0.0
        self._latest = 0.0
        self._held_since: float | None = None

    @property
    def is_open(self) -> bool:
        """Return whether addresses may be sent now. Cost: O(1)."""
        return not self._waits or self._clock.monotonic() >= self._latest

    def joined(self, stream: WaypointStream) -> None:
        """Note that a pod of a waypoint is served here."""
        self._streams.setdefault(stream.waypoint, set()).add(stream)

    def left(self, stream: WaypointStream) -> None:
        """Note that its stream ended: it comes back, maybe elsewhere."""
        streams = self._streams.get(stream.waypoint)
        if streams is None:
            return
        streams.discard(stream)
        if not streams:
            del self._streams[stream.waypoint]
        wait = self._waits.get(stream.waypoint)
        if wait is not None and stream in wait.streams:
            wait.streams.discard(stream)
            soon = self._clock.monotonic() + self._settings.elsewhere_wait
            wait.earliest = min(wait.latest, max(wait.earliest, soon))
            self.look()

    def progressed(self, stream: WaypointStream) -> None:
        """Look whether a stream that is waited for has what it is waited for."""
        wait = self._waits.get(stream.waypoint)
        if wait is None or stream not in wait.streams or not stream.works_with(wait.expected):
            return
        wait.streams.discard(stream)
        self.look()

    def committed(self, commit: int, changed: Iterable[TableKey]) -> None:
        """Close if a commit changed listeners of waypoints that somebody runs."""
        holds = False
        for key in changed:
            holds = holds or key == ADDRESSES
            waypoint = waypoint_of_listeners(key)
            if waypoint is not None:
                self._await(waypoint, commit)
        if holds and self._waits and self._held_since is None:
            self._held_since = self._clock.monotonic()

    def look(self) -> None:
        """Open if nobody is waited for any more; to be called from time to time."""
        if not self._waits:
            return
        now = self._clock.monotonic()
        for waypoint, wait in tuple(self._waits.items()):
            if wait.streams and now < wait.latest:
                continue
            if now >= wait.earliest:
                if wait.streams:
                    self._late.add(waypoint)
                del self._waits[waypoint]
        if self._waits:
            return
        late, self._late = tuple(sorted(self._late)), set()
        since, self._held_since = self._held_since, None
        if since is not None:
            self._on_held(now - since, late)
        self._on_open()

    def _await(self, waypoint: Name, commit: int) -> None:
        limit = self._settings.binding_wait
        streams = set(self._streams.get(waypoint, ()))
        pods = self._pods(waypoint)
        if limit <= 0 or not (streams or pods):
            return
        now = self._clock.monotonic()
        if not self._waits:
            self._closed_at = now
        before = self._waits.get(waypoint)
        since = commit - 1 if before is None else before.since
        # Commits that follow on each other fold; they do not keep addresses back for ever.
        latest = min(now + limit, self._closed_at + 2 * limit)
        elsewhere = now + self._settings.elsewhere_wait if pods > len(streams) else now
        self._waits[waypoint] = _Wait(
            since=since,
            expected=self._expected(waypoint, commit, since),
            streams=streams,
            earliest=min(elsewhere, latest),
            latest=latest,
        )
        self._latest = max(wait.latest for wait in self._waits.values())

    def _expected(self, waypoint: Name, commit: int, since: int) -> Expected:
        routes = self._catalog.table(waypoint_resources(waypoint, ROUTE_TYPE))
        # A client accepts listeners before it asks for the routes that they name.
        names = tuple(name for name, entry in routes.history(since) if entry.resource is not None)
        return Expected(listeners=commit, routes=routes.commit, names=names)
