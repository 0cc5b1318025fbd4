"""Is a client in sync?"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controlplane.insight.sync import (
    SyncState,
    SyncVerdict,
    age_text,
    connection_verdict,
    sync_verdict,
    worst,
)
from controlplane.model.connection import Connection, TypeProgress

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ACCEPTED = NOW - timedelta(seconds=30)
SENT = NOW - timedelta(seconds=31)
SYNCED = TypeProgress(
    type_url="t",
    nonce_sent="5",
    nonce_acknowledged="5",
    commit_sent=5,
    commit_acknowledged=5,
    commit_held=9,
    commit_due=5,
    sent_at=SENT,
    acknowledged_at=ACCEPTED,
)
BEHIND = replace(SYNCED, commit_held=5, commit_due=8, behind_since=NOW - timedelta(seconds=4))
REFUSED = replace(
    BEHIND,
    nonce_sent="8",
    last_error="ns/p: bad",
    last_error_at=NOW - timedelta(seconds=2),
)
UNSENT = TypeProgress(type_url="t", commit_due=3, behind_since=NOW - timedelta(seconds=1))


@pytest.mark.proves("FL-4")
@pytest.mark.refutes("FL-1", "FL-2", "FL-3", "FL-5", "FL-7")
def test_a_client_with_everything_that_concerns_it_is_synced_while_the_mesh_moves_on() -> None:
    assert sync_verdict(SYNCED, NOW) == SyncVerdict(state=SyncState.SYNCED, since=ACCEPTED)


@pytest.mark.proves("FL-3", "FL-7")
@pytest.mark.refutes("FL-4")
def test_a_client_that_lacks_a_commit_is_stale_since_that_was_made() -> None:
    assert sync_verdict(BEHIND, NOW) == SyncVerdict(
        state=SyncState.STALE, since=BEHIND.behind_since, lag_commits=3, lag_seconds=4.0
    )
    forgotten = sync_verdict(replace(BEHIND, behind_since=None), NOW)
    assert (forgotten.state, forgotten.since, forgotten.lag_seconds) == (
        SyncState.STALE,
        None,
        None,
    )


@pytest.mark.proves("FL-3")
def test_an_unacknowledged_response_is_stale_since_it_was_sent() -> None:
    verdict = sync_verdict(replace(SYNCED, nonce_sent="5.1", is_in_flight=True), NOW)
    assert (verdict.state, verdict.since, verdict.lag_commits) == (SyncState.STALE, SENT, 0)
    never = replace(UNSENT, nonce_sent="3", is_in_flight=True, sent_at=SENT, behind_since=None)
    assert sync_verdict(never, NOW).since == SENT


@pytest.mark.proves("FL-2")
def test_what_was_asked_for_and_never_sent() -> None:
    verdict = sync_verdict(UNSENT, NOW)
    assert (verdict.state, verdict.since) == (SyncState.NOT_SENT, None)
    assert (verdict.lag_commits, verdict.lag_seconds) == (3, 1.0)


@pytest.mark.proves("FL-1")
def test_a_refusal_is_an_error_until_something_is_accepted() -> None:
    verdict = sync_verdict(REFUSED, NOW)
    assert (verdict.state, verdict.since) == (SyncState.ERROR, REFUSED.last_error_at)
    assert (verdict.lag_commits, verdict.lag_seconds) == (3, 4.0)


@pytest.mark.proves("FL-5")
def test_what_nobody_asked_for_or_serves_is_ignored() -> None:
    assert sync_verdict(None, NOW).state is SyncState.IGNORED
    assert sync_verdict(replace(REFUSED, is_served=False), NOW).state is SyncState.IGNORED


def a_connection(*types: TypeProgress) -> Connection:
    return Connection(
        replica="r",
        number=1,
        node_id="ztunnel~1~a.b~b",
        kind="ztunnel",
        pod="a",
        namespace="b",
        node="n",
        version="",
        cluster="",
        peer="",
        identity="",
        connected_at=NOW,
        types=types,
    )


@pytest.mark.proves("FL-6")
def test_the_worst_type_speaks_for_the_connection() -> None:
    progress = [REFUSED, BEHIND, UNSENT, SYNCED]
    for number, each in enumerate(progress):
        rest = progress[number:]
        assert connection_verdict(a_connection(*reversed(rest)), NOW) == sync_verdict(each, NOW)
    assert connection_verdict(a_connection(), NOW).state is SyncState.IGNORED


@pytest.mark.refutes("FL-6")
def test_of_two_equally_bad_types_the_one_further_behind_speaks() -> None:
    far = replace(BEHIND, commit_due=20)
    assert worst([sync_verdict(BEHIND, NOW), sync_verdict(far, NOW)]).lag_commits == 15


def test_a_verdict_reads_as_operators_know_it() -> None:
    assert sync_verdict(SYNCED, NOW).text(NOW) == "SYNCED (30s)"
    assert sync_verdict(UNSENT, NOW).text(NOW) == "NOT SENT"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (600, "10m"),
        (10799, "179m"),
        (10800, "3h"),
        (11000, "3h3m"),
        (28800, "8h"),
        (172799, "47h"),
        (172800, "2d"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert age_text(seconds) == text
