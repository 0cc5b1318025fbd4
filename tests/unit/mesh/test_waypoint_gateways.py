from typing import Any

import pytest

from controlplane.manifests.gateway import AllowedNamespaces as AllowedRoutes
from controlplane.manifests.gateway import Gateway, GatewayAddress, GatewayClass, Listener
from controlplane.mesh.waypoint_gateways import (
    inbound_binding,
    is_waypoint,
    problems_of,
    reached_at,
    waypoint_from_gateway,
)
from controlplane.model.labels import LabelSelector
from controlplane.model.network import NetworkAddress
from controlplane.model.waypoint import AllowedNamespaces
from controlplane.model.workload import (
    ApplicationTunnel,
    ApplicationTunnelProtocol,
    NamespacedHostname,
)
from tests.support.builders import a_gateway, a_gateway_class, a_waypoint

WAYPOINT_FOR = "istio.io/waypoint-for"
BINDING = "ambient.istio.io/waypoint-inbound-binding"
HTTP = Listener(name="http", port=80, protocol="HTTP")
PROXY = ApplicationTunnelProtocol.PROXY


def a_plain_gateway(**rest: Any) -> Gateway:
    return a_gateway(class_name="istio", listeners=(HTTP,), addresses={"1.2.3.4": ""}, **rest)


@pytest.mark.proves("WP-1")
@pytest.mark.parametrize(
    ("gateway", "gateway_class"),
    [
        (a_gateway(listeners=()), None),
        (a_gateway(class_name="mine", listeners=()), a_gateway_class("mine")),
        (a_plain_gateway(labels={WAYPOINT_FOR: "none"}), None),
        (a_plain_gateway(), a_gateway_class("istio", "other", labels={WAYPOINT_FOR: "all"})),
        (a_gateway(class_name="istio"), None),
        (a_plain_gateway(annotations={BINDING: "PROXY"}), None),
        (a_plain_gateway(), a_gateway_class("istio", "other", annotations={BINDING: "NONE"})),
    ],
)
def test_a_gateway_is_a_waypoint_by_class_or_by_its_word(
    gateway: Gateway, gateway_class: GatewayClass | None
) -> None:
    assert is_waypoint(gateway, gateway_class)


@pytest.mark.refutes("WP-1")
def test_no_other_gateway_is_a_waypoint() -> None:
    assert not is_waypoint(a_plain_gateway(), None)
    assert not is_waypoint(a_plain_gateway(annotations={BINDING: "WHAT"}), None)
    other = a_gateway_class("istio", "istio.io/gateway-controller")
    assert not is_waypoint(a_plain_gateway(), other)


@pytest.mark.proves("WP-9")
@pytest.mark.refutes("WP-9")
def test_a_class_object_decides_who_handles_the_class() -> None:
    gateway = a_gateway(listeners=())
    assert is_waypoint(gateway, None)
    assert not is_waypoint(gateway, a_gateway_class("istio-waypoint", "example.com/other"))


@pytest.mark.proves("WP-2")
def test_the_first_hostname_wins_over_addresses() -> None:
    gateway = a_gateway(
        addresses={"10.0.0.1": "IPAddress", "a.example": "Hostname", "b.example": "Hostname"}
    )
    address = reached_at(gateway, "net")
    assert address is not None
    assert address.destination == NamespacedHostname("default", "a.example")
    assert address.hbone_mtls_port == 15008


@pytest.mark.proves("WP-2", "WP-3")
def test_an_address_is_on_the_local_network_and_needs_no_type() -> None:
    for kind in ("IPAddress", ""):
        address = reached_at(a_gateway(addresses={"10.0.0.1": kind}), "net")
        assert address is not None
        assert address.destination == NetworkAddress("net", b"\x0a\0\0\x01")


@pytest.mark.refutes("WP-2")
def test_a_gateway_without_status_addresses_is_not_ready() -> None:
    assert reached_at(a_gateway(), "") is None
    assert waypoint_from_gateway(a_gateway(), None, "") is None


@pytest.mark.proves("WP-3")
@pytest.mark.parametrize(
    ("kind", "value"),
    [("IPAddress", "nonsense"), ("", "a.example"), ("NamedAddress", "10.0.0.1"), ("Hostname", "")],
)
def test_an_unusable_address_makes_no_waypoint(kind: str, value: str) -> None:
    gateway = a_gateway(addresses=[GatewayAddress(type=kind, value=value)])
    assert waypoint_from_gateway(gateway, None, "") is None
    assert [problem.code for problem in problems_of(gateway, None)] == ["waypoint.unusable-address"]


@pytest.mark.refutes("WP-3")
def test_one_usable_address_among_others_is_enough() -> None:
    gateway = a_gateway(
        addresses=[GatewayAddress(type="Odd", value="x"), GatewayAddress(type="", value="::1")]
    )
    address = reached_at(gateway, "")
    assert address is not None
    assert address.destination == NetworkAddress("", bytes(15) + b"\x01")
    assert list(problems_of(gateway, None)) == []


@pytest.mark.proves("WP-4")
@pytest.mark.parametrize(
    ("on_gateway", "on_class", "services", "workloads"),
    [
        (None, None, True, False),
        ("service", None, True, False),
        ("workload", None, False, True),
        ("all", "none", True, True),
        ("none", "all", False, False),
        (None, "workload", False, True),
        ("Service", None, False, False),
        ("", "all", False, False),
    ],
)
def test_traffic_types(
    on_gateway: str | None, on_class: str | None, services: bool, workloads: bool
) -> None:
    labels = {} if on_gateway is None else {WAYPOINT_FOR: on_gateway}
    on_class_labels = {} if on_class is None else {WAYPOINT_FOR: on_class}
    gateway_class = a_gateway_class(labels=on_class_labels)
    waypoint = waypoint_from_gateway(a_waypoint(labels=labels), gateway_class, "")
    assert waypoint is not None
    assert (waypoint.serves_services, waypoint.serves_workloads) == (services, workloads)


@pytest.mark.refutes("WP-4")
def test_an_unknown_traffic_type_is_a_problem_and_a_known_one_is_not() -> None:
    codes = {
        value: [problem.code for problem in problems_of(a_waypoint(labels=labels), None)]
        for value in ("everything", "all")
        for labels in [{WAYPOINT_FOR: value}]
    }
    assert codes == {"everything": ["waypoint.unknown-traffic-type"], "all": []}


@pytest.mark.proves("WP-5")
@pytest.mark.parametrize(
    ("text", "binding", "is_problem"),
    [
        ("PROXY/15088", ApplicationTunnel(PROXY, 15088), False),
        ("PROXY", ApplicationTunnel(PROXY, 0), False),
        ("NONE/80", ApplicationTunnel(ApplicationTunnelProtocol.NONE, 80), False),
        ("PROXY/eighty", ApplicationTunnel(PROXY, 0), True),
        ("PROXY/65536", ApplicationTunnel(PROXY, 0), True),
        ("PROXY/", ApplicationTunnel(PROXY, 0), True),
        ("proxy/80", None, True),
        ("", None, True),
    ],
)
def test_inbound_bindings(text: str, binding: ApplicationTunnel | None, is_problem: bool) -> None:
    gateway = a_waypoint(annotations={BINDING: text})
    assert inbound_binding(gateway, None) == binding
    codes = [problem.code for problem in problems_of(gateway, None)]
    assert codes == (["waypoint.invalid-binding"] if is_problem else [])


@pytest.mark.refutes("WP-5")
def test_the_class_binds_where_the_gateway_says_nothing() -> None:
    gateway_class = a_gateway_class(annotations={BINDING: "PROXY/1"})
    assert inbound_binding(a_waypoint(), gateway_class) == ApplicationTunnel(PROXY, 1)
    own = a_waypoint(annotations={BINDING: "NONE"})
    assert inbound_binding(own, gateway_class) != ApplicationTunnel(PROXY, 1)
    assert inbound_binding(a_waypoint(), None) is None


def allows(origin: str, selector: LabelSelector | None = None) -> AllowedRoutes:
    return AllowedRoutes(origin=origin, selector=selector)


def admitted(*listeners: Listener, annotations: dict[str, str] | None = None) -> AllowedNamespaces:
    waypoint = waypoint_from_gateway(
        a_waypoint(listeners=listeners, annotations=annotations), None, ""
    )
    assert waypoint is not None
    return waypoint.allowed


HBONE_ALL = Listener(name="mesh", port=15008, protocol="HBONE", allowed=allows("All"))
SANDWICH = Listener(name="p", port=15088, protocol="istio.io/PROXY", allowed=allows("All"))
OTHER_PROXY = Listener(name="q", port=15089, protocol="istio.io/PROXY", allowed=allows("Same"))
HBONE_SAME = Listener(name="mesh", port=15008, protocol="HBONE", allowed=allows("Same"))


@pytest.mark.proves("WP-6")
def test_the_listener_that_says_who_may_attach() -> None:
    assert admitted(HBONE_ALL) is AllowedNamespaces.ALL
    by_port = {BINDING: "PROXY/15088"}
    assert admitted(OTHER_PROXY, SANDWICH, HBONE_SAME, annotations=by_port) == "All"
    assert admitted(HBONE_SAME, SANDWICH, annotations={BINDING: "PROXY"}) == "All"
    assert admitted(HBONE_ALL, annotations={BINDING: "PROXY"}) is AllowedNamespaces.ALL
    assert admitted(HBONE_ALL, annotations={BINDING: "PROXY/1"}) is AllowedNamespaces.ALL


@pytest.mark.refutes("WP-6")
def test_other_listeners_say_nothing() -> None:
    elsewhere = Listener(name="mesh", port=15009, protocol="HBONE", allowed=allows("All"))
    assert admitted(elsewhere) is AllowedNamespaces.SAME
    assert admitted(SANDWICH, HBONE_SAME) is AllowedNamespaces.SAME
    assert admitted(SANDWICH, annotations={BINDING: "NONE"}) is AllowedNamespaces.SAME


@pytest.mark.proves("WP-7")
def test_whom_a_listener_admits() -> None:
    selector = LabelSelector(labels=(("team", "a"),))
    waypoint = waypoint_from_gateway(
        a_waypoint(
            listeners=[
                Listener(
                    name="m", port=15008, protocol="HBONE", allowed=allows("Selector", selector)
                )
            ]
        ),
        None,
        "",
    )
    assert waypoint is not None
    assert (waypoint.allowed, waypoint.selector) == (AllowedNamespaces.SELECTOR, selector)


@pytest.mark.refutes("WP-7")
@pytest.mark.parametrize("origin", ["", "Same", "None", "all"])
def test_anything_unclear_admits_the_own_namespace_only(origin: str) -> None:
    listener = Listener(name="m", port=15008, protocol="HBONE", allowed=allows(origin))
    assert admitted(listener) is AllowedNamespaces.SAME
    assert admitted(Listener(name="m", port=15008, protocol="HBONE")) is AllowedNamespaces.SAME
    assert admitted() is AllowedNamespaces.SAME
