"""What a commit changed, why, and who has it (docs/protocol/fleet.md CT-n).

Numbers are those of one replica's catalog. Lists are bounded; the counts beside them are not.
"""

from dataclasses import dataclass
from datetime import datetime

from controlplane.model.names import ObjectReference


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """An object whose arrival made a commit. ``happened_at`` is the source's own time, if known."""

    object: ObjectReference
    is_removal: bool = False
    happened_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeChange:
    """What a commit did to one type: how many resources, and the names of some of them."""

    type_url: str
    updated: int = 0
    removed: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitLatency:
    """One connection, and the seconds from a commit until it had all of it.

    ``sent_seconds`` are those until it was first sent something of it, None where not known.
    """

    connection: int
    name: str
    node: str
    seconds: float
    sent_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRefusal:
    """One connection that refused the response which brought it a commit, in its own words."""

    connection: int
    name: str
    node: str
    type_url: str
    names: tuple[str, ...]
    message: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitWaiting:
    """One connection that does not have all of a commit; ``is_sent``: it only has to answer."""

    connection: int
    name: str
    node: str
    is_sent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitProgress:
    """How far a commit has got among the connections that are open now.

    ``concerned`` counts those it changed something for; each of them is one of ``acknowledged``,
    ``refused`` or still waiting, and ``sent`` counts those that were sent it. Seconds are counted
    from the commit to the acknowledgement, for connections that were there when it was made; None
    when there is none.
    """

    concerned: int = 0
    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    first_sent_at: datetime | None = None
    last_sent_at: datetime | None = None
    last_acknowledged_at: datetime | None = None
    median_seconds: float | None = None
    p99_seconds: float | None = None
    slowest: tuple[CommitLatency, ...] = ()
    waiting: tuple[CommitWaiting, ...] = ()
    refusals: tuple[CommitRefusal, ...] = ()

    @property
    def is_converged(self) -> bool:
        """Return whether every connection it concerns has it."""
        return self.acknowledged == self.concerned


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRecord:
    """One commit of the catalog.

    ``received_at`` is when the first of its causes was handed over by a source, None when nothing
    was (a commit made by hand); ``cause_count`` counts arrivals, ``causes`` names some of them.
    """

    replica: str
    number: int
    committed_at: datetime
    received_at: datetime | None = None
    causes: tuple[Cause, ...] = ()
    cause_count: int = 0
    types: tuple[TypeChange, ...] = ()
    progress: CommitProgress = CommitProgress()
