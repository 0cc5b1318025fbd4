"""Who is connected and how far each client is (docs/protocol/fleet.md FL-n).

Made by the discovery server when somebody asks, kept by the store for the whole fleet, read by the
admin side. Commits are numbers of the replica that serves the connection: numbers of two replicas
are never compared.
"""

from dataclasses import dataclass
from datetime import datetime

NOTHING = -1
"""The commit of a client that was sent, or has accepted, nothing yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeProgress:
    """How far one connection is with one type of resources.

    ``commit_sent`` and ``commit_acknowledged`` are those of the newest response and of the newest
    accepted one, NOTHING before there is any. ``commit_held`` is the commit up to which the client
    has everything that concerns it, ``commit_due`` the newest one that changed something of this
    type where the client sees it: the client is behind while it holds less.

    ``sent_at`` and ``acknowledged_at`` belong to those two responses; ``behind_since`` is when the
    oldest change that the client lacks was committed, None when it lacks nothing or when that was
    too long ago to be known.

    ``held`` is how many resources the client keeps of this type, None where that is not counted.
    ``last_error`` is what the client said when it last refused something, ``rejected`` the
    resources it named; both are empty again once it accepts a response. ``is_served`` is false for
    types nobody gives anything of.
    """

    type_url: str
    is_on_demand: bool = False
    is_served: bool = True
    nonce_sent: str = ""
    nonce_acknowledged: str = ""
    commit_sent: int = NOTHING
    commit_acknowledged: int = NOTHING
    commit_held: int = NOTHING
    commit_due: int = NOTHING
    sent_at: datetime | None = None
    acknowledged_at: datetime | None = None
    behind_since: datetime | None = None
    is_in_flight: bool = False
    held: int | None = None
    last_error: str = ""
    last_error_at: datetime | None = None
    rejected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One open stream of a client that has introduced itself.

    ``replica`` and ``number`` together name it. ``kind`` is the client's own word for what it is
    (ztunnel, waypoint). ``pod`` and ``namespace`` are those of the client's pod, ``node`` the
    Kubernetes node it runs on, ``cluster`` the cluster it names; each "" when it does not say.
    ``identity`` is the service account that was authenticated, as namespace/name; "" on ports
    where nobody is asked.
    """

    replica: str
    number: int
    node_id: str
    kind: str
    pod: str
    namespace: str
    node: str
    version: str
    cluster: str
    peer: str
    identity: str
    connected_at: datetime
    types: tuple[TypeProgress, ...] = ()

    @property
    def name(self) -> str:
        """Return what operators know a client by: ``pod.namespace``."""
        return f"{self.pod}.{self.namespace}"
