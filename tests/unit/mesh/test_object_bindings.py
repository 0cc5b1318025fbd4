import pytest

from controlplane.model.names import ObjectReference
from tests.support.builders import (
    a_namespace,
    a_service,
    a_service_entry,
    a_waypoint,
    a_workload_entry,
)
from tests.support.waypoints import a_waypoint_mesh

USE = "istio.io/use-waypoint"
INGRESS = "istio.io/ingress-use-waypoint"


@pytest.mark.proves("WP-41")
@pytest.mark.refutes("WP-41")
def test_unreadable_ingress_labels_are_problems() -> None:
    mesh = a_waypoint_mesh(
        a_service(labels={INGRESS: "eurt"}),
        a_service_entry(labels={INGRESS: "f"}),
        a_namespace(labels={INGRESS: ""}),
    )
    code = "waypoint.unreadable-ingress-label"
    assert mesh.problem_codes() == {
        ObjectReference("Service", "default", "service"): code,
        ObjectReference("Namespace", "", "default"): code,
    }


@pytest.mark.proves("WP-59")
@pytest.mark.refutes("WP-59")
def test_refusals_are_problems_until_they_are_lifted() -> None:
    canary = {USE: "waypoint", "istio.io/use-waypoint-canary": "canary"}
    mesh = a_waypoint_mesh(
        a_waypoint(labels={"istio.io/waypoint-for": "all"}),
        a_service(labels={USE: "missing"}),
        a_service_entry(labels=canary),
        a_workload_entry(labels={USE: "missing"}),
        a_service("external", labels={USE: "missing"}, type="ExternalName"),
        a_service("content", labels={USE: "waypoint"}),
    )
    assert mesh.problem_codes() == {
        ObjectReference("Service", "default", "service"): "waypoint.refused",
        ObjectReference("ServiceEntry", "default", "entry"): "waypoint.canary-refused",
        ObjectReference("WorkloadEntry", "default", "machine"): "waypoint.refused",
    }
    mesh.put(a_waypoint("missing", labels={"istio.io/waypoint-for": "all"}), a_waypoint("canary"))
    assert mesh.problem_codes() == {}
