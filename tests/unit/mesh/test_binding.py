import pytest

from controlplane.manifests.gateway import AllowedNamespaces, Listener
from controlplane.manifests.mesh_config import MeshConfig, ServiceEntryVisibility
from controlplane.mesh.binding import ServiceBinding, WorkloadBinding
from controlplane.model.labels import LabelSelector
from controlplane.model.names import Name
from controlplane.model.network import NetworkAddress
from controlplane.model.workload import (
    ApplicationTunnel,
    ApplicationTunnelProtocol,
    GatewayAddress,
    NamespacedHostname,
)
from tests.support.builders import (
    a_gateway,
    a_namespace,
    a_pod,
    a_service,
    a_service_entry,
    a_waypoint,
)
from tests.support.waypoints import a_waypoint_mesh

USE = "istio.io/use-waypoint"
FOR = "istio.io/waypoint-for"
ALL = {FOR: "all"}


def reason(binding: WorkloadBinding | ServiceBinding) -> str | None:
    return None if binding.refusal is None else binding.refusal.reason


def a_listener(origin: str, selector: LabelSelector | None = None) -> Listener:
    allowed = AllowedNamespaces(origin=origin, selector=selector)
    return Listener(name="mesh", port=15008, protocol="HBONE", allowed=allowed)


def address(name: str, namespace: str = "default") -> GatewayAddress:
    host = f"{name}.{namespace}.svc.cluster.local"
    return GatewayAddress(NamespacedHostname(namespace, host), 15008)


@pytest.mark.proves("WP-10", "WP-14")
def test_own_label_and_namespace_label_bind() -> None:
    mesh = a_waypoint_mesh(
        a_waypoint(labels=ALL),
        a_waypoint("other", labels=ALL),
        a_namespace(labels={USE: "other"}),
        a_pod("own", labels={USE: "waypoint"}),
        a_pod("inheriting"),
        a_service(labels={USE: "waypoint"}),
    )
    assert mesh.pod("own").waypoint == address("waypoint")
    assert mesh.pod("inheriting").waypoint == address("other")
    assert mesh.service().waypoint == address("waypoint")
    mesh.put(a_pod("own"))
    assert mesh.pod("own").key == Name("default", "other")


@pytest.mark.proves("WP-11", "WP-14")
def test_a_waypoint_in_another_namespace() -> None:
    labels = {USE: "waypoint", f"{USE}-namespace": "infra"}
    mesh = a_waypoint_mesh(
        a_waypoint("waypoint", "infra", labels=ALL, listeners=[a_listener("All")]),
        a_pod("own", labels=labels),
        a_namespace("team", labels=labels),
        a_pod("inheriting", "team"),
    )
    assert mesh.pod("own").waypoint == address("waypoint", "infra")
    assert mesh.pod("inheriting", "team").waypoint == address("waypoint", "infra")


@pytest.mark.proves("WP-12")
@pytest.mark.refutes("WP-14", "WP-52")
def test_none_opts_out_of_the_waypoint_of_the_namespace() -> None:
    service = a_service(labels={USE: "none"})
    mesh = a_waypoint_mesh(
        a_waypoint(labels=ALL),
        a_namespace(labels={USE: "waypoint"}),
        a_pod(labels={USE: "none"}),
        service,
    )
    assert mesh.pod() == WorkloadBinding()
    assert mesh.service() == ServiceBinding()
    assert mesh.told(service) == {}


@pytest.mark.refutes("WP-12")
def test_none_on_the_namespace_does_not_keep_objects_from_naming_one() -> None:
    mesh = a_waypoint_mesh(
        a_waypoint(labels=ALL),
        a_namespace(labels={USE: "none"}),
        a_pod(labels={USE: "waypoint"}),
        a_service(),
    )
    assert mesh.pod().key == Name("default", "waypoint")
    assert mesh.service() == ServiceBinding()


@pytest.mark.proves("WP-13", "WP-15")
@pytest.mark.parametrize("name", ["missing", "~", ""])
def test_a_named_waypoint_that_is_not_there_is_not_replaced(name: str) -> None:
    mesh = a_waypoint_mesh(
        a_waypoint(labels=ALL), a_namespace(labels={USE: "waypoint"}), a_service(labels={USE: name})
    )
    assert mesh.service().waypoint is None
    assert mesh.service().refusal == (
        "WaypointIsNotReady",
        f'waypoint "default/{name}" is not ready',
    )


@pytest.mark.refutes("WP-13")
def test_an_object_that_names_nothing_does_fall_back() -> None:
    labels = {f"{USE}-namespace": "nowhere"}
    mesh = a_waypoint_mesh(
        a_waypoint(labels=ALL), a_namespace(labels={USE: "waypoint"}), a_pod(labels=labels)
    )
    assert mesh.pod().key == Name("default", "waypoint")


@pytest.mark.refutes("WP-15")
def test_a_waypoint_that_becomes_ready_is_no_longer_refused() -> None:
    mesh = a_waypoint_mesh(a_gateway(), a_service(labels={USE: "waypoint"}))
    assert reason(mesh.service()) == "WaypointIsNotReady"
    mesh.put(a_waypoint())
    assert reason(mesh.service()) is None
    assert mesh.service().waypoint == address("waypoint")


def test_a_waypoint_known_by_its_address() -> None:
    mesh = a_waypoint_mesh(
        a_gateway(addresses={"10.96.0.9": "IPAddress"}),
        a_namespace("istio-system", labels={"topology.istio.io/network": "n1"}),
        a_service(labels={USE: "waypoint"}),
    )
    destination = NetworkAddress("n1", b"\x0a\x60\0\x09")
    assert mesh.service().waypoint == GatewayAddress(destination, 15008)


@pytest.mark.proves("WP-16")
def test_a_gateway_that_is_no_waypoint_is_refused() -> None:
    edge = a_gateway("edge", class_name="istio", listeners=(), addresses={"1.2.3.4": "IPAddress"})
    mesh = a_waypoint_mesh(edge, a_service(labels={USE: "edge"}), a_pod(labels={USE: "edge"}))
    message = 'gateway "default/edge" of class "istio" is not a waypoint'
    assert mesh.service().refusal == ("NotAWaypoint", message)
    assert mesh.pod().refusal == ("NotAWaypoint", message)
    assert mesh.service().waypoint is None


@pytest.mark.refutes("WP-16")
def test_the_same_gateway_that_declares_itself_is_bound() -> None:
    edge = a_gateway(
        "edge",
        class_name="istio",
        listeners=(),
        addresses={"1.2.3.4": "IPAddress"},
        labels={FOR: "service"},
    )
    mesh = a_waypoint_mesh(edge, a_service(labels={USE: "edge"}))
    assert reason(mesh.service()) is None
    assert mesh.service().key == Name("default", "edge")


@pytest.mark.proves("WP-17", "WP-7")
@pytest.mark.refutes("WP-17", "WP-7")
def test_a_waypoint_admits_the_namespaces_its_listener_selects() -> None:
    selector = LabelSelector(labels=(("team", "a"),))
    labels = {USE: "waypoint", f"{USE}-namespace": "infra"}
    mesh = a_waypoint_mesh(
        a_waypoint("waypoint", "infra", listeners=[a_listener("Selector", selector)]),
        a_namespace("a", labels={"team": "a"}),
        a_namespace("b", labels={"team": "b"}),
        a_service("s", "a", labels=labels),
        a_service("s", "b", labels=labels),
        a_service("s", "unknown", labels=labels),
    )
    assert mesh.service("s", "a").waypoint == address("waypoint", "infra")
    assert mesh.service("s", "b").refusal == (
        "AttachmentDenied",
        'we are not permitted to attach to waypoint "infra/waypoint" (missing allowedRoutes?)',
    )
    assert reason(mesh.service("s", "unknown")) == "AttachmentDenied"
    mesh.put(a_namespace("b", labels={"team": "a"}))
    assert reason(mesh.service("s", "b")) is None


@pytest.mark.proves("WP-7", "WP-17")
def test_same_admits_only_the_own_namespace_and_no_selector_nobody() -> None:
    labels = {USE: "waypoint", f"{USE}-namespace": "infra"}
    mesh = a_waypoint_mesh(
        a_waypoint("waypoint", "infra"),
        a_namespace("infra"),
        a_service("s", "infra", labels={USE: "waypoint"}),
        a_service("s", "other", labels=labels),
    )
    assert reason(mesh.service("s", "infra")) is None
    assert reason(mesh.service("s", "other")) == "AttachmentDenied"
    mesh.put(a_waypoint("waypoint", "infra", listeners=[a_listener("Selector")]))
    assert reason(mesh.service("s", "infra")) == "AttachmentDenied"


@pytest.mark.proves("WP-18")
@pytest.mark.refutes("WP-18")
@pytest.mark.parametrize(
    ("traffic", "service_reason", "pod_reason"),
    [
        ("service", None, "UnsupportedTrafficType"),
        ("workload", "UnsupportedTrafficType", None),
        ("all", None, None),
        ("none", "UnsupportedTrafficType", "UnsupportedTrafficType"),
    ],
)
def test_traffic_types_bind_services_and_workloads_apart(
    traffic: str, service_reason: str | None, pod_reason: str | None
) -> None:
    mesh = a_waypoint_mesh(
        a_waypoint(labels={FOR: traffic}),
        a_service(labels={USE: "waypoint"}),
        a_pod(labels={USE: "waypoint"}),
    )
    assert (reason(mesh.service()), reason(mesh.pod())) == (service_reason, pod_reason)
    assert (mesh.service().waypoint is None) == (service_reason is not None)
    assert (mesh.pod().waypoint is None) == (pod_reason is not None)


def test_the_message_of_a_wrong_traffic_type() -> None:
    mesh = a_waypoint_mesh(
        a_waypoint(labels={FOR: "none"}),
        a_service(labels={USE: "waypoint"}),
        a_pod(labels={USE: "waypoint"}),
    )
    for binding, kind in ((mesh.service(), "service"), (mesh.pod(), "workload")):
        assert binding.refusal is not None
        assert binding.refusal.message == (
            f'attempting to bind to traffic type "{kind}" which the waypoint "default/waypoint" '
            "does not support"
        )


@pytest.mark.proves("WP-19")
@pytest.mark.refutes("WP-19")
def test_a_workload_that_inherits_a_waypoint_for_services_is_silent() -> None:
    mesh = a_waypoint_mesh(
        a_waypoint(), a_namespace(labels={USE: "waypoint"}), a_pod(), a_service()
    )
    assert mesh.pod() == WorkloadBinding()
    assert mesh.service().waypoint == address("waypoint")
    mesh.put(a_pod(labels={USE: "waypoint"}))
    assert reason(mesh.pod()) == "UnsupportedTrafficType"


@pytest.mark.proves("WP-20")
@pytest.mark.refutes("WP-20")
def test_an_entry_seen_by_its_namespace_stays_in_its_namespace() -> None:
    labels = {USE: "waypoint", f"{USE}-namespace": "infra"}
    visibility = ServiceEntryVisibility(default="NAMESPACE")
    mesh = a_waypoint_mesh(
        a_waypoint("waypoint", "infra", listeners=[a_listener("All")]),
        a_waypoint(),
        a_service_entry("far", labels=labels),
        a_service_entry("near", labels={USE: "waypoint"}),
        MeshConfig(service_entry_visibility=visibility),
    )
    assert mesh.service("far").refusal == (
        "CrossNamespaceWaypointForbidden",
        (
            'cannot bind to waypoint "infra/waypoint" in another namespace: cross-namespace '
            "waypoint binding is not permitted for a ServiceEntry with NAMESPACE visibility"
        ),
    )
    assert reason(mesh.service("near")) is None
    mesh.put(MeshConfig(service_entry_visibility=ServiceEntryVisibility()))
    assert mesh.service("far").waypoint == address("waypoint", "infra")
    assert mesh.service("near").waypoint == address("waypoint")


@pytest.mark.proves("WP-21")
@pytest.mark.refutes("WP-21")
@pytest.mark.parametrize(
    ("manager", "is_bound"),
    [
        ("istio.io-mesh-controller", False),
        ("istio.io-eastwest-controller", False),
        ("istio.io-gateway-controller", True),
    ],
)
def test_services_of_gateways_of_the_mesh_have_no_waypoint(manager: str, is_bound: bool) -> None:
    labels = {"gateway.istio.io/managed": manager, USE: "waypoint"}
    mesh = a_waypoint_mesh(a_waypoint(), a_service(labels=labels))
    assert (mesh.service() != ServiceBinding()) is is_bound


@pytest.mark.proves("WP-22")
def test_instances_of_a_waypoint_have_none_and_may_be_bound_inbound() -> None:
    instance = {"gateway.networking.k8s.io/gateway-name": "waypoint", USE: "other"}
    binding = {"ambient.istio.io/waypoint-inbound-binding": "PROXY/15088"}
    mesh = a_waypoint_mesh(
        a_waypoint(labels=ALL, annotations=binding),
        a_waypoint("other", labels=ALL),
        a_pod(labels=instance),
    )
    tunnel = ApplicationTunnel(ApplicationTunnelProtocol.PROXY, 15088)
    assert mesh.pod() == WorkloadBinding(application_tunnel=tunnel)
    mesh.put(a_waypoint(labels=ALL))
    assert mesh.pod() == WorkloadBinding()


@pytest.mark.refutes("WP-22")
def test_an_instance_of_what_is_no_ready_waypoint_here_is_an_ordinary_workload() -> None:
    labels = {"gateway.networking.k8s.io/gateway-name": "edge", USE: "waypoint"}
    mesh = a_waypoint_mesh(
        a_waypoint(labels=ALL),
        a_gateway("edge", class_name="istio", listeners=(), addresses={"1.2.3.4": ""}),
        a_waypoint("edge", "elsewhere"),
        a_pod(labels=labels),
    )
    assert mesh.pod().key == Name("default", "waypoint")
    mesh.put(a_gateway("edge"))
    assert mesh.pod().key == Name("default", "waypoint")


@pytest.mark.proves("WP-40")
@pytest.mark.refutes("WP-40")
def test_ingress_goes_by_the_object_then_by_the_namespace() -> None:
    ingress = "istio.io/ingress-use-waypoint"
    mesh = a_waypoint_mesh(
        a_waypoint(),
        a_namespace(labels={ingress: "true", USE: "waypoint"}),
        a_service("inheriting"),
        a_service("own", labels={ingress: "False"}),
        a_service("broken", labels={ingress: ""}),
        a_service("unbound", labels={ingress: "true", USE: "none"}),
    )
    found = {
        name: (mesh.service(name).ingress, mesh.service(name).ingress_label_present)
        for name in ("inheriting", "own", "broken", "unbound")
    }
    assert found == {
        "inheriting": (True, True),
        "own": (False, True),
        "broken": (False, True),
        "unbound": (False, False),
    }
