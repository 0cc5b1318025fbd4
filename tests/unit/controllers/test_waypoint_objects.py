"""What a waypoint Gateway is deployed as."""

from typing import Any

import pytest

from controlplane.controllers.waypoint_objects import (
    WaypointObjects,
    is_deployed,
    parameters_of,
    waypoint_objects,
)
from controlplane.controllers.waypoint_settings import WaypointSettings
from controlplane.manifests.gateway import (
    Gateway,
    GatewayAddress,
    GatewayClass,
    Infrastructure,
    Listener,
    ParametersReference,
)
from controlplane.manifests.metadata import Metadata
from controlplane.model.names import Name
from tests.support.waypoint_objects import SETTINGS, a_config_map, by_kind

GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"
VERSION = "gateway.istio.io/controller-version"
OPTIONS = ParametersReference("", "ConfigMap", "options")


def a_gateway(
    name: str = "waypoint",
    *,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    infrastructure: Infrastructure | None = None,
    addresses: tuple[GatewayAddress, ...] = (),
    listeners: tuple[Listener, ...] = (Listener("mesh", 15008, "HBONE"),),
    uid: str = "uid-1",
    deleting: bool = False,
    class_name: str = "istio-waypoint",
) -> Gateway:
    return Gateway(
        metadata=Metadata(
            name=name,
            namespace="shop",
            labels=labels or {},
            annotations=annotations or {},
            uid=uid,
            generation=3,
            deleting=deleting,
        ),
        class_name=class_name,
        listeners=listeners,
        addresses=addresses,
        infrastructure=infrastructure,
    )


def a_class(controller: str) -> GatewayClass:
    return GatewayClass(metadata=Metadata(name="mine"), controller_name=controller)


def objects_of(gateway: Gateway, **given: Any) -> dict[str, dict[str, Any]]:
    found = waypoint_objects(gateway, given.pop("settings", SETTINGS), **given)
    assert found.problems == ()
    return by_kind(found.objects)


def with_overlay(data: dict[str, str]) -> WaypointObjects:
    gateway = a_gateway(infrastructure=Infrastructure(parameters=OPTIONS))
    return waypoint_objects(gateway, SETTINGS, parameters=a_config_map(data=data))


def template_of(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = objects["Deployment"]["spec"]["template"]
    return found


@pytest.mark.proves("WO-1", "WO-2")
@pytest.mark.parametrize(
    ("gateway", "gateway_class"),
    [
        (a_gateway(), None),
        (a_gateway(class_name="mine"), a_class("istio.io/mesh-controller")),
        (a_gateway(addresses=(GatewayAddress("", "10.0.0.1"),)), None),
        (a_gateway(annotations={VERSION: "5"}), None),
    ],
)
def test_a_gateway_of_ours_is_deployed(
    gateway: Gateway, gateway_class: GatewayClass | None
) -> None:
    assert is_deployed(gateway, gateway_class)


@pytest.mark.refutes("WO-1", "WO-2")
@pytest.mark.parametrize(
    ("gateway", "gateway_class"),
    [
        (a_gateway(class_name="mine"), None),
        (a_gateway(), a_class("example.com/controller")),
        (a_gateway(addresses=(GatewayAddress("Hostname", "a.b"),)), None),
        (a_gateway(addresses=(GatewayAddress("", "10.0.0.1"),) * 2), None),
        (a_gateway(deleting=True), None),
        (a_gateway(annotations={VERSION: "6"}), None),
        (a_gateway(annotations={VERSION: "five"}), None),
        (a_gateway(annotations={VERSION: "-1"}), None),
        (a_gateway(annotations={VERSION: "9" * 5000}), None),
    ],
)
def test_a_gateway_of_others_is_left_alone(
    gateway: Gateway, gateway_class: GatewayClass | None
) -> None:
    assert not is_deployed(gateway, gateway_class)


@pytest.mark.refutes("WO-3")
def test_without_overlays_there_is_no_autoscaler_and_no_budget() -> None:
    found = waypoint_objects(a_gateway(), SETTINGS)
    kinds = [item["kind"] for item in found.objects]
    assert kinds == ["ServiceAccount", "ConfigMap", "Deployment", "Service"]


@pytest.mark.proves("WO-4")
def test_every_object_has_the_gateway_as_its_owner() -> None:
    data = {"podDisruptionBudget": "{}", "horizontalPodAutoscaler": "{}"}
    found = with_overlay(data)
    assert len(found.objects) == 6
    for item in found.objects:
        assert [owner["uid"] for owner in item["metadata"]["ownerReferences"]] == ["uid-1"]
        assert "controller" not in item["metadata"]["ownerReferences"][0]


@pytest.mark.proves("WO-6")
@pytest.mark.parametrize("name", ["9-lives", "with.dots", "a" * 64])
def test_a_gateway_that_cannot_name_a_service_is_not_deployed(name: str) -> None:
    found = waypoint_objects(a_gateway(name), SETTINGS)
    assert found.objects == ()
    assert [problem.code for problem in found.problems] == ["waypoint.invalid-name"]


@pytest.mark.refutes("WO-6")
def test_a_gateway_with_another_name_for_its_service_is_deployed() -> None:
    override = {"gateway.istio.io/name-override": "front"}
    assert objects_of(a_gateway("with.dots", annotations=override))["Service"]["spec"][
        "selector"
    ] == {GATEWAY_NAME: "with.dots"}


@pytest.mark.refutes("WO-7")
def test_an_empty_map_carries_nothing() -> None:
    gateway = a_gateway(
        labels={"team": "shop"}, annotations={"note": "x"}, infrastructure=Infrastructure(labels={})
    )
    metadata = objects_of(gateway)["ServiceAccount"]["metadata"]
    assert "team" not in metadata["labels"]
    assert metadata["annotations"] == {"note": "x"}


@pytest.mark.refutes("WO-8")
def test_other_annotations_are_carried() -> None:
    gateway = a_gateway(annotations={"note": "x", VERSION: "5"})
    for item in objects_of(gateway).values():
        assert item["metadata"]["annotations"]["note"] == "x"
        assert VERSION not in item["metadata"]["annotations"]


@pytest.mark.refutes("WO-9")
def test_the_network_that_a_gateway_names_stays() -> None:
    settings = WaypointSettings(discovery_host="istiod.istio-system.svc", network="east")
    gateway = a_gateway(labels={"topology.istio.io/network": "west"})
    objects = objects_of(gateway, settings=settings)
    assert objects["Service"]["metadata"]["labels"]["topology.istio.io/network"] == "west"
    assert '"NETWORK": "west"' in objects["ConfigMap"]["data"]["bootstrap.json"]


@pytest.mark.proves("WO-11")
@pytest.mark.parametrize("address", ["10.96.0.9", "fd00::9"])
def test_the_service_asks_for_the_address(address: str) -> None:
    gateway = a_gateway(addresses=(GatewayAddress("IPAddress", address),))
    assert objects_of(gateway)["Service"]["spec"]["clusterIP"] == address


@pytest.mark.proves("WO-11")
def test_an_address_that_is_none_is_a_problem() -> None:
    gateway = a_gateway(addresses=(GatewayAddress("", "10.96.0.999"),))
    found = waypoint_objects(gateway, SETTINGS)
    assert found.objects == ()
    assert [problem.code for problem in found.problems] == ["waypoint.unsupported-address"]


@pytest.mark.refutes("WO-11")
def test_an_address_of_any_value_is_no_wish() -> None:
    gateway = a_gateway(addresses=(GatewayAddress("IPAddress", ""),))
    assert "clusterIP" not in objects_of(gateway)["Service"]["spec"]


@pytest.mark.refutes("WO-12")
def test_replicas_are_stated_only_by_an_overlay() -> None:
    assert "replicas" not in objects_of(a_gateway())["Deployment"]["spec"]
    changed = by_kind(with_overlay({"deployment": "spec: {replicas: 3}"}).objects)
    assert changed["Deployment"]["spec"]["replicas"] == 3


@pytest.mark.refutes("WO-13")
def test_a_gateway_cannot_have_its_pods_captured() -> None:
    labels = {"istio.io/dataplane-mode": "ambient", "sidecar.istio.io/inject": "true"}
    held = template_of(objects_of(a_gateway(labels=labels)))["metadata"]["labels"]
    assert held["istio.io/dataplane-mode"] == "none"
    assert held["sidecar.istio.io/inject"] == "false"


@pytest.mark.refutes("WO-14", "WO-15")
def test_the_pod_has_no_other_token() -> None:
    pod = template_of(objects_of(a_gateway()))["spec"]
    assert pod["automountServiceAccountToken"] is False
    projected = [
        volume["projected"]["sources"] for volume in pod["volumes"] if "projected" in volume
    ]
    assert [list(source) for (source,) in projected] == [["serviceAccountToken"]]
    assert all("hostPath" not in volume and "secret" not in volume for volume in pod["volumes"])
    assert all(mount["readOnly"] for mount in pod["containers"][0]["volumeMounts"])


@pytest.mark.proves("WO-16")
def test_another_bootstrap_means_another_template() -> None:
    settings = WaypointSettings(discovery_host="istiod-next.istio-system.svc")
    assert template_of(objects_of(a_gateway())) != template_of(
        objects_of(a_gateway(), settings=settings)
    )


@pytest.mark.refutes("WO-16")
def test_the_same_bootstrap_leaves_the_template_as_it_is() -> None:
    relabelled = a_gateway(listeners=(Listener("renamed", 15008, "HBONE"),), uid="uid-2")
    assert template_of(objects_of(a_gateway())) == template_of(objects_of(relabelled))


@pytest.mark.refutes("WO-17")
def test_without_a_drain_time_nothing_is_said() -> None:
    settings = WaypointSettings(discovery_host="istiod.istio-system.svc", drain_seconds=0)
    (container,) = template_of(objects_of(a_gateway(), settings=settings))["spec"]["containers"]
    assert "lifecycle" not in container


@pytest.mark.proves("WO-27")
@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (ParametersReference("", "Secret", "options"), 'group/kind "/Secret"'),
        (ParametersReference("apps", "ConfigMap", "options"), 'group/kind "apps/ConfigMap"'),
        (OPTIONS, "ConfigMap shop/options does not exist"),
    ],
)
def test_parameters_that_are_not_there_are_a_problem(
    reference: ParametersReference, message: str
) -> None:
    gateway = a_gateway(infrastructure=Infrastructure(parameters=reference))
    found = waypoint_objects(gateway, SETTINGS, parameters=None)
    assert found.objects == ()
    (problem,) = found.problems
    assert problem.code == "waypoint.invalid-parameters"
    assert message in problem.message


def test_parameters_are_in_the_namespace_of_the_gateway() -> None:
    gateway = a_gateway(infrastructure=Infrastructure(parameters=OPTIONS))
    assert parameters_of(gateway) == Name("shop", "options")
    assert parameters_of(a_gateway()) is None
    assert parameters_of(a_gateway(infrastructure=Infrastructure())) is None


@pytest.mark.refutes("WO-20")
def test_what_only_the_class_says_stays() -> None:
    defaults = a_config_map(data={"deployment": "spec: {replicas: 2, paused: true}"})
    own = a_config_map(data={"deployment": "spec: {replicas: 3}"})
    gateway = a_gateway(infrastructure=Infrastructure(parameters=OPTIONS))
    objects = objects_of(gateway, defaults=defaults, parameters=own)
    assert objects["Deployment"]["spec"]["replicas"] == 3
    assert objects["Deployment"]["spec"]["paused"] is True


@pytest.mark.proves("WO-25")
@pytest.mark.parametrize(
    "data",
    [
        {"daemonSet": "{}"},
        {"deployment": "{}", "Deployment": "{}"},
        {"deployment": "[]"},
        {"deployment": "a: b: c"},
        {"deployment": "{}\n---\n{}"},
        {"deployment": "spec: {replicas: 1, replicas: 2}"},
        {"deployment": "? [a]\n: b"},
        {"deployment": "spec: 1"},
        {"deployment": "spec: {template: []}"},
        {"deployment": "spec: {template: {spec: {containers: {}}}}"},
        {"deployment": "spec: {template: {spec: {containers: [istio-proxy]}}}"},
        {"deployment": "spec: {template: {spec: {containers: [{image: x}]}}}"},
        {"deployment": "metadata: {labels: {a: 1}}"},
        {"deployment": "metadata: {annotations: [a]}"},
        {"deployment": "spec: {template: {metadata: {labels: {a: true}}}}"},
        {"service": "x" * 300_000},
        {"service": "a: &a {b: 1}\nc: *z"},
    ],
)
def test_an_overlay_that_does_not_fit_leaves_nothing(data: dict[str, str]) -> None:
    found = with_overlay(data)
    assert found.objects == ()
    assert [problem.code for problem in found.problems] == ["waypoint.invalid-parameters"]
    assert found.problems[0].message.startswith("ConfigMap shop/options: data.") or (
        found.problems[0].field
    )


@pytest.mark.refutes("WO-25")
@pytest.mark.parametrize("text", ["", "{}", "# nothing\n", "metadata: {labels: null}"])
def test_an_overlay_without_anything_changes_nothing(text: str) -> None:
    changed = with_overlay({"deployment": text})
    assert changed.problems == ()
    assert by_kind(changed.objects)["Deployment"] == objects_of(a_gateway())["Deployment"]


@pytest.mark.refutes("WO-26")
@pytest.mark.parametrize(
    "data",
    [
        {"deployment": "metadata: {name: other}"},
        {"deployment": "metadata: {namespace: kube-system}"},
        {"deployment": "metadata: {ownerReferences: []}"},
        {"deployment": "metadata: {finalizers: [a/b]}"},
        {"deployment": "metadata: null"},
        {"deployment": "kind: DaemonSet"},
        {"deployment": "apiVersion: v1"},
        {"deployment": "status: {replicas: 1}"},
        {"deployment": "spec: null"},
        {"deployment": "spec: {selector: {matchLabels: {a: b}}}"},
        {"deployment": "spec: {template: {metadata: {labels: {$patch: replace, a: b}}}}"},
        {"deployment": "spec: {template: {spec: {serviceAccountName: default}}}"},
        {"deployment": "$patch: delete"},
        {"service": "spec: {selector: {app: other}}"},
        {"horizontalPodAutoscaler": "spec: {scaleTargetRef: {name: other}}"},
        {"podDisruptionBudget": "spec: {selector: {matchLabels: {app: other}}}"},
        {"serviceAccount": "metadata: {name: default}"},
    ],
)
def test_an_overlay_cannot_make_it_another_object(data: dict[str, str]) -> None:
    found = with_overlay(data)
    assert found.objects == ()
    (problem,) = found.problems
    assert problem.code == "waypoint.invalid-parameters"
    assert problem.message.endswith("an overlay may not change this")


@pytest.mark.proves("WO-26")
def test_an_overlay_may_say_again_what_is_so() -> None:
    text = "{apiVersion: v1, kind: Service, metadata: {name: waypoint, labels: {a: b}}}"
    found = with_overlay({"service": text})
    labels = by_kind(found.objects)["Service"]["metadata"]["labels"]
    assert labels["a"] == "b"
    assert labels["gateway.istio.io/managed"] == "istio.io-mesh-controller"
