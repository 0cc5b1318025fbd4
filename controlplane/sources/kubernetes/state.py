"""How far a source is with each kind: what admin and metrics show."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KindState:
    """One kind.

    ``is_synced``: everything that existed at the start was handed over. ``is_present``: its
    definition exists. ``is_current``: a watch is open, so that nothing is missed. ``heard_at``
    and ``troubled_since`` are seconds of the monotonic clock: when the API server last said
    anything about the kind, and since when it cannot be read. ``trouble`` says why, "" when it
    can. ``lag`` is how long ago, in seconds, the last added object was made when it was seen.
    """

    kind: str
    objects: int
    is_synced: bool
    is_present: bool
    is_current: bool
    heard_at: float | None
    troubled_since: float | None
    trouble: str
    lag: float | None
    lists: int
    events: int
