"""How far a commit has got: trails of open streams come in, counts, times and names come out.

Rules: docs/protocol/fleet.md CT-3 to CT-9. Cost: one look into two short arrays for each stream and
type, so this is done when somebody asks and never while serving.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from math import ceil
from typing import Final, NamedTuple

from controlplane.insight.trail import LONG_AGO, FollowedType, Follower, TrailRefusal
from controlplane.model.commit import (
    CommitLatency,
    CommitProgress,
    CommitRefusal,
    CommitWaiting,
)
from controlplane.snapshots.scope import TableKey

SLOWEST: Final = 5
"""Connections named that took longest."""

LISTED: Final = 100
"""Connections named that refused a commit, and that still wait for it."""


class FollowedCommit(NamedTuple):
    """A commit to look for: when it was made, in monotonic seconds, and the tables it changed.

    ``keys`` is None for a commit too old to be remembered: it may have changed every table.
    """

    number: int
    at: float
    keys: frozenset[TableKey] | None


class _State(Enum):
    UNCONCERNED = "unconcerned"
    UNSENT = "unsent"
    SENT = "sent"
    REFUSED = "refused"
    HELD = "held"


class _Standing(NamedTuple):
    """How one type of one stream stands to a commit; times only where they are the commit's own."""

    state: _State
    sent_at: float | None = None
    held_at: float | None = None
    refusal: TrailRefusal | None = None


@dataclass(slots=True)
class _Sum:
    concerned: int = 0
    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    sends: list[float] = field(default_factory=list)
    latencies: list[tuple[float, Follower, float | None]] = field(default_factory=list)
    waiting: list[CommitWaiting] = field(default_factory=list)
    refusals: list[CommitRefusal] = field(default_factory=list)


def progress_of(
    commit: FollowedCommit, followers: Iterable[Follower], moment: Callable[[float], datetime]
) -> CommitProgress:
    """Return how far ``commit`` has got; ``moment`` turns monotonic seconds into a time."""
    total = _Sum()
    for follower in followers:
        found = [(each, _standing(commit, each)) for each in follower.types]
        standings = [
            (each, standing) for each, standing in found if standing.state is not _State.UNCONCERNED
        ]
        if standings:
            _add(total, commit, follower, standings, moment)
    seconds = sorted(each for each, _, _ in total.latencies)
    slowest = sorted(total.latencies, key=lambda each: (-each[0], each[1].number))[:SLOWEST]
    return CommitProgress(
        concerned=total.concerned,
        sent=total.sent,
        acknowledged=total.acknowledged,
        refused=total.refused,
        first_sent_at=moment(min(total.sends)) if total.sends else None,
        last_sent_at=moment(max(total.sends)) if total.sends else None,
        last_acknowledged_at=moment(commit.at + seconds[-1]) if seconds else None,
        median_seconds=_rank(seconds, 0.5),
        p99_seconds=_rank(seconds, 0.99),
        slowest=tuple(
            CommitLatency(
                connection=follower.number,
                name=follower.name,
                node=follower.node,
                seconds=seconds_taken,
                sent_seconds=sent_seconds,
            )
            for seconds_taken, follower, sent_seconds in slowest
        ),
        waiting=tuple(total.waiting),
        refusals=tuple(total.refusals),
    )


def _add(
    total: _Sum,
    commit: FollowedCommit,
    follower: Follower,
    standings: list[tuple[FollowedType, _Standing]],
    moment: Callable[[float], datetime],
) -> None:
    """Count one connection that the commit concerns."""
    total.concerned += 1
    states = {standing.state for _, standing in standings}
    if _State.UNSENT not in states:
        total.sent += 1
    sends = [standing.sent_at for _, standing in standings if standing.sent_at is not None]
    total.sends += sends
    if _State.REFUSED in states:
        total.refused += 1
        for each, standing in standings:
            if standing.refusal is not None and len(total.refusals) < LISTED:
                total.refusals.append(_refusal(follower, each, standing.refusal, moment))
    elif states == {_State.HELD}:
        total.acknowledged += 1
        times = [standing.held_at for _, standing in standings if standing.held_at is not None]
        if times:
            sent_seconds = min(sends) - commit.at if sends else None
            total.latencies.append((max(times) - commit.at, follower, sent_seconds))
    elif len(total.waiting) < LISTED:
        total.waiting.append(
            CommitWaiting(
                connection=follower.number,
                name=follower.name,
                node=follower.node,
                is_sent=_State.UNSENT not in states,
            )
        )


def _standing(commit: FollowedCommit, followed: FollowedType) -> _Standing:
    number, at, keys = commit
    if not followed.keys or (keys is not None and keys.isdisjoint(followed.keys)):
        return _Standing(_State.UNCONCERNED)
    trail = followed.trail
    was_there = trail.began_at <= at
    sent_at = trail.sent.reached_at(number)
    own_sent_at = sent_at if was_there and sent_at is not None and sent_at >= at else None
    refusal = trail.refusal_of(number)
    if refusal is not None:
        return _Standing(_State.REFUSED, own_sent_at, refusal=refusal)
    if followed.held < number:
        return _Standing(_State.UNSENT if sent_at is None else _State.SENT, own_sent_at)
    held_at = trail.held.reached_at(number)
    if held_at is None or held_at == LONG_AGO or not was_there:
        return _Standing(_State.HELD)
    if held_at < at:
        # It had all of it before there was any: nothing in it was for this client.
        return _Standing(_State.UNCONCERNED)
    return _Standing(_State.HELD, own_sent_at, held_at)


def _refusal(
    follower: Follower,
    followed: FollowedType,
    refusal: TrailRefusal,
    moment: Callable[[float], datetime],
) -> CommitRefusal:
    return CommitRefusal(
        connection=follower.number,
        name=follower.name,
        node=follower.node,
        type_url=followed.type_url,
        names=refusal.names,
        message=refusal.message,
        at=moment(refusal.at),
    )


def _rank(seconds: list[float], share: float) -> float | None:
    """Return the smallest of sorted ``seconds`` that ``share`` of them do not exceed."""
    return seconds[ceil(share * len(seconds)) - 1] if seconds else None
