"""What Gateways and their classes are told in a cluster (docs/protocol/gateway-status.md)."""

from typing import Any

import pytest
import yaml
from envoy.service.discovery.v3 import discovery_pb2

from controlplane.cluster.apply import Outcome
from controlplane.encode.resource import Resource
from controlplane.model.names import Name
from controlplane.pb import workload_pb2
from tests.support.kubernetes_objects import DEFINITIONS, Json
from tests.support.waypoint_cluster import GATEWAY, Cluster, Lead, a_cluster, a_replica

HOST = "waypoint.shop.svc.cluster.local"
WAYPOINT = Name("shop", "waypoint")
SHOP = """
apiVersion: v1
kind: Service
metadata: {name: till, namespace: shop}
spec:
  clusterIP: 10.96.1.1
  clusterIPs: [10.96.1.1]
  selector: {app: till}
  ports: [{name: http, port: 80, targetPort: 8080}]
"""
REMOTE = (
    GATEWAY.replace("istio-waypoint", "istio-remote")
    + """
  addresses: [{type: IPAddress, value: 10.9.9.9}]
"""
)
ADDRESSES = [
    {"type": "IPAddress", "value": "10.96.0.9"},
    {"type": "Hostname", "value": HOST},
]


def reasons(cluster: Cluster) -> dict[str, str]:
    return {each["type"]: each["reason"] for each in cluster.status().get("conditions") or ()}


def is_programmed(cluster: Cluster) -> bool:
    return bool(cluster.condition("Programmed").get("status") == "True")


def address_of(found: object) -> workload_pb2.Service:
    assert isinstance(found, Resource)
    wrapped = discovery_pb2.Resource.FromString(found.body)
    return workload_pb2.Address.FromString(wrapped.resource.value).service


@pytest.mark.proves("WO-60", "WO-61", "GS-1", "GS-2")
async def test_classes_are_made_and_accepted_as_soon_as_the_gateway_api_is_there() -> None:
    async with a_cluster() as cluster:
        for plural in ("gatewayclasses", "gateways"):
            cluster.delete(DEFINITIONS, f"{plural}.gateway.networking.k8s.io", "")
        async with a_replica(cluster) as replica:
            assert not await cluster.quiet()
            assert not replica.classes.troubles
            cluster.api.objects.define_all()
            for name in ("istio-waypoint", "istio-remote"):
                await cluster.until(lambda name=name: _is_accepted(cluster, name))  # type: ignore[misc]
            cluster.delete("gatewayclasses", "istio-remote", "")
            await cluster.until(lambda: _is_accepted(cluster, "istio-remote"))
            await cluster.settled()
            assert not await cluster.quiet()


def _is_accepted(cluster: Cluster, name: str) -> bool:
    found = cluster.api.objects.get("gatewayclasses", ("", name)) or {}
    conditions = found.get("status", {}).get("conditions", [])
    return [(each["type"], each["status"]) for each in conditions] == [("Accepted", "True")]


@pytest.mark.refutes("GS-1")
async def test_a_class_that_is_there_stays_as_it_is() -> None:
    theirs = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio-waypoint}
spec: {controllerName: istio.io/mesh-controller, description: mine}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: edge}
spec: {controllerName: example.com/edge}
"""
    async with a_cluster(theirs) as cluster, a_replica(cluster):
        await cluster.until(lambda: _is_accepted(cluster, "istio-waypoint"))
        await cluster.until(lambda: _is_accepted(cluster, "istio-remote"))
        assert cluster.get("gatewayclasses", "istio-waypoint", "")["spec"]["description"] == "mine"
        assert "status" not in cluster.get("gatewayclasses", "edge", "")


@pytest.mark.refutes("GS-2")
async def test_a_class_that_may_not_be_made_is_shown() -> None:
    async with a_cluster() as cluster:
        cluster.api.denied.add(("create", "gatewayclasses"))
        async with a_replica(cluster) as replica:
            await cluster.until(lambda: len(replica.classes.troubles) == 2)
            assert replica.classes.troubles["istio-remote"].outcome is Outcome.FORBIDDEN


@pytest.mark.proves("GS-3", "WO-63", "WO-65", "WO-66")
async def test_a_waypoint_exists_for_services_once_a_pod_is_ready() -> None:
    async with a_cluster(SHOP, GATEWAY) as cluster, a_replica(cluster) as replica:
        services = replica.pipeline.encoded.services

        def waypoint() -> Any:
            (till,) = [address_of(found) for _, found in services.items() if _is_till(found)]
            return till.waypoint

        await cluster.until(lambda: reasons(cluster).get("Programmed") == "AddressNotAssigned")
        assert reasons(cluster) == {
            "Accepted": "Accepted",
            "Programmed": "AddressNotAssigned",
            "ResolvedRefs": "ResolvedRefs",
        }
        assert "addresses" not in cluster.status()
        (listener,) = cluster.status()["listeners"]
        assert (listener["name"], listener["supportedKinds"], listener["attachedRoutes"]) == (
            "mesh",
            [],
            0,
        )
        assert waypoint().WhichOneof("destination") is None
        cluster.serve(ip="10.96.0.9", is_ready=False)
        assert not await cluster.quiet()
        cluster.serve()
        await cluster.until(lambda: is_programmed(cluster))
        assert cluster.status()["addresses"] == ADDRESSES
        message = cluster.condition("Programmed")["message"]
        assert message == f"Resource programmed, assigned to service(s) {HOST}:15008"
        await cluster.until(lambda: waypoint().hostname.hostname == HOST)
        assert (waypoint().hostname.namespace, waypoint().hbone_mtls_port) == ("shop", 15008)


def _is_till(found: object) -> bool:
    return address_of(found).name == "till"


@pytest.mark.refutes("GS-3")
async def test_conditions_of_others_stay() -> None:
    theirs = yaml.safe_load(GATEWAY)
    foreign = {"type": "example.com/Checked", "status": "True", "reason": "Yes", "message": ""}
    foreign["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    theirs["status"] = {"conditions": [foreign]}
    async with a_cluster(yaml.safe_dump(theirs)) as cluster, a_replica(cluster):
        await cluster.until(lambda: "Programmed" in reasons(cluster))
        assert cluster.condition("example.com/Checked") == foreign


@pytest.mark.proves("GS-4")
async def test_the_time_of_a_condition_moves_with_its_status() -> None:
    since = "2026-01-01T00:00:00Z"
    accepted = {"type": "Accepted", "status": "True", "reason": "Old", "message": "old"}
    programmed = {"type": "Programmed", "status": "Unknown", "reason": "Pending", "message": ""}
    before = yaml.safe_load(GATEWAY)
    conditions = [each | {"lastTransitionTime": since} for each in (accepted, programmed)]
    before["status"] = {"conditions": conditions}
    async with a_cluster(yaml.safe_dump(before)) as cluster, a_replica(cluster):
        await cluster.until(lambda: reasons(cluster).get("Accepted") == "Accepted")
        assert cluster.condition("Accepted")["lastTransitionTime"] == since
        assert cluster.condition("Programmed")["lastTransitionTime"] > since


@pytest.mark.refutes("GS-4")
async def test_another_reason_is_no_other_time() -> None:
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster):
        await cluster.until(lambda: reasons(cluster).get("Programmed") == "AddressNotAssigned")

        def age(live: Json) -> None:
            for each in live["status"]["conditions"]:
                each["lastTransitionTime"] = "2026-01-01T00:00:00Z"

        cluster.change("gateways", "waypoint", age)
        cluster.delete("services", "waypoint")
        await cluster.settled()
        cluster.serve()
        await cluster.until(lambda: is_programmed(cluster))
        assert cluster.condition("Accepted")["lastTransitionTime"].startswith("2026-01-01")
        assert not cluster.condition("Programmed")["lastTransitionTime"].startswith("2026-01-01")


@pytest.mark.proves("GS-5", "WO-68")
async def test_the_generation_that_was_judged_is_said() -> None:
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster):
        await cluster.until(lambda: cluster.condition("Accepted").get("observedGeneration") == 1)

        def add(live: Json) -> None:
            live["spec"]["listeners"].append({"name": "web", "port": 80, "protocol": "HTTP"})

        cluster.change("gateways", "waypoint", add)
        await cluster.until(lambda: cluster.condition("Accepted").get("observedGeneration") == 2)
        listeners = cluster.status()["listeners"]
        told = {each["name"]: each["conditions"][0]["reason"] for each in listeners}
        assert told == {"mesh": "Accepted", "web": "UnsupportedProtocol"}
        assert reasons(cluster)["Accepted"] == "Accepted"


@pytest.mark.proves("GS-6", "WO-67")
async def test_addresses_stay_and_follow_the_service() -> None:
    async with a_cluster(GATEWAY) as cluster:
        async with a_replica(cluster):
            await cluster.until(lambda: cluster.has("services", "waypoint"))
            cluster.serve(ip="10.96.0.9")
            await cluster.until(lambda: is_programmed(cluster))
            cluster.serve(is_ready=False)
            await cluster.until(lambda: not is_programmed(cluster))
            assert cluster.status()["addresses"] == ADDRESSES
            cluster.delete("endpointslices", "waypoint-x")
        async with a_replica(cluster):
            assert not await cluster.quiet()
            cluster.serve(ip="10.96.0.77")
            await cluster.until(lambda: is_programmed(cluster))
            values = [each["value"] for each in cluster.status()["addresses"]]
            assert values == ["10.96.0.77", HOST]


@pytest.mark.refutes("GS-6", "WO-65")
async def test_there_is_no_address_before_something_is_ready() -> None:
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster):
        await cluster.until(lambda: cluster.has("services", "waypoint"))
        cluster.serve(ip="10.96.0.9", is_ready=False)
        await cluster.settled()
        assert "addresses" not in cluster.status()
        # A slice that does not say is ready.
        cluster.serve(is_ready=None)
        await cluster.until(lambda: cluster.status().get("addresses") == ADDRESSES)


@pytest.mark.proves("GS-7")
async def test_what_others_do_to_a_status_is_put_right_five_times() -> None:
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster):
        await cluster.until(lambda: reasons(cluster).get("Programmed") == "AddressNotAssigned")
        await cluster.settled()
        right = cluster.status()
        for number in range(5):
            cluster.change("gateways", "waypoint", lambda live, n=number: _spoil(live, n))  # type: ignore[misc]
            await cluster.until(lambda: cluster.status() == right)
        cluster.change("gateways", "waypoint", lambda live: _spoil(live, 9))
        assert not await cluster.quiet()
        assert cluster.condition("Accepted")["message"] == "spoilt 9"


def _spoil(live: Json, number: int) -> None:
    live["status"]["conditions"][0]["message"] = f"spoilt {number}"


@pytest.mark.refutes("GS-7")
async def test_at_the_next_going_over_it_is_put_right_again() -> None:
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster, resync=0.3):
        await cluster.until(lambda: reasons(cluster).get("Programmed") == "AddressNotAssigned")
        await cluster.settled()
        right = cluster.status()
        for number in range(7):
            cluster.change("gateways", "waypoint", lambda live, n=number: _spoil(live, n))  # type: ignore[misc]
            await cluster.until(lambda: cluster.status() == right)


@pytest.mark.refutes("GS-8")
async def test_what_another_control_plane_said_is_taken_over_once() -> None:
    async with a_cluster(GATEWAY) as cluster:
        async with a_replica(cluster):
            await cluster.until(lambda: reasons(cluster).get("Programmed") == "AddressNotAssigned")
            await cluster.settled()
        right = cluster.status()

        def forget(live: Json) -> None:
            live["metadata"]["managedFields"] = []

        cluster.change("gateways", "waypoint", forget)
        before = cluster.api.count("patch", "gateways/status")
        async with a_replica(cluster):
            await cluster.until(lambda: cluster.api.count("patch", "gateways/status") > before)
            await cluster.settled()
        assert cluster.api.count("patch", "gateways/status") == before + 1
        assert cluster.status() == right


@pytest.mark.proves("GS-9")
async def test_a_remote_gateway_is_told_that_it_is_accepted() -> None:
    async with a_cluster(REMOTE) as cluster, a_replica(cluster):
        await cluster.until(cluster.status)
        assert reasons(cluster) == {"Accepted": "Accepted"}
        assert cluster.status().keys() == {"conditions"}


@pytest.mark.refutes("GS-9")
async def test_gateways_of_others_are_told_nothing() -> None:
    edge = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\n"
    edge += "metadata: {name: edge}\nspec: {controllerName: example.com/edge}\n"
    theirs = GATEWAY.replace("istio-waypoint", "edge")
    async with a_cluster(edge, theirs) as cluster, a_replica(cluster):
        await cluster.until(lambda: _is_accepted(cluster, "istio-remote"))
        await cluster.settled()
        assert not cluster.status()


@pytest.mark.proves("GS-10", "WO-62", "WO-27")
async def test_nothing_is_said_before_the_parameters_were_looked_at() -> None:
    referring = (
        GATEWAY
        + """
  infrastructure:
    parametersRef: {group: "", kind: ConfigMap, name: options}
"""
    )
    async with a_cluster(referring) as cluster:
        lead = Lead(0.0)
        async with a_replica(cluster, lead=lead) as replica:
            cluster.api.denied.add(("list", "configmaps"))
            lead.seconds_left = 8.0
            await cluster.until(lambda: WAYPOINT in replica.deployment.troubles)
            assert not cluster.status()
            cluster.api.denied.clear()
            await cluster.until(lambda: reasons(cluster).get("Accepted") == "InvalidParameters")
            message = cluster.condition("Accepted")["message"]
            assert message == "parametersRef ConfigMap shop/options does not exist"


@pytest.mark.refutes("GS-10")
async def test_a_gateway_that_somebody_else_has_deployed_waits_for_nobody() -> None:
    elsewhere = GATEWAY + "\n  addresses: [{type: Hostname, value: away}]\n"
    async with a_cluster(elsewhere) as cluster:
        lead = Lead(0.0)
        async with a_replica(cluster, lead=lead):
            cluster.api.denied.add(("list", "configmaps"))
            lead.seconds_left = 8.0
            await cluster.until(lambda: reasons(cluster).get("Programmed") == "AddressNotUsable")
            message = cluster.condition("Programmed")["message"]
            assert message.endswith('hostname "away.shop.svc.cluster.local" not found')


@pytest.mark.refutes("GS-5")
async def test_a_gateway_that_the_mesh_does_not_know_yet_is_told_nothing() -> None:
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster) as replica:
        await cluster.until(lambda: cluster.condition("Accepted").get("observedGeneration") == 1)
        known = replica.pipeline.inputs.gateways.get(WAYPOINT)
        assert known is not None
        live = dict(cluster.get("gateways", "waypoint"))
        live["metadata"] = {**live["metadata"], "generation": 5}
        wanted = replica.status._wanted(WAYPOINT, live)
        assert getattr(wanted, "outcome", None) is Outcome.UNCHANGED
        live["metadata"] = {**live["metadata"], "generation": 1, "uid": "another"}
        assert replica.status._wanted(WAYPOINT, live) == wanted
