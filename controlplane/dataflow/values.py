"""Values that leave the engine: net changes for subscribers, summaries and findings for admin.

Rules return `KEEP`; everything else here is made by the engine and read by whoever subscribed.
`Change` is a named tuple because a commit makes one per changed key: a frozen dataclass takes
four times as long to construct.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, Literal, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Keep(Enum):
    """The type of `KEEP`, for the annotations of rules that return it."""

    KEEP = "keep"


class Absent(Enum):
    """The type of `ABSENT`, which stands for "no value" inside the engine."""

    ABSENT = "absent"


KEEP: Final[Literal[Keep.KEEP]] = Keep.KEEP
ABSENT: Final[Literal[Absent.ABSENT]] = Absent.ABSENT


class Change(NamedTuple, Generic[K, V]):
    """What one commit did to one key: `old` None is an addition, `new` None a removal."""

    key: K
    old: V | None
    new: V | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A rule (or an index) that raised on one key; its last good output is still in place."""

    collection: str
    key: Hashable
    error: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """A key claimed more than once: `owners` smallest first, and the first is the one seen."""

    collection: str
    key: Hashable
    owners: tuple[Hashable, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSummary:
    """One finished commit.

    Shape: `changed` has an entry for each collection with net changes (name -> number of keys);
    `failures` are those that this commit added.
    """

    number: int
    changed: Mapping[str, int]
    rule_calls: int
    failures: tuple[Failure, ...]
    is_ready: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionDescription:
    """One collection as admin shows it; `cells` counts the rule results that depend on a fetch.

    `reads` counts the keys and buckets of this collection that rules of others depend on.
    `last_seconds` is what its last recomputation took, `total_seconds` what all of them did since
    `Graph.time`; 0.0 before.
    """

    name: str
    kind: str
    size: int
    cells: int
    rule_calls: int
    failures: int
    clashes: int
    indexes: tuple[str, ...]
    reads: int = 0
    last_seconds: float = 0.0
    total_seconds: float = 0.0
