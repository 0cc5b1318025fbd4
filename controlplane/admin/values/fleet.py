"""Who is connected, how far each is, what changed: connections, commits, and waiting."""

from datetime import datetime

from pydantic import Field

from controlplane.admin.values.common import Page, Reference, Value


class RejectedResource(Value):
    """A resource that a client refused, and the object it was made of where that is known."""

    name: str
    object: Reference | None


class TypeValue(Value):
    """How far one connection is with one type; ``short`` is the name operators know it by.

    ``state`` is SYNCED, STALE, NOT SENT, ERROR or IGNORED, ``since`` from when on. Commits are
    -1 before there is any. ``lag_seconds`` is null when it is no longer known.
    """

    type_url: str
    short: str
    state: str
    since: datetime | None
    lag_commits: int
    lag_seconds: float | None
    on_demand: bool
    nonce_sent: str
    nonce_acknowledged: str
    commit_sent: int
    commit_acknowledged: int
    commit_held: int
    commit_due: int
    sent_at: datetime | None
    acknowledged_at: datetime | None
    behind_since: datetime | None
    in_flight: bool
    held: int | None
    last_error: str
    last_error_at: datetime | None
    rejected: tuple[RejectedResource, ...]


class ConnectionValue(Value):
    """One connected client, of any replica; ``state`` and lag are the worst of its types'."""

    name: str
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
    state: str
    lag_commits: int
    lag_seconds: float | None
    types: tuple[TypeValue, ...]


class ReplicaValue(Value):
    """One replica of the control plane, and when it was last heard of."""

    name: str
    seen_at: datetime
    is_this: bool
    connections: int


class FleetValue(Value):
    """The fleet in numbers: connections by state, and replicas.

    ``trouble`` says why connections of other replicas may be missing; empty when they are not.
    """

    connections: int
    states: dict[str, int]
    replicas: tuple[ReplicaValue, ...]
    trouble: str


class CauseValue(Value):
    """An object whose arrival made a commit; ``happened_at`` is the source's own time."""

    object: Reference
    is_removal: bool
    happened_at: datetime | None


class TypeChangeValue(Value):
    """What a commit did to one type: counts, and the names of some resources."""

    type_url: str
    short: str
    updated: int
    removed: int
    names: tuple[str, ...]


class LatencyValue(Value):
    """One connection and the seconds until it had a commit."""

    connection: int
    name: str
    node: str
    seconds: float


class RefusalValue(Value):
    """One connection that refused a commit, in its own words."""

    connection: int
    name: str
    node: str
    type_url: str
    rejected: tuple[RejectedResource, ...]
    message: str
    at: datetime


class WaitingValue(Value):
    """One connection that does not have a commit yet; ``is_sent``: it only has to answer."""

    connection: int
    name: str
    node: str
    is_sent: bool


class ProgressValue(Value):
    """How far a commit has got among this replica's open connections.

    Counts are of all connections it concerns; lists name some of them.
    """

    concerned: int
    sent: int
    acknowledged: int
    refused: int
    is_converged: bool
    first_sent_at: datetime | None
    last_sent_at: datetime | None
    last_acknowledged_at: datetime | None
    median_seconds: float | None
    p99_seconds: float | None
    slowest: tuple[LatencyValue, ...]
    waiting: tuple[WaitingValue, ...]
    refusals: tuple[RefusalValue, ...]


class CommitValue(Value):
    """One commit: why it was made, what it changed, and who has it.

    With ``is_stored`` it is told as the database keeps it: of another replica, or of before this
    process remembers; ``progress`` is then as it was when it was last written. Each replica, and
    each process of a replica, counts its own commits.
    """

    replica: str
    number: int
    received_at: datetime | None
    committed_at: datetime
    causes: tuple[CauseValue, ...]
    cause_count: int
    types: tuple[TypeChangeValue, ...]
    progress: ProgressValue
    is_stored: bool = False


class CommitPage(Page[CommitValue]):
    """Some commits, newest first: those that this process remembers, then those that are kept.

    ``trouble`` says why the ones that the database keeps are missing; empty when they are not.
    """

    trouble: str = ""


class WaitRequest(Value):
    """What to wait for: a commit, an object's current version, or neither: the newest commit.

    ``nodes`` narrows to connections of these nodes; ``seconds`` is the longest wait.
    """

    commit: int | None = Field(default=None, ge=0, le=2**53)
    object: Reference | None = None
    nodes: tuple[str, ...] = Field(default=(), max_length=1000)
    seconds: float = Field(default=30.0, ge=0, le=300)


class WaitAnswer(Value):
    """How waiting ended.

    ``commit`` is null while the object's current version was not even committed. ``reason`` says
    in words why it is not converged; empty when it is.
    """

    is_converged: bool
    commit: int | None
    reason: str
    progress: ProgressValue
