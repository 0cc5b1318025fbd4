import msgspec
import pytest

from controlplane.manifests.core import Service
from controlplane.manifests.gateway import Gateway, GatewayAddress, Listener
from controlplane.model.names import Name
from tests.support.builders import a_gateway, a_gateway_class, a_namespace, a_service
from tests.support.expansion import ExpandedMesh, an_expanded_mesh

KEY = Name("default", "waypoint")
GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"


def service(mesh: ExpandedMesh, key: Name = KEY) -> Service:
    found = mesh.expansion.manifests.services.get(key)
    assert found is not None
    return found


def gateway(mesh: ExpandedMesh) -> Gateway:
    found = mesh.expansion.manifests.gateways.get(KEY)
    assert found is not None
    return found


def asking(*addresses: GatewayAddress) -> Gateway:
    return msgspec.structs.replace(a_gateway(), addresses=addresses)


@pytest.mark.proves("EX-40", "EX-42")
def test_a_waypoint_gateway_makes_a_service_and_a_pod() -> None:
    mesh = an_expanded_mesh(
        a_gateway(labels={"istio.io/waypoint-for": "all"}),
        a_namespace(labels={"istio.io/dataplane-mode": "ambient"}),
    )
    labels = {
        "istio.io/waypoint-for": "all",
        GATEWAY_NAME: "waypoint",
        "gateway.networking.k8s.io/gateway-class-name": "istio-waypoint",
        "gateway.istio.io/managed": "istio.io-mesh-controller",
    }
    made = service(mesh)
    assert made.metadata.labels == labels
    assert made.selector == {GATEWAY_NAME: "waypoint"}
    assert made.metadata.annotations == {"networking.istio.io/traffic-distribution": "PreferClose"}
    assert made.type == "ClusterIP"
    pod = mesh.pod()
    assert labels.items() <= pod.metadata.labels.items()
    assert pod.metadata.labels["service.istio.io/canonical-name"] == "waypoint"
    assert pod.metadata.labels["istio.io/dataplane-mode"] == "none"
    assert "ambient.istio.io/redirection" not in pod.metadata.annotations
    assert pod.ready
    assert pod.service_account == "waypoint"
    assert [port.port for port in pod.container_ports] == [15020, 15021, 15090]


@pytest.mark.proves("EX-40")
def test_the_class_decides() -> None:
    mesh = an_expanded_mesh(a_gateway(class_name="mine"), a_gateway_class("mine"))
    labels = service(mesh).metadata.labels
    assert labels["gateway.networking.k8s.io/gateway-class-name"] == "mine"


@pytest.mark.refutes("EX-40", "EX-43")
def test_a_gateway_of_another_class_makes_nothing() -> None:
    other = a_gateway(class_name="istio")
    mesh = an_expanded_mesh(other)
    assert mesh.pods() == {}
    assert len(mesh.expansion.manifests.services) == 0
    assert gateway(mesh) == other
    taken = an_expanded_mesh(a_gateway(), a_gateway_class("istio-waypoint", "other"))
    assert taken.pods() == {}


@pytest.mark.proves("EX-42")
@pytest.mark.refutes("EX-42")
def test_names_and_accounts_are_the_gateways_unless_it_says_otherwise() -> None:
    annotations = {
        "gateway.istio.io/name-override": "deployed",
        "gateway.istio.io/service-account": "account",
        "note": "kept",
    }
    mesh = an_expanded_mesh(a_gateway(annotations=annotations))
    made = service(mesh, Name("default", "deployed"))
    assert set(made.metadata.annotations) == {"note", "networking.istio.io/traffic-distribution"}
    pod = mesh.pod()
    assert pod.metadata.name.startswith("deployed-")
    assert pod.service_account == "account"
    assert pod.metadata.labels[GATEWAY_NAME] == "waypoint"
    assert gateway(mesh).status_addresses[1].value == "deployed.default.svc.cluster.local"


@pytest.mark.proves("EX-41")
def test_ports_of_the_service() -> None:
    listeners = [
        Listener(name="mesh", port=15008, protocol="HBONE"),
        Listener(name="web.a", port=80, protocol="HTTP"),
        Listener(name="web.b", port=80, protocol="HTTP"),
        Listener(name="status-port", port=81, protocol="TCP"),
    ]
    ports = service(an_expanded_mesh(a_gateway(listeners=listeners))).ports
    assert [(port.name, port.port, port.target_port, port.app_protocol) for port in ports] == [
        ("status-port", 15021, 15021, "tcp"),
        ("mesh", 15008, 15008, "hbone"),
        ("web-a", 80, 80, "http"),
        ("status-port-81", 81, 81, "tcp"),
    ]


@pytest.mark.proves("EX-41")
@pytest.mark.refutes("EX-41")
def test_without_listeners_there_is_the_mesh_port_and_no_other() -> None:
    ports = service(an_expanded_mesh(a_gateway(listeners=[]))).ports
    assert [port.port for port in ports] == [15021, 15008]
    repeated = [Listener(name="status", port=15021, protocol="TCP")]
    ports = service(an_expanded_mesh(a_gateway(listeners=repeated))).ports
    assert [port.port for port in ports] == [15021, 15008]


@pytest.mark.proves("EX-43")
def test_the_gateway_is_programmed_at_its_service() -> None:
    mesh = an_expanded_mesh(a_gateway())
    (address,) = service(mesh).cluster_ips
    assert gateway(mesh).status_addresses == (
        GatewayAddress("IPAddress", address),
        GatewayAddress("Hostname", "waypoint.default.svc.cluster.local"),
    )
    own = a_service("waypoint", ips=["10.0.0.5"])
    mesh.put(own)
    assert service(mesh) == own
    assert gateway(mesh).status_addresses[0] == GatewayAddress("IPAddress", "10.0.0.5")
    mesh.remove(own)
    assert gateway(mesh).status_addresses[0] == GatewayAddress("IPAddress", address)


@pytest.mark.proves("EX-44")
@pytest.mark.refutes("EX-44")
def test_a_gateway_with_status_addresses_is_left_alone() -> None:
    ready = a_gateway(addresses={"w.example": "Hostname"})
    mesh = an_expanded_mesh(ready)
    assert gateway(mesh) == ready
    assert mesh.pods() == {}
    assert len(mesh.expansion.manifests.services) == 0
    mesh.put(a_gateway())
    assert len(mesh.pods()) == 1


@pytest.mark.proves("EX-45")
def test_a_gateway_deployed_by_somebody_else_is_where_it_says() -> None:
    host = GatewayAddress("Hostname", "w.example")
    both = (GatewayAddress("", "10.0.0.1"), GatewayAddress("IPAddress", "10.0.0.2"))
    for addresses in ((host,), both):
        mesh = an_expanded_mesh(asking(*addresses))
        assert mesh.pods() == {}
        assert gateway(mesh).status_addresses == addresses


@pytest.mark.refutes("EX-45")
def test_a_gateway_that_asks_for_one_address_is_deployed_there() -> None:
    mesh = an_expanded_mesh(asking(GatewayAddress("", "10.7.7.7")))
    assert service(mesh).cluster_ips == ("10.7.7.7",)
    assert gateway(mesh).status_addresses[0] == GatewayAddress("IPAddress", "10.7.7.7")
    assert len(mesh.pods()) == 1


@pytest.mark.proves("EX-46")
@pytest.mark.refutes("EX-46")
@pytest.mark.parametrize(("override", "is_usable"), [("a/b", False), ("", False), ("w2", True)])
def test_an_override_has_to_name_a_service(override: str, is_usable: bool) -> None:
    given = a_gateway(annotations={"gateway.istio.io/name-override": override})
    mesh = an_expanded_mesh(given)
    assert service(mesh, Name("default", override if is_usable else "waypoint"))
    problems = {} if is_usable else {given.reference: "expansion.invalid-name"}
    assert mesh.problem_codes() == problems
