"""Objects of one kind as the API server has them now: a list and a watch in, whole objects out.

For what only a leader has to know: what it wrote, fields of others and managed fields included.
Whoever leads runs it; it is made anew for the next lead (docs/protocol/waypoint-deployment.md
WO-34 to WO-36, gateway-status.md GS-7).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
import structlog

from controlplane.clock import Clock
from controlplane.cluster.apply import Outcome
from controlplane.cluster.client import ClusterClient
from controlplane.cluster.errors import ClusterError, ClusterRefusedError
from controlplane.controllers.queue import Trouble
from controlplane.model.names import Name
from controlplane.sources.kubernetes.following import Follower, FollowSettings
from controlplane.sources.kubernetes.wire import NotUnderstoodError

Live = Mapping[str, Any]

_NOT_FOUND: Final = 404
_log = structlog.get_logger()


class LiveObjects:
    """Follows ``path``, narrowed by ``parameters``.

    ``changed`` is called with a key, what was there and what is there now, None for nothing;
    ``known`` when a list was whole, and when the first one failed.
    """

    def __init__(  # noqa: PLR0913 - what it follows, and whom it tells
        self,
        client: ClusterClient,
        path: str,
        parameters: Mapping[str, str],
        *,
        changed: Callable[[Name, Live | None, Live | None], None],
        known: Callable[[], None],
        clock: Clock,
        settings: FollowSettings | None = None,
    ) -> None:
        self.path = path
        self._follower = Follower(
            client, path, parameters, clock=clock, settings=settings or FollowSettings()
        )
        self._changed = changed
        self._known = known
        self._held: dict[Name, Live] = {}
        self._listing: dict[Name, Live] = {}
        self._trouble = ""
        self._failures = 0
        self.is_listed = False
        """Whether what is held was ever everything there is."""

    def __iter__(self) -> Iterator[Live]:
        """Return every object."""
        return iter(self._held.values())

    def get(self, key: Name) -> Live | None:
        """Return one object."""
        return self._held.get(key)

    @property
    def is_tried(self) -> bool:
        """Return whether it was listed, or could not be."""
        return self.is_listed or self._failures > 0

    @property
    def trouble(self) -> Trouble | None:
        """Return why it cannot be followed just now; a kind that does not exist is no trouble."""
        if not self._trouble:
            return None
        return Trouble(
            outcome=Outcome.UNAVAILABLE,
            message=self._trouble,
            tries=self._failures,
            is_given_up=False,
        )

    def troubles(self) -> Iterator[tuple[str, Trouble]]:
        """Yield the path and why it cannot be followed, if it cannot just now."""
        if self.trouble is not None:
            yield self.path, self.trouble

    async def run(self) -> None:
        """Follow until cancelled."""
        await self._follower.run(self)

    def list_began(self) -> None:
        """Take note that a list of everything starts, maybe again."""
        self._listing = {}

    def listed(self, text: msgspec.Raw) -> None:
        """Take one object of the list."""
        live = _object_in(text)
        if live is not None:
            self._listing[_key_of(live)] = live

    def list_ended(self) -> None:
        """Take note that the list was whole: what it does not name is gone."""
        found, self._listing = self._listing, {}
        self.is_listed = True
        for key in self._held.keys() - found.keys():
            self._put(key, None)
        for key, live in found.items():
            self._put(key, live)
        self._known()

    def happened(self, event: str, text: msgspec.Raw) -> None:
        """Take one event; of a type nobody knows nothing is made."""
        live = _object_in(text)
        if live is None or event not in {"ADDED", "MODIFIED", "DELETED"}:
            return
        self._put(_key_of(live), None if event == "DELETED" else live)

    def heard(self) -> None:
        """Take note that the API server answers."""
        self._trouble, self._failures = "", 0

    def troubled(self, error: ClusterError | NotUnderstoodError) -> None:
        """Take note that it does not, or says no; what is held stays."""
        self._failures += 1
        is_absent = isinstance(error, ClusterRefusedError) and error.status == _NOT_FOUND
        trouble = "" if is_absent else f"{self.path}: {error}"
        if trouble and not self._trouble and self._failures > 1:
            _log.warning("live-objects.unwatched", path=self.path, reason=str(error))
        self._trouble = trouble
        if self._failures == 1:
            self._known()

    def _put(self, key: Name, live: Live | None) -> None:
        before = self._held.get(key)
        if before == live:
            return
        if live is None:
            del self._held[key]
        else:
            self._held[key] = live
        self._changed(key, before, live)


def _object_in(text: msgspec.Raw) -> Live | None:
    """Return the object, None for what cannot be one."""
    try:
        live = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    metadata = live.get("metadata") if isinstance(live, dict) else None
    is_named = isinstance(metadata, dict) and isinstance(metadata.get("name"), str)
    return live if is_named else None


def _key_of(live: Live) -> Name:
    return Name(live["metadata"].get("namespace") or "", live["metadata"]["name"])
