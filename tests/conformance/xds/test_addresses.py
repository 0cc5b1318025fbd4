"""Transcripts of docs/protocol/discovery.md ADR-1 to ADR-8: wildcard addresses."""

import pytest

from controlplane.encode.envelope import WORKLOAD_TYPE
from controlplane.pb import workload_pb2
from controlplane.snapshots.forms import is_service_name
from controlplane.snapshots.scope import ADDRESS_TYPE
from controlplane.xds.on_demand import OnDemandSubscription
from controlplane.xds.session import Session
from tests.support.discovery import (
    a_catalog,
    a_request,
    a_service,
    a_session,
    a_workload,
    acknowledge,
    introduced,
    names,
    parsed,
    put,
    remove,
    removed,
    taken,
)

POD = a_workload("c//Pod/ns/a")
OTHER = a_workload("c//Pod/ns/b")
SERVICE = a_service("ns/host", vips=["10.1.0.1"])


def subscribed(session: Session, **request: object) -> None:
    session.receive(introduced(a_request(**request), kind="waypoint"))  # type: ignore[arg-type]


@pytest.mark.proves("ADR-1")
@pytest.mark.parametrize("subscribe", [[], ["*"]])
def test_subscribing_to_nothing_or_to_the_star_is_everything(subscribe: list[str]) -> None:
    session = a_session(a_catalog(POD, SERVICE))
    subscribed(session, subscribe=subscribe)
    assert names(taken(session)[0]) == [POD.name, SERVICE.name]


@pytest.mark.refutes("ADR-1")
def test_subscribing_and_unsubscribing_the_star_is_nothing_yet() -> None:
    session = a_session(a_catalog(POD, SERVICE))
    subscribed(session, subscribe=["*"], unsubscribe=["*"])
    (answer,) = taken(session)
    assert names(answer) == []
    assert isinstance(session.subscriptions[ADDRESS_TYPE], OnDemandSubscription)


@pytest.mark.proves("ADR-2")
def test_one_slash_is_a_service() -> None:
    assert is_service_name("ns/reviews.ns.svc.cluster.local")


@pytest.mark.refutes("ADR-2")
@pytest.mark.parametrize("uid", ["//Pod/ns/a", "NetworkGateway/n/1.2.3.4/15008", "c//Pod/ns/a"])
def test_more_slashes_are_a_workload(uid: str) -> None:
    assert not is_service_name(uid)


@pytest.mark.proves("ADR-3")
def test_52_unchanged_versions_are_skipped_and_everything_known_is_an_empty_answer() -> None:
    session = a_session(a_catalog(POD, SERVICE))
    subscribed(session, known={each.name: each.version for each in (POD, SERVICE)})
    (answer,) = taken(session)
    assert (names(answer), removed(answer)) == ([], [])


@pytest.mark.refutes("ADR-3")
def test_52_stale_and_empty_versions_and_new_resources_are_sent() -> None:
    session = a_session(a_catalog(POD, OTHER, SERVICE))
    subscribed(session, known={POD.name: "stale", SERVICE.name: ""})
    (answer,) = taken(session)
    assert sorted(names(answer)) == sorted([POD.name, OTHER.name, SERVICE.name])


@pytest.mark.proves("ADR-4")
def test_52_what_is_gone_is_removed() -> None:
    session = a_session(a_catalog(POD))
    subscribed(session, known={"c//Pod/ns/gone": "1", POD.name: POD.version})
    assert removed(taken(session)[0]) == ["c//Pod/ns/gone"]


@pytest.mark.refutes("ADR-4")
def test_names_that_exist_or_were_unsubscribed_are_not_removed() -> None:
    session = a_session(a_catalog(POD))
    subscribed(
        session,
        subscribe=["*"],
        unsubscribe=["c//Pod/ns/gone"],
        known={"c//Pod/ns/gone": "1", POD.name: "1"},
    )
    (answer,) = taken(session)
    assert (names(answer), removed(answer)) == ([POD.name], [])


@pytest.mark.proves("ADR-5")
def test_a_push_holds_exactly_what_changed() -> None:
    catalog = a_catalog(POD, SERVICE)
    session = a_session(catalog)
    subscribed(session)
    acknowledge(session, *taken(session))
    put(catalog, OTHER)
    (push,) = taken(session)
    assert (names(push), removed(push)) == ([OTHER.name], [])
    acknowledge(session, push)
    remove(catalog, OTHER.name)
    (push,) = taken(session)
    assert (names(push), removed(push)) == ([], [OTHER.name])


@pytest.mark.refutes("ADR-5")
def test_an_equal_put_pushes_nothing_and_other_types_do_not_either() -> None:
    catalog = a_catalog(POD)
    session = a_session(catalog)
    subscribed(session)
    acknowledge(session, *taken(session))
    put(catalog, a_workload(POD.name))
    assert taken(session) == []


@pytest.mark.proves("ADR-6")
def test_55_names_on_a_wildcard_stream_bring_everything_and_are_not_stored() -> None:
    catalog = a_catalog(POD, SERVICE)
    session = a_session(catalog)
    subscribed(session)
    acknowledge(session, *taken(session))
    session.receive(a_request(subscribe=["c//Pod/ns/none"]))
    (answer,) = taken(session)
    assert names(answer) == [POD.name, SERVICE.name]
    assert removed(answer) == ["c//Pod/ns/none"]
    acknowledge(session, answer)
    session.receive(a_request(unsubscribe=["c//Pod/ns/none"]))
    assert len(names(taken(session)[0])) == 2


@pytest.mark.refutes("ADR-6")
def test_a_request_without_names_brings_nothing_again() -> None:
    session = a_session(a_catalog(POD))
    subscribed(session)
    acknowledge(session, *taken(session))
    session.receive(a_request())
    assert taken(session) == []


@pytest.mark.proves("ADR-7")
def test_a_name_that_came_back_is_only_updated() -> None:
    catalog = a_catalog(POD)
    session = a_session(catalog)
    subscribed(session)
    first = taken(session)
    remove(catalog, POD.name)
    put(catalog, a_workload(POD.name, padding="2"))
    acknowledge(session, *first)
    (push,) = taken(session)
    assert (names(push), removed(push)) == ([POD.name], [])


@pytest.mark.refutes("ADR-7")
def test_a_name_that_came_and_went_is_only_removed_also_when_asked_again() -> None:
    catalog = a_catalog(POD)
    session = a_session(catalog)
    subscribed(session)
    first = taken(session)
    put(catalog, OTHER)
    remove(catalog, OTHER.name)
    remove(catalog, POD.name)
    session.receive(a_request(subscribe=[POD.name, OTHER.name]))
    acknowledge(session, *first)
    (answer,) = taken(session)
    assert names(answer) == []
    assert sorted(removed(answer)) == [POD.name, OTHER.name]


@pytest.mark.proves("ADR-8")
def test_legacy_workloads_are_the_same_workloads() -> None:
    session = a_session(a_catalog(POD, SERVICE))
    subscribed(session, type_url=WORKLOAD_TYPE)
    (answer,) = taken(session)
    (resource,) = parsed(answer).resources
    assert (resource.name, resource.version) == (POD.name, POD.version)
    assert resource.resource.type_url == WORKLOAD_TYPE
    assert workload_pb2.Workload.FromString(resource.resource.value).uid == POD.name


@pytest.mark.refutes("ADR-8")
def test_services_never_reach_legacy_clients() -> None:
    catalog = a_catalog(POD, SERVICE)
    session = a_session(catalog)
    subscribed(session, type_url=WORKLOAD_TYPE)
    acknowledge(session, *taken(session))
    put(catalog, a_service(SERVICE.name, padding="2"), a_service("ns/other"))
    remove(catalog, "ns/other")
    assert taken(session) == []
