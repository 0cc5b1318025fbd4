"""Whatever happens, counters only grow, and what is answered can be read."""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from controlplane.app.certificate_observation import CertificateObservation, ReviewObservation
from controlplane.app.observation import CommitObservation, StreamObservation
from controlplane.ca.errors import Failure, Reply
from controlplane.dataflow import CommitSummary
from controlplane.insight.commits import CommitLog
from controlplane.metrics import Metrics
from controlplane.metrics.kinds import Count
from controlplane.model.names import ObjectReference
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import ADDRESS_TYPE, AUTHORIZATION_TYPE
from controlplane.xds.node import NODE_TYPES, Node
from controlplane.xds.response import Response
from tests.support.discovery import FakeClock, a_workload, put

TYPES = st.sampled_from((ADDRESS_TYPE, AUTHORIZATION_TYPE, "type.googleapis.com/made.Up"))
SECONDS = st.floats(min_value=0, max_value=1e6)
WORDS = st.text(max_size=80)
SIZES = st.integers(min_value=0, max_value=5000)
COUNTED = {"counter", "histogram"}


class History:
    """One process as its metrics see it."""

    def __init__(self) -> None:
        self.metrics = Metrics("1")
        self.clock = FakeClock()
        self.catalog = Catalog()
        self.log = CommitLog(self.catalog, self.clock)
        self.streams = StreamObservation(self.metrics.serving, self.log.elapsed)
        self.commits = CommitObservation(self.metrics, self.catalog, self.log.elapsed)
        self.certificates = CertificateObservation(self.metrics)
        self.reviews = ReviewObservation(self.metrics)
        self.open: list[int] = []
        self._number = 0
        self._growing = {
            family.name
            for group in vars(self.metrics).values()
            for metric in getattr(group, "__dict__", {}).values()
            if isinstance(metric, Count)
            for family in metric.describe()
        }

    def connect(self, version: str, kind: str) -> None:
        self._number += 1
        self.open.append(self._number)
        node = Node(id="n", kind=kind, namespace="ns", version=version)
        self.streams.connected(self._number, node)

    def disconnect(self, reason: str) -> None:
        if self.open:
            self.streams.disconnected(self.open.pop(), reason)

    def commit(self, seconds: float) -> None:
        self.log.arrived(ObjectReference("Pod", "ns", "a"))
        self.log.batched()
        self.clock.time += seconds
        put(self.catalog, a_workload("c//Pod/ns/a", padding=str(self.catalog.commit)))
        summary = CommitSummary(
            number=self.catalog.commit, changed={}, rule_calls=3, failures=(), is_ready=True
        )
        self.commits.committed(summary)
        self.log.finished()

    def send(self, type_url: str, updated: int) -> None:
        response = Response(
            type_url=type_url,
            nonce="1",
            body=bytes(updated),
            commit=self.catalog.commit,
            updated=updated,
            removed=1,
        )
        self.streams.sent(1, response)

    def acknowledge(self, type_url: str, seconds: float, after: int) -> None:
        self.streams.acknowledged(1, type_url, self.catalog.commit, seconds)
        self.streams.caught_up(1, type_url, after)

    def certify(self, failure: Failure | None, reason: str, seconds: float) -> None:
        self.certificates.requested()
        self.reviews.reviewed("accepted", seconds)
        if failure is None:
            self.certificates.issued(seconds, "P-256")
        else:
            reply = Reply(status="X", text="", reason_code=reason, failure=failure)
            self.certificates.refused(reply)

    def values(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Return every sample that may not fall, as somebody reads it who scrapes."""
        text = generate_latest(self.metrics.registry).decode()
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            if (family.type in COUNTED or family.name in self._growing)
            and not family.name.startswith("process_")
            for sample in family.samples
        }


def calls(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(*arguments).map(
        lambda given: lambda history: getattr(history, name)(*given)  # the call, later
    )


EVENTS = st.one_of(
    calls("connect", WORDS, st.sampled_from(sorted(NODE_TYPES))),
    calls("disconnect", WORDS),
    calls("commit", SECONDS),
    calls("send", TYPES, SIZES),
    calls("acknowledge", TYPES, SECONDS, st.integers(min_value=-1, max_value=20)),
    calls("certify", st.none() | st.sampled_from(Failure), st.just("reason"), SECONDS),
    st.tuples(TYPES, st.lists(WORDS, max_size=5).map(tuple), WORDS).map(
        lambda given: lambda history: history.streams.rejected(1, *given)
    ),
)


@given(st.lists(EVENTS, max_size=30))
def test_counters_only_grow_and_everything_can_be_read(
    events: list[Callable[[History], None]],
) -> None:
    history = History()
    before = history.values()
    for event in events:
        event(history)
        after = history.values()
        for key, value in before.items():
            assert after.get(key, -1.0) >= value, key
        before = after


def test_what_happens_is_counted_at_all() -> None:
    history = History()
    before = sum(history.values().values())
    history.commit(0.5)
    history.send(ADDRESS_TYPE, 2)
    history.acknowledge(ADDRESS_TYPE, 1.0, 0)
    history.certify(Failure.SIGNING_REQUEST, "reason", 0.1)
    history.streams.rejected(1, AUTHORIZATION_TYPE, ("ns/p",), "no")
    after = history.values()
    assert sum(after.values()) > before
    grown = {name for (name, _), value in after.items() if value}
    assert {
        "istiod_lite_commits_total",
        "pilot_debounce_time_count",
        "pilot_xds_pushes",
        "istiod_lite_event_to_ack_seconds_count",
        "citadel_server_csr_count",
        "citadel_server_csr_sign_err_count",
        "istiod_lite_rejected_resources_total",
    } <= grown
