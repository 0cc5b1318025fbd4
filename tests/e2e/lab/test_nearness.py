"""A real waypoint sends to what is near to it, wholly, and comes back to it."""

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from controlplane.lab.mesh import Lab
from controlplane.lab.waypoint_proxy import WaypointProxy
from tests.e2e.lab.test_live_connections import until
from tests.support.lab_mesh import NODES, a_cluster, a_document, a_lab, a_service, write

NEAR = ("web-1", "web-2", "web-3")
FAR = "web-4"
WAYPOINT = "waypoint.shop.svc.cluster.local"


def a_pod(name: str, app: str, node: str, **rest: Any) -> dict[str, Any]:
    spec = {
        "nodeName": node,
        "serviceAccountName": app,
        "containers": [{"name": app, "image": app, "ports": [{"containerPort": 8080}]}],
    }
    return a_document("Pod", name, labels={"app": app, **rest.pop("labels", {})}, spec=spec, **rest)


def an_unready_pod(mesh: Lab, name: str) -> dict[str, Any]:
    """Return what the pod of that name is when it is not ready any more."""
    address = str(mesh.workload(name).addresses[0])
    status = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": "False"}],
    }
    enrolled = {"ambient.istio.io/redirection": "enabled"}
    return a_pod(name, "web", NODES[0], annotations=enrolled, status=status)


def a_waypoint_on(*nodes: str) -> list[dict[str, Any]]:
    """Return a waypoint that is deployed by hand, one pod on each of ``nodes``."""
    labels = {
        "gateway.networking.k8s.io/gateway-name": "waypoint",
        "istio.io/dataplane-mode": "none",
    }
    return [
        a_document(
            "Gateway",
            "waypoint",
            spec={
                "gatewayClassName": "istio-waypoint",
                "addresses": [{"type": "Hostname", "value": WAYPOINT}],
                "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
            },
        ),
        a_document("ServiceAccount", "waypoint"),
        a_document(
            "Service",
            "waypoint",
            spec={
                "selector": {"app": "waypoint"},
                "ports": [{"name": "mesh", "port": 15008, "appProtocol": "hbone"}],
            },
        ),
        *(a_pod(f"waypoint-{node}", "waypoint", node, labels=labels) for node in nodes),
    ]


def a_mesh(*of_waypoint: str, **asked: Any) -> list[dict[str, Any]]:
    """Return two nodes, each a zone, a client on the second, a waypoint and one service."""
    web = a_service("web", waypoint="waypoint")
    web["spec"].update(asked)
    zones = [
        a_document("Node", node, "", labels={"topology.kubernetes.io/zone": f"zone of {node}"})
        for node in NODES
    ]
    return [
        *(each for each in a_cluster("shop") if each["kind"] != "Node"),
        *zones,
        *a_waypoint_on(*of_waypoint),
        *(a_document("ServiceAccount", name) for name in ("web", "sleep")),
        a_pod("sleep", "sleep", NODES[1]),
        web,
    ]


async def priorities(proxy: WaypointProxy, nodes: Mapping[str, str]) -> dict[str, int]:
    """Return what the Envoy takes the priority of the pod on each node for, by ``nodes``."""
    clusters = await proxy.envoy.clusters()
    statuses = next(each for name, each in clusters.items() if name.startswith("inbound-vip|"))
    found = {}
    for each in statuses["host_statuses"]:
        place = each["address"]["envoy_internal_address"]["endpoint_id"]
        found[nodes[place.partition(":")[0]]] = each.get("priority", 0)
    return found


async def answers(mesh: Lab) -> set[tuple[int, str]]:
    """Return how requests end, and which pods they reach."""
    found = set()
    for _ in range(30):
        answer = await mesh.request("sleep", "http://web/")
        found.add((answer.status, json.loads(answer.body)["pod"] if answer.status == 200 else ""))
    return found


def reaching(mesh: Lab, *pods: str) -> Callable[[], Awaitable[bool]]:
    async def do_they() -> bool:
        return await answers(mesh) == {(200, pod) for pod in pods}

    return do_they


@pytest.mark.timeout(120)
@pytest.mark.proves("WC-74")
async def test_the_zone_is_left_only_while_nothing_in_it_is_healthy(tmp_path: Path) -> None:
    here, there = NODES
    pods = [*(a_pod(name, "web", here) for name in NEAR), a_pod(FAR, "web", there)]
    documents = a_mesh(here, trafficDistribution="PreferClose")
    async with a_lab(tmp_path, *documents) as (mesh, folder):
        write(folder, "pods.yaml", *pods)
        await until(reaching(mesh, *NEAR))
        unready = [an_unready_pod(mesh, name) for name in NEAR]
        write(folder, "pods.yaml", *unready[:2], *pods[2:])
        await until(reaching(mesh, "web-3"))
        write(folder, "pods.yaml", *unready, pods[3])
        await until(reaching(mesh, FAR))
        write(folder, "pods.yaml", *pods)
        await until(reaching(mesh, *NEAR))
        write(folder, "pods.yaml", pods[3])
        await until(reaching(mesh, FAR))
        write(folder, "pods.yaml", *pods)
        await until(reaching(mesh, *NEAR))
        rejected = await mesh.waypoint("shop/waypoint").envoy.stats("update_rejected")
        assert set(rejected.values()) == {0}


@pytest.mark.timeout(60)
@pytest.mark.proves("WC-74")
async def test_who_stays_on_the_node_is_told_that_nothing_is_there(tmp_path: Path) -> None:
    here, there = NODES
    documents = [*a_mesh(here, internalTrafficPolicy="Local"), a_pod(FAR, "web", there)]
    async with a_lab(tmp_path, *documents) as (mesh, folder):
        assert await answers(mesh) == {(503, "")}
        write(folder, "pods.yaml", a_pod("web-1", "web", here))
        await until(reaching(mesh, "web-1"))


@pytest.mark.timeout(60)
@pytest.mark.proves("WC-72", "WC-75")
async def test_pods_of_one_waypoint_are_told_what_is_near_to_each(tmp_path: Path) -> None:
    here, there = NODES
    documents = [
        *a_mesh(here, there, trafficDistribution="PreferSameNode"),
        *(a_pod(f"web-{node}", "web", node) for node in NODES),
    ]
    async with a_lab(tmp_path, *documents) as (mesh, _):
        nodes = {str(mesh.workload(f"web-{node}").addresses[0]): node for node in NODES}
        found = {
            proxy.pod.node: await priorities(proxy, nodes) for proxy in mesh.waypoints.values()
        }
        assert found == {here: {here: 0, there: 1}, there: {there: 0, here: 1}}
