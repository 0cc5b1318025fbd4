"""Who is let in to discovery, and for which nodes."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.authentication.caller import Caller, Metadata
from controlplane.authentication.errors import (
    AuthenticationError,
    AuthenticationLimitedError,
    AuthenticationUnavailableError,
    MalformedCredentialsError,
    Reason,
    UnauthenticatedError,
)
from controlplane.model.names import Name
from controlplane.model.waypoint import WaypointPod
from controlplane.snapshots.residents import Residents
from controlplane.xds.errors import DiscoveryError, ForbiddenError
from controlplane.xds.identity import Access
from controlplane.xds.node import Node
from tests.support.authentication import CLUSTER, a_resident
from tests.support.dataflow_time import VirtualClock

CALLER = Caller(
    namespace="istio-system",
    service_account="ztunnel",
    cluster=CLUSTER,
    pod_name="ztunnel-a",
    pod_uid="uid-of-istio-system-ztunnel-a",
    node_name="node-a",
)
POD = WaypointPod(Name("istio-system", "waypoint"), "node-a")
NODE = Node(id="ztunnel~", kind="ztunnel", namespace="istio-system", name="node-a")


class Refusing:
    """An authenticator that only fails."""

    def __init__(self, error: AuthenticationError | None = None) -> None:
        self.error = error

    async def authenticate(self, metadata: Metadata, peer: str) -> Caller:
        if self.error is None:
            return CALLER
        raise self.error


def access(*residents: Any, trusted: str = "ztunnel") -> Access:
    known = Residents(VirtualClock())
    known.stage((each.key, each) for each in residents)
    known.publish()
    return Access(
        authenticator=Refusing(),
        trusted=frozenset({Name("istio-system", trusted)}),
        residents={CLUSTER: known},
    )


@pytest.mark.proves("AU-50")
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (MalformedCredentialsError, "INVALID_ARGUMENT"),
        (UnauthenticatedError, "UNAUTHENTICATED"),
        (AuthenticationLimitedError, "RESOURCE_EXHAUSTED"),
        (AuthenticationUnavailableError, "UNAVAILABLE"),
    ],
)
async def test_failures_are_told_by_kind_only(kind: Any, status: str) -> None:
    refusing = Access(authenticator=Refusing(kind(Reason.WRONG_AUDIENCE)))
    with pytest.raises(DiscoveryError) as caught:
        await refusing.authenticate({}, "peer")
    assert caught.value.status == status
    assert str(caught.value) == "request authenticate failure"
    assert caught.value.detail == "wrong-audience"


@pytest.mark.refutes("AU-50")
async def test_whoever_is_authenticated_is_let_in() -> None:
    assert await access().authenticate({}, "peer") == CALLER


@pytest.mark.proves("AU-51", "AU-52")
def test_a_trusted_account_speaks_for_its_own_node() -> None:
    access().authorize(CALLER, NODE)


@pytest.mark.refutes("AU-51")
def test_other_accounts_are_no_node_proxies_but_whatever_else() -> None:
    nobody = access(trusted="other")
    with pytest.raises(ForbiddenError, match="not the account of a node proxy"):
        nobody.authorize(CALLER, NODE)


@pytest.mark.proves("AU-55")
@pytest.mark.parametrize("kind", ["waypoint", "sidecar", "router", "agentgateway"])
def test_whoever_is_no_proxy_is_told_nothing(kind: str) -> None:
    with pytest.raises(ForbiddenError):
        access(a_resident()).authorize(CALLER, replace(NODE, kind=kind))
    with pytest.raises(ForbiddenError):
        access().authorize(CALLER, replace(NODE, kind=kind))


@pytest.mark.refutes("AU-55")
def test_a_pod_of_a_gateway_is_a_waypoint() -> None:
    waypoint = replace(a_resident(), gateway="waypoint")
    found = access(waypoint).authorize(CALLER, replace(NODE, kind="waypoint"))
    assert found == POD
    with pytest.raises(ForbiddenError, match="not served"):
        access(waypoint).authorize(CALLER, replace(NODE, kind="sidecar"))


@pytest.mark.proves("WC-75")
def test_where_a_waypoint_runs_is_not_for_it_to_say() -> None:
    waypoint = replace(a_resident(), gateway="waypoint")
    elsewhere = replace(NODE, kind="waypoint", name="node-z", pod="ztunnel-a")
    assert access(waypoint).authorize(CALLER, elsewhere) == POD
    assert access(waypoint).declared_waypoint(elsewhere) == POD


@pytest.mark.proves("AU-55", "WS-4")
def test_a_pod_that_has_ended_is_a_waypoint_no_more() -> None:
    ended = replace(a_resident(), gateway="waypoint", phase="Succeeded")
    with pytest.raises(ForbiddenError, match="no pod of a Gateway"):
        access(ended).authorize(CALLER, replace(NODE, kind="waypoint"))


@pytest.mark.proves("WS-2")
def test_on_plaintext_ports_a_waypoint_is_who_it_says_if_we_know_the_pod() -> None:
    waypoint = replace(a_resident(), gateway="waypoint")
    node = replace(NODE, kind="waypoint", pod="ztunnel-a")
    assert access(waypoint).declared_waypoint(node) == POD


@pytest.mark.refutes("WS-2")
def test_and_no_waypoint_otherwise() -> None:
    node = replace(NODE, kind="waypoint", pod="ztunnel-a")
    waypoint = replace(a_resident(), gateway="waypoint")
    assert access(a_resident()).declared_waypoint(node) is None
    assert access(waypoint).declared_waypoint(replace(node, pod="other")) is None
    assert access(waypoint).declared_waypoint(replace(node, kind="ztunnel")) is None
    assert access(replace(waypoint, phase="Failed")).declared_waypoint(node) is None


@pytest.mark.proves("AU-53")
def test_a_token_that_names_another_node_than_its_pod_is_bound_to_none() -> None:
    with pytest.raises(ForbiddenError, match="another node"):
        access(a_resident(node="node-b")).authorize(CALLER, NODE)


@pytest.mark.refutes("AU-52")
@pytest.mark.parametrize("name", ["node-b", ""])
def test_a_node_proxy_speaks_for_no_other_node(name: str) -> None:
    with pytest.raises(ForbiddenError, match="another node"):
        access().authorize(CALLER, replace(NODE, name=name))


@pytest.mark.proves("AU-53")
def test_a_token_without_a_node_is_bound_through_its_pod() -> None:
    unplaced = replace(CALLER, node_name="")
    access(a_resident()).authorize(unplaced, NODE)
    with pytest.raises(ForbiddenError):
        access(a_resident(node="node-b")).authorize(unplaced, NODE)


@pytest.mark.refutes("AU-53")
def test_but_not_through_a_pod_that_is_not_its_own() -> None:
    unplaced = replace(CALLER, node_name="")
    for caller, resident in (
        (unplaced, a_resident(uid="another")),
        (unplaced, a_resident("other")),
        (replace(unplaced, cluster="two"), a_resident()),
        (replace(unplaced, pod_name="", pod_uid=""), a_resident()),
        (unplaced, a_resident(node="")),
    ):
        with pytest.raises(ForbiddenError, match="another node"):
            access(resident).authorize(caller, replace(NODE, name=resident.node))
