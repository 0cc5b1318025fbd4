"""The fleet: streams that are open come in, what each client was sent and accepted goes out."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final

from controlplane.clock import Clock
from controlplane.insight.trail import FollowedType, Follower
from controlplane.model.connection import Connection, TypeProgress
from controlplane.snapshots.scope import TableKey
from controlplane.xds.node import Node
from controlplane.xds.on_demand import OnDemandSubscription
from controlplane.xds.session import Session
from controlplane.xds.subscription import Subscription, UnservedSubscription

MESSAGE: Final = 2000
"""Characters kept of what a client said when it refused something."""

NAMES: Final = 100
"""Resources kept of those it named."""

_CLOCK_WAS_SET: Final = timedelta(seconds=0.5)

BehindSince = Callable[[tuple[TableKey, ...], int], float | None]
"""Tells when the first commit after a number changed one of some tables, in monotonic seconds."""


class Fleet:
    """Every open stream of this process. ``replica`` is this process in the fleet's eyes."""

    def __init__(self, clock: Clock, *, replica: str = "") -> None:
        self.replica = replica
        self._moments = _Moments(clock)
        self._behind_since: BehindSince = lambda _keys, _held: None
        self._sessions: dict[int, Session] = {}

    def __len__(self) -> int:
        """Return the number of open streams, those included that have not introduced themselves."""
        return len(self._sessions)

    def follow(self, behind_since: BehindSince) -> None:
        """Let somebody who knows the commits tell since when a client is behind."""
        self._behind_since = behind_since

    def add(self, session: Session) -> None:
        """Note that a stream opened."""
        self._sessions[session.number] = session

    def remove(self, session: Session) -> None:
        """Note that a stream ended."""
        self._sessions.pop(session.number, None)

    def connections(self) -> tuple[Connection, ...]:
        """Return every client that has introduced itself, oldest stream first."""
        return tuple(self.each())

    def each(self) -> Iterator[Connection]:
        """Yield the same one by one; streams may come and go between two of them."""
        self._moments.refresh()
        for session, node in tuple(self._introduced()):
            yield self._connection(session, node)

    def connection(self, number: int) -> Connection | None:
        """Return the client on stream ``number``."""
        session = self._sessions.get(number)
        if session is None or session.node is None:
            return None
        self._moments.refresh()
        return self._connection(session, session.node)

    def followers(self) -> Iterator[Follower]:
        """Yield every client that has introduced itself, as commits are followed by."""
        for session, node in self._introduced():
            yield Follower(
                session.number,
                f"{node.pod}.{node.namespace}",
                node.name,
                tuple(
                    FollowedType(each.type_url, each.keys, each.trail, each.commit_held)
                    for each in session.subscriptions.values()
                ),
            )

    def _introduced(self) -> Iterator[tuple[Session, Node]]:
        for session in self._sessions.values():
            if session.node is not None:
                yield session, session.node

    def _connection(self, session: Session, node: Node) -> Connection:
        return Connection(
            replica=self.replica,
            number=session.number,
            node_id=node.id,
            kind=node.kind,
            pod=node.pod,
            namespace=node.namespace,
            node=node.name,
            version=node.version,
            cluster=node.cluster,
            peer=session.origin.peer,
            identity=session.origin.identity,
            connected_at=session.connected_at,
            types=tuple(self._progress(each) for each in session.subscriptions.values()),
        )

    def _progress(self, subscription: Subscription) -> TypeProgress:
        moments = self._moments
        held, due = subscription.commit_held, subscription.commit_due
        was_sent = bool(subscription.nonce_sent)
        return TypeProgress(
            type_url=subscription.type_url,
            is_on_demand=isinstance(subscription, OnDemandSubscription),
            is_served=not isinstance(subscription, UnservedSubscription),
            nonce_sent=subscription.nonce_sent,
            nonce_acknowledged=subscription.nonce_acknowledged,
            commit_sent=subscription.commit_sent,
            commit_acknowledged=subscription.commit_acknowledged,
            commit_held=held,
            commit_due=due,
            sent_at=moments.of(subscription.sent_at) if was_sent else None,
            acknowledged_at=moments.of(subscription.acknowledged_at),
            behind_since=(
                moments.of(self._behind_since(subscription.keys, held)) if held < due else None
            ),
            is_in_flight=subscription.is_in_flight,
            held=subscription.resources_held,
            last_error=subscription.last_error[:MESSAGE],
            last_error_at=moments.of(
                subscription.last_error_at if subscription.last_error else None
            ),
            rejected=subscription.rejected[:NAMES],
        )


class _Moments:
    """Wall-clock times of monotonic ones.

    One moment has the same time whenever it is asked for: who compares two states of a connection
    must not find a microsecond's difference. Only where the clock was set does it change.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start = self._started()

    def refresh(self) -> None:
        start = self._started()
        if abs(start - self._start) > _CLOCK_WAS_SET:
            self._start = start

    def of(self, monotonic: float | None) -> datetime | None:
        return None if monotonic is None else self._start + timedelta(seconds=monotonic)

    def _started(self) -> datetime:
        return self._clock.now() - timedelta(seconds=self._clock.monotonic())
