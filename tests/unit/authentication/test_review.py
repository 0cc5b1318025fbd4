"""What the answer of a review makes of a token."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.authentication.caller import Caller, CallerKind
from controlplane.authentication.errors import Reason, UnauthenticatedError
from controlplane.authentication.review import Status, caller_of
from controlplane.model.names import Name
from tests.support.authentication import AUDIENCES, CLUSTER, PREFIX, a_status


def read(status: Status) -> Caller:
    return caller_of(
        status, AUDIENCES, cluster=CLUSTER, kind=CallerKind.CLUSTER_TOKEN, expires_at=7.0
    )


def refused(status: Status) -> Reason:
    with pytest.raises(UnauthenticatedError) as caught:
        read(status)
    return caught.value.reason


@pytest.mark.proves("AU-20", "AU-21", "AU-22", "AU-23")
def test_an_accepted_token_becomes_a_caller() -> None:
    status = a_status(node="node-a")
    status["user"]["extra"][PREFIX + "node-uid"] = ["uid-of-node-a"]
    assert read(status) == Caller(
        namespace="istio-system",
        service_account="ztunnel",
        cluster=CLUSTER,
        pod_name="ztunnel-a",
        pod_uid="uid-of-istio-system-ztunnel-a",
        node_name="node-a",
        node_uid="uid-of-node-a",
        credential_id="JTI=1",
        expires_at=7.0,
    )


@pytest.mark.refutes("AU-23")
@pytest.mark.parametrize("extra", [None, [], "text", {PREFIX + "pod-name": "text"}, {"x": [1]}])
def test_what_is_not_told_stays_empty(extra: Any) -> None:
    status = a_status()
    status["user"]["extra"] = extra
    caller = read(status)
    assert (caller.pod_name, caller.pod_uid, caller.node_name) == ("", "", "")
    assert not caller.is_bound_to_pod
    assert caller.account == Name("istio-system", "ztunnel")


@pytest.mark.proves("AU-23")
def test_the_first_value_counts() -> None:
    status = a_status()
    status["user"]["extra"][PREFIX + "pod-uid"] = ["one", "two"]
    assert read(status).pod_uid == "one"


@pytest.mark.refutes("AU-20")
@pytest.mark.parametrize(
    "change",
    [{"authenticated": False}, {"authenticated": "true"}, {"error": "no"}, {"authenticated": None}],
)
def test_rejected_tokens(change: dict[str, Any]) -> None:
    assert refused({**a_status(), **change}) is Reason.REJECTED


@pytest.mark.refutes("AU-21")
@pytest.mark.parametrize("audiences", [None, (), ("api",), "istio-ca", (["istio-ca"],)])
def test_reviews_that_do_not_confirm_our_audience(audiences: Any) -> None:
    assert refused(a_status(audiences=audiences)) is Reason.AUDIENCE_NOT_CONFIRMED


@pytest.mark.refutes("AU-22")
@pytest.mark.parametrize(
    "user",
    [
        None,
        "system:serviceaccount:a:b",
        {},
        {"groups": ["system:serviceaccounts"]},
        {"groups": ["system:masters"], "username": "system:serviceaccount:a:b"},
        {"groups": "system:serviceaccounts", "username": "system:serviceaccount:a:b"},
        *(
            {"groups": ["system:serviceaccounts"], "username": name}
            for name in (
                "alice",
                "system:node:node-a:x",
                "system:serviceaccount:a",
                "system:serviceaccount:a:b:c",
                "system:serviceaccount::b",
                "system:serviceaccount:a:",
            )
        ),
    ],
)
def test_users_that_are_no_service_accounts(user: Any) -> None:
    assert refused({**a_status(), "user": user}) is Reason.NOT_A_SERVICE_ACCOUNT


@given(
    st.dictionaries(
        st.sampled_from(["authenticated", "audiences", "user", "error", "other"]),
        st.recursive(
            st.none() | st.booleans() | st.text(max_size=5) | st.just("istio-ca"),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["groups", "username", "extra"]), inner)
            ),
            max_leaves=8,
        ),
    )
)
@pytest.mark.refutes("AU-20", "AU-21", "AU-22")
def test_nonsense_is_refused_and_nothing_else(status: dict[str, Any]) -> None:
    assert refused(status) in set(Reason)
