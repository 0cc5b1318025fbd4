"""Whom waypoints ask, as providers, policies and services come and go."""

from typing import Any

import pytest

from controlplane.manifests.istio import AuthorizationPolicy, TargetReference
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.read_mesh_config import read_mesh_config
from controlplane.snapshots.scope import CLUSTER_TYPE, LISTENER_TYPE
from tests.support.builders import (
    a_pod,
    a_service,
    a_service_port,
    an_authorization_policy,
)
from tests.support.waypoint_snapshots import Waypoints
from tests.unit.pipeline.test_waypoint_encoding import (
    USE,
    WEB_HTTP,
    a_web,
    a_web_pod,
    the_waypoint,
)

AUTH = "auth.far.svc.cluster.local"
FOREIGN = f"outbound|8000|http|{AUTH}"
HTTP = "envoyExtAuthzHttp"
GRPC = "envoyExtAuthzGrpc"


def _config(*names: str, kind: str = HTTP, **fields: Any) -> MeshConfig:
    provider = {"service": AUTH, "port": 8000} | fields
    entries = [{"name": name, kind: provider} for name in names or ("judge",)]
    return read_mesh_config({"extensionProviders": entries})


def _policy(
    name: str = "ask", provider: str = "judge", target: TargetReference | None = None, **rest: Any
) -> AuthorizationPolicy:
    target = target or TargetReference(kind="Service", name="web")
    fields = {"action": "CUSTOM", "provider": provider, "target_references": (target,)} | rest
    return an_authorization_policy(name, "shop", **fields)


def _auth(port: str = "http", **rest: Any) -> Any:
    ports = [a_service_port(8000, name=port)]
    return a_service("auth", "far", ips=["10.97.0.1"], ports=ports, **rest)


def _waypoints(*manifests: Any) -> Waypoints:
    waypoints = Waypoints()
    waypoints.apply(the_waypoint(), a_web(), a_web_pod(), *manifests)
    return waypoints


def _asking(waypoints: Waypoints, chain: str = WEB_HTTP) -> dict[str, Any] | None:
    listeners = waypoints.documents(LISTENER_TYPE)
    (filters,) = (
        each["filters"]
        for name in ("main_internal", "main_sniffed")
        for each in listeners.get(name, {}).get("filter_chains", ())
        if each["name"] == chain
    )
    for each in filters[-1]["typed_config"]["http_filters"]:
        if each["name"] == "envoy.filters.http.ext_authz":
            found: dict[str, Any] = each["typed_config"]
            return found
    return None


def _codes(waypoints: Waypoints) -> list[str]:
    """Codes of what is wrong with policies and providers, not of who goes around waypoints."""
    codes = [problem.code for problem in waypoints.problems()]
    return [code for code in codes if code.startswith(("policy.", "mesh."))]


@pytest.mark.proves("EA-4", "EA-9")
def test_a_provider_elsewhere_is_a_cluster_of_its_own() -> None:
    waypoints = _waypoints(_config(), _policy(), _auth())
    asking = _asking(waypoints)
    assert asking is not None
    assert asking["http_service"]["server_uri"]["cluster"] == FOREIGN
    assert FOREIGN in waypoints.names(CLUSTER_TYPE)
    assert _codes(waypoints) == []


@pytest.mark.proves("EA-4")
def test_one_that_the_waypoint_serves_is_reached_as_that() -> None:
    auth = a_service(
        "auth", "shop", ips=["10.97.0.1"], labels=USE, ports=[a_service_port(8000, name="grpc")]
    )
    service = "shop/auth.shop.svc.cluster.local"
    waypoints = _waypoints(_config(kind=GRPC, service=service), _policy(), auth)
    asking = _asking(waypoints)
    assert asking is not None
    name = "inbound-vip|8000|http|auth.shop.svc.cluster.local"
    assert asking["grpc_service"]["envoy_grpc"]["cluster_name"] == name
    assert not [each for each in waypoints.names(CLUSTER_TYPE) if each.startswith("outbound")]


@pytest.mark.refutes("EA-4")
@pytest.mark.parametrize(
    ("config", "auth"),
    [
        (_config(), None),
        (_config(service="shop/" + AUTH), _auth()),
        (_config(port=9000), _auth()),
        (_config(), _auth("tcp")),
        (_config(kind=GRPC), _auth("http")),
        (_config(kind=GRPC), _auth("odd")),
    ],
)
def test_one_that_is_not_there_is_a_problem_and_nobody_is_asked(config: Any, auth: Any) -> None:
    waypoints = _waypoints(config, _policy(), *([auth] if auth else []))
    assert _asking(waypoints) is None
    assert _codes(waypoints) == ["policy.unreachable-provider"]


@pytest.mark.refutes("EA-1")
def test_a_provider_that_cannot_be_used_is_unknown() -> None:
    waypoints = _waypoints(_config(port=0), _policy(), _auth())
    assert _codes(waypoints) == ["policy.unknown-provider", "mesh.unusable-provider"]
    assert _asking(waypoints) is None


@pytest.mark.proves("EA-5")
def test_of_several_providers_the_first_that_is_there_is_asked() -> None:
    policies = [_policy("a", "nobody"), _policy("b", "two"), _policy("c", "judge")]
    waypoints = _waypoints(_config("judge", "two"), _auth(), *policies, _policy("d", "two"))
    asking = _asking(waypoints)
    assert asking is not None
    prefix = asking["filter_enabled_metadata"]["value"]["string_match"]["prefix"]
    assert prefix == "istio-ext-authz-two-"
    assert sorted(_codes(waypoints)) == ["policy.other-provider", "policy.unknown-provider"]
    waypoints.apply(removed=[policies[1], _policy("d")])
    assert _codes(waypoints) == ["policy.unknown-provider"]


@pytest.mark.refutes("EA-5", "EA-6")
def test_who_does_not_ask_has_no_provider() -> None:
    waypoints = _waypoints(_config(), _auth(), _policy(action="DENY"))
    assert _asking(waypoints) is None
    tried = _policy(annotations={"istio.io/dry-run": "true"})
    waypoints.apply(tried)
    assert _asking(waypoints) is None
    assert FOREIGN not in waypoints.names(CLUSTER_TYPE)


@pytest.mark.refutes("EA-9")
def test_a_pod_of_the_provider_is_one_set_of_endpoints() -> None:
    auth = _auth(selector={"app": "auth"})
    waypoints = _waypoints(_config(), _policy(), auth)
    pod = a_pod("auth", "far", labels={"app": "auth"}, ips=["10.0.9.9"])
    assert waypoints.apply(pod) == {"shop/waypoint EDS": {FOREIGN}}
    edited = waypoints.apply(_policy(annotations={"note": "x"}))
    assert edited == {}


def test_workloads_reached_by_address_ask_too() -> None:
    gateway = TargetReference("Gateway", "waypoint", group="gateway.networking.k8s.io")
    waypoints = Waypoints()
    waypoints.apply(
        the_waypoint(**{"istio.io/waypoint-for": "all"}),
        a_web_pod(labels={"app": "web"} | USE),
        _config(),
        _auth(),
        _policy(target=gateway),
    )
    assert _asking(waypoints, "direct-http") is not None
    assert FOREIGN in waypoints.names(CLUSTER_TYPE)
