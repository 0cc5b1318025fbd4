"""Faulty servers are caught, and servers that do it right are not accused."""

import pytest

from controlplane.lab.ztunnel.audit import Auditor, Fault
from controlplane.lab.ztunnel.node import NodeIdentity
from controlplane.lab.ztunnel.session import Session
from tests.support.wire import (
    ADDRESS,
    AUTHORIZATION,
    a_policy,
    a_resource,
    a_response,
    a_service,
    a_workload,
    name_of,
    policies,
    uid_of,
)

RECONNECT = b"reconnect"
"""In a script: the stream ends and another begins."""


def faults(
    *script: bytes, node: str = "n1", expected: dict[str, dict[str, str]] | None = None
) -> list[Fault]:
    """Play a server's script to an audited client.

    ``expected`` are versions by name that the client should hold, by nonce of the response.
    """
    session = Session(NodeIdentity(node_name=node))
    known = expected or {}
    auditor = Auditor(
        expected=lambda type_url, response: (
            known.get(response.nonce) if type_url == response.type_url else None
        )
    )
    auditor.watch(session)
    session.connect()
    for step in script:
        if step == RECONNECT:
            session.connect()
        else:
            session.receive(step)
    return [violation.fault for violation in auditor.violations]


LISTING = a_workload("a", node="n1", policies=["default/p"])
NOT_LISTING = a_workload("a", node="n1")
POLICY = a_policy("p")


@pytest.mark.proves("ZT-50")
def test_a_policy_after_the_workload_that_needs_it() -> None:
    assert faults(a_response(LISTING), policies(POLICY)) == [Fault.POLICY_AFTER_WORKLOAD]
    assert faults(a_response(LISTING), policies(POLICY), node="") == [Fault.POLICY_AFTER_WORKLOAD]


@pytest.mark.refutes("ZT-50")
def test_a_policy_before_the_workload_that_needs_it() -> None:
    assert faults(policies(POLICY), a_response(LISTING)) == []
    elsewhere = a_workload("b", node="n2", policies=["default/p"])
    assert faults(a_response(elsewhere)) == []


@pytest.mark.proves("ZT-50")
def test_required_policies_may_be_more_than_the_listed_ones() -> None:
    session = Session(NodeIdentity(node_name="n1"))
    auditor = Auditor(required=lambda workload: [f"{workload.namespace}/all"])
    auditor.watch(session)
    session.connect()
    session.receive(a_response(NOT_LISTING))
    (violation,) = auditor.violations
    assert violation.fault is Fault.POLICY_AFTER_WORKLOAD
    assert violation.subject == f"{uid_of('a')} needs default/all"
    assert str(violation).endswith("(stream 1, Address 1)")


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_policy_in_an_older_version_than_the_workloads_need(version: str) -> None:
    session = Session(NodeIdentity(node_name="n1"))
    auditor = Auditor(
        expected=lambda type_url, _: {"default/p": version} if type_url == AUTHORIZATION else None
    )
    session.connect()
    session.receive(policies(POLICY))
    auditor.watch(session)
    session.receive(a_response(LISTING))
    found = [violation.fault for violation in auditor.violations]
    assert found == ([] if version == "1" else [Fault.POLICY_AFTER_WORKLOAD])


@pytest.mark.proves("ZT-51")
def test_removals_of_policies_before_updates_of_workloads() -> None:
    assert faults(
        policies(POLICY),
        a_response(LISTING),
        policies(removed=["default/p"], nonce="2"),
        a_response(NOT_LISTING, nonce="3"),
    ) == [Fault.POLICY_REMOVED_WHILE_LISTED]


@pytest.mark.refutes("ZT-51")
def test_removals_of_policies_after_updates_of_workloads() -> None:
    assert (
        faults(
            policies(POLICY),
            a_response(LISTING, nonce="2"),
            a_response(NOT_LISTING, nonce="3"),
            policies(removed=["default/p"], nonce="4"),
        )
        == []
    )


HELD = a_response(a_workload("old"))
MOVED = {uid_of("new"): "1"}


@pytest.mark.proves("ZT-52")
def test_removals_before_updates() -> None:
    assert faults(
        HELD,
        a_response(removed=[uid_of("old")], nonce="2.0"),
        a_response(a_workload("new"), nonce="2.1"),
        expected={"2.0": MOVED, "2.1": MOVED},
    ) == [Fault.REMOVAL_BEFORE_UPDATE]


@pytest.mark.refutes("ZT-52")
def test_updates_before_removals() -> None:
    expected = {"2.0": MOVED, "2.1": MOVED}
    assert (
        faults(
            HELD,
            a_response(a_workload("new"), nonce="2.0"),
            a_response(removed=[uid_of("old")], nonce="2.1"),
            expected=expected,
        )
        == []
    )
    assert (
        faults(
            HELD,
            a_response(a_workload("new"), removed=[uid_of("old")], nonce="2.0"),
            expected=expected,
        )
        == []
    )


BOTH = {uid_of("a"): "1", uid_of("b"): "1"}


@pytest.mark.proves("ZT-53")
def test_a_split_first_response() -> None:
    halves = (a_response(a_workload("a"), nonce="1"), a_response(a_workload("b"), nonce="1.1"))
    expected = {"1": BOTH, "1.1": BOTH}
    assert faults(*halves, expected=expected) == [Fault.SPLIT_FIRST_RESPONSE]
    assert faults(a_response(nonce="0"), RECONNECT, *halves, expected=expected) == [
        Fault.SPLIT_FIRST_RESPONSE
    ]


@pytest.mark.refutes("ZT-53")
def test_a_whole_first_response_and_a_later_change() -> None:
    more = {**BOTH, uid_of("c"): "1"}
    assert (
        faults(
            a_response(a_workload("a"), a_workload("b"), nonce="1"),
            a_response(a_workload("c"), nonce="2"),
            RECONNECT,
            a_response(nonce="1"),
            expected={"1": BOTH, "2": more},
        )
        == []
    )


@pytest.mark.proves("ZT-54")
def test_one_name_updated_and_removed_together() -> None:
    assert faults(a_response(a_workload("a"), removed=[uid_of("a")])) == [Fault.UPDATED_AND_REMOVED]


@pytest.mark.refutes("ZT-54")
def test_one_name_updated_and_removed_in_turn() -> None:
    assert faults(a_response(a_workload("a")), a_response(removed=[uid_of("a")], nonce="2")) == []


@pytest.mark.proves("ZT-55")
def test_one_name_twice_in_a_response() -> None:
    assert faults(a_response(a_workload("a"), a_workload("a", node="n"))) == [Fault.REPEATED_NAME]


@pytest.mark.refutes("ZT-55")
def test_one_name_in_two_responses() -> None:
    assert faults(a_response(a_workload("a")), a_response(a_workload("a"), nonce="2")) == []


@pytest.mark.proves("ZT-56")
def test_a_repeated_or_empty_nonce() -> None:
    assert faults(a_response(), a_response()) == [Fault.REPEATED_NONCE]
    assert faults(a_response(nonce="")) == [Fault.EMPTY_NONCE]


@pytest.mark.refutes("ZT-56")
def test_a_nonce_may_come_again_on_the_next_stream() -> None:
    assert faults(a_response(nonce="1"), RECONNECT, a_response(nonce="1")) == []


@pytest.mark.proves("ZT-57")
def test_wrong_types_and_names() -> None:
    wrapped = a_resource(a_workload("a"))
    wrapped.resource.type_url = "type.example/other"
    named = a_resource(a_workload("a"), name="other")
    assert faults(a_response(type_url="type.example/other")) == [Fault.UNKNOWN_TYPE]
    assert faults(a_response(wrapped)) == [Fault.WRONG_TYPE]
    assert faults(a_response(named)) == [Fault.WRONG_NAME]


@pytest.mark.refutes("ZT-57")
def test_right_types_and_names() -> None:
    assert (
        faults(
            policies(POLICY, nonce="1"), a_response(a_workload("a"), a_service("web"), nonce="2")
        )
        == []
    )


@pytest.mark.proves("ZT-58")
def test_a_rejected_resource_is_recorded() -> None:
    broken = a_workload("a", addresses=[b"1"])
    expected = {"1": {name_of(broken): "1"}}
    assert faults(a_response(broken), expected=expected) == [Fault.REJECTED_RESOURCE]


@pytest.mark.refutes("ZT-58")
def test_a_usable_resource_is_not_recorded() -> None:
    assert faults(a_response(a_workload("a"))) == []


@pytest.mark.proves("ZT-59")
def test_resources_sent_again_on_the_next_stream() -> None:
    assert faults(a_response(a_workload("a")), RECONNECT, a_response(a_workload("a"))) == [
        Fault.RESENT_UNCHANGED
    ]


@pytest.mark.refutes("ZT-59")
def test_changed_resources_are_rightly_sent_on_the_next_stream() -> None:
    changed = a_resource(a_workload("a", node="n2"), version="2")
    unversioned = a_resource(a_workload("b"), version="")
    assert faults(a_response(a_workload("a")), RECONNECT, a_response(changed)) == []
    assert faults(a_response(unversioned), RECONNECT, a_response(unversioned)) == []


def test_the_planted_faults_are_told_from_each_other() -> None:
    seen = {
        faults(a_response(LISTING), policies(POLICY))[0],
        faults(HELD, a_response(removed=["x/y"], nonce="2"), expected={"2": MOVED})[0],
        faults(a_response(nonce="1"), expected={"1": BOTH})[0],
        faults(a_response(a_workload("a"), removed=[uid_of("a")]))[0],
        faults(a_response(), a_response(type_url=ADDRESS))[0],
    }
    assert len(seen) == 5
