"""Services that were bound to a waypoint a moment ago."""

from typing import Any

import pytest

from controlplane.manifests.gateway import AllowedNamespaces, Listener
from controlplane.manifests.istio import TargetReference
from controlplane.manifests.metadata import Manifest
from controlplane.model.names import Name, ServiceName
from controlplane.model.waypoint_traffic import ServedBefore
from controlplane.snapshots.scope import WAYPOINT_TYPES
from tests.support.builders import (
    HBONE,
    a_gateway_class,
    a_pod,
    a_service,
    a_service_entry,
    a_waypoint,
    an_authorization_policy,
)
from tests.support.waypoint_snapshots import Waypoints

USE = {"istio.io/use-waypoint": "waypoint"}
USE_OTHER = {"istio.io/use-waypoint": "other"}
WAYPOINT, OTHER = Name("shop", "waypoint"), Name("shop", "other")
WEB = "web.shop.svc.cluster.local"
BEFORE = ServedBefore(WAYPOINT, ServiceName("shop", WEB))


def a_web(labels: dict[str, str], **rest: Any) -> Manifest:
    return a_service("web", "shop", selector={"app": "web"}, labels=labels, **rest)


def _waypoints(*manifests: Manifest) -> Waypoints:
    waypoints = Waypoints()
    waypoints.apply(
        a_gateway_class("istio-waypoint"),
        a_waypoint("waypoint", "shop"),
        a_waypoint("other", "shop"),
        a_pod("web-1", "shop", ips=["10.0.0.1"], labels={"app": "web"}, annotations=HBONE),
        *manifests,
    )
    return waypoints


def _remember(waypoints: Waypoints, *remembered: ServedBefore) -> None:
    with waypoints.pipeline.graph.transaction():
        waypoints.pipeline.inputs.served_before.replace(remembered)


def _served(waypoints: Waypoints) -> set[tuple[Name, str]]:
    services = waypoints.pipeline.world.traffic.services.items()
    return {(key.waypoint, value.service.hostname) for key, value in services}


def _sent(waypoints: Waypoints) -> dict[tuple[Name, str], dict[str, str]]:
    return {
        (name, type_url): {
            each.name: each.version
            for each in waypoints.catalog.waypoint(name, type_url).resources()
        }
        for name in (WAYPOINT, OTHER)
        for type_url in WAYPOINT_TYPES
    }


@pytest.mark.proves("WS-40")
@pytest.mark.parametrize("labels", [{}, USE_OTHER])
def test_a_service_lingers_where_it_was_bound_before(labels: dict[str, str]) -> None:
    waypoints = _waypoints(a_web(labels))
    before = _served(waypoints)
    assert (WAYPOINT, WEB) not in before
    _remember(waypoints, BEFORE)
    assert _served(waypoints) == before | {(WAYPOINT, WEB)}
    endpoints = waypoints.pipeline.world.traffic.endpoints.items()
    (found,) = [value.endpoints for key, value in endpoints if key.waypoint == WAYPOINT]
    assert len(found) == 1


@pytest.mark.refutes("WS-40")
def test_what_is_bound_and_was_bound_is_the_same() -> None:
    waypoints = _waypoints(a_web(USE))
    bound = _sent(waypoints)
    _remember(waypoints, BEFORE)
    assert _sent(waypoints) == bound
    waypoints.apply(a_web({}))
    assert {key: value for key, value in _sent(waypoints).items() if value != bound[key]} == {}


@pytest.mark.proves("WS-41")
def test_what_lingers_gives_way_to_a_namesake() -> None:
    waypoints = _waypoints(a_web({}))
    _remember(waypoints, BEFORE)
    waypoints.apply(a_service_entry("web", "shop", hosts=[WEB, "x.example"], labels=USE))
    assert (WAYPOINT, "x.example") in _served(waypoints)
    services = waypoints.pipeline.world.traffic.services.items()
    owners = {value.owner.kind for key, value in services if key.hostname == WEB}
    assert owners <= {"Service", "ServiceEntry"}
    assert not [each for each in waypoints.pipeline.problems.items() if "taken" in each[1].code]


@pytest.mark.proves("WS-41")
def test_what_lingers_gives_way_to_who_has_its_address() -> None:
    waypoints = _waypoints(a_web({}, ips=["10.96.0.7"]))
    _remember(waypoints, BEFORE)
    assert (WAYPOINT, WEB) in _served(waypoints)
    waypoints.apply(
        a_service_entry("heir", "shop", hosts=["heir.example"], addresses=["10.96.0.7"], labels=USE)
    )
    assert _served(waypoints) == {(WAYPOINT, "heir.example")}


@pytest.mark.refutes("WS-41")
def test_what_lingers_stays_beside_others() -> None:
    waypoints = _waypoints(a_web({}, ips=["10.96.0.7"]))
    _remember(waypoints, BEFORE)
    waypoints.apply(
        a_service_entry("heir", "shop", hosts=["heir.example"], addresses=["10.96.0.8"], labels=USE)
    )
    assert _served(waypoints) == {(WAYPOINT, "heir.example"), (WAYPOINT, WEB)}


@pytest.mark.proves("WS-42")
def test_policies_of_what_lingers_are_in_force() -> None:
    waypoints = _waypoints(
        a_web({}),
        an_authorization_policy(
            "of-service", "shop", target_references=[TargetReference("Service", "web")]
        ),
    )
    _remember(waypoints, BEFORE)
    policies = waypoints.pipeline.world.http_policies.by_service.items()
    (found,) = [value for key, value in policies if key.hostname == WEB]
    assert found
    assert {key for key, _ in policies} == {
        key for key, _ in waypoints.pipeline.world.traffic.services.items()
    }


@pytest.mark.refutes("WS-42")
def test_policies_that_go_are_gone_for_what_lingers() -> None:
    policy = an_authorization_policy(
        "of-service", "shop", target_references=[TargetReference("Service", "web")]
    )
    waypoints = _waypoints(a_web({}), policy)
    _remember(waypoints, BEFORE)
    restricted = _sent(waypoints)
    waypoints.apply(removed=[policy])
    assert _sent(waypoints) != restricted


@pytest.mark.proves("WS-43")
def test_nothing_lingers_where_it_would_not_be_taken() -> None:
    everybody = Listener(
        name="mesh", port=15008, protocol="HBONE", allowed=AllowedNamespaces(origin="All")
    )
    far = ServedBefore(Name("bank", "far"), ServiceName("shop", WEB))
    waypoints = _waypoints(a_web({}), a_waypoint("far", "bank", listeners=[everybody]))
    _remember(waypoints, BEFORE, far)
    assert _served(waypoints) == {(WAYPOINT, WEB), (far.waypoint, WEB)}
    waypoints.apply(a_waypoint("far", "bank"))
    assert _served(waypoints) == {(WAYPOINT, WEB)}
    waypoints.apply(removed=[a_waypoint("waypoint", "shop")])
    assert _served(waypoints) == set()


@pytest.mark.proves("WS-43")
def test_a_service_that_has_gone_does_not_linger() -> None:
    waypoints = _waypoints(a_web({}))
    _remember(waypoints, BEFORE)
    waypoints.apply(removed=[a_web({})])
    assert _served(waypoints) == set()


@pytest.mark.refutes("WS-43")
def test_a_service_lingers_at_a_waypoint_that_is_not_ready() -> None:
    waypoints = _waypoints(a_web({}))
    waypoints.apply(a_waypoint("waypoint", "shop", addresses={}))
    _remember(waypoints, BEFORE)
    assert _served(waypoints) == {(WAYPOINT, WEB)}


@pytest.mark.proves("WS-44")
def test_nothing_is_left_of_what_lingered() -> None:
    never = _sent(_waypoints(a_web(USE_OTHER)))
    waypoints = _waypoints(a_web(USE))
    _remember(waypoints, BEFORE)
    waypoints.apply(a_web(USE_OTHER))
    assert _sent(waypoints) != never
    _remember(waypoints)
    assert _sent(waypoints) == never
