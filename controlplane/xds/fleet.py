"""The fleet: streams that are open come in, what each client was sent and accepted goes out."""

from dataclasses import dataclass
from datetime import datetime

from controlplane.xds.node import Node
from controlplane.xds.on_demand import OnDemandSubscription
from controlplane.xds.session import Session
from controlplane.xds.subscription import Subscription


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeStatus:
    """How far a client is with one type. Commits are -1 before the first response.

    ``last_error`` is what the client said when it last refused something, ``rejected`` are the
    resources it named; both are empty again once it accepts a response.
    """

    type_url: str
    is_on_demand: bool
    nonce_sent: str
    nonce_acknowledged: str
    commit_sent: int
    commit_acknowledged: int
    is_in_flight: bool
    last_error: str
    rejected: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientStatus:
    """One open stream."""

    number: int
    node: Node
    connected_at: datetime
    types: tuple[TypeStatus, ...]


class Fleet:
    """Every open stream of this process."""

    def __init__(self) -> None:
        self._sessions: dict[int, Session] = {}

    def __len__(self) -> int:
        """Return the number of open streams, those included that have not introduced themselves."""
        return len(self._sessions)

    def add(self, session: Session) -> None:
        """Note that a stream opened."""
        self._sessions[session.number] = session

    def remove(self, session: Session) -> None:
        """Note that a stream ended."""
        self._sessions.pop(session.number, None)

    def clients(self) -> tuple[ClientStatus, ...]:
        """Return the status of every client that has introduced itself, oldest stream first."""
        return tuple(
            ClientStatus(
                number=session.number,
                node=session.node,
                connected_at=session.connected_at,
                types=tuple(_type_status(each) for each in session.subscriptions.values()),
            )
            for session in self._sessions.values()
            if session.node is not None
        )


def _type_status(subscription: Subscription) -> TypeStatus:
    return TypeStatus(
        type_url=subscription.type_url,
        is_on_demand=isinstance(subscription, OnDemandSubscription),
        nonce_sent=subscription.nonce_sent,
        nonce_acknowledged=subscription.nonce_acknowledged,
        commit_sent=subscription.commit_sent,
        commit_acknowledged=subscription.commit_acknowledged,
        is_in_flight=subscription.is_in_flight,
        last_error=subscription.last_error,
        rejected=subscription.rejected,
    )
