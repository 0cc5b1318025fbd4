import pytest

from controlplane.manifests.gateway import AllowedNamespaces, Listener
from controlplane.mesh.waypoint_gateways import NotWaypoint
from controlplane.model.labels import LabelSelector
from controlplane.model.names import Name, ObjectReference
from tests.support.builders import a_gateway, a_namespace, a_pod, a_waypoint
from tests.support.waypoints import a_waypoint_mesh

KEY = Name("default", "waypoint")
INSTANCE = {"gateway.networking.k8s.io/gateway-name": "waypoint"}


@pytest.mark.proves("WP-8")
def test_service_accounts_of_a_waypoint_come_from_its_pods() -> None:
    pods = [
        a_pod("one", labels=INSTANCE, service_account="b"),
        a_pod("two", labels=INSTANCE, service_account="a"),
        a_pod("three", labels=INSTANCE, service_account="a"),
    ]
    mesh = a_waypoint_mesh(a_waypoint(), *pods)
    ready = mesh.waypoints.ready.get(KEY)
    assert ready is not None
    assert ready.service_accounts == ("a", "b")
    mesh.remove(pods[0])
    ready = mesh.waypoints.ready.get(KEY)
    assert ready is not None
    assert ready.service_accounts == ("a",)


@pytest.mark.refutes("WP-8")
def test_other_pods_are_none_of_a_waypoint() -> None:
    mesh = a_waypoint_mesh(
        a_waypoint(),
        a_pod("elsewhere", "other", labels=INSTANCE),
        a_pod("unnamed", labels={"app": "waypoint"}),
        a_pod("without", labels=INSTANCE, service_account=""),
        a_pod("failed", labels=INSTANCE, phase="Failed"),
        a_pod("done", labels=INSTANCE, phase="Succeeded"),
    )
    ready = mesh.waypoints.ready.get(KEY)
    assert ready is not None
    assert ready.service_accounts == ()


@pytest.mark.refutes("WP-23")
def test_a_waypoint_pod_and_an_idle_edit_do_not_touch_the_users() -> None:
    users = [a_pod(f"user-{n}", labels={"istio.io/use-waypoint": "waypoint"}) for n in range(50)]
    mesh = a_waypoint_mesh(a_namespace(), a_waypoint(), *users)
    before = mesh.pods.rule_calls
    mesh.put(a_waypoint(annotations={"seen": "yes"}))
    mesh.put(a_namespace(annotations={"seen": "yes"}))
    assert mesh.pods.rule_calls == before
    mesh.put(a_pod("waypoint-1", labels=INSTANCE))
    assert mesh.pods.rule_calls == before + 1


@pytest.mark.proves("WP-23")
def test_a_waypoint_that_becomes_ready_touches_exactly_its_users() -> None:
    user = a_pod("user", labels={"istio.io/use-waypoint": "waypoint"})
    others = [a_pod(f"other-{n}") for n in range(50)]
    labels = {"istio.io/waypoint-for": "all"}
    mesh = a_waypoint_mesh(a_namespace(), a_gateway(labels=labels), user, *others)
    before = mesh.pods.rule_calls
    mesh.put(a_waypoint(labels=labels))
    assert mesh.pods.rule_calls == before + 1
    assert mesh.pod("user").key == KEY
    mesh.remove(a_waypoint())
    assert mesh.pod("user").waypoint is None


def test_a_gateway_that_is_no_waypoint_is_known_as_such() -> None:
    mesh = a_waypoint_mesh(a_gateway(class_name="istio", listeners=()))
    assert mesh.waypoints.candidates.get(KEY) == NotWaypoint("istio")
    assert mesh.waypoints.ready.get(KEY) is None


def test_problems_of_waypoints_name_the_gateway() -> None:
    mesh = a_waypoint_mesh(
        a_waypoint(labels={"istio.io/waypoint-for": "x"}),
        a_gateway("edge", class_name="istio", listeners=(), addresses={"x": "Odd"}),
    )
    assert mesh.problem_codes() == {
        ObjectReference("Gateway", "default", "waypoint"): "waypoint.unknown-traffic-type"
    }


def test_admissions_are_judged_per_namespace() -> None:
    selector = LabelSelector(labels=(("team", "a"),))
    allowed = AllowedNamespaces(origin="Selector", selector=selector)
    listener = Listener(name="mesh", port=15008, protocol="HBONE", allowed=allowed)
    mesh = a_waypoint_mesh(
        a_waypoint(listeners=[listener]), a_namespace("a", labels={"team": "a"}), a_namespace("b")
    )
    assert dict(mesh.waypoints.admissions.items()) == {(KEY, "a"): True, (KEY, "b"): False}
