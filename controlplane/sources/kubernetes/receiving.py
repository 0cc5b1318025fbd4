"""One kind on its way to the sink: what a follower hands over comes in, objects and a state go out.

It also says what is wrong with the kind as a whole: at once when the API server says no, after a
while when it is away (docs/protocol/cluster.md KS-12).
"""

from collections.abc import Callable

import msgspec

from controlplane.clock import Clock
from controlplane.cluster.errors import ClusterError
from controlplane.model.problem import Problem, Severity
from controlplane.sources.kubernetes.kinds import WatchedKind
from controlplane.sources.kubernetes.objects import Objects
from controlplane.sources.kubernetes.state import KindState
from controlplane.sources.kubernetes.wire import NotUnderstoodError
from controlplane.sources.source import Sink


class KindReceiver:
    """Receives one kind.

    ``synced`` is called once, when everything that existed at the start was handed over. ``lag``
    is called with kind and seconds for every object that was added since. ``patience`` is how
    many seconds an API server may be away before that is a Problem.
    """

    def __init__(
        self,
        kind: str,
        sink: Sink,
        clock: Clock,
        *,
        synced: Callable[[str], None],
        lag: Callable[[str, float], None],
        patience: float,
    ) -> None:
        self.kind = kind
        self._objects = Objects(kind, sink)
        self._clock = clock
        self._synced = synced
        self._lag = lag
        self._patience = patience
        self._watched: WatchedKind | None = None
        self._is_synced = False
        self._heard_at: float | None = None
        self._troubled_since: float | None = None
        self._trouble = ""
        self._last_lag: float | None = None
        self._lists = 0
        self._events = 0

    @property
    def state(self) -> KindState:
        """Return how far it is."""
        return KindState(
            kind=self.kind,
            objects=len(self._objects),
            is_synced=self._is_synced,
            is_present=self._watched is not None,
            is_current=self._is_synced and self._troubled_since is None,
            heard_at=self._heard_at,
            troubled_since=self._troubled_since,
            trouble=self._trouble,
            lag=self._last_lag,
            lists=self._lists,
            events=self._events,
        )

    @property
    def path(self) -> str | None:
        """Return where the kind is listed; None while the cluster has no such kind."""
        return None if self._watched is None else self._watched.path

    def placed(self, watched: WatchedKind) -> None:
        """Learn where the kind is, and how it is read; a list follows."""
        self._watched = watched

    def absent(self) -> None:
        """Learn that the cluster has no such kind: its definition was deleted, or never there."""
        self._watched = None
        self._objects.emptied()
        self._untroubled()
        self._became_synced()

    def unreadable(self, reason: str) -> None:
        """Learn that the kind is there in no version that is read; what is known stays.

        What was never read is not known to be empty: a mesh without its policies is an open one.
        """
        self._watched = None
        self._troubled("kubernetes.unknown-version", reason)

    def awaited(self) -> None:
        """Learn that the kind is defined, and not served yet; what is known stays."""
        self._watched = None
        # No Problem: it takes a moment, and while it lasts the source is not synced.
        self._trouble = "its definition is not established"
        if self._troubled_since is None:
            self._troubled_since = self._clock.monotonic()

    def list_began(self) -> None:
        """Take note that a list of everything starts, maybe again."""
        self._objects.list_began()

    def listed(self, text: msgspec.Raw) -> None:
        """Take one object of the list."""
        if self._watched is not None:
            self._objects.listed(self._watched, text)

    def list_ended(self) -> None:
        """Take note that the list was whole."""
        self._lists += 1
        self._objects.list_ended()
        self._objects.tell()
        self._became_synced()

    def happened(self, event: str, text: msgspec.Raw) -> None:
        """Take one event; of a type nobody knows nothing is made."""
        if self._watched is None:
            return
        self._events += 1
        if event == "DELETED":
            self._objects.deleted(self._watched, text)
        elif event in ("ADDED", "MODIFIED"):
            created = self._objects.changed(self._watched, text)
            if event == "ADDED" and created:
                self._last_lag = max(0.0, self._clock.now().timestamp() - created)
                self._lag(self.kind, self._last_lag)
        self._objects.tell()

    def heard(self) -> None:
        """Take note that the API server answered."""
        self._heard_at = self._clock.monotonic()
        if self._troubled_since is not None:
            self._untroubled()

    def troubled(self, error: ClusterError | NotUnderstoodError) -> None:
        """Take note that the kind cannot be read for now."""
        if isinstance(error, NotUnderstoodError):
            self._troubled("kubernetes.not-understood", str(error))
        elif error.is_passing:
            since = self._troubled_since
            waited = 0.0 if since is None else self._clock.monotonic() - since
            self._troubled(
                "kubernetes.unavailable",
                f"the API server is away ({error})",
                is_told=waited >= self._patience,
            )
        else:
            self._troubled("kubernetes.refused", f"the API server refuses to give them ({error})")

    def _troubled(self, code: str, reason: str, *, is_told: bool = True) -> None:
        if self._troubled_since is None:
            self._troubled_since = self._clock.monotonic()
        self._trouble = reason
        if not is_told:
            return
        kept = "; the last ones stay in force" if len(self._objects) else ""
        problem = Problem(
            severity=Severity.WARNING,
            code=code,
            message=f"objects of kind {self.kind} cannot be read: {reason}{kept}",
        )
        self._objects.trouble((problem,))
        self._objects.tell()

    def _untroubled(self) -> None:
        self._troubled_since = None
        self._trouble = ""
        self._objects.trouble(())
        self._objects.tell()

    def _became_synced(self) -> None:
        if not self._is_synced:
            self._is_synced = True
            self._synced(self.kind)
