"""Waypoints deployed into a double of the API server (docs/protocol/waypoint-deployment.md)."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.cluster.apply import Outcome
from controlplane.model.names import Name
from tests.support.kubernetes_objects import Json
from tests.support.waypoint_cluster import GATEWAY, Cluster, Lead, a_cluster, a_replica
from tests.support.waypoint_objects import SETTINGS, read_pair

PAIRS = Path(__file__).parents[2] / "conformance" / "waypoints"
WAYPOINT = Name("shop", "waypoint")
PLURALS = {
    "ServiceAccount": "serviceaccounts",
    "ConfigMap": "configmaps",
    "Deployment": "deployments",
    "Service": "services",
    "HorizontalPodAutoscaler": "horizontalpodautoscalers",
    "PodDisruptionBudget": "poddisruptionbudgets",
}
OPTIONS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: options, namespace: shop}
data:
  horizontalPodAutoscaler: |
    spec: {maxReplicas: 3}
"""
REFERRING = (
    GATEWAY
    + """
  infrastructure:
    parametersRef: {group: "", kind: ConfigMap, name: options}
"""
)


DEFAULTS = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: defaults
  namespace: istio-system
  labels: {gateway.istio.io/defaults-for-class: istio-waypoint}
data: {deployment: "spec: {minReadySeconds: 7}"}
"""


def seconds(cluster: Cluster) -> Any:
    return cluster.get("deployments", "waypoint")["spec"].get("minReadySeconds")


def _nine(defaults: Json) -> None:
    defaults["data"] = {"deployment": "spec: {minReadySeconds: 9}"}


def network(cluster: Cluster) -> Any:
    """Return the network that pods of the waypoint are labelled with."""
    template = cluster.get("deployments", "waypoint")["spec"]["template"]
    return template["metadata"]["labels"].get("topology.istio.io/network")


def made(cluster: Cluster) -> dict[str, list[str]]:
    """Return the names of what was made in the namespace, by kind."""
    found = {}
    for kind, plural in PLURALS.items():
        names = [
            name
            for (namespace, name), live in cluster.api.objects.held[plural].items()
            if namespace == "shop"
            and "gateway.istio.io/managed" in live["metadata"].get("labels", {})
        ]
        if names:
            found[kind] = sorted(names)
    return found


def whole(name: str = "waypoint") -> dict[str, list[str]]:
    return {
        "ServiceAccount": [name],
        "ConfigMap": [f"{name}-bootstrap"],
        "Deployment": [name],
        "Service": [name],
    }


def written(live: Json, kind: str, version: str) -> Json:
    """Return an object without what the API server adds to it."""
    metadata = {
        key: value
        for key, value in live["metadata"].items()
        if key in {"name", "namespace", "labels", "annotations", "ownerReferences"}
    }
    rest = {k: v for k, v in live.items() if k not in {"apiVersion", "kind", "metadata"}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


@pytest.mark.proves("WO-3", "WO-30")
@pytest.mark.parametrize("name", ["an-ordinary-waypoint", "overlays-of-class-and-gateway"])
async def test_a_gateway_becomes_what_its_expectation_says(name: str) -> None:
    text = (PAIRS / f"{name}.yaml").read_text()
    documents = [each for each in yaml.safe_load_all(text) if each and "kind" in each]
    expected = yaml.safe_load((PAIRS / f"{name}.expected.yaml").read_text())
    settings = read_pair(PAIRS / f"{name}.yaml").settings
    async with a_cluster(*(yaml.safe_dump(each) for each in documents)) as cluster:
        async with a_replica(cluster, settings=settings):
            await cluster.until(lambda: len(_labelled(cluster)) == len(expected["objects"]))
            await cluster.settled()
        for item in expected["objects"]:
            namespace, kind = item["metadata"]["namespace"], item["kind"]
            live = cluster.get(PLURALS[kind], item["metadata"]["name"], namespace)
            found = written(live, kind, item["apiVersion"])
            if kind == "ConfigMap":
                files = {name: json.loads(text) for name, text in found.pop("data").items()}
                assert files == item.pop("data", files)
            if kind == "Deployment" and "bootstrap" in expected:
                digest = "istiod-lite/bootstrap-digest"
                assert found["spec"]["template"]["metadata"]["annotations"].pop(digest)
            assert found == item


def _labelled(cluster: Cluster) -> list[Json]:
    return [
        live
        for plural in PLURALS.values()
        for live in cluster.api.objects.held[plural].values()
        if "gateway.istio.io/managed" in live["metadata"].get("labels", {})
    ]


@pytest.mark.proves("WO-39")
async def test_deleting_a_gateway_removes_all_of_it() -> None:
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster) as replica:
        await cluster.until(lambda: made(cluster) == whole())
        asked = len(cluster.api.asked)
        await cluster.settled()
        cluster.delete("gateways", "waypoint")
        await cluster.until(lambda: not made(cluster))
        assert not await cluster.quiet()
        assert not [each for each in cluster.api.asked[asked:] if each.verb == "delete"]
        assert not replica.deployment.troubles


@pytest.mark.refutes("WO-39")
async def test_a_gateway_that_comes_back_gets_it_all_again() -> None:
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster):
        await cluster.until(lambda: made(cluster) == whole())
        cluster.delete("gateways", "waypoint")
        cluster.put(GATEWAY)
        uid = cluster.get("gateways", "waypoint")["metadata"]["uid"]

        def is_of_the_new_one() -> bool:
            return made(cluster) == whole() and all(
                [owner["uid"] for owner in live["metadata"]["ownerReferences"]] == [uid]
                for live in _labelled(cluster)
            )

        await cluster.until(is_of_the_new_one)
        await cluster.settled()
        assert is_of_the_new_one()


@pytest.mark.refutes("WO-30")
@pytest.mark.proves("GS-8")
async def test_a_settled_cluster_gets_no_write_at_passes_nor_from_the_next_leader() -> None:
    async with a_cluster(REFERRING, OPTIONS) as cluster:
        async with a_replica(cluster, resync=0.05):
            await cluster.until(lambda: "HorizontalPodAutoscaler" in made(cluster))
            cluster.serve(ip="10.96.0.9")
            await cluster.until(lambda: cluster.condition("Programmed").get("status") == "True")
            await cluster.settled()
            assert not await cluster.quiet()
        for _ in range(2):
            before = len(cluster.api.asked)
            async with a_replica(cluster, resync=0.05) as replica:
                await cluster.until(lambda: replica.deployment.judged(WAYPOINT) is not None)
                await cluster.quiet()
            mutations = {"create", "update", "patch", "delete"}
            assert not [each for each in cluster.api.asked[before:] if each.verb in mutations]


@pytest.mark.proves("WO-31")
@pytest.mark.parametrize("label", ["", "istio.io-gateway-controller"])
async def test_what_is_somebody_elses_is_left_alone_and_said_so(label: str) -> None:
    labels = {"gateway.istio.io/managed": label} if label else {}
    theirs = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "waypoint", "namespace": "shop", "labels": labels},
        "spec": {"replicas": 7},
    }
    async with a_cluster(yaml.safe_dump(theirs), GATEWAY) as cluster:
        before = cluster.get("deployments", "waypoint")
        async with a_replica(cluster) as replica:
            await cluster.until(lambda: WAYPOINT in replica.deployment.troubles)
            await cluster.until(lambda: "Service" in made(cluster))
            trouble = replica.deployment.troubles[WAYPOINT]
            assert trouble.outcome is Outcome.CONFLICT
            assert trouble.message.startswith("deployments shop/waypoint: it is left alone")
        assert cluster.get("deployments", "waypoint") == before


async def test_two_gateways_that_want_one_name_do_not_fight() -> None:
    other = yaml.safe_load(GATEWAY)
    other["metadata"] |= {
        "name": "other",
        "annotations": {"gateway.istio.io/name-override": "waypoint"},
    }
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster) as replica:
        await cluster.until(lambda: made(cluster) == whole())
        before = cluster.get("deployments", "waypoint")
        cluster.put(yaml.safe_dump(other))
        await cluster.until(lambda: Name("shop", "other") in replica.deployment.troubles)
        message = replica.deployment.troubles[Name("shop", "other")].message
        assert message.endswith("it is of another Gateway, waypoint")
        assert cluster.get("deployments", "waypoint") == before
        # When the first lets it go, the other has it.
        cluster.delete("gateways", "waypoint")
        await cluster.until(lambda: made(cluster) == whole())
        await cluster.until(lambda: not replica.deployment.troubles)


@pytest.mark.refutes("WO-31")
async def test_what_carries_the_label_is_taken_over() -> None:
    theirs = """
apiVersion: v1
kind: ServiceAccount
metadata:
  name: waypoint
  namespace: shop
  labels: {gateway.istio.io/managed: istio.io-mesh-controller}
"""
    async with a_cluster(theirs, GATEWAY) as cluster, a_replica(cluster) as replica:
        await cluster.until(lambda: made(cluster) == whole())
        labels = cluster.get("serviceaccounts", "waypoint")["metadata"]["labels"]
        assert labels["gateway.networking.k8s.io/gateway-name"] == "waypoint"
        assert not replica.deployment.troubles


@pytest.mark.refutes("WO-2")
@pytest.mark.proves("GS-9")
async def test_a_gateway_that_a_newer_control_plane_has_taken_is_left_alone() -> None:
    newer = yaml.safe_load(GATEWAY)
    newer["metadata"]["annotations"] = {"gateway.istio.io/controller-version": "6"}
    async with a_cluster(yaml.safe_dump(newer)) as cluster, a_replica(cluster):
        await cluster.until(lambda: cluster.has("gatewayclasses", "istio-remote", ""))
        await cluster.quiet()
        assert not made(cluster)
        assert not cluster.status()


@pytest.mark.proves("WO-33", "WO-36")
async def test_what_an_overlay_brought_goes_with_it() -> None:
    async with a_cluster(REFERRING, OPTIONS) as cluster, a_replica(cluster):
        await cluster.until(lambda: "HorizontalPodAutoscaler" in made(cluster))
        autoscaler = cluster.get("horizontalpodautoscalers", "waypoint")
        assert autoscaler["spec"]["maxReplicas"] == 3
        cluster.put(OPTIONS.replace("maxReplicas: 3", "maxReplicas: 5"))

        def is_five() -> bool:
            live = cluster.get("horizontalpodautoscalers", "waypoint")
            return bool(live["spec"]["maxReplicas"] == 5)

        await cluster.until(is_five)
        cluster.put(
            OPTIONS.replace("horizontalPodAutoscaler", "podDisruptionBudget").replace(
                "maxReplicas: 3", "minAvailable: 1"
            )
        )
        await cluster.until(
            lambda: made(cluster) == whole() | {"PodDisruptionBudget": ["waypoint"]}
        )
        cluster.put(GATEWAY)
        await cluster.until(lambda: made(cluster) == whole())


@pytest.mark.proves("WO-33")
async def test_another_name_moves_everything() -> None:
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster):
        await cluster.until(lambda: made(cluster) == whole())
        other = yaml.safe_load(GATEWAY)
        other["metadata"]["annotations"] = {"gateway.istio.io/name-override": "w2"}
        cluster.put(yaml.safe_dump(other))
        await cluster.until(lambda: made(cluster) == whole("w2"))


@pytest.mark.proves("WO-33")
@pytest.mark.parametrize("how", ["addresses", "class"])
async def test_a_gateway_that_is_reached_elsewhere_loses_its_deployment(how: str) -> None:
    ingress = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\n"
    ingress += "metadata: {name: edge}\nspec: {controllerName: example.com/edge}\n"
    async with a_cluster(GATEWAY, ingress) as cluster, a_replica(cluster):
        await cluster.until(lambda: made(cluster) == whole())
        other = yaml.safe_load(GATEWAY)
        if how == "class":
            other["spec"]["gatewayClassName"] = "edge"
        else:
            other["spec"]["addresses"] = [{"type": "Hostname", "value": "away"}]
        cluster.put(yaml.safe_dump(other))
        await cluster.until(lambda: not made(cluster))


@pytest.mark.refutes("WO-33")
async def test_a_missing_class_and_objects_of_others_remove_nothing() -> None:
    ours = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\n"
    ours += "metadata: {name: ours}\nspec: {controllerName: istio.io/mesh-controller}\n"
    labels = {
        "gateway.istio.io/managed": "istio.io-mesh-controller",
        "gateway.networking.k8s.io/gateway-name": "waypoint",
    }
    theirs = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "mine", "namespace": "shop", "labels": labels},
    }
    gateway = GATEWAY.replace("istio-waypoint", "ours")
    async with (
        a_cluster(ours, gateway, yaml.safe_dump(theirs)) as cluster,
        a_replica(cluster) as us,
    ):
        wanted = whole() | {"PodDisruptionBudget": ["mine"]}
        await cluster.until(lambda: made(cluster) == wanted)
        cluster.delete("gatewayclasses", "ours", "")
        await cluster.until(lambda: us.deployment.judged(WAYPOINT) is None)
        assert not await cluster.quiet()
        assert made(cluster) == wanted


@pytest.mark.proves("WO-34")
async def test_what_others_change_or_delete_is_put_right() -> None:
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster):
        await cluster.until(lambda: made(cluster) == whole())
        right = cluster.get("deployments", "waypoint")["spec"]

        def spoil(live: Json) -> None:
            live["spec"]["template"]["spec"]["containers"][0]["image"] = "evil"

        cluster.change("deployments", "waypoint", spoil)
        await cluster.until(lambda: cluster.get("deployments", "waypoint")["spec"] == right)

        def misname(live: Json) -> None:
            live["metadata"]["labels"]["gateway.networking.k8s.io/gateway-name"] = "other"

        def is_named() -> bool:
            labels = cluster.get("services", "waypoint")["metadata"]["labels"]
            return bool(labels["gateway.networking.k8s.io/gateway-name"] == "waypoint")

        cluster.change("services", "waypoint", misname)
        await cluster.until(is_named)
        for plural in ("services", "serviceaccounts"):
            cluster.delete(plural, "waypoint")
            await cluster.until(lambda plural=plural: cluster.has(plural, "waypoint"))  # type: ignore[misc]


@pytest.mark.refutes("WO-34")
async def test_replicas_and_statuses_are_not_fought_over() -> None:
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster):
        await cluster.until(lambda: made(cluster) == whole())
        await cluster.settled()
        before = len(cluster.api.asked)
        for replicas in (3, 0):

            def scale(live: Json, replicas: int = replicas) -> None:
                live["spec"]["replicas"] = replicas
                live["status"] = {"readyReplicas": replicas}

            cluster.change("deployments", "waypoint", scale)
            assert not await cluster.quiet()
        assert cluster.get("deployments", "waypoint")["spec"]["replicas"] == 0
        assert not [each for each in cluster.api.asked[before:] if each.verb == "get"]


@pytest.mark.proves("WO-35")
async def test_what_others_keep_changing_is_left_after_a_while() -> None:
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster):
        await cluster.until(lambda: made(cluster) == whole())
        for _ in range(5):
            cluster.delete("serviceaccounts", "waypoint")
            await cluster.until(lambda: cluster.has("serviceaccounts", "waypoint"))
        await cluster.settled()
        cluster.delete("serviceaccounts", "waypoint")
        assert not await cluster.quiet()
        assert not cluster.has("serviceaccounts", "waypoint")


@pytest.mark.refutes("WO-35")
async def test_the_next_going_over_puts_it_right_again() -> None:
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster, resync=0.5):
        await cluster.until(lambda: made(cluster) == whole())
        for _ in range(7):
            cluster.delete("serviceaccounts", "waypoint")
            await cluster.until(lambda: cluster.has("serviceaccounts", "waypoint"))


@pytest.mark.proves("WO-36")
async def test_defaults_of_the_class_are_followed() -> None:
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster):
        await cluster.until(lambda: made(cluster) == whole())
        cluster.put(DEFAULTS)
        await cluster.until(lambda: seconds(cluster) == 7)
        cluster.delete("configmaps", "defaults", "istio-system")
        await cluster.until(lambda: seconds(cluster) is None)


@pytest.mark.proves("WO-36")
async def test_another_root_namespace_has_other_defaults() -> None:
    elsewhere = DEFAULTS.replace("namespace: istio-system", "namespace: root").replace("7", "8")
    lead = Lead()
    async with (
        a_cluster(GATEWAY, DEFAULTS, elsewhere) as cluster,
        a_replica(cluster, lead=lead) as replica,
    ):
        await cluster.until(lambda: made(cluster) == whole())
        assert seconds(cluster) == 7
        replica.deployment.configure(SETTINGS, "root")
        await cluster.until(lambda: seconds(cluster) == 8)
        cluster.change("configmaps", "defaults", _nine, namespace="root")
        await cluster.until(lambda: seconds(cluster) == 9)
        # Also while somebody else leads.
        lead.seconds_left = 0.0
        await cluster.settled()
        replica.deployment.configure(SETTINGS, "istio-system")
        assert not await cluster.quiet()
        lead.seconds_left = 8.0
        await cluster.until(lambda: seconds(cluster) == 7)


@pytest.mark.proves("WO-36")
async def test_another_network_is_that_of_every_waypoint() -> None:
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster) as replica:
        await cluster.until(lambda: made(cluster) == whole())
        await cluster.settled()
        assert network(cluster) is None
        replica.deployment.configure(replace(SETTINGS, network="north"), "istio-system")
        await cluster.until(lambda: network(cluster) == "north")
        await cluster.settled()
        replica.deployment.configure(replace(SETTINGS, network="north"), "istio-system")
        assert not await cluster.quiet()
        replica.deployment.configure(SETTINGS, "istio-system")
        await cluster.until(lambda: network(cluster) is None)


@pytest.mark.refutes("WO-36")
async def test_other_config_maps_and_the_status_are_no_reason_to_look() -> None:
    unrelated = OPTIONS.replace("name: options", "name: unrelated")
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster):
        await cluster.until(lambda: made(cluster) == whole())
        await cluster.settled()
        cluster.put(unrelated)
        assert not await cluster.quiet()
        assert "HorizontalPodAutoscaler" not in made(cluster)


@pytest.mark.proves("WO-37")
async def test_nothing_happens_while_parameters_cannot_be_read() -> None:
    lead = Lead(0.0)
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster, lead=lead) as replica:
        cluster.api.denied.add(("list", "configmaps"))
        lead.seconds_left = 8.0
        await cluster.until(lambda: WAYPOINT in replica.deployment.troubles)
        message = replica.deployment.troubles[WAYPOINT].message
        assert message == "ConfigMaps with parameters cannot be read"
        assert "/api/v1/namespaces/istio-system/configmaps" in replica.deployment.troubles
        assert not made(cluster)
        cluster.api.denied.clear()
        await cluster.until(lambda: made(cluster) == whole())
        await cluster.until(lambda: not replica.deployment.troubles)


@pytest.mark.refutes("WO-37")
async def test_only_config_maps_that_matter_are_asked_for() -> None:
    async with a_cluster(REFERRING, OPTIONS) as cluster, a_replica(cluster):
        await cluster.until(lambda: "HorizontalPodAutoscaler" in made(cluster))
        narrow = {
            each.parameters.get("labelSelector") or each.parameters.get("fieldSelector")
            for each in cluster.api.asked
            if each.resource == "configmaps" and each.verb in {"list", "watch"}
        }
        assert narrow == {
            "gateway.istio.io/managed=istio.io-mesh-controller",
            "gateway.istio.io/defaults-for-class",
            "metadata.name=options",
            "metadata.name=istio",
        }


@pytest.mark.proves("WO-38")
async def test_unusable_parameters_change_nothing_and_are_said() -> None:
    async with a_cluster(REFERRING, OPTIONS) as cluster, a_replica(cluster) as replica:
        await cluster.until(lambda: "HorizontalPodAutoscaler" in made(cluster))
        before = made(cluster)
        cluster.put(OPTIONS.replace("maxReplicas: 3", "maxReplicas: [").replace("pod", "x"))
        await cluster.until(lambda: cluster.condition("Accepted").get("status") == "False")
        assert cluster.condition("Accepted")["reason"] == "InvalidParameters"
        (problem,) = replica.deployment.problems[WAYPOINT]
        assert problem.code == "waypoint.invalid-parameters"
        assert made(cluster) == before
        cluster.delete("configmaps", "options")

        def message() -> str:
            return str(cluster.condition("Accepted")["message"])

        await cluster.until(lambda: message().endswith("shop/options does not exist"))
        assert made(cluster) == before
        cluster.put(OPTIONS)
        await cluster.until(lambda: cluster.condition("Accepted")["status"] == "True")
        assert not replica.deployment.problems


@pytest.mark.refutes("WO-38")
async def test_a_gateway_with_unusable_parameters_is_not_deployed_at_first() -> None:
    async with a_cluster(REFERRING) as cluster, a_replica(cluster):
        await cluster.until(lambda: cluster.condition("Accepted").get("status") == "False")
        assert not made(cluster)


@pytest.mark.proves("WO-32")
async def test_an_object_that_changed_in_between_is_looked_at_again() -> None:
    async with a_cluster() as cluster, a_replica(cluster):
        cluster.api.fail("patch", "serviceaccounts", 409, 409)
        cluster.put(GATEWAY)
        await cluster.until(lambda: made(cluster) == whole())
        assert cluster.api.count("get", "serviceaccounts") == 3


@pytest.mark.refutes("WO-32")
async def test_one_kind_that_is_forbidden_stops_no_other() -> None:
    async with a_cluster(GATEWAY) as cluster:
        cluster.api.denied |= {("patch", "services"), ("list", "poddisruptionbudgets")}
        async with a_replica(cluster) as replica:
            await cluster.until(lambda: WAYPOINT in replica.deployment.troubles)
            assert replica.deployment.troubles[WAYPOINT].outcome is Outcome.FORBIDDEN
            assert made(cluster) == {k: v for k, v in whole().items() if k != "Service"}
            assert "/apis/policy/v1/poddisruptionbudgets" in replica.deployment.troubles


async def test_a_follower_writes_nothing_until_it_leads() -> None:
    lead = Lead(0.0)
    async with a_cluster(GATEWAY) as cluster, a_replica(cluster, lead=lead) as replica:
        assert not await cluster.quiet()
        lead.seconds_left = 8.0
        await cluster.until(lambda: made(cluster) == whole())
        lead.seconds_left = 0.0
        await cluster.until(lambda: replica.deployment.judged(WAYPOINT) is None)
        cluster.delete("services", "waypoint")
        assert not await cluster.quiet()
        lead.seconds_left = 8.0
        await cluster.until(lambda: made(cluster) == whole())
