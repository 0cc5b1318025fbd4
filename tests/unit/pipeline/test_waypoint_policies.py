"""Policies on their way to waypoints: what an edit costs, and that what is lost denies."""

from typing import Any

import pytest

from controlplane.manifests.istio import AuthorizationPolicy, TargetReference
from controlplane.snapshots.scope import ROUTE_TYPE
from tests.support.builders import a_service_port, an_authorization_policy
from tests.support.waypoint_snapshots import Waypoints
from tests.unit.pipeline.test_waypoint_encoding import WEB_HTTP, a_web, a_web_pod, the_waypoint

GATEWAY = "gateway.networking.k8s.io"


def a_policy(name: str = "p", **fields: Any) -> AuthorizationPolicy:
    """A policy on the service ``web`` that allows nothing."""
    target = fields.pop("target", TargetReference(kind="Service", name="web"))
    return an_authorization_policy(name, "shop", target_references=(target,), **fields)


def _overrides(waypoints: Waypoints, name: str = WEB_HTTP) -> dict[str, Any]:
    (host,) = waypoints.documents(ROUTE_TYPE)[name]["virtual_hosts"]
    found: dict[str, Any] = host["typed_per_filter_config"]
    return found


@pytest.mark.proves("WC-31", "WC-50")
def test_an_edited_policy_is_one_route_configuration_for_each_port() -> None:
    waypoints = Waypoints()
    ports = [a_service_port(80, name="http"), a_service_port(7070, name="grpc")]
    waypoints.apply(the_waypoint(), a_web(ports=ports), a_web_pod(), a_web("other"))
    routes = {WEB_HTTP, WEB_HTTP.replace("80", "7070")}
    assert waypoints.apply(a_policy()) == {"shop/waypoint RDS": routes}
    assert "rules" in _overrides(waypoints)["rbac-allow"]["rbac"]
    assert waypoints.apply(a_policy(action="DENY")) == {"shop/waypoint RDS": routes}
    assert set(_overrides(waypoints)) == {"rbac-allow", "rbac-deny"}
    assert waypoints.apply(removed=[a_policy()]) == {"shop/waypoint RDS": routes}
    assert set(_overrides(waypoints)) == {"rbac-allow"}


@pytest.mark.refutes("WC-50")
def test_policies_of_others_change_nothing() -> None:
    waypoints = Waypoints()
    waypoints.apply(the_waypoint(), a_web(), a_web_pod())
    elsewhere = TargetReference(kind="Service", name="other")
    assert waypoints.apply(a_policy(target=elsewhere)) == {}
    assert waypoints.apply(an_authorization_policy("untargeted", "shop")) == {}


@pytest.mark.proves("HP-2")
def test_workloads_reached_by_address_have_the_policies_of_the_waypoint() -> None:
    waypoints = Waypoints()
    bound = {"app": "web", "istio.io/use-waypoint": "waypoint"}
    waypoints.apply(the_waypoint(**{"istio.io/waypoint-for": "all"}), a_web_pod(labels=bound))
    gateway = TargetReference(kind="Gateway", group=GATEWAY, name="waypoint")
    waypoints.apply(a_policy(target=gateway))
    assert "rules" in _overrides(waypoints, "direct-http")["rbac-allow"]["rbac"]
