"""What is told of a mesh: elements, who holds them, nodes, tags, waiting."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from controlplane.admin.errors import NotFoundError
from controlplane.admin.queries import (
    CertificateQuery,
    ConnectionQuery,
    ElementQuery,
    NodeQuery,
    ProblemQuery,
    ServiceQuery,
    WorkloadQuery,
)
from controlplane.admin.viewer import EVERYTHING, Viewer
from controlplane.model.connection import Connection
from controlplane.model.names import Name, ServiceName
from controlplane.sources.source import Origin
from controlplane.store.connections import FleetView
from tests.support.admin import REPLICA, AdminRig, a_client, bookinfo
from tests.support.builders import a_service
from tests.support.two_teams import OTHER, OWN, two_teams

REVIEWS = ServiceName("bookinfo", "reviews.bookinfo.svc.cluster.local")
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: NAME, namespace: NAMESPACE}
spec: {action: DENY, rules: [{from: [{source: {namespaces: [nowhere]}}]}]}
"""


def a_policy(name: str, namespace: str = OWN) -> str:
    return POLICY.replace("NAMESPACE", namespace).replace("NAME", name)


async def get(rig: AdminRig, path: str, **headers: str) -> httpx.Response:
    async with a_client(rig.application(), headers=headers) as client:
        return await client.get(path)


async def test_a_workload_says_what_it_is_and_where_it_comes_from() -> None:
    rig = two_teams()
    page = await rig.view.workloads.page(EVERYTHING, WorkloadQuery(name="shop", namespace=OWN))
    (workload,) = page.items
    assert workload.addresses == ("10.1.1.1",)
    assert workload.identity == f"spiffe://cluster.local/ns/{OWN}/sa/{OWN}-shop"
    assert workload.node == f"node-{OWN}"
    assert workload.policies == (
        f"{OWN}/{OWN}-callers",
        "istio-system/istio_converted_static_strict",
    )
    assert workload.source.object is not None
    assert workload.source.object.kind == "Pod"
    assert (workload.source.file, workload.source.line) == (f"{OWN}.yaml", 1)


async def test_of_a_cluster_every_element_tells_the_version_of_its_object() -> None:
    rig = AdminRig()
    rig.apply(a_service("web"), origin=Origin(file="kubernetes", version="4711"))
    page = await rig.view.services.page(EVERYTHING, ServiceQuery())
    assert page.items[0].source.model_dump() == {
        "object": {"kind": "Service", "namespace": "default", "name": "web"},
        "file": "kubernetes",
        "line": None,
        "resource_version": "4711",
    }


async def test_pods_that_were_expanded_come_from_their_template() -> None:
    page = await bookinfo().view.workloads.page(EVERYTHING, WorkloadQuery(name="details"))
    source = page.items[0].source
    assert source.object is not None
    assert (source.object.kind, source.object.name) == ("Deployment", "details-v1")
    assert source.file.endswith("10-bookshop.yaml")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (WorkloadQuery(node=f"node-{OWN}"), [f"{OWN}-shop-1", f"{OWN}-waypoint-1"]),
        (WorkloadQuery(account=f"{OTHER}-shop"), [f"{OTHER}-shop-1"]),
        (WorkloadQuery(address="10.1.2.1"), [f"{OTHER}-shop-1"]),
        (WorkloadQuery(address="nonsense"), []),
        (WorkloadQuery(service=f"{OWN}/{OWN}-shop.{OWN}.svc.cluster.local"), [f"{OWN}-shop-1"]),
        (WorkloadQuery(service="nobody"), []),
        (WorkloadQuery(status="Unhealthy"), []),
        (WorkloadQuery(name="SHOP"), [f"{OWN}-shop-1", f"{OTHER}-shop-1"]),
        (WorkloadQuery(name="shop", node="node-x"), []),
    ],
)
async def test_workloads_are_filtered(query: WorkloadQuery, names: list[str]) -> None:
    page = await two_teams().view.workloads.page(EVERYTHING, query)
    assert [each.name for each in page.items] == names
    assert page.total is None


async def test_policies_of_a_workload_are_in_the_order_of_evaluation() -> None:
    rig = two_teams()
    rig.apply_text(a_policy("everywhere", "istio-system"))
    found = await rig.view.workloads.one(EVERYTHING, f"Kubernetes//Pod/{OWN}/{OWN}-shop-1")
    assert [(each.action, each.scope, each.name) for each in found.policies_in_order] == [
        ("Deny", "Global", "everywhere"),
        ("Deny", "Namespace", f"{OWN}-everybody"),
        ("Deny", "WorkloadSelector", "istio_converted_static_strict"),
        ("Allow", "WorkloadSelector", f"{OWN}-callers"),
    ]


async def test_a_service_counts_its_endpoints() -> None:
    rig = bookinfo()
    found = (await rig.view.services.page(EVERYTHING, ServiceQuery(name="reviews"))).items
    assert [(each.name, each.healthy, each.endpoints) for each in found] == [
        ("reviews-v1", 1, 1),
        ("reviews-v2", 1, 1),
        ("reviews", 3, 3),
    ]
    detail = await rig.view.services.one(EVERYTHING, REVIEWS)
    assert len(detail.workloads) == 3
    assert detail.document is not None
    assert detail.document["service"]["hostname"] == REVIEWS.hostname


async def test_an_entry_is_the_source_of_its_hosts() -> None:
    rig = two_teams()
    found = await rig.view.services.one(EVERYTHING, ServiceName(OWN, f"{OWN}.example.com"))
    assert found.source.object is not None
    assert (found.source.object.kind, found.source.object.name) == (
        "ServiceEntry",
        f"{OWN}-outside",
    )


async def test_gateways_say_whether_they_are_waypoints() -> None:
    rig = two_teams()
    gateways = await rig.view.gateways.gateways(EVERYTHING, ElementQuery(namespace=OWN))
    assert [each.is_waypoint for each in gateways.items] == [True]
    (waypoint,) = (await rig.view.gateways.waypoints(EVERYTHING, ElementQuery(name=OWN))).items
    assert (waypoint.serves, waypoint.port) == ("all", 15008)
    assert waypoint.service_accounts == (f"{OWN}-waypoint",)


async def test_a_waypoint_says_what_it_serves_and_what_is_in_force_there() -> None:
    rig = bookinfo()
    key = Name("bookinfo", "waypoint")
    found = rig.view.gateways.waypoint(EVERYTHING, key)
    assert [(each.hostname, each.ports) for each in found.services] == [(REVIEWS.hostname, (9080,))]
    (served,) = found.services
    assert [(each.kind, each.name) for each in served.routes] == [("HTTPRoute", "reviews")]
    assert [each.name for each in served.policies] == ["reviews-readers"]
    (route,) = found.routes
    assert {each.type: each.status for each in route.conditions} == {
        "Accepted": True,
        "ResolvedRefs": True,
        "ResolvedWaypoints": True,
    }
    (policy,) = found.policies
    assert policy.source.file.endswith("40-policies.yaml")
    rig.apply_text(
        """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: bookinfo}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
"""
    )
    emptied = rig.view.gateways.waypoint(EVERYTHING, key)
    assert (emptied.services, emptied.service_count) == ((), 0)
    assert (emptied.routes, emptied.policies) == ((), ())


async def test_of_a_waypoint_only_what_one_may_see_is_told() -> None:
    rig = two_teams()
    rig.apply_text(
        f"""
apiVersion: v1
kind: Service
metadata:
  name: visitor
  namespace: {OTHER}
  labels: {{istio.io/use-waypoint: {OWN}-waypoint, istio.io/use-waypoint-namespace: {OWN}}}
spec: {{clusterIP: 10.0.9.9, ports: [{{name: http, port: 80}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: {OWN}-waypoint
  namespace: {OWN}
  labels: {{istio.io/waypoint-for: all}}
spec:
  gatewayClassName: istio-waypoint
  listeners:
  - {{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {{namespaces: {{from: All}}}}}}
status: {{addresses: [{{type: IPAddress, value: 10.0.1.2}}]}}
"""
    )
    key = Name(OWN, f"{OWN}-waypoint")
    own = Viewer(name="own", namespace=OWN)
    everything = rig.view.gateways.waypoint(EVERYTHING, key)
    found = rig.view.gateways.waypoint(own, key)
    assert {each.namespace for each in found.services} == {OWN}
    assert found.service_count == len(found.services)
    assert OTHER not in found.model_dump_json()
    assert everything.service_count == found.service_count + 1
    with pytest.raises(NotFoundError):
        rig.view.gateways.waypoint(Viewer(name="other", namespace=OTHER), key)


async def test_the_connections_of_a_waypoint_are_those_of_its_pods() -> None:
    rig = two_teams()
    (one, *_) = rig.fleet.each()
    pods = [(OWN, f"{OWN}-waypoint-1"), (OWN, f"{OWN}-shop-1"), (OTHER, f"{OTHER}-waypoint-1")]
    rig.knowledge.others = Others(
        tuple(
            replace(one, replica="replica-2", number=number, namespace=namespace, pod=pod)
            for number, (namespace, pod) in enumerate(pods)
        )
    )
    found = await rig.view.connections.of_waypoint(EVERYTHING, Name(OWN, f"{OWN}-waypoint"))
    assert [each.name for each in found] == [f"{OWN}-waypoint-1.{OWN}"]


async def test_problems_say_what_to_do() -> None:
    rig = two_teams()
    page = await rig.view.findings.problems(EVERYTHING, ProblemQuery(namespace=OWN))
    assert {each.source.file for each in page.items} == {f"{OWN}.yaml"}
    assert all(each.advice and each.short.startswith("IL") for each in page.items)
    errors = await rig.view.findings.problems(EVERYTHING, ProblemQuery(severity="error"))
    assert sum(rig.view.findings.counts(EVERYTHING).values()) >= len(errors.items) > 0


@pytest.mark.proves("AM-24")
async def test_who_has_acknowledged_a_change_holds_it() -> None:
    rig = two_teams()
    behind, *others = rig.sessions
    rig.apply_text(a_policy("new"))
    rig.settle(*others)
    await rig.view.connections.fleet(EVERYTHING)
    rig.clock.time += 1
    policy = await rig.view.policies.one(EVERYTHING, Name(OWN, "new"))
    assert policy.served is not None
    assert (policy.served.holding, policy.served.waiting) == (0, 1)
    assert [(each.number, each.holds) for each in policy.holders] == [(behind.number, False)]
    rig.settle(behind)
    policy = await rig.view.policies.one(EVERYTHING, Name(OWN, "new"))
    assert policy.served is not None
    assert (policy.served.holding, policy.served.waiting) == (1, 0)
    assert [each.holds for each in policy.holders] == [True]


@pytest.mark.refutes("AM-24")
async def test_what_is_not_in_scope_is_not_waited_for() -> None:
    rig = two_teams()
    policy = await rig.view.policies.one(EVERYTHING, Name(OWN, f"{OWN}-callers"))
    assert {each.node for each in policy.holders} == {f"node-{OWN}"}
    workload = await rig.view.workloads.one(EVERYTHING, f"Kubernetes//Pod/{OWN}/{OWN}-shop-1")
    assert len(workload.holders) == 3


@dataclass
class Others:
    """Other replicas, whose connections are known."""

    connections: tuple[Connection, ...]

    async def everywhere(self, own: Sequence[Connection]) -> FleetView:
        return FleetView(connections=(*own, *self.connections))


@pytest.mark.refutes("AM-24")
async def test_connections_of_other_replicas_are_counted_and_not_judged() -> None:
    rig = two_teams()
    here = tuple(rig.fleet.each())
    rig.knowledge.others = Others(tuple(replace(each, replica="replica-2") for each in here[:2]))
    rig.apply_text(a_policy("new"))
    rig.apply_text(a_policy("everywhere", "istio-system"))
    rig.settle()
    own = await rig.view.policies.one(EVERYTHING, Name(OWN, "new"))
    everywhere = await rig.view.policies.one(EVERYTHING, Name("istio-system", "everywhere"))
    workload = await rig.view.workloads.one(EVERYTHING, f"Kubernetes//Pod/{OWN}/{OWN}-shop-1")
    found = [each.served for each in (own, everywhere, workload)]
    counts = [each and (each.holding, each.waiting, each.elsewhere) for each in found]
    at_own_node = sum(each.node == f"node-{OWN}" for each in here[:2])
    assert counts == [(1, 0, at_own_node), (3, 0, 2), (3, 0, 2)]
    assert {each.replica for each in workload.holders} == {REPLICA}


async def test_who_refuses_a_change_does_not_hold_it() -> None:
    rig = two_teams()
    rig.apply_text(a_policy("everywhere", "istio-system"))
    rig.refuse(rig.sessions[0], "istio-system/everywhere: no")
    rig.settle(*rig.sessions[1:])
    rig.clock.time += 1
    policy = await rig.view.policies.one(EVERYTHING, Name("istio-system", "everywhere"))
    assert policy.served is not None
    assert (policy.served.holding, policy.served.waiting) == (2, 1)
    page = await rig.view.connections.page(EVERYTHING, ConnectionQuery(state="ERROR"))
    (connection,) = page.items
    (refused,) = [each for each in connection.types if each.last_error]
    assert [each.name for each in refused.rejected] == ["istio-system/everywhere"]
    assert refused.rejected[0].object is not None
    assert refused.rejected[0].object.kind == "AuthorizationPolicy"


async def test_nodes_tell_how_their_proxies_are_doing() -> None:
    rig = two_teams()
    page = await rig.view.nodes.page(EVERYTHING, NodeQuery())
    assert [(each.name, each.workloads, each.state) for each in page.items] == [
        (f"node-{OWN}", 2, "SYNCED"),
        (f"node-{OTHER}", 2, "SYNCED"),
    ]
    rig.apply_text(a_policy("new"))
    rig.clock.time += 1
    node = await rig.view.nodes.one(EVERYTHING, f"node-{OWN}")
    assert (node.state, node.lag_commits) == ("STALE", 1)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        (ConnectionQuery(), 3),
        (ConnectionQuery(namespace=OWN), 1),
        (ConnectionQuery(node=f"node-{OTHER}"), 2),
        (ConnectionQuery(kind="waypoint"), 0),
        (ConnectionQuery(replica="other"), 0),
        (ConnectionQuery(state="SYNCED", name="PROXY"), 3),
    ],
)
async def test_connections_are_filtered(query: ConnectionQuery, count: int) -> None:
    page = await two_teams().view.connections.page(EVERYTHING, query)
    assert (len(page.items), page.total) == (count, count)


@pytest.mark.parametrize(
    "path",
    ["workloads", "services", "conditions", "nodes", "connections", "certificates", "policies"],
)
@pytest.mark.proves("AM-20")
async def test_every_list_comes_in_pages(path: str) -> None:
    rig = two_teams()
    whole = (await get(rig, f"/api/v1/{path}")).json()
    found: list[Any] = []
    after = ""
    for _ in range(50):
        page = (await get(rig, f"/api/v1/{path}?limit=1&after={after}")).json()
        found += page["items"]
        after = page["next"]
        if after is None:
            break
    assert found == whole["items"]
    assert len(found) > 1


@pytest.mark.proves("AM-22")
@pytest.mark.parametrize("path", ["/api/v1/workloads", f"/api/v1/nodes/node-{OWN}/dump"])
async def test_who_has_an_answer_is_not_told_again(path: str) -> None:
    rig = two_teams()
    first = await get(rig, path)
    again = await get(rig, path, **{"if-none-match": f'"x", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


@pytest.mark.refutes("AM-22")
@pytest.mark.parametrize("path", ["/api/v1/policies", f"/api/v1/nodes/node-{OWN}/dump"])
async def test_a_change_is_told(path: str) -> None:
    rig = two_teams()
    tag = (await get(rig, path)).headers["etag"]
    rig.apply_text(a_policy("new"))
    changed = await get(rig, path, **{"if-none-match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag
    assert "new" in changed.text


@pytest.mark.refutes("AM-22")
async def test_the_dump_of_another_viewer_has_another_tag() -> None:
    rig = two_teams()
    path = f"/api/v1/nodes/node-{OWN}/dump"
    tag = (await get(rig, path)).headers["etag"]
    async with a_client(rig.application(), token=f"{OWN}/someone") as client:
        assert (await client.get(path, headers={"if-none-match": tag})).status_code == 200


@pytest.mark.proves("AM-25")
async def test_waiting_ends_when_everybody_has_it() -> None:
    rig = two_teams()
    async with a_client(rig.application()) as client:
        answer = (await client.post("/api/v1/wait", json={"seconds": 5})).json()
    assert (answer["is_converged"], answer["reason"]) == (True, "")


@pytest.mark.refutes("AM-25")
async def test_waiting_ends_when_time_is_over() -> None:
    rig = two_teams()
    rig.apply_text(a_policy("new"))
    reference = {"kind": "AuthorizationPolicy", "namespace": OWN, "name": "new"}
    async with a_client(rig.application()) as client:
        answer = await client.post("/api/v1/wait", json={"object": reference, "seconds": 1})
        narrowed = await client.post("/api/v1/wait", json={"nodes": ["elsewhere"], "seconds": 0})
        future = await client.post("/api/v1/wait", json={"commit": 9999, "seconds": 0})
    assert answer.status_code == 200
    assert answer.json()["reason"] == "1 of 1 connections have not acknowledged it in time"
    assert answer.json()["progress"]["waiting"][0]["node"] == f"node-{OWN}"
    assert narrowed.json()["is_converged"] is True
    assert "has not been made yet" in future.json()["reason"]


async def test_the_ledger_is_told_newest_first() -> None:
    rig = two_teams()
    page = await rig.view.certificates(EVERYTHING, CertificateQuery())
    assert [each.serial for each in page.items] == ["02", "01"]
    assert page.items[0].caller.endswith(f"{OTHER}-proxy")
    refused = await rig.view.certificates(EVERYTHING, CertificateQuery(outcome="refused"))
    assert {each.reason for each in refused.items} == {"not-on-node"}


async def test_the_graph_is_told_in_its_order() -> None:
    graph = two_teams().view.graph(EVERYTHING)
    assert graph.is_ready
    assert len(graph.collections) > 20
    assert (graph.failures, graph.clashes) == ((), ())
