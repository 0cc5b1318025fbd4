"""Whose certificates a node proxy may hold, over the committed residents of its cluster."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from controlplane.authentication.caller import Caller
from controlplane.ca import node_authorization as reasons
from controlplane.ca.errors import AuthorityError, ImpersonationDeniedError, UnavailableError
from controlplane.ca.node_authorization import NodeSettings, ResidentAuthorizer
from controlplane.model.identity import Identity
from controlplane.model.names import Name
from controlplane.model.resident import Resident
from controlplane.snapshots.residents import Residents
from tests.support.authentication import CLUSTER, a_resident
from tests.support.dataflow_time import VirtualClock, let_run

CALLER = Caller(
    namespace="istio-system",
    service_account="ztunnel",
    cluster=CLUSTER,
    pod_name="ztunnel-a",
    pod_uid="uid-of-istio-system-ztunnel-a",
    node_name="node-a",
)
CART = Identity(trust_domain="cluster.local", namespace="shop", service_account="cart")
ZTUNNEL = a_resident()
CART_POD = a_resident("cart-1", "shop", "cart")
SETTINGS = NodeSettings(
    trusted=frozenset({Name("istio-system", "ztunnel"), Name("kube-system", "other-proxy")}),
    control_planes=frozenset({Name("istio-system", "istiod")}),
)


class Node:
    """The residents of a cluster and who asks for them."""

    def __init__(self, *residents: Resident, loaded: bool = True, **settings: Any) -> None:
        self.clock = VirtualClock()
        self.residents = Residents(self.clock)
        self.put(*residents, loaded=loaded)
        self.authorizer = ResidentAuthorizer(
            {CLUSTER: self.residents}, replace(SETTINGS, **settings), self.clock
        )

    def put(self, *residents: Resident, loaded: bool = True) -> None:
        self.residents.stage((each.key, each) for each in residents)
        self.residents.publish(loaded=loaded)

    def ask(self, caller: Caller = CALLER, identity: Identity = CART) -> "asyncio.Task[str]":
        return asyncio.create_task(self._ask(caller, identity))

    async def answer(self, caller: Caller = CALLER, identity: Identity = CART) -> str:
        """The reason of a denial, however long it takes; "" when there is none."""
        asking = self.ask(caller, identity)
        await self.clock.advance(2)
        assert asking.done()
        return asking.result()

    async def _ask(self, caller: Caller, identity: Identity) -> str:
        try:
            await self.authorizer.authorize(caller, identity)
        except AuthorityError as error:
            return error.reason_code
        return ""


@pytest.mark.proves("NA-1", "NA-3", "NA-5", "NA-6", "NA-7", "NA-8")
@pytest.mark.parametrize("caller", [CALLER, replace(CALLER, node_name="")])
async def test_a_node_proxy_gets_what_runs_on_its_node(caller: Caller) -> None:
    node = Node(ZTUNNEL, CART_POD)
    asking = node.ask(caller)
    await let_run()
    assert asking.result() == ""


@pytest.mark.refutes("NA-1")
async def test_others_get_nothing() -> None:
    application = replace(CALLER, namespace="shop", service_account="cart", pod_name="cart-1")
    assert await Node(ZTUNNEL, CART_POD).answer(application) == reasons.UNTRUSTED
    nobody = Node(ZTUNNEL, CART_POD, trusted=frozenset())
    assert await nobody.answer() == reasons.UNTRUSTED
    namesake = replace(CALLER, namespace="shop")
    assert await Node(ZTUNNEL, CART_POD).answer(namesake) == reasons.UNTRUSTED


@pytest.mark.refutes("NA-3")
@pytest.mark.parametrize("change", [{"pod_name": ""}, {"pod_uid": ""}])
async def test_tokens_that_are_bound_to_no_pod(change: dict[str, str]) -> None:
    node = Node(ZTUNNEL, CART_POD)
    assert await node.answer(replace(CALLER, **change)) == reasons.UNBOUND


@pytest.mark.proves("NA-4")
@pytest.mark.parametrize("account", ["istio-system/istiod", "kube-system/other-proxy"])
async def test_control_planes_and_other_node_proxies_are_protected(account: str) -> None:
    namespace, name = account.split("/")
    identity = Identity(trust_domain="cluster.local", namespace=namespace, service_account=name)
    node = Node(ZTUNNEL, a_resident("there", namespace, name))
    assert await node.answer(identity=identity) == reasons.PROTECTED


@pytest.mark.refutes("NA-4")
async def test_a_node_proxy_gets_its_own_identity_by_name() -> None:
    own = Identity(
        trust_domain="cluster.local", namespace="istio-system", service_account="ztunnel"
    )
    assert await Node(ZTUNNEL).answer(identity=own) == ""


@pytest.mark.refutes("NA-5")
async def test_a_pod_that_is_not_known_or_was_made_again() -> None:
    assert await Node(CART_POD).answer() == reasons.UNKNOWN_POD
    again = replace(ZTUNNEL, uid="another")
    assert await Node(again, CART_POD).answer() == reasons.OTHER_UID


@pytest.mark.refutes("NA-6")
async def test_a_pod_of_another_account() -> None:
    other = replace(ZTUNNEL, service_account="default")
    assert await Node(other, CART_POD).answer() == reasons.OTHER_ACCOUNT


@pytest.mark.refutes("NA-7")
async def test_a_token_of_another_node_and_a_pod_on_none() -> None:
    elsewhere = replace(CALLER, node_name="node-b")
    there = a_resident("cart-2", "shop", "cart", node="node-b")
    assert await Node(ZTUNNEL, CART_POD, there).answer(elsewhere) == reasons.OTHER_NODE
    unscheduled = replace(ZTUNNEL, node="")
    nowhere = a_resident("cart-2", "shop", "cart", node="")
    assert await Node(unscheduled, nowhere).answer() == reasons.UNSCHEDULED


@pytest.mark.refutes("NA-8")
async def test_pods_on_other_nodes_of_other_accounts_and_namespaces() -> None:
    for other in (
        a_resident("cart-1", "shop", "cart", node="node-b"),
        a_resident("cart-1", "shop", "default"),
        a_resident("cart-1", "default", "cart"),
    ):
        assert await Node(ZTUNNEL, other).answer() == reasons.NOT_ON_NODE


@pytest.mark.proves("NA-9")
@pytest.mark.parametrize("phase", ["Pending", "Running", "Succeeded", "Failed"])
async def test_pods_count_until_a_minute_after_their_end(phase: str) -> None:
    now = VirtualClock().now().timestamp()
    ended_at = None if phase in {"Pending", "Running"} else now - 50
    pod = a_resident("cart-1", "shop", "cart", phase=phase, ended_at=ended_at)
    assert await Node(ZTUNNEL, pod).answer() == ""


@pytest.mark.refutes("NA-9")
@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Unknown", ""])
@pytest.mark.parametrize("ago", [60, 4000, None])
async def test_but_no_longer(phase: str, ago: float | None) -> None:
    now = VirtualClock().now().timestamp()
    ended_at = None if ago is None else now - ago
    pod = a_resident("cart-1", "shop", "cart", phase=phase, ended_at=ended_at)
    assert await Node(ZTUNNEL, pod).answer() == reasons.NO_LIVE_POD
    proxy = replace(ZTUNNEL, phase=phase, ended_at=ended_at)
    assert await Node(proxy, CART_POD).answer() == reasons.CALLER_ENDED


@pytest.mark.proves("NA-10")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((ZTUNNEL,), CART_POD),
        ((CART_POD,), ZTUNNEL),
        ((replace(ZTUNNEL, uid="old"), CART_POD), ZTUNNEL),
        ((replace(ZTUNNEL, node=""), CART_POD), ZTUNNEL),
        ((ZTUNNEL, replace(CART_POD, phase="Failed")), CART_POD),
    ],
)
async def test_pods_that_are_not_known_yet_are_waited_for(
    before: tuple[Resident, ...], after: Resident
) -> None:
    node = Node(*before)
    asking = node.ask()
    await node.clock.advance(1.9)
    assert not asking.done()
    node.put(after)
    await let_run()
    assert asking.result() == ""
    assert not node.residents._waiting
    assert not node.authorizer._waiting


@pytest.mark.proves("NA-10")
async def test_the_caller_and_then_the_workload_are_waited_for() -> None:
    node = Node()
    asking = node.ask()
    await node.clock.advance(1)
    node.put(ZTUNNEL)
    await node.clock.advance(0.9)
    node.put(CART_POD)
    await let_run()
    assert asking.result() == ""


@pytest.mark.refutes("NA-10")
async def test_for_two_seconds_in_all_whatever_else_is_committed() -> None:
    node = Node(ZTUNNEL)
    asking = node.ask()
    for number in range(4):
        await node.clock.advance(0.5)
        assert asking.done() == (number == 3)
        node.put(a_resident("cart-1", "shop", "cart", phase="Unknown", uid=str(number)))
    assert asking.result() == reasons.NO_LIVE_POD
    node.put(CART_POD)
    assert asking.result() == reasons.NO_LIVE_POD


@pytest.mark.refutes("NA-10")
async def test_what_no_commit_would_help_is_denied_at_once() -> None:
    node = Node(ZTUNNEL, CART_POD)
    asking = node.ask(replace(CALLER, node_name="node-b"))
    await let_run()
    assert asking.result() == reasons.OTHER_NODE


@pytest.mark.proves("NA-11")
async def test_only_so_many_wait() -> None:
    node = Node(ZTUNNEL, waiting=20)
    asking = [node.ask() for _ in range(17)]
    await let_run()
    assert [each.done() for each in asking] == [False] * 16 + [True]
    others = [node.ask(replace(CALLER, pod_name=f"p{n}", pod_uid=f"u{n}")) for n in range(5)]
    await let_run()
    assert [each.done() for each in others] == [False] * 4 + [True]
    await node.clock.advance(2)
    assert {each.result() for each in asking} == {reasons.NOT_ON_NODE}
    assert not node.authorizer._waiting


@pytest.mark.refutes("NA-11")
async def test_those_who_need_not_wait_do_not_count() -> None:
    node = Node(ZTUNNEL, CART_POD, waiting=0, waiting_per_caller=0)
    assert [await node.answer() for _ in range(3)] == ["", "", ""]


@pytest.mark.refutes("NA-11")
async def test_a_request_that_is_given_up_gives_its_place_back() -> None:
    node = Node(ZTUNNEL)
    asking = node.ask()
    await let_run()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert not node.authorizer._waiting
    assert not node.residents._waiting


@pytest.mark.proves("NA-12")
async def test_callers_of_other_clusters_are_denied() -> None:
    node = Node(ZTUNNEL, CART_POD)
    assert await node.answer(replace(CALLER, cluster="two")) == reasons.UNKNOWN_CLUSTER


@pytest.mark.refutes("NA-12")
async def test_each_cluster_has_its_own_pods() -> None:
    one, two = Node(ZTUNNEL, CART_POD), Node(ZTUNNEL)
    authorizer = ResidentAuthorizer(
        {"one": one.residents, "two": two.residents}, replace(SETTINGS, patience=0), one.clock
    )
    await authorizer.authorize(replace(CALLER, cluster="one"), CART)
    with pytest.raises(ImpersonationDeniedError):
        await authorizer.authorize(replace(CALLER, cluster="two"), CART)


@pytest.mark.proves("NA-13")
async def test_nobody_is_denied_before_the_pods_are_loaded() -> None:
    node = Node(loaded=False)
    with pytest.raises(UnavailableError) as caught:
        await node.authorizer.authorize(CALLER, CART)
    assert caught.value.reason_code == "residents-not-loaded"


@pytest.mark.refutes("NA-13")
async def test_afterwards_everybody_may_be() -> None:
    assert await Node().answer() == reasons.UNKNOWN_POD
