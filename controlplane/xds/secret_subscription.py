"""Secrets of one stream: what is offered to it goes out once, and a key is not kept after that.

docs/protocol/waypoint-sessions.md WS-20 to WS-25, docs/decisions/0008-waypoint-keys.md.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from controlplane.encode.resource import Resource
from controlplane.encode.waypoint_names import IDENTITY_SECRET, ROOTS_SECRET
from controlplane.xds.response import Response
from controlplane.xds.waypoint_subscription import WaypointSubscription

_OWN = frozenset({IDENTITY_SECRET, ROOTS_SECRET})


class SecretSubscription(WaypointSubscription):
    """``default`` and ``ROOTCA`` are offered by whoever makes them, others come from the view.

    Both are waited for: a client is never told that its own secrets do not exist.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._offered: dict[str, Resource] = {}
        self._wanted: set[str] = set()

    @property
    def wants_identity(self) -> bool:
        """Return whether the client waits for a key and none is offered."""
        return IDENTITY_SECRET in self._wanted and IDENTITY_SECRET not in self._offered

    @property
    def asks_for_identity(self) -> bool:
        """Return whether the client follows the secret that holds a key."""
        return IDENTITY_SECRET in self._asked

    def offer(self, secret: Resource) -> None:
        """Send ``secret`` as soon as it is asked for; one of a key is sent once."""
        self._offered[secret.name] = secret
        if secret.name in self._asked:
            self._pending[secret.name] = None

    def ask(
        self, subscribe: Iterable[str], unsubscribe: Iterable[str], known: Mapping[str, str]
    ) -> None:
        """Take in names to answer; there is no asking for every secret."""
        dropped = set(unsubscribe)
        names = set(subscribe) - dropped - {"*"}
        self._wanted = (self._wanted | (names & _OWN)) - dropped
        super().ask(names, dropped | {"*"}, known)
        # Answered when there is something to answer with.
        if self._wanted and self._asked <= _OWN and self._wanted.isdisjoint(self._offered):
            self.due = None

    def reject(self, nonce: str, message: str) -> None:
        """Note what was refused; a key is gone and cannot be sent again to find out which it was.

        It stays on show as refused until the next one was accepted. One that was refused together
        with others may not be what was wrong: the next is made at once, and goes out by itself.
        """
        super().reject(nonce, message)
        for part in tuple(self._suspects):
            if IDENTITY_SECRET in part:
                self._suspects.remove(part)
                self._refused.add(IDENTITY_SECRET)
                if rest := tuple(name for name in part if name != IDENTITY_SECRET):
                    self._suspects.append(rest)
                self._wanted.add(IDENTITY_SECRET)

    def _resource(self, name: str) -> Resource | None:
        return self._offered.get(name) if name in _OWN else super()._resource(name)

    def _read_view(self) -> None:
        super()._read_view()
        for name in _OWN:
            self._going.pop(name, None)

    def _take(self) -> tuple[list[Resource], tuple[str, ...]]:
        # A client that comes back waits for nothing, and gets a fresh key all the same.
        sending, removed = super()._take()
        self._wanted.difference_update(secret.name for secret in sending)
        return sending, tuple(name for name in removed if name not in _OWN)

    def _finish(self, response: Response) -> Response:
        self._offered.pop(IDENTITY_SECRET, None)
        return response
