"""What a node's ztunnel is sent, as a ztunnel's own dump shows it."""

from typing import Any

import pytest

from controlplane.admin.reading.node_dump import document
from controlplane.admin.viewer import EVERYTHING, Viewer
from controlplane.lab.ztunnel.decode import response_from_bytes
from controlplane.snapshots.scope import ADDRESS_TYPE, AUTHORIZATION_TYPE
from controlplane.xds.session import Session
from controlplane.xds.settings import XdsSettings
from tests.support.admin import AdminRig, a_client, bookinfo
from tests.support.discovery import a_request, acknowledge, introduced, taken
from tests.support.two_teams import OTHER, OWN, two_teams


async def dumped(rig: AdminRig, node: str, viewer: Viewer = EVERYTHING) -> dict[str, Any]:
    return await document(await rig.view.nodes.snapshot(viewer, node), viewer)


def served(rig: AdminRig, node: str) -> dict[str, set[str]]:
    """Return the names that a fresh ztunnel of a node is sent, by type."""
    session = Session(rig.catalog, XdsSettings(), rig.clock)
    session.receive(introduced(a_request(ADDRESS_TYPE), node_name=node, ISTIO_VERSION="1.30.0"))
    session.receive(a_request(AUTHORIZATION_TYPE))
    names: dict[str, set[str]] = {}
    while responses := taken(session):
        for response in responses:
            read = response_from_bytes(response.body)
            assert read.rejections == ()
            names.setdefault(read.type_url, set()).update(read.names)
        acknowledge(session, *responses)
    return names


@pytest.mark.proves("AM-30")
@pytest.mark.parametrize("node", ["node-1", "node-2"])
async def test_it_is_what_the_nodes_ztunnel_is_served(node: str) -> None:
    rig = bookinfo()
    found = await dumped(rig, node)
    names = served(rig, node)
    services = {f"{each['namespace']}/{each['hostname']}" for each in found["services"]}
    assert {each["uid"] for each in found["workloads"]} | services == names[ADDRESS_TYPE]
    policies = {f"{each['namespace']}/{each['name']}" for each in found["policies"]}
    assert policies == names[AUTHORIZATION_TYPE]


@pytest.mark.refutes("AM-30")
async def test_policies_of_other_nodes_are_not_in_it() -> None:
    found = await dumped(two_teams(), f"node-{OWN}")
    assert OTHER in str(found["workloads"])
    assert OTHER not in str(found["policies"])


@pytest.mark.proves("AM-31")
async def test_its_keys_are_those_that_tools_read() -> None:
    found = await dumped(two_teams(), f"node-{OWN}", Viewer(name="x", namespace=OWN))
    assert list(found) == ["workloads", "services", "policies", "certificates", "workloadState"]
    uid = f"Kubernetes//Pod/{OWN}/{OWN}-shop-1"
    (workload,) = [each for each in found["workloads"] if each["uid"] == uid]
    hostname = f"{OWN}-shop.{OWN}.svc.cluster.local"
    assert workload == {
        "uid": uid,
        "workloadIps": ["10.1.1.1"],
        "protocol": "HBONE",
        "name": f"{OWN}-shop-1",
        "namespace": OWN,
        "trustDomain": "cluster.local",
        "serviceAccount": f"{OWN}-shop",
        "workloadName": f"{OWN}-shop-1",
        "workloadType": "pod",
        "canonicalName": f"{OWN}-shop",
        "canonicalRevision": "latest",
        "clusterId": "Kubernetes",
        "locality": {},
        "node": f"node-{OWN}",
        "network": "",
        "status": "Healthy",
        "hostname": "",
        "networkMode": "STANDARD",
        "capacity": 1,
        "services": [f"{OWN}/{hostname}"],
        "authorizationPolicies": [
            f"{OWN}/{OWN}-callers",
            "istio-system/istio_converted_static_strict",
        ],
        "waypoint": {
            "destination": f"{OWN}/{OWN}-waypoint.{OWN}.svc.cluster.local",
            "hboneMtlsPort": 15008,
        },
    }
    (service,) = [each for each in found["services"] if each["hostname"] == hostname]
    assert service["vips"] == ["/10.0.1.1"]
    assert service["ports"] == {"80": 8080}
    assert service["endpoints"] == {
        uid: {
            "workloadUid": uid,
            "service": f"{OWN}/{hostname}",
            "port": {"80": 8080},
            "status": "Healthy",
        }
    }
    policies = {each["name"]: each for each in found["policies"]}
    assert policies[f"{OWN}-callers"] == {
        "name": f"{OWN}-callers",
        "namespace": OWN,
        "scope": "WorkloadSelector",
        "action": "Allow",
        "rules": [[[{"principals": [{"Exact": f"cluster.local/ns/{OWN}/sa/{OWN}-shop"}]}]]],
    }


@pytest.mark.refutes("AM-31")
async def test_what_a_workload_has_not_is_left_out() -> None:
    found = await dumped(two_teams(), f"node-{OWN}")
    (waypoint,) = [each for each in found["workloads"] if each["name"] == f"{OWN}-waypoint-1"]
    for key in ("networkGateway", "nativeTunnel", "waypoint"):
        assert key not in waypoint


async def test_certificates_of_the_node_are_in_it() -> None:
    rig = two_teams()
    async with a_client(rig.application()) as client:
        found = (await client.get(f"/debug/ztunnel/node-{OTHER}")).json()
    assert [each["identity"] for each in found["certificates"]] == [
        f"spiffe://cluster.local/ns/{team}/sa/{team}-shop" for team in (OWN, OTHER)
    ]
    assert found["certificates"][0]["certChain"] == [
        {
            "pem": "",
            "serialNumber": "01",
            "validFrom": "2026-01-01T00:00:01Z",
            "expirationTime": "2026-01-02T00:00:01Z",
        }
    ]


async def test_a_node_that_nobody_knows_is_not_found() -> None:
    async with a_client(two_teams().application()) as client:
        assert (await client.get("/api/v1/nodes/nowhere/dump")).status_code == 404
