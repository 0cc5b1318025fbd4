"""Open streams as the commit log sees them, by hand."""

from collections.abc import Iterable

from controlplane.insight.trail import FollowedType, Follower, Trail
from controlplane.model.connection import NOTHING
from controlplane.snapshots.scope import ADDRESSES, TableKey


class Stream:
    """One client with one trail per table it looks at."""

    def __init__(
        self, number: int, *, began_at: float, keys: Iterable[TableKey] = (ADDRESSES,)
    ) -> None:
        self.number = number
        self.trails = {key: Trail(began_at) for key in keys}

    def sent(self, commit: int, at: float, key: TableKey = ADDRESSES) -> None:
        self.trails[key].sent.note(commit, at)

    def accepted(self, commit: int, at: float, key: TableKey = ADDRESSES) -> None:
        self.trails[key].held.note(commit, at)

    def refused(self, commit: int, at: float, key: TableKey = ADDRESSES, says: str = "no") -> None:
        self.trails[key].refused(commit, at, (), says)

    @property
    def follower(self) -> Follower:
        return Follower(
            self.number,
            f"proxy-{self.number}.ns",
            f"node-{self.number}",
            tuple(
                FollowedType(key.type_url, (key,), trail, trail.held.last)
                for key, trail in self.trails.items()
            ),
        )

    @property
    def held(self) -> int:
        return min((trail.held.last for trail in self.trails.values()), default=NOTHING)
