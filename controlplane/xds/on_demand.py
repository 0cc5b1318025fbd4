"""On-demand subscriptions: keys a node asked for come in, the resources they stand for go out.

Beside what it asked for, a client is sent every workload of its own node, and later changes of
everything it was sent (docs/protocol/discovery.md ADR-6 to ADR-12).
"""

from collections.abc import Callable, Iterable, Mapping

from controlplane.clock import Clock
from controlplane.encode.resource import Resource
from controlplane.snapshots.forms import is_service_name
from controlplane.snapshots.frame import build_frame
from controlplane.snapshots.lookup import Lookup, host_alias
from controlplane.snapshots.table import FRESH
from controlplane.snapshots.view import View
from controlplane.xds.errors import MalformedRequestError
from controlplane.xds.subscription import Nonces, Step, Subscription

MOST_KEYS = 100_000
"""Keys one stream may ask for."""


class OnDemandSubscription(Subscription):
    """What one client asked for (``asked``), what it was sent (``held``), and how far it is."""

    def __init__(
        self,
        type_url: str,
        view: View,
        *,
        lookup: Callable[[], Lookup],
        node: str,
        nonces: Nonces,
        clock: Clock,
    ) -> None:
        super().__init__(type_url, view, nonces=nonces, clock=clock)
        self._view = view
        self._lookup = lookup
        self._node = node
        self._asked: set[str] = set()
        self._held: set[str] = set()
        self._pending: dict[str, None] = {}

    @property
    def resources_held(self) -> int | None:
        """Return how many resources the client was sent and not told to drop."""
        return len(self._held)

    def ask(
        self, subscribe: Iterable[str], unsubscribe: Iterable[str], known: Mapping[str, str]
    ) -> None:
        """Take in keys to answer; a key that was asked for before is answered again.

        Raises:
            MalformedRequestError: the stream asks for too many keys.
        """
        dropped = set(unsubscribe) | {"*"}
        subscribed = [*subscribe]
        keys = [key for key in (*subscribed, *known) if key not in dropped]
        self._asked |= {*keys}
        self._asked -= dropped
        self._held -= dropped
        for key in dropped:
            self._pending.pop(key, None)
        if len(self._asked) > MOST_KEYS:
            raise MalformedRequestError(f"more than {MOST_KEYS} resources asked for on one stream")
        self._pending |= dict.fromkeys(keys)
        super().ask(subscribed, unsubscribe, known)

    def next_response(self) -> Step:
        """Return answers to pending keys together with changes of what the client holds."""
        if not self.may_start:
            return None
        if self.due is None and not self._view.is_newer(self.cursor):
            self.cursor = self._view.commit
        if self.is_in_flight or (self.due is None and self.cursor >= self._view.commit):
            return None
        if self.cursor != FRESH and not self._view.reaches(self.cursor):
            self.is_lost = True
            return None
        due, self.due = self.due, None
        commit = self._view.commit
        sending: dict[str, Resource] = {}
        removed: dict[str, None] = {}
        if self.cursor != FRESH:
            self._follow(sending, removed)
        if due is not None:
            self._answer_keys(due.known, sending, removed)
        gone = tuple(name for name in removed if name not in sending)
        self._held |= sending.keys()
        is_due = due is not None
        is_first = due is not None and due.is_first
        frame = yield from build_frame(commit, sending.values(), gone, with_aliases=True)
        self.cursor = commit
        if frame.is_empty and not is_due:
            return None
        return self._respond(
            commit,
            pieces=frame.pieces,
            removed=gone,
            updated=frame.updated,
            is_first=is_first,
        )

    def _follow(self, sending: dict[str, Resource], removed: dict[str, None]) -> None:
        """Collect changes since the cursor that concern this client."""
        updates, gone = self._view.changes(self.cursor)
        for resource in updates:
            if not self._concerns(resource):
                continue
            sending[resource.name] = resource
            if is_service_name(resource.name):
                for member in self._lookup().members(resource.name):
                    workload = self._view.get(member)
                    if workload is not None:
                        sending[member] = workload
        for name in gone:
            if name in self._held or name in self._asked:
                removed[name] = None
                self._held.discard(name)

    def _concerns(self, resource: Resource) -> bool:
        if resource.name in self._held or resource.name in self._asked:
            return True
        if self._node and resource.node == self._node:
            return True
        return any(
            alias in self._asked or host_alias(alias) in self._asked for alias in resource.aliases
        )

    def _answer_keys(
        self, known: Mapping[str, str], sending: dict[str, Resource], removed: dict[str, None]
    ) -> None:
        """Collect what the pending keys stand for and the workloads of the client's node."""
        lookup = self._lookup()
        pending, self._pending = self._pending, {}
        for key in pending:
            names = lookup.find(key)
            for name in names:
                self._collect(name, known, sending)
            # A waiting client wakes when its own key is named, as a resource or as removed.
            if key not in names:
                removed[key] = None
        for name in lookup.on_node(self._node):
            if name not in self._held:
                self._collect(name, known, sending)

    def _collect(self, name: str, known: Mapping[str, str], sending: dict[str, Resource]) -> None:
        resource = self._view.get(name)
        if resource is None:
            return
        self._held.add(name)
        version = known.get(name, "")
        if not version or version != resource.version:
            sending[name] = resource
