"""What the client says on a stream, and what it remembers between streams."""

import pytest

from controlplane.lab.ztunnel.errors import UndecodableResponseError
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.session import Session
from controlplane.pb import workload_pb2
from tests.support.wire import (
    ADDRESS,
    AUTHORIZATION,
    a_policy,
    a_request,
    a_resource,
    a_response,
    a_service,
    a_workload,
    policies,
    uid_of,
)

UNUSABLE = workload_pb2.Workload(uid="broken", addresses=[b"123"])


def a_session(*, on_demand: bool = False) -> Session:
    return Session(
        NodeIdentity(node_name="n1", pod_name="zt", address="10.0.0.9"), on_demand=on_demand
    )


@pytest.mark.proves("ZT-1")
def test_the_node_says_who_it_is() -> None:
    node = NodeIdentity(
        pod_name="zt",
        namespace="infra",
        node_name="n1",
        address="10.0.0.9",
        metadata=(("NETWORK", "east"),),
    ).message()
    assert node.id == "ztunnel~10.0.0.9~zt.infra~infra.svc.cluster.local"
    assert dict(node.metadata.items()) == {
        "NAME": "zt",
        "NAMESPACE": "infra",
        "INSTANCE_IPS": "10.0.0.9",
        "NODE_NAME": "n1",
        "NETWORK": "east",
    }


@pytest.mark.refutes("ZT-1")
def test_configured_metadata_cannot_change_who_the_node_is() -> None:
    node = NodeIdentity(node_name="n1", metadata=(("NODE_NAME", "other"),)).message()
    assert node.metadata["NODE_NAME"] == "n1"


@pytest.mark.proves("ZT-2", "ZT-3")
@pytest.mark.refutes("ZT-4")
def test_a_stream_begins_with_a_request_for_everything_of_each_type() -> None:
    requests = [a_request(data) for data in a_session().connect()]
    assert [request.type_url for request in requests] == [ADDRESS, AUTHORIZATION]
    for request in requests:
        assert request.node.id.startswith("ztunnel~10.0.0.9~zt.")
        assert list(request.resource_names_subscribe) == []
        assert list(request.resource_names_unsubscribe) == []
        assert dict(request.initial_resource_versions) == {}
        assert request.response_nonce == ""


@pytest.mark.refutes("ZT-3")
def test_on_demand_asks_for_no_address_but_for_every_policy() -> None:
    addresses, authorizations = map(a_request, a_session(on_demand=True).connect())
    assert list(addresses.resource_names_subscribe) == ["*"]
    assert list(addresses.resource_names_unsubscribe) == ["*"]
    assert list(authorizations.resource_names_subscribe) == []
    assert list(authorizations.resource_names_unsubscribe) == []


@pytest.mark.proves("ZT-5")
@pytest.mark.refutes("ZT-2")
def test_a_clean_response_is_answered_by_type_and_nonce_alone() -> None:
    session = a_session()
    session.connect()
    answer = a_request(session.receive(a_response(a_workload(), nonce="n7")))
    assert answer.type_url == ADDRESS
    assert answer.response_nonce == "n7"
    assert not answer.HasField("node")
    assert not answer.HasField("error_detail")
    assert session.nacks == []


@pytest.mark.proves("ZT-58")
@pytest.mark.refutes("ZT-5")
def test_a_rejection_is_told_with_every_name_and_reason() -> None:
    session = a_session()
    session.connect()
    answer = a_request(
        session.receive(
            a_response(
                a_resource(UNUSABLE, name="one"),
                a_workload("good"),
                a_resource(workload_pb2.Address(), name="two"),
            )
        )
    )
    assert answer.error_detail.code == 0
    assert answer.error_detail.message == (
        "one: address is neither 4 nor 16 bytes (addresses); two: neither a workload nor a service"
    )
    assert session.nacks == [answer.error_detail.message]


@pytest.mark.proves("ZT-6")
def test_ready_after_one_acknowledged_response_of_each_type() -> None:
    session = a_session()
    session.connect()
    session.receive(a_response())
    assert not session.is_ready
    session.receive(policies())
    assert session.is_ready


@pytest.mark.refutes("ZT-6")
def test_a_refused_response_does_not_make_ready() -> None:
    session = a_session()
    session.connect()
    session.receive(policies())
    session.receive(a_response(a_resource(UNUSABLE, name="one")))
    assert not session.is_ready
    session.receive(a_response(a_workload(), nonce="2"))
    assert session.is_ready


def test_on_demand_is_ready_with_the_policies() -> None:
    session = a_session(on_demand=True)
    session.connect()
    session.receive(policies())
    assert session.is_ready


@pytest.mark.proves("ZT-4")
def test_the_next_stream_offers_what_is_held() -> None:
    session = a_session()
    session.connect()
    session.receive(
        a_response(
            a_resource(a_workload("a"), version="v1"), a_resource(a_service("web"), version="v2")
        )
    )
    session.receive(policies(a_resource(a_policy("p"), version="v3")))
    session.receive(a_response(a_resource(a_workload("a"), version="v4"), nonce="2"))
    addresses, authorizations = map(a_request, session.connect())
    assert dict(addresses.initial_resource_versions) == {uid_of("a"): "v4", "default/web": "v2"}
    assert dict(authorizations.initial_resource_versions) == {"default/p": "v3"}


@pytest.mark.refutes("ZT-4")
def test_neither_removed_nor_rejected_resources_are_offered() -> None:
    session = a_session()
    session.connect()
    session.receive(
        a_response(
            a_resource(a_workload("a"), version="v1"), a_resource(a_workload("b"), version="v1")
        )
    )
    session.receive(
        a_response(
            a_resource(UNUSABLE, name=uid_of("a"), version="v2"),
            a_resource(UNUSABLE, name=uid_of("c"), version="v2"),
            removed=[uid_of("b")],
            nonce="2",
        )
    )
    addresses, _ = map(a_request, session.connect())
    assert dict(addresses.initial_resource_versions) == {uid_of("a"): "v1"}


@pytest.mark.proves("ZT-7")
def test_what_is_held_survives_the_stream_and_is_then_corrected() -> None:
    session = a_session()
    session.connect()
    session.receive(a_response(a_workload("a"), a_workload("b")))
    session.connect()
    assert set(session.state.workloads.by_uid) == {uid_of("a"), uid_of("b")}
    session.receive(a_response(a_workload("c"), removed=[uid_of("a")]))
    assert set(session.state.workloads.by_uid) == {uid_of("b"), uid_of("c")}


@pytest.mark.refutes("ZT-7")
def test_an_empty_first_response_of_the_next_stream_corrects_nothing() -> None:
    session = a_session()
    session.connect()
    session.receive(a_response(a_workload("a")))
    before = session.state.view()
    session.connect()
    session.receive(a_response())
    assert session.state.view() == before


@pytest.mark.proves("ZT-9")
def test_an_unknown_type_is_acknowledged_and_changes_nothing() -> None:
    session = a_session()
    session.connect()
    before = session.state.view()
    answer = a_request(
        session.receive(a_response(a_workload(), type_url="type.example/other", nonce="5"))
    )
    assert (answer.type_url, answer.response_nonce) == ("type.example/other", "5")
    assert not answer.HasField("error_detail")
    assert session.state.view() == before


@pytest.mark.refutes("ZT-9")
def test_a_type_that_was_asked_for_changes_the_state() -> None:
    session = a_session()
    session.connect()
    session.receive(policies(a_policy("p")))
    assert set(session.state.policies.by_name) == {"default/p"}


def test_a_response_that_cannot_be_read_breaks_the_stream() -> None:
    session = a_session()
    session.connect()
    with pytest.raises(UndecodableResponseError):
        session.receive(b"\xff\xff\xff")


@pytest.mark.proves("ZT-30")
@pytest.mark.parametrize("is_removal", [True, False])
def test_a_demand_is_answered_by_name(is_removal: bool) -> None:
    session = a_session(on_demand=True)
    session.connect()
    request = a_request(session.demand("default/web"))
    assert list(request.resource_names_subscribe) == ["default/web"]
    assert not request.HasField("node")
    assert session.demanded == ("default/web",)
    if is_removal:
        session.receive(a_response(removed=["default/web"]))
    else:
        session.receive(a_response(a_service("web")))
    assert session.demanded == ()


@pytest.mark.refutes("ZT-30")
def test_a_demand_is_not_answered_by_an_alias_and_is_repeated_on_the_next_stream() -> None:
    session = a_session(on_demand=True)
    session.connect()
    session.demand("/10.0.0.1")
    resource = a_resource(a_workload("a", ips=["10.0.0.1"]))
    resource.aliases.append("/10.0.0.1")
    session.receive(a_response(resource))
    assert session.demanded == ("/10.0.0.1",)
    *_, again = map(a_request, session.connect())
    assert list(again.resource_names_subscribe) == ["/10.0.0.1"]
