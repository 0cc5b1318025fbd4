"""The trace of a commit, from its record."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from controlplane.insight.commit_trace import OBJECTS, REFUSALS, commit_span, is_over
from controlplane.model.commit import (
    Cause,
    CommitLatency,
    CommitProgress,
    CommitRecord,
    CommitRefusal,
    TypeChange,
)
from controlplane.model.names import ObjectReference
from controlplane.snapshots.scope import ADDRESS_TYPE

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def a_cause(number: int) -> Cause:
    return Cause(object=ObjectReference("Pod", "shop", f"web-{number}"))


def a_refusal(number: int) -> CommitRefusal:
    return CommitRefusal(
        connection=number,
        name="proxy.ns",
        node="n",
        type_url=ADDRESS_TYPE,
        names=("a/b",),
        message="no such thing",
        at=at(4),
    )


RECORD = CommitRecord(
    replica="r",
    number=7,
    received_at=at(0),
    committed_at=at(1),
    causes=(a_cause(1),),
    cause_count=1,
    types=(TypeChange(type_url=ADDRESS_TYPE, updated=2, removed=1),),
    progress=CommitProgress(
        concerned=2,
        sent=2,
        acknowledged=2,
        first_sent_at=at(1.5),
        last_sent_at=at(2),
        slowest=(
            CommitLatency(
                connection=1, name="proxy-1.ns", node="n1", seconds=2.0, sent_seconds=0.5
            ),
            CommitLatency(connection=2, name="proxy-2.ns", node="n2", seconds=1.0),
        ),
    ),
)


def test_a_trace_goes_from_the_first_event_to_the_last_answer() -> None:
    span = commit_span(RECORD)
    assert (span.name, span.began_at, span.ended_at, span.trouble) == ("commit", at(0), at(3), "")
    assert [(each.name, each.began_at, each.ended_at) for each in span.children] == [
        ("compute", at(0), at(1)),
        ("send", at(1), at(2)),
        ("deliver", at(1.5), at(3)),
        ("deliver", at(1), at(2)),
    ]
    assert span.children[2].attributes["istiod_lite.node"] == "n1"
    assert span.attributes["istiod_lite.objects"] == ["Pod shop/web-1"]
    assert span.attributes["istiod_lite.address.updated"] == 2
    assert span.attributes["istiod_lite.address.removed"] == 1


def test_what_was_refused_and_what_is_missing_is_trouble() -> None:
    progress = replace(
        RECORD.progress, concerned=5, acknowledged=2, refused=1, refusals=(a_refusal(3),)
    )
    span = commit_span(replace(RECORD, progress=progress))
    assert span.trouble == "refused by 1 of 5 connections, not acknowledged by 2 of 5"
    refused = span.children[-1]
    assert (refused.name, refused.ended_at, refused.trouble) == ("refuse", at(4), "no such thing")
    assert span.ended_at == at(4)


def test_a_commit_that_nobody_caused_or_was_sent_is_a_moment() -> None:
    span = commit_span(replace(RECORD, received_at=None, progress=CommitProgress()))
    assert (span.began_at, span.ended_at, span.children) == (at(1), at(1), ())


def test_a_trace_is_bounded_whatever_happened() -> None:
    progress = replace(RECORD.progress, refused=900, refusals=tuple(map(a_refusal, range(100))))
    causes = tuple(map(a_cause, range(32)))
    span = commit_span(replace(RECORD, causes=causes, progress=progress))
    assert len(span.children) == 4 + REFUSALS
    named = span.attributes["istiod_lite.objects"]
    assert isinstance(named, list)
    assert len(named) == OBJECTS


def test_a_commit_is_over_when_all_it_concerns_have_answered() -> None:
    assert is_over(RECORD)
    assert is_over(replace(RECORD, progress=CommitProgress()))
    assert is_over(replace(RECORD, progress=replace(RECORD.progress, acknowledged=1, refused=1)))
    assert not is_over(replace(RECORD, progress=replace(RECORD.progress, concerned=3)))
