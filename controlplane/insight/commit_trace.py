"""The trace of a commit: its record comes in, spans from source event to last answer go out.

Pure. One root and a bounded number of spans below it, however many clients there are: the way to
the commit, the sending, the slowest clients, and those that refused it.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from controlplane.model.commit import CommitLatency, CommitRecord
from controlplane.tracing import Attribute, Span

OBJECTS: Final = 16
"""Causes named in a trace."""

REFUSALS: Final = 5
"""Refusals told in a trace."""


def is_over(record: CommitRecord) -> bool:
    """Return whether every connection that the commit concerns has accepted or refused it."""
    progress = record.progress
    return progress.acknowledged + progress.refused >= progress.concerned


def commit_span(record: CommitRecord) -> Span:
    """Return the trace of a commit, as far as it has got."""
    children = tuple(_steps(record))
    progress = record.progress
    refused, waiting = progress.refused, progress.concerned - progress.acknowledged
    troubles = []
    if refused:
        troubles.append(f"refused by {refused} of {progress.concerned} connections")
    if waiting > refused:
        troubles.append(f"not acknowledged by {waiting - refused} of {progress.concerned}")
    return Span(
        name="commit",
        began_at=record.received_at or record.committed_at,
        ended_at=max(record.committed_at, *(each.ended_at for each in children))
        if children
        else record.committed_at,
        attributes=_attributes(record),
        children=children,
        trouble=", ".join(troubles),
    )


def _steps(record: CommitRecord) -> Iterator[Span]:
    progress = record.progress
    if record.received_at is not None:
        yield Span(name="compute", began_at=record.received_at, ended_at=record.committed_at)
    if progress.last_sent_at is not None:
        yield Span(
            name="send",
            began_at=record.committed_at,
            ended_at=max(record.committed_at, progress.last_sent_at),
            attributes={"istiod_lite.connections": progress.sent},
        )
    for latency in progress.slowest:
        yield _delivery(record.committed_at, latency)
    for refusal in progress.refusals[:REFUSALS]:
        yield Span(
            name="refuse",
            began_at=record.committed_at,
            ended_at=max(record.committed_at, refusal.at),
            attributes={
                "istiod_lite.proxy": refusal.name,
                "istiod_lite.node": refusal.node,
                "istiod_lite.type": refusal.type_url,
                "istiod_lite.resources": refusal.names[:OBJECTS],
            },
            trouble=refusal.message,
        )


def _delivery(committed_at: datetime, latency: CommitLatency) -> Span:
    sent_at = committed_at + timedelta(seconds=latency.sent_seconds or 0.0)
    return Span(
        name="deliver",
        began_at=sent_at,
        ended_at=max(sent_at, committed_at + timedelta(seconds=latency.seconds)),
        attributes={
            "istiod_lite.proxy": latency.name,
            "istiod_lite.node": latency.node,
            "istiod_lite.connection": latency.connection,
            "istiod_lite.seconds": latency.seconds,
        },
    )


def _attributes(record: CommitRecord) -> dict[str, Attribute]:
    progress = record.progress
    found: dict[str, Attribute] = {
        "istiod_lite.commit": record.number,
        "istiod_lite.replica": record.replica,
        "istiod_lite.causes": record.cause_count,
        "istiod_lite.objects": [str(each.object) for each in record.causes[:OBJECTS]],
        "istiod_lite.concerned": progress.concerned,
        "istiod_lite.acknowledged": progress.acknowledged,
        "istiod_lite.refused": progress.refused,
    }
    for change in record.types:
        short = change.type_url.rpartition(".")[2].lower()
        found[f"istiod_lite.{short}.updated"] = change.updated
        found[f"istiod_lite.{short}.removed"] = change.removed
    return found
