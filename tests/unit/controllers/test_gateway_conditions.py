"""What waypoint Gateways and their classes are told."""

import pytest

from controlplane.controllers.gateway_conditions import (
    GatewayHost,
    WantedStatus,
    class_condition,
    default_gateway_classes,
    gateway_status,
    requested_hosts,
)
from controlplane.controllers.waypoint_objects import waypoint_objects
from controlplane.manifests.gateway import (
    Gateway,
    GatewayAddress,
    GatewayClass,
    Infrastructure,
    Listener,
    ParametersReference,
)
from controlplane.manifests.metadata import Metadata
from controlplane.model.problem import Condition
from tests.support.waypoint_objects import SETTINGS
from tests.unit.controllers.test_waypoint_objects import a_class, a_gateway

HOST = "waypoint.shop.svc.cluster.local"
SERVED = GatewayHost(addresses=("10.96.0.9", "fd00::9"), is_served=True)
WAITING = GatewayHost(addresses=("10.96.0.9",))
HOSTNAME = GatewayAddress("Hostname", HOST)


def hosts_of(gateway: Gateway) -> tuple[str, ...]:
    return requested_hosts(gateway, "waypoint", "cluster.local")


def status_of(gateway: Gateway, *states: GatewayHost | None) -> WantedStatus:
    problems = waypoint_objects(gateway, SETTINGS).problems
    return gateway_status(gateway, dict(zip(hosts_of(gateway), states, strict=True)), problems)


def told(status: WantedStatus, kind: str) -> Condition:
    (found,) = (each for each in status.conditions if each.type == kind)
    return found


@pytest.mark.proves("WO-60")
@pytest.mark.parametrize("name", ["istio.io/mesh-controller", "istio.io/unmanaged-gateway"])
def test_our_classes_are_accepted(name: str) -> None:
    found = class_condition(a_class(name))
    assert found is not None
    assert (found.type, found.status, found.reason) == ("Accepted", True, "Accepted")
    assert found.message == "Handled by Istio controller"


@pytest.mark.refutes("WO-60")
@pytest.mark.parametrize("name", ["", "example.com/controller", "istio.io/gateway-controller"])
def test_other_classes_are_told_nothing(name: str) -> None:
    assert class_condition(a_class(name)) is None


@pytest.mark.proves("WO-61")
def test_two_classes_are_made() -> None:
    made = {item["metadata"]["name"]: item["spec"] for item in default_gateway_classes()}
    assert {name: spec["controllerName"] for name, spec in made.items()} == {
        "istio-waypoint": "istio.io/mesh-controller",
        "istio-remote": "istio.io/unmanaged-gateway",
    }


@pytest.mark.refutes("WO-61")
def test_the_classes_made_are_ours() -> None:
    for item in default_gateway_classes():
        made = GatewayClass(
            metadata=Metadata(name=item["metadata"]["name"]),
            controller_name=item["spec"]["controllerName"],
        )
        assert class_condition(made) is not None


@pytest.mark.proves("WO-62", "WO-63", "WO-66", "WO-68")
def test_a_waypoint_that_serves() -> None:
    status = status_of(a_gateway(), SERVED)
    assert [(each.type, each.status, each.reason) for each in status.conditions] == [
        ("Accepted", True, "Accepted"),
        ("Programmed", True, "Programmed"),
        ("ResolvedRefs", True, "ResolvedRefs"),
    ]
    assert told(status, "Programmed").message == (
        f"Resource programmed, assigned to service(s) {HOST}:15008"
    )
    assert {each.observed_generation for each in status.conditions} == {3}
    assert status.addresses == (
        GatewayAddress("IPAddress", "10.96.0.9"),
        GatewayAddress("IPAddress", "fd00::9"),
        HOSTNAME,
    )
    (listener,) = status.listeners
    assert [(each.type, each.status, each.reason) for each in listener.conditions] == [
        ("Accepted", True, "Accepted"),
        ("Programmed", True, "Programmed"),
        ("Conflicted", False, "NoConflicts"),
        ("ResolvedRefs", True, "ResolvedRefs"),
    ]


@pytest.mark.refutes("WO-62")
def test_unusable_parameters_and_addresses_are_not_accepted() -> None:
    reference = ParametersReference("", "ConfigMap", "options")
    status = status_of(a_gateway(infrastructure=Infrastructure(parameters=reference)), None)
    accepted = told(status, "Accepted")
    assert (accepted.status, accepted.reason) == (False, "InvalidParameters")
    assert accepted.message == "parametersRef ConfigMap shop/options does not exist"
    for address in (GatewayAddress("", "10.0.0.999"), GatewayAddress("example.com/Other", "x")):
        gateway = a_gateway(addresses=(address,))
        hosts: tuple[None, ...] = (None,) * len(hosts_of(gateway))
        accepted = told(status_of(gateway, *hosts), "Accepted")
        assert (accepted.status, accepted.reason) == (False, "UnsupportedAddress")


@pytest.mark.proves("WO-64")
@pytest.mark.refutes("WO-63", "WO-66")
def test_a_service_that_is_missing() -> None:
    status = status_of(a_gateway(), None)
    programmed = told(status, "Programmed")
    assert (programmed.status, programmed.reason) == (False, "AddressNotUsable")
    assert programmed.message == (
        f'Failed to assign to any requested addresses: hostname "{HOST}" not found'
    )
    assert status.addresses == ()


@pytest.mark.proves("WO-64")
def test_a_name_that_cannot_be_had_is_invalid() -> None:
    gateway = a_gateway("with.dots")
    programmed = told(status_of(gateway, None), "Programmed")
    assert (programmed.status, programmed.reason) == (False, "Invalid")


@pytest.mark.refutes("WO-64")
def test_a_wish_that_is_not_followed_keeps_nothing_from_serving() -> None:
    gateway = a_gateway(annotations={"gateway.istio.io/name-override": "Not.A.Name"})
    assert told(status_of(gateway, SERVED), "Programmed").status


@pytest.mark.proves("WO-65")
@pytest.mark.refutes("WO-66", "WO-67")
def test_a_service_without_anything_ready() -> None:
    status = status_of(a_gateway(), WAITING)
    programmed = told(status, "Programmed")
    assert (programmed.status, programmed.reason) == (False, "AddressNotAssigned")
    assert programmed.message == f'no instances found for hostname "{HOST}"'
    assert status.addresses == ()


@pytest.mark.refutes("WO-65")
def test_a_service_that_serves_is_assigned() -> None:
    assert told(status_of(a_gateway(), SERVED), "Programmed").reason == "Programmed"


@pytest.mark.proves("WO-67")
@pytest.mark.parametrize("state", [None, WAITING])
def test_addresses_stay_when_nothing_serves_any_more(state: GatewayHost | None) -> None:
    held = (GatewayAddress("IPAddress", "10.96.0.9"), HOSTNAME)
    gateway = Gateway(
        metadata=a_gateway().metadata, class_name="istio-waypoint", status_addresses=held
    )
    status = status_of(gateway, state)
    assert status.addresses == held
    assert not told(status, "Programmed").status


@pytest.mark.refutes("WO-68")
@pytest.mark.parametrize(
    "listener", [Listener("web", 15008, "HTTP"), Listener("mesh", 8080, "HBONE")]
)
def test_another_listener_is_not_accepted_but_its_gateway_is(listener: Listener) -> None:
    status = status_of(a_gateway(listeners=(listener,)), SERVED)
    accepted = status.listeners[0].conditions[0]
    assert (accepted.type, accepted.status, accepted.reason) == (
        "Accepted",
        False,
        "UnsupportedProtocol",
    )
    assert told(status, "Accepted").status


@pytest.mark.proves("WO-69")
def test_a_gateway_of_somebody_else_is_reached_where_it_says() -> None:
    gateway = a_gateway(
        addresses=(
            GatewayAddress("Hostname", "front"),
            GatewayAddress("Hostname", "a.b.svc.cluster.local"),
            GatewayAddress("IPAddress", "192.0.2.1"),
        )
    )
    assert hosts_of(gateway) == ("front.shop.svc.cluster.local", "a.b.svc.cluster.local")
    hosts = dict(zip(hosts_of(gateway), (SERVED, None), strict=True))
    status = gateway_status(gateway, hosts)
    assert [address.value for address in status.addresses] == [
        "192.0.2.1",
        "10.96.0.9",
        "fd00::9",
        "front.shop.svc.cluster.local",
    ]
    programmed = told(status, "Programmed")
    assert (programmed.status, programmed.reason) == (False, "AddressNotUsable")
    assert "to all requested" in programmed.message


@pytest.mark.refutes("WO-69")
def test_a_gateway_of_ours_is_reached_at_its_service() -> None:
    gateway = a_gateway(addresses=(GatewayAddress("IPAddress", "10.96.0.9"),))
    assert hosts_of(gateway) == (HOST,)
    assert status_of(gateway, None).addresses == ()
