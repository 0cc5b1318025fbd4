"""Whatever happens on the way, every node proxy ends up knowing what there is, safely.

Manifests change, clients read slowly, lose their connection with requests and responses under way,
and come back. In the end a client knows what one knows that is told the final manifests at once;
it has rejected nothing, and the auditor saw no unsafe moment.

A small mesh with a few forms of each object makes it likely that changes meet each other.
"""

from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from controlplane.lab.ztunnel.session import Applied
from controlplane.manifests.core import Node, Pod, Service
from controlplane.manifests.istio import AuthorizationRule, Source
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import identity_of
from tests.support.builders import (
    HBONE,
    a_namespace,
    a_node,
    a_peer_authentication,
    a_pod,
    a_service,
    a_service_entry,
    a_waypoint,
    a_workload_entry,
    an_authorization_policy,
)
from tests.support.convergence import Link, Serving
from tests.support.wire import uid_of

A, B = {"app": "a"}, {"app": "b"}
BOUND = {"istio.io/use-waypoint": "waypoint"}
ANYBODY = (AuthorizationRule(),)
SLEEP = (AuthorizationRule(sources=(Source(service_accounts=("sleep",)),)),)
ROOT = "istio-system"


def pod(name: str, namespace: str, labels: dict[str, str], node: str, *, ready: bool = True) -> Pod:
    return a_pod(
        name, namespace, labels=labels, node=node, ready=ready, ips=["10.0.0.1"], annotations=HBONE
    )


def web(selector: dict[str, str], *, unready: bool = False, bound: bool = False) -> Service:
    return a_service(
        "web",
        selector=selector,
        publish_not_ready_addresses=unready,
        labels=BOUND if bound else {},
    )


def node(zone: str) -> Node:
    return a_node("n1", labels={"topology.kubernetes.io/zone": zone})


OBJECTS: list[tuple[Manifest, ...]] = [
    (
        pod("p1", "default", A, "n1"),
        pod("p1", "default", A, "n1", ready=False),
        pod("p1", "default", B, "n1"),
        pod("p1", "default", A | BOUND, "n2"),
    ),
    (pod("p2", "default", A, "n2"), pod("p2", "default", A, "n1"), pod("p2", "default", B, "n1")),
    (pod("p3", "other", A, "n1"), pod("p3", "other", {}, "n2")),
    (web(A), web(A, unready=True), web(B), web(A, bound=True)),
    (a_service("db", "other", selector=A), a_service("db", "other", selector=B)),
    (
        an_authorization_policy("x", selector=A, action="DENY", rules=ANYBODY),
        an_authorization_policy("x", selector=B, action="DENY", rules=ANYBODY),
        an_authorization_policy("x", selector=A, action="ALLOW", rules=SLEEP),
        an_authorization_policy("x", rules=SLEEP),
    ),
    (
        an_authorization_policy("y", ROOT, selector=A, rules=SLEEP),
        an_authorization_policy("y", ROOT, rules=SLEEP),
        an_authorization_policy("y", ROOT, selector={}, action="DENY"),
    ),
    (an_authorization_policy("z", "other", rules=SLEEP),),
    (a_peer_authentication(mode="STRICT"), a_peer_authentication(mode="PERMISSIVE")),
    (
        a_peer_authentication("w", selector=A, mode="STRICT", port_modes={8080: "PERMISSIVE"}),
        a_peer_authentication("w", selector=A, mode="PERMISSIVE", port_modes={8080: "STRICT"}),
        a_peer_authentication("w", selector=B, mode="STRICT"),
    ),
    (a_peer_authentication("mesh", ROOT, mode="STRICT"),),
    (a_namespace("default"), a_namespace("default", labels=BOUND)),
    (a_waypoint("waypoint"),),
    (a_service("waypoint", selector={"app": "waypoint"}, ips=["10.96.0.9"]),),
    (node("z1"), node("z2")),
    (a_workload_entry("machine", labels=A), a_workload_entry("machine", labels=B, address="")),
    (
        a_service_entry("entry", hosts=["web.default.svc.cluster.local"]),
        a_service_entry("entry", hosts=["example.com"]),
    ),
]
KEYS = ["default/web.default.svc.cluster.local", "/10.0.0.1", uid_of("p1"), uid_of("p3", "other")]

moves = st.sampled_from(["wait", "wait", "step", "step", "settle", "reconnect"])
Edit = tuple[int, int]
"""Which object takes which form; -1 removes it."""
Round = tuple[list[Edit], tuple[str, str, str], str | None]


def rounds_about(objects: list[int]) -> st.SearchStrategy[list[Round]]:
    """Return histories in which only some objects change, so that their changes meet."""
    return st.lists(
        st.tuples(
            st.lists(st.tuples(st.sampled_from(objects), st.integers(-1, 3)), max_size=3),
            st.tuples(moves, moves, moves),
            st.sampled_from([None, None, *KEYS]),
        ),
        min_size=1,
        max_size=12,
    )


histories = st.lists(st.integers(0, len(OBJECTS) - 1), unique=True, min_size=1, max_size=5).flatmap(
    rounds_about
)


def commit(serving: Serving, changes: Sequence[Edit]) -> None:
    """Commit the last form that is given of each object."""
    wanted = dict(changes)
    put = [
        OBJECTS[which][form % len(OBJECTS[which])] for which, form in wanted.items() if form >= 0
    ]
    gone = [identity_of(OBJECTS[which][0]) for which, form in wanted.items() if form < 0]
    serving.change(put, gone)


def move(link: Link, how: str) -> None:
    match how:
        case "step":
            link.download(1)
            link.upload(1)
        case "settle":
            link.settle()
        case "reconnect":
            link.reconnect()
    # The server sends what it may as soon as it may.
    link.upload(0)


def play(history: Sequence[Round]) -> tuple[Serving, list[Link]]:
    """Play a history before three clients: one node's, the whole mesh's, and one on demand."""
    serving = Serving()
    commit(serving, [(which, 0) for which in range(len(OBJECTS))])
    links = [Link(serving, "n1"), Link(serving), Link(serving, "n1", on_demand=True)]
    for changes, how, key in history:
        commit(serving, changes)
        if key is not None:
            links[2].demand(key)
        for link, each in zip(links, how, strict=True):
            move(link, each)
    for link in links:
        link.settle()
    return serving, links


REMOVED_WHILE_AWAY: list[Round] = [
    ([], ("wait", "settle", "wait"), None),
    ([], ("wait", "reconnect", "wait"), None),
    ([(5, -1)], ("wait", "wait", "wait"), None),
]


MOVED_BETWEEN_SCOPES_THEN_REMOVED: list[Round] = [
    ([(6, 1)], ("step", "wait", "wait"), None),
    ([], ("step", "wait", "wait"), None),
    ([(6, 0)], ("step", "wait", "wait"), None),
    ([(6, -1)], ("wait", "wait", "wait"), None),
]

UNREADY_ENDPOINT_BECOMES_WELCOME: list[Round] = [
    ([(0, 1)], ("settle", "settle", "settle"), None),
    ([(3, 1)], ("wait", "wait", "wait"), None),
]


@given(histories)
@example(UNREADY_ENDPOINT_BECOMES_WELCOME)
@example(REMOVED_WHILE_AWAY)
@example(MOVED_BETWEEN_SCOPES_THEN_REMOVED)
def test_every_client_converges_safely(history: list[Round]) -> None:
    serving, links = play(history)
    for link in links:
        assert link.client.nacks == []
        assert list(map(str, link.auditor.violations)) == []
        assert link.client.is_ready
    for link in links[:2]:
        view, fresh = link.client.state.view(), serving.from_scratch(link.node)
        assert view.differences(fresh) == ()
        assert view == fresh
    link = links[2]
    view, fresh = link.client.state.view(), serving.from_scratch(link.node)
    assert link.client.demanded == ()
    assert view.policies == fresh.policies
    assert view.workloads.items() <= fresh.workloads.items()
    assert view.services.items() <= fresh.services.items()
    here = {uid for uid, workload in fresh.workloads.items() if workload.node == link.node}
    assert here <= view.workloads.keys()


@given(histories)
def test_a_client_that_knows_everything_is_told_nothing_when_it_comes_back(
    history: list[Round],
) -> None:
    _, links = play(history)
    for link in links[:2]:
        before = link.client.state.view()
        told = list[Applied]()
        link.client.observer = told.append
        link.reconnect()
        link.settle()
        assert link.client.state.view() == before
        assert [applied.response.names for applied in told] == [(), ()]


def test_the_mesh_of_the_histories_has_what_they_are_about() -> None:
    _, links = play([([(11, 1)], ("settle", "settle", "settle"), None)])
    local, everything, on_demand = (link.client.state for link in links)
    workload = local.workloads.by_uid[uid_of("p1")]
    assert workload.authorization_policies
    assert set(workload.authorization_policies) <= set(local.policies.by_name)
    assert len(local.policies.by_name) <= len(everything.policies.by_name)
    found = next(service for service in local.services.by_key.values() if service.name == "web")
    assert found.waypoint is not None
    assert workload.uid in {each.uid for each in local.services.endpoints(found.key)}
    assert uid_of("p2") not in on_demand.workloads.by_uid
