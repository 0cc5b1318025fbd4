"""Whatever happens on the way, every node proxy ends up knowing what there is, safely.

Manifests change, clients read slowly, lose their connection with requests and responses under way,
and come back. In the end a client knows what one knows that is told the final manifests at once;
it has rejected nothing, and the auditor saw no unsafe moment.
"""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

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

NAMESPACES = ["default", "other"]
NODES = ["n1", "n2"]
LABELS = [{}, {"app": "a"}, {"app": "b"}, {"app": "a", "istio.io/use-waypoint": "waypoint"}]
ANYBODY = (AuthorizationRule(),)
SLEEP = (AuthorizationRule(sources=(Source(service_accounts=("sleep",)),)),)

namespace = st.sampled_from(NAMESPACES)
labels = st.sampled_from(LABELS)
selector = st.sampled_from([None, {"app": "a"}, {"app": "b"}, {}])

manifests: st.SearchStrategy[Manifest] = st.one_of(
    st.builds(
        lambda name, labels: a_namespace(name, labels=labels),
        namespace,
        st.sampled_from([{}, {"istio.io/use-waypoint": "waypoint"}]),
    ),
    st.builds(
        lambda name, zone: a_node(name, labels={"topology.kubernetes.io/zone": zone}),
        st.sampled_from(NODES),
        st.sampled_from(["z1", "z2"]),
    ),
    *[
        st.builds(
            lambda name, where, labels, node, ready, ip: a_pod(
                name,
                where,
                labels=labels,
                node=node,
                ready=ready,
                ips=[ip],
                annotations=HBONE,
            ),
            st.sampled_from(["p1", "p2", "p3"]),
            namespace,
            labels,
            st.sampled_from(NODES),
            st.booleans(),
            st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        )
    ]
    * 3,
    *[
        st.builds(
            lambda name, where, selector, labels, unready: a_service(
                name,
                where,
                selector=selector,
                labels=labels,
                publish_not_ready_addresses=unready,
            ),
            st.sampled_from(["web", "db"]),
            namespace,
            st.sampled_from([{"app": "a"}, {"app": "b"}]),
            labels,
            st.booleans(),
        )
    ]
    * 2,
    *[
        st.builds(
            lambda name, where, selector, action, rules: an_authorization_policy(
                name, where, selector=selector, action=action, rules=rules
            ),
            st.sampled_from(["x", "y"]),
            st.sampled_from([*NAMESPACES, "istio-system"]),
            selector,
            st.sampled_from(["ALLOW", "DENY"]),
            st.sampled_from([(), ANYBODY, SLEEP]),
        )
    ]
    * 2,
    st.builds(
        lambda where, selector, mode, ports: a_peer_authentication(
            "default" if selector is None else "special",
            where,
            selector=selector,
            mode=mode,
            port_modes=ports,
        ),
        st.sampled_from([*NAMESPACES, "istio-system"]),
        st.sampled_from([None, {"app": "a"}]),
        st.sampled_from(["STRICT", "PERMISSIVE", "UNSET"]),
        st.sampled_from([{}, {8080: "STRICT"}, {8080: "PERMISSIVE"}]),
    ),
    st.builds(lambda where: a_waypoint("waypoint", where), namespace),
    st.builds(lambda where: a_service("waypoint", where, selector={"app": "waypoint"}), namespace),
    st.builds(
        lambda where, labels, address: a_workload_entry(
            "machine", where, labels=labels, address=address
        ),
        namespace,
        labels,
        st.sampled_from(["10.1.0.1", "", "machine.example"]),
    ),
    st.builds(
        lambda where, host: a_service_entry("entry", where, hosts=[host]),
        namespace,
        st.sampled_from(["example.com", "web.default.svc.cluster.local"]),
    ),
)
Change = tuple[str, Any]
changes: st.SearchStrategy[Change] = st.one_of(
    st.tuples(st.just("put"), st.lists(manifests, min_size=1, max_size=4)),
    st.tuples(st.just("put"), st.lists(manifests, min_size=1, max_size=4)),
    st.tuples(st.just("remove"), st.lists(manifests, min_size=1, max_size=4)),
    st.tuples(st.just("upload"), st.tuples(st.integers(0, 2), st.integers(0, 3))),
    st.tuples(st.just("download"), st.tuples(st.integers(0, 2), st.integers(0, 2))),
    st.tuples(st.just("settle"), st.integers(0, 2)),
    st.tuples(st.just("reconnect"), st.integers(0, 2)),
    st.tuples(
        st.just("demand"),
        st.sampled_from(["default/web.default.svc.cluster.local", "/10.0.0.1", uid_of("p1")]),
    ),
)


def play(history: Sequence[Change]) -> tuple[Serving, list[Link]]:
    """Play a history before three clients: one node's, the whole mesh's, and one on demand."""
    serving = Serving()
    links = [Link(serving, "n1"), Link(serving), Link(serving, "n1", on_demand=True)]
    for what, argument in history:
        match what:
            case "put":
                serving.change(argument)
            case "remove":
                serving.change((), map(identity_of, argument))
            case "upload":
                links[argument[0]].upload(argument[1])
            case "download":
                links[argument[0]].download(argument[1])
            case "settle":
                links[argument].settle()
            case "reconnect":
                links[argument].reconnect()
            case "demand":
                links[2].demand(argument)
    for link in links:
        link.settle()
    return serving, links


@given(st.lists(changes, max_size=25))
def test_every_client_converges_safely(history: list[Change]) -> None:
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


@given(st.lists(changes, max_size=15))
def test_a_client_that_knows_everything_is_told_nothing_when_it_comes_back(
    history: list[Change],
) -> None:
    _, links = play(history)
    for link in links[:2]:
        before = link.client.state.view()
        link.reconnect()
        link.settle()
        assert link.client.state.view() == before
        assert link.client.last is not None
        assert link.client.last.response.names == ()


def test_the_histories_reach_what_they_are_about() -> None:
    """A typical history leaves workloads with policies, endpoints and a waypoint to know."""
    pod = a_pod("p1", labels={"app": "a"}, node="n1", annotations=HBONE)
    _, links = play(
        [
            (
                "put",
                [
                    a_namespace("default", labels={"istio.io/use-waypoint": "waypoint"}),
                    pod,
                    a_service("web", selector={"app": "a"}),
                    a_waypoint("waypoint"),
                    a_service("waypoint", selector={"app": "waypoint"}),
                    an_authorization_policy("x", selector={"app": "a"}, action="DENY"),
                ],
            )
        ]
    )
    state = links[0].client.state
    (workload,) = state.workloads.by_uid.values()
    assert workload.authorization_policies == ("default/x",)
    assert set(state.policies.by_name) == {"default/x"}
    web = next(service for service in state.services.by_key.values() if service.name == "web")
    assert web.waypoint is not None
    assert [each.uid for each in state.services.endpoints(web.key)] == [workload.uid]
