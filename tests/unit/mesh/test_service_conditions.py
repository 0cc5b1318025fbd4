import pytest

from controlplane.manifests.mesh_config import MeshConfig, ServiceEntryVisibility
from tests.support.builders import (
    a_gateway,
    a_namespace,
    a_service,
    a_service_entry,
    a_waypoint,
    a_workload_entry,
)
from tests.support.waypoints import a_waypoint_mesh

USE = "istio.io/use-waypoint"
INGRESS = "istio.io/ingress-use-waypoint"
ATTACHED = "Successfully attached to waypoint default/waypoint"
RACING = {"istio.io/connect-strategy": "RACE_FIRST_TCP_CONNECT"}


@pytest.mark.proves("WP-50")
def test_a_bound_service_is_told_so() -> None:
    service, entry = a_service(labels={USE: "waypoint"}), a_service_entry(labels={USE: "waypoint"})
    mesh = a_waypoint_mesh(a_waypoint(), service, entry)
    for manifest in (service, entry):
        told = mesh.told(manifest)
        assert list(told) == ["WaypointBound"]
        condition = told["WaypointBound"]
        assert condition.status
        assert (condition.reason, condition.message) == ("WaypointAccepted", ATTACHED)
        assert condition.type == "istio.io/WaypointBound"
        assert condition.manager == "istio-ambient-service"


@pytest.mark.proves("WP-51")
@pytest.mark.refutes("WP-50")
def test_a_refused_service_is_told_why() -> None:
    service = a_service(labels={USE: "waypoint"})
    mesh = a_waypoint_mesh(a_gateway(), service)
    condition = mesh.told(service)["WaypointBound"]
    assert not condition.status
    assert condition.reason == "WaypointIsNotReady"
    assert condition.message == 'waypoint "default/waypoint" is not ready'


@pytest.mark.proves("WP-52")
@pytest.mark.refutes("WP-51", "WP-52")
def test_the_condition_goes_with_the_wish_and_each_object_has_its_own() -> None:
    service, other = a_service(labels={USE: "missing"}), a_service("other", labels={USE: "missing"})
    mesh = a_waypoint_mesh(service, other)
    assert set(mesh.told(service)) == set(mesh.told(other)) == {"WaypointBound"}
    mesh.put(a_service())
    assert mesh.told(service) == {}
    assert set(mesh.told(other)) == {"WaypointBound"}


def test_an_external_name_is_told_nothing() -> None:
    service = a_service(labels={USE: "waypoint"}, type="ExternalName")
    assert a_waypoint_mesh(a_waypoint(), service).told(service) == {}


@pytest.mark.proves("WP-53")
@pytest.mark.parametrize(
    ("value", "ending"),
    [
        ("true", ". Ingress traffic will traverse the waypoint"),
        (
            "eurt",
            (
                ". Ingress traffic is not using the waypoint, set the "
                "istio.io/ingress-use-waypoint label to true if desired."
            ),
        ),
    ],
)
def test_the_message_says_what_ingress_does(value: str, ending: str) -> None:
    service = a_service(labels={USE: "waypoint", INGRESS: value})
    mesh = a_waypoint_mesh(a_waypoint(), service)
    assert mesh.told(service)["WaypointBound"].message == ATTACHED + ending


@pytest.mark.refutes("WP-53")
def test_a_refused_service_hears_nothing_about_ingress() -> None:
    service = a_service(labels={USE: "waypoint", INGRESS: "true"})
    told = a_waypoint_mesh(service).told(service)
    assert "ngress" not in told["WaypointBound"].message


@pytest.mark.proves("WP-54")
@pytest.mark.refutes("WP-54")
def test_the_message_says_why_the_canary_is_not_used() -> None:
    labels = {USE: "waypoint", "istio.io/use-waypoint-canary": "canary", INGRESS: "true"}
    service = a_service(labels=labels)
    mesh = a_waypoint_mesh(a_waypoint(), service)
    ingress = ". Ingress traffic will traverse the waypoint"
    assert mesh.told(service)["WaypointBound"].message == (
        f'{ATTACHED}{ingress}. Canary waypoint not attached: waypoint "default/canary" is not ready'
    )
    assert mesh.told(service)["WaypointBound"].status
    mesh.put(a_waypoint("canary"))
    assert mesh.told(service)["WaypointBound"].message == ATTACHED + ingress


@pytest.mark.proves("WP-55")
def test_workload_entries_are_told_about_their_own_binding() -> None:
    entry = a_workload_entry(labels={USE: "waypoint"})
    in_spec = a_workload_entry("in-spec", spec_labels={USE: "waypoint"})
    overruled = a_workload_entry("over", labels={USE: "gone"}, spec_labels={USE: "waypoint"})
    mesh = a_waypoint_mesh(
        a_waypoint(labels={"istio.io/waypoint-for": "all"}), entry, in_spec, overruled
    )
    condition = mesh.told(entry)["WaypointBound"]
    assert (condition.status, condition.message) == (True, ATTACHED)
    assert condition.manager == "istio-ambient-workloadentry"
    assert mesh.told(in_spec)["WaypointBound"].status
    assert mesh.told(overruled)["WaypointBound"].reason == "WaypointIsNotReady"
    mesh.put(a_waypoint())
    assert mesh.told(entry)["WaypointBound"].reason == "UnsupportedTrafficType"


@pytest.mark.refutes("WP-55")
def test_a_workload_entry_that_inherits_a_waypoint_for_services_is_told_nothing() -> None:
    entry = a_workload_entry()
    mesh = a_waypoint_mesh(a_waypoint(), a_namespace(labels={USE: "waypoint"}), entry)
    assert mesh.told(entry) == {}
    mesh.put(a_waypoint(labels={"istio.io/waypoint-for": "all"}))
    assert mesh.told(entry)["WaypointBound"].status
    mesh.remove(a_waypoint())
    assert mesh.told(entry)["WaypointBound"].reason == "WaypointIsNotReady"


@pytest.mark.proves("WP-56", "WP-57")
@pytest.mark.parametrize(
    ("hosts", "annotations", "reason"),
    [
        (["*.example.com"], {}, "NoWaypointForWildcardService"),
        (["a.example", "*.example.com"], {}, "NoWaypointForWildcardService"),
        (["a.example"], RACING, "NoWaypointForRacingConnectStrategy"),
        (["*.example.com"], RACING, "NoWaypointForRacingConnectStrategy"),
    ],
)
def test_entries_that_need_a_waypoint_are_told_that_it_is_missing(
    hosts: list[str], annotations: dict[str, str], reason: str
) -> None:
    entry = a_service_entry(hosts=hosts, annotations=annotations)
    condition = a_waypoint_mesh(entry).told(entry)["WaypointMissing"]
    assert (condition.status, condition.reason) == (True, reason)
    assert "aypoint" in condition.message


@pytest.mark.refutes("WP-56", "WP-57")
def test_entries_that_need_none_or_have_one_are_not() -> None:
    plain = a_service_entry("plain", annotations={"istio.io/connect-strategy": "DEFAULT"})
    bound = a_service_entry(
        "bound", hosts=["*.example.com"], annotations=RACING, labels={USE: "waypoint"}
    )
    mesh = a_waypoint_mesh(a_waypoint(), plain, bound)
    assert mesh.told(plain) == {}
    assert set(mesh.told(bound)) == {"WaypointBound"}
    mesh.remove(a_waypoint())
    assert set(mesh.told(bound)) == {"WaypointBound", "WaypointMissing"}


@pytest.mark.proves("WP-58")
@pytest.mark.parametrize(
    ("default", "reason", "message"),
    [
        ("PUBLIC", "Public", "ServiceEntry is visible to the entire mesh (PUBLIC)."),
        (
            "NAMESPACE",
            "Namespace",
            (
                "ServiceEntry is visible only within its own namespace (NAMESPACE), per mesh "
                "serviceEntryVisibility."
            ),
        ),
    ],
)
def test_entries_are_told_who_sees_them(default: str, reason: str, message: str) -> None:
    entry = a_service_entry()
    visibility = ServiceEntryVisibility(default=default)
    mesh = a_waypoint_mesh(entry, MeshConfig(service_entry_visibility=visibility))
    condition = mesh.told(entry)["VisibilityApplied"]
    assert (condition.status, condition.reason, condition.message) == (True, reason, message)


@pytest.mark.refutes("WP-58")
def test_entries_are_not_told_where_nobody_decides_or_nobody_sees_them() -> None:
    entry = a_service_entry(labels={USE: "waypoint"})
    mesh = a_waypoint_mesh(a_waypoint(), entry)
    assert set(mesh.told(entry)) == {"WaypointBound"}
    hidden = ServiceEntryVisibility(default="NONE")
    mesh.put(MeshConfig(service_entry_visibility=hidden))
    assert mesh.told(entry) == {}
