import pytest

from controlplane.manifests.metadata import Manifest
from controlplane.mesh.binding import ServiceBinding
from controlplane.model.names import Name
from controlplane.model.service import WeightedWaypoint
from controlplane.model.workload import GatewayAddress, NamespacedHostname
from tests.support.builders import a_gateway, a_namespace, a_service, a_waypoint
from tests.support.waypoints import WaypointMesh, a_waypoint_mesh

USE = "istio.io/use-waypoint"
CANARY = "istio.io/use-waypoint-canary"
WEIGHT = "istio.io/use-waypoint-canary-weight"
BOTH = {USE: "waypoint", CANARY: "canary"}


def address(name: str) -> GatewayAddress:
    return GatewayAddress(NamespacedHostname("default", f"{name}.default.svc.cluster.local"), 15008)


def a_mesh(*more: Manifest) -> WaypointMesh:
    return a_waypoint_mesh(a_waypoint(), a_waypoint("canary"), *more)


def weights(binding: ServiceBinding) -> list[int]:
    return [weighted.weight for weighted in binding.weighted]


@pytest.mark.proves("WP-30", "WP-32", "WP-33")
def test_a_canary_takes_its_share() -> None:
    mesh = a_mesh(a_service(labels=BOTH, annotations={WEIGHT: "5"}))
    binding = mesh.service()
    assert binding.weighted == (
        WeightedWaypoint(address("waypoint"), 95),
        WeightedWaypoint(address("canary"), 5),
    )
    assert binding.waypoint == address("waypoint")


@pytest.mark.refutes("WP-30", "WP-33")
@pytest.mark.parametrize(
    "labels",
    [
        {USE: "waypoint"},
        {USE: "waypoint", CANARY: ""},
        {USE: "waypoint", CANARY: "none"},
        {CANARY: "canary"},
        {USE: "none", CANARY: "canary"},
        {USE: "missing", CANARY: "canary"},
    ],
)
def test_no_canary_without_a_wish_or_without_a_primary(labels: dict[str, str]) -> None:
    binding = a_mesh(a_service(labels=labels, annotations={WEIGHT: "5"})).service()
    assert binding.weighted == ()
    assert binding.canary_refusal is None


@pytest.mark.proves("WP-32")
@pytest.mark.parametrize(("text", "share"), [("0", 0), ("100", 100), ("007", 7), (None, 0)])
def test_usable_weights(text: str | None, share: int) -> None:
    annotations = {} if text is None else {WEIGHT: text}
    binding = a_mesh(a_service(labels=BOTH, annotations=annotations)).service()
    assert weights(binding) == [100 - share, share]


@pytest.mark.refutes("WP-32")
@pytest.mark.parametrize("text", ["101", "-1", "5%", "", "1.5", "\u0665", "1000"])
def test_unusable_weights_leave_the_primary_alone(text: str | None) -> None:
    binding = a_mesh(a_service(labels=BOTH, annotations={WEIGHT: text})).service()
    assert binding.weighted == ()
    assert binding.waypoint == address("waypoint")
    assert binding.canary_refusal == (
        "CanaryInvalidWeight",
        'canary waypoint "default/canary" has an invalid weight; must be an integer in [0,100]',
    )


@pytest.mark.proves("WP-31", "WP-32")
def test_label_and_weight_are_inherited_together_with_the_primary() -> None:
    mesh = a_mesh(
        a_namespace(labels=BOTH, annotations={WEIGHT: "30"}),
        a_service("inheriting"),
        a_service("weighing", annotations={WEIGHT: "10"}),
        a_service("refusing", labels={CANARY: "none"}),
    )
    assert weights(mesh.service("inheriting")) == [70, 30]
    assert weights(mesh.service("weighing")) == [90, 10]
    assert weights(mesh.service("refusing")) == []


@pytest.mark.refutes("WP-31")
def test_an_object_with_its_own_primary_inherits_no_canary() -> None:
    mesh = a_mesh(
        a_namespace(labels=BOTH, annotations={WEIGHT: "30"}),
        a_service("own", labels={USE: "waypoint"}),
        a_service("both", labels=BOTH),
    )
    assert mesh.service("own").weighted == ()
    assert weights(mesh.service("both")) == [100, 0]


@pytest.mark.proves("WP-34")
@pytest.mark.refutes("WP-34")
def test_a_canary_passes_the_checks_of_a_waypoint() -> None:
    mesh = a_waypoint_mesh(
        a_waypoint(),
        a_gateway("canary"),
        a_service(labels=BOTH),
        a_waypoint("canary", "far"),
        a_service("far", labels=BOTH | {f"{CANARY}-namespace": "far"}),
    )
    assert mesh.service().canary_refusal == (
        "WaypointIsNotReady",
        'waypoint "default/canary" is not ready',
    )
    refusal = mesh.service("far").canary_refusal
    assert refusal is not None
    assert refusal.reason == "AttachmentDenied"
    assert mesh.service().key == Name("default", "waypoint")
    mesh.put(a_waypoint("canary"))
    assert weights(mesh.service()) == [100, 0]
    mesh.put(a_waypoint("canary", labels={"istio.io/waypoint-for": "workload"}))
    assert mesh.service().weighted == ()


@pytest.mark.proves("WP-35")
@pytest.mark.refutes("WP-35")
def test_a_canary_differs_from_the_primary() -> None:
    mesh = a_mesh(a_service(labels={USE: "waypoint", CANARY: "waypoint"}))
    assert mesh.service().canary_refusal == (
        "CanarySameAsPrimary",
        'canary waypoint "default/waypoint" must differ from the primary waypoint',
    )
    assert mesh.service().waypoint == address("waypoint")
    mesh.put(a_service(labels=BOTH))
    assert mesh.service().canary_refusal is None
