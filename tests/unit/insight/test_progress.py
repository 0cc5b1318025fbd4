"""How far a commit has got."""

from datetime import UTC, datetime, timedelta

import pytest

from controlplane.insight.progress import LISTED, SLOWEST, FollowedCommit, progress_of
from controlplane.insight.trail import LONG_AGO
from controlplane.model.commit import CommitProgress
from controlplane.snapshots.scope import ADDRESSES, AUTHORIZATIONS, TableKey, node_authorizations
from tests.support.trails import Stream

START = datetime(2026, 1, 1, tzinfo=UTC)
MADE_AT = 100.0


def moment(at: float) -> datetime:
    return START + timedelta(seconds=at)


def progress(*streams: Stream, keys: tuple[TableKey, ...] = (ADDRESSES,)) -> CommitProgress:
    commit = FollowedCommit(5, MADE_AT, frozenset(keys))
    return progress_of(commit, [each.follower for each in streams], moment)


def a_stream(number: int = 1, *keys: TableKey) -> Stream:
    """Return a client that had commit 4 before commit 5 was made."""
    stream = Stream(number, began_at=10.0, keys=keys or (ADDRESSES,))
    for key in stream.trails:
        stream.sent(4, 11.0, key)
        stream.accepted(4, 12.0, key)
    return stream


@pytest.mark.proves("CT-3")
def test_a_commit_concerns_who_looks_at_what_it_changed() -> None:
    elsewhere = a_stream(2, node_authorizations("n1"))
    assert progress(a_stream(), elsewhere).concerned == 1
    assert progress(elsewhere, keys=(node_authorizations("n1"),)).concerned == 1


@pytest.mark.refutes("CT-3")
def test_a_client_that_was_sent_nothing_of_it_is_not_concerned() -> None:
    silent = a_stream()
    silent.accepted(5, 12.0)  # it moved on without a word: nothing was for this client
    silent.sent(6, 130.0)
    silent.accepted(6, 131.0)
    assert progress(silent) == CommitProgress()


@pytest.mark.proves("CT-4", "CT-5", "CT-8")
def test_a_later_acknowledgement_is_one_of_everything_before() -> None:
    stream = a_stream()
    stream.sent(7, 102.0)
    stream.accepted(7, 103.5)
    told = progress(stream)
    assert (told.concerned, told.sent, told.acknowledged) == (1, 1, 1)
    assert (told.median_seconds, told.p99_seconds) == (3.5, 3.5)
    assert (told.first_sent_at, told.last_acknowledged_at) == (moment(102.0), moment(103.5))
    assert told.is_converged


@pytest.mark.refutes("CT-4", "CT-5")
def test_an_earlier_acknowledgement_is_not() -> None:
    unsent, sent = a_stream(1), a_stream(2)
    sent.sent(5, 101.0)
    told = progress(unsent, sent)
    assert (told.concerned, told.sent, told.acknowledged) == (2, 1, 0)
    assert [(each.connection, each.is_sent) for each in told.waiting] == [(1, False), (2, True)]
    assert not told.is_converged
    assert (told.median_seconds, told.last_acknowledged_at) == (None, None)


@pytest.mark.proves("CT-5", "CT-8")
def test_a_client_of_two_types_has_it_with_the_last_of_them() -> None:
    both = (ADDRESSES, AUTHORIZATIONS)
    stream = a_stream(1, *both)
    stream.sent(5, 101.0, AUTHORIZATIONS)
    stream.accepted(5, 102.0, AUTHORIZATIONS)
    assert progress(stream, keys=both).waiting[0].is_sent is False
    stream.sent(5, 103.0)
    stream.accepted(5, 104.0)
    told = progress(stream, keys=both)
    assert (told.acknowledged, told.median_seconds) == (1, 4.0)
    assert (told.first_sent_at, told.last_sent_at) == (moment(101.0), moment(103.0))


@pytest.mark.proves("CT-6")
def test_a_refusal_stays_whatever_is_accepted_later() -> None:
    stream = a_stream()
    stream.sent(6, 101.0)
    stream.refused(6, 102.0, says="ns/p: bad")
    stream.sent(7, 103.0)
    stream.accepted(7, 104.0)
    told = progress(stream)
    assert (told.concerned, told.refused, told.acknowledged) == (1, 1, 0)
    (refusal,) = told.refusals
    assert (refusal.message, refusal.at, refusal.name) == (
        "ns/p: bad",
        moment(102.0),
        "proxy-1.ns",
    )


@pytest.mark.refutes("CT-6")
def test_a_refusal_of_another_commit_is_none_of_this_one() -> None:
    stream = a_stream()
    stream.accepted(5, 101.0)
    stream.refused(6, 102.0)
    assert progress(stream).acknowledged == 1


@pytest.mark.proves("CT-7")
def test_who_came_later_has_it_and_took_no_time() -> None:
    late = Stream(1, began_at=200.0)
    assert progress(late).waiting[0].is_sent is False
    late.sent(6, 201.0)
    late.accepted(6, 202.0)
    told = progress(late)
    assert (told.acknowledged, told.median_seconds, told.first_sent_at) == (1, None, None)


@pytest.mark.refutes("CT-7", "CT-8")
def test_percentiles_are_of_those_who_were_there_and_the_slowest_are_named() -> None:
    streams = []
    for number in range(1, 101):
        stream = a_stream(number)
        stream.accepted(5, MADE_AT + number)
        streams.append(stream)
    told = progress(*streams)
    assert (told.median_seconds, told.p99_seconds) == (50.0, 99.0)
    assert [each.connection for each in told.slowest] == [100, 99, 98, 97, 96][:SLOWEST]
    assert told.slowest[0].node == "node-100"


def test_a_commit_too_old_to_be_remembered_may_concern_everybody() -> None:
    held, lacks = a_stream(1), a_stream(2, AUTHORIZATIONS)
    held.accepted(5, 101.0)
    told = progress_of(FollowedCommit(5, LONG_AGO, None), [held.follower, lacks.follower], moment)
    assert (told.concerned, told.acknowledged) == (2, 1)


def test_lists_are_bounded_and_counts_are_not() -> None:
    waiting = [a_stream(number) for number in range(LISTED + 1)]
    refusing = [a_stream(number) for number in range(LISTED + 1)]
    for each in refusing:
        each.refused(5, 101.0)
    told = progress(*waiting, *refusing)
    assert (len(told.waiting), len(told.refusals)) == (LISTED, LISTED)
    assert (told.concerned, told.refused) == (2 * LISTED + 2, LISTED + 1)
