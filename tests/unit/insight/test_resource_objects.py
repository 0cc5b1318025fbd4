"""From the name of a refused resource to the object behind it."""

import pytest

from controlplane.insight.resource_objects import object_of
from controlplane.model.names import ObjectReference, ServiceName
from controlplane.snapshots.scope import ADDRESS_TYPE, AUTHORIZATION_TYPE, WAYPOINT_TYPES


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("c//Pod/ns/web", ("Pod", "ns", "web")),
        ("//Pod/ns/web", ("Pod", "ns", "web")),
        ("c/networking.istio.io/WorkloadEntry/ns/vm", ("WorkloadEntry", "ns", "vm")),
        ("c/networking.istio.io/ServiceEntry/ns/ext/10.0.0.1", ("ServiceEntry", "ns", "ext")),
        ("c/networking.istio.io/ServiceEntry/ns/ext/unix:/a/b", ("ServiceEntry", "ns", "ext")),
        ("c/discovery.k8s.io/EndpointSlice/ns/web-1/fd00::1", ("EndpointSlice", "ns", "web-1")),
        ("n2/SplitHorizonWorkload/gns/gw/1.2.3.4/ns/web.ns.svc.x", ("Gateway", "gns", "gw")),
        ("ns/web.ns.svc.cluster.local", ("Service", "ns", "web")),
    ],
)
def test_workloads_and_services(name: str, reference: tuple[str, str, str]) -> None:
    assert object_of(ADDRESS_TYPE, name) == ObjectReference(*reference)


@pytest.mark.parametrize(
    "name",
    [
        "NetworkGateway/n2/1.2.3.4/15008",
        "ns/example.com",
        "ns/web.other.svc.cluster.local",
        "ns/.ns.svc.cluster.local",
        "c//Pod//web",
        "c//Pod/ns/",
        "/web",
        "",
        "nonsense",
    ],
)
def test_names_that_no_object_can_be_told_from(name: str) -> None:
    assert object_of(ADDRESS_TYPE, name) is None


def test_who_knows_the_services_is_asked_first() -> None:
    asked: list[ServiceName] = []

    def owner_of(service: ServiceName) -> ObjectReference | None:
        asked.append(service)
        return ObjectReference("ServiceEntry", "ns", "ext")

    found = object_of(ADDRESS_TYPE, "ns/example.com", owner_of)
    assert found == ObjectReference("ServiceEntry", "ns", "ext")
    assert asked == [ServiceName("ns", "example.com")]


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("ns/allow", ("AuthorizationPolicy", "ns", "allow")),
        ("ns/converted_peer_authentication_strict", ("PeerAuthentication", "ns", "strict")),
        ("gns/istio_allow_waypoint_gns_way-1", ("Gateway", "gns", "way-1")),
        ("istio-system/istio_converted_static_strict", None),
        ("ns/", None),
        ("allow", None),
    ],
)
def test_policies(name: str, reference: tuple[str, str, str] | None) -> None:
    expected = None if reference is None else ObjectReference(*reference)
    assert object_of(AUTHORIZATION_TYPE, name) == expected


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("inbound-vip|80|http|web.shop.svc.cluster.local", ("Service", "shop", "web")),
        ("outbound|80||web.shop.svc.cluster.local", ("Service", "shop", "web")),
        ("inbound-vip|443|tcp|api.example.com", None),
        ("main_internal", None),
        ("|", None),
    ],
)
@pytest.mark.parametrize("type_url", WAYPOINT_TYPES)
def test_resources_of_waypoints(
    type_url: str, name: str, reference: tuple[str, str, str] | None
) -> None:
    expected = None if reference is None else ObjectReference(*reference)
    assert object_of(type_url, name) == expected
