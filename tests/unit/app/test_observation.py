"""What is counted of streams, told by real sessions."""

import pytest
from structlog.testing import capture_logs

from controlplane.app.observation import StreamObservation
from controlplane.insight.commits import CommitLog
from controlplane.metrics import Metrics
from controlplane.model.names import ObjectReference
from controlplane.snapshots.catalog import Catalog
from controlplane.snapshots.scope import ADDRESS_TYPE, AUTHORIZATION_TYPE, AUTHORIZATIONS
from controlplane.xds.node import Node
from controlplane.xds.session import Origin, Session
from controlplane.xds.settings import XdsSettings
from tests.support.discovery import (
    FakeClock,
    a_policy,
    a_request,
    a_workload,
    acknowledge,
    introduced,
    put,
    taken,
)

EVENT = "istiod_lite_event_to_ack_seconds"


class Rig:
    """A catalog, its log, and clients whose streams are observed."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.catalog = Catalog()
        self.log = CommitLog(self.catalog, self.clock)
        self.metrics = Metrics("1")
        self.observation = StreamObservation(self.metrics.serving, self.log.elapsed)
        self._edition = 0

    def commit(self, *, after: float, name: str = "c//Pod/ns/a") -> None:
        """Let an object arrive and commit it ``after`` seconds."""
        self._edition += 1
        self.log.arrived(ObjectReference("Pod", "ns", "a"))
        self.log.batched()
        self.clock.time += after
        put(self.catalog, a_workload(name, padding=str(self._edition)))
        self.log.finished()

    def a_client(self, number: int = 1, **request: object) -> Session:
        session = Session(
            self.catalog,
            XdsSettings(),
            self.clock,
            origin=Origin(number=number),
            observer=self.observation,
        )
        session.receive(introduced(a_request(ADDRESS_TYPE, **request), kind="waypoint"))
        return session

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


def test_a_change_is_measured_from_its_arrival_to_its_acknowledgement() -> None:
    rig = Rig()
    rig.commit(after=0.0)
    client = rig.a_client()
    acknowledge(client, *taken(client))
    rig.commit(after=2.0)
    responses = taken(client)
    rig.clock.time += 3.0
    acknowledge(client, *responses)
    assert rig.value(f"{EVENT}_count", type="wds") == 1
    assert rig.value(f"{EVENT}_sum", type="wds") == 5.0
    assert rig.value("pilot_proxy_convergence_time_sum") == 5.0
    assert rig.value("istiod_lite_acknowledgement_seconds_sum") == 3.0


def test_policies_are_measured_though_their_removals_follow_later() -> None:
    rig = Rig()
    rig.commit(after=0.0)
    client = rig.a_client()
    client.receive(a_request(AUTHORIZATION_TYPE))
    acknowledge(client, *taken(client))
    acknowledge(client, *taken(client))
    rig.log.arrived(ObjectReference("AuthorizationPolicy", "ns", "p"))
    rig.log.batched()
    put(rig.catalog, a_policy("ns/p"), key=AUTHORIZATIONS)
    rig.log.finished()
    responses = taken(client)
    rig.clock.time += 2.0
    acknowledge(client, *responses)
    assert rig.value(f"{EVENT}_count", type="wads") == 1
    assert rig.value(f"{EVENT}_sum", type="wads") == 2.0
    assert not rig.value(f"{EVENT}_count", type="wds")


def test_the_first_state_of_a_client_is_no_measure_of_old_changes() -> None:
    rig = Rig()
    rig.commit(after=0.0)
    rig.clock.time += 3600.0
    client = rig.a_client()
    acknowledge(client, *taken(client))
    assert not rig.value(f"{EVENT}_count", type="wds")
    assert rig.value("istiod_lite_acknowledgement_seconds_count") == 1


def test_an_answer_to_a_question_is_no_measure_of_old_changes() -> None:
    rig = Rig()
    rig.commit(after=0.0)
    client = rig.a_client(subscribe=["c//Pod/ns/other"])
    acknowledge(client, *taken(client))
    rig.commit(after=0.0)
    taken(client)
    rig.clock.time += 3600.0
    client.receive(a_request(ADDRESS_TYPE, subscribe=["c//Pod/ns/a"]))
    responses = taken(client)
    assert responses
    acknowledge(client, *responses)
    assert not rig.value(f"{EVENT}_count", type="wds")


def test_who_was_busy_is_measured_from_the_oldest_change_it_lacked() -> None:
    rig = Rig()
    rig.commit(after=0.0)
    client = rig.a_client()
    acknowledge(client, *taken(client))
    rig.commit(after=0.0)
    first = taken(client)
    rig.commit(after=0.0)
    rig.clock.time += 4.0
    rig.commit(after=0.0)
    acknowledge(client, *first)
    rig.clock.time += 1.0
    acknowledge(client, *taken(client))
    assert rig.value(f"{EVENT}_count", type="wds") == 2
    assert rig.value(f"{EVENT}_sum", type="wds") == 4.0 + 5.0


def test_responses_are_counted_with_what_they_hold() -> None:
    rig = Rig()
    rig.commit(after=0.0)
    client = rig.a_client()
    (response,) = taken(client)
    assert rig.value("pilot_xds_pushes", type="wds") == 1
    assert rig.value("pilot_xds_config_size_bytes_sum", type="wds") == len(response.body)
    assert rig.value("istiod_lite_response_resources_sum", type="wds") == 1


def a_node(version: str, kind: str = "ztunnel") -> Node:
    return Node(id="n", kind=kind, namespace="ns", version=version)


def test_clients_are_counted_by_version_and_kind_while_they_are_there() -> None:
    rig = Rig()
    rig.observation.connected(1, a_node("1.30.0"))
    rig.observation.connected(2, a_node("", kind="waypoint"))
    assert rig.value("pilot_xds", version="1.30.0") == 1
    assert rig.value("pilot_xds", version="unknown") == 1
    assert rig.value("istiod_lite_sessions", kind="waypoint") == 1
    rig.observation.disconnected(2, "gone")
    assert rig.value("pilot_xds", version="unknown") == 0
    assert rig.value("istiod_lite_sessions", kind="waypoint") == 0
    assert rig.value("istiod_lite_sessions", kind="ztunnel") == 1


def test_clients_cannot_make_up_labels_without_end() -> None:
    rig = Rig()
    for number in range(100):
        rig.observation.connected(number, a_node(f"1.{number}"))
    rig.observation.connected(100, a_node("x" * 1000))
    made = {
        sample.labels["version"]
        for family in rig.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "pilot_xds"
    }
    assert len(made) == 17
    assert rig.value("pilot_xds", version="other") == 100 + 1 - 16


@pytest.mark.proves("HP-31")
@pytest.mark.refutes("HP-31")
def test_an_envoy_that_mistakes_paths_is_warned_of_when_it_connects() -> None:
    rig = Rig()
    with capture_logs() as logs:
        rig.observation.connected(1, a_node("envoy-1.40.0"))
        rig.observation.connected(2, a_node("envoy-1.38.3"))
    warned = [each for each in logs if each["log_level"] == "warning"]
    expected = ("waypoint.mistakes-paths", 2, "envoy-1.38.3")
    assert [(each["event"], each["client"], each["version"]) for each in warned] == [expected]


def test_refused_resources_are_counted_by_the_kind_of_their_object() -> None:
    rig = Rig()
    names = ("shop/deny", "shop/converted_peer_authentication_strict", "shop/deny-more")
    rig.observation.rejected(1, AUTHORIZATION_TYPE, names, "no")
    rig.observation.rejected(1, ADDRESS_TYPE, ("c/g/Made-Up/ns/name", "nonsense"), "no")

    def counted(kind: str, short: str = "wads") -> float | None:
        return rig.value("istiod_lite_rejected_resources_total", type=short, kind=kind)

    assert counted("AuthorizationPolicy") == 2
    assert counted("PeerAuthentication") == 1
    assert counted("other", "wds") == 2
    assert rig.value("pilot_total_xds_rejects", type="wads") == 1
