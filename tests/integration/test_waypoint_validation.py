"""A real Envoy looks at all of a waypoint's configuration: what is wrong in it is refused."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from controlplane.manifests.istio import AuthorizationRule, Operation, TargetReference
from controlplane.manifests.mesh_config import MeshConfig, WrittenProvider
from controlplane.model.authorization_provider import AuthorizationProvider, ProviderProtocol
from tests.support.builders import (
    HBONE,
    a_pod,
    a_service,
    a_service_port,
    a_waypoint,
    an_authorization_policy,
)
from tests.support.envoy_validation import some_secrets, validate
from tests.support.routes import a_route
from tests.support.tokens import a_request_authentication
from tests.support.waypoint_snapshots import Waypoints

WEB = "inbound-vip|80|http|web.shop.svc.cluster.local"
TYPE = "type.googleapis.com/"
USE = {"istio.io/use-waypoint": "waypoint"}

SERVICE = TargetReference("Service", "web")
PROVIDERS = MeshConfig(
    authorization_providers=(
        WrittenProvider(
            field="extensionProviders[0]",
            name="asked",
            provider=AuthorizationProvider(
                name="asked",
                protocol=ProviderProtocol.HTTP,
                hostname="web.shop.svc.cluster.local",
                port=80,
            ),
        ),
    )
)
ROUTES = """
- matches: [{path: {type: PathPrefix, value: /shares}}]
  filters:
  - type: RequestHeaderModifier
    requestHeaderModifier: {set: [{name: x-set, value: new}]}
  backendRefs: [{name: web, port: 80, weight: 90}, {name: web, port: 7000, weight: 10}]
- matches: [{path: {type: Exact, value: /redirect}}]
  filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]
- backendRefs: [{name: web, port: 80}]
  timeouts: {request: 10s}
"""

Resources = dict[str, Any]


def the_resources() -> Resources:
    waypoints = Waypoints()
    ports = [
        a_service_port(80, name="http"),
        a_service_port(7000, name=""),
        a_service_port(9000, name="tcp"),
    ]
    waypoints.apply(
        PROVIDERS,
        a_request_authentication(),
        an_authorization_policy(
            "ask",
            "shop",
            action="CUSTOM",
            provider="asked",
            rules=[AuthorizationRule()],
            target_references=(SERVICE,),
        ),
        an_authorization_policy(
            "allow",
            "shop",
            rules=[AuthorizationRule(operations=(Operation(paths=("/a*",)),))],
            target_references=(SERVICE,),
        ),
        a_route(ROUTES),
        a_waypoint("waypoint", "shop", labels={"istio.io/waypoint-for": "all"}),
        a_service("web", "shop", labels=USE, selector={"app": "web"}, ports=ports),
        a_pod("a", "shop", labels={"app": "web"} | USE, annotations=HBONE),
        a_pod("b", "shop", labels={"app": "web"}, ips=["10.0.0.2"]),
    )
    return waypoints.static(some_secrets())


def _listener(resources: Resources, name: str = "main_internal") -> Any:
    return next(each for each in resources["listeners"] if each["name"] == name)


def _cluster(resources: Resources, name: str = WEB) -> Any:
    return next(each for each in resources["clusters"] if each["name"] == name)


def _chain(resources: Resources) -> Any:
    chains = _listener(resources)["filter_chains"]
    return next(each for each in chains if each["name"] == WEB)


def _manager(resources: Resources) -> Any:
    return _chain(resources)["filters"][0]["typed_config"]


def _host(resources: Resources) -> Any:
    return _manager(resources)["route_config"]["virtual_hosts"][0]


def _route(resources: Resources) -> Any:
    return _host(resources)["routes"][0]


def _ranges(resources: Resources) -> Any:
    by_address = _listener(resources)["filter_chain_matcher"]["on_no_match"]["matcher"]
    return by_address["matcher_tree"]["custom_match"]["typed_config"]["range_matchers"]


def _endpoints(resources: Resources) -> Any:
    return _cluster(resources)["load_assignment"]["endpoints"][0]["lb_endpoints"]


def _states(resources: Resources) -> Any:
    terminate = _listener(resources, "connect_terminate")["filter_chains"][0]["filters"][0]
    return terminate["typed_config"]["http_filters"][0]["typed_config"]["on_request_headers"]


def _tls(resources: Resources) -> Any:
    chain = _listener(resources, "connect_terminate")["filter_chains"][0]
    return chain["transport_socket"]["typed_config"]["common_tls_context"]


def _allow(resources: Resources, principal: dict[str, Any]) -> None:
    policy = {"permissions": [{"any": True}], "principals": [principal]}
    rbac = {"rules": {"policies": {"p": policy}}}
    _host(resources)["typed_per_filter_config"]["rbac-allow"]["rbac"] = rbac


def _filter(resources: Resources, kind: str) -> Any:
    for each in _manager(resources)["http_filters"]:
        found = each["typed_config"]
        if found["@type"].endswith(f"{kind}"):
            return found
    raise AssertionError(kind)


def _tokens(resources: Resources) -> Any:
    return next(iter(_filter(resources, "JwtAuthentication")["providers"].values()))


def _written(resources: Resources, key: str) -> Any:
    return next(each for each in _host(resources)["routes"] if key in each)


def _shares(resources: Resources) -> Any:
    return next(
        each for each in _host(resources)["routes"] if "weighted_clusters" in each.get("route", {})
    )


def _added(resources: Resources) -> Any:
    share = _shares(resources)["route"]["weighted_clusters"]["clusters"][0]
    return share["request_headers_to_add"][0]["header"]


def _to_one(resources: Resources) -> Any:
    return next(
        each["route"]
        for each in _host(resources)["routes"]
        if each.get("route", {}).get("cluster") == WEB
    )


FAULTS: dict[str, Callable[[Resources], Any]] = {
    "an address entry without ranges": lambda r: _ranges(r)[0].update(ranges=[]),
    "a prefix that is no address": lambda r: _ranges(r)[0]["ranges"][0].update(address_prefix="x"),
    "a prefix that is too long": lambda r: _ranges(r)[0]["ranges"][0].update(prefix_len=129),
    "an address entry that leads nowhere": lambda r: _ranges(r)[0].pop("on_match"),
    "a listener without chains": lambda r: _listener(r).pop("filter_chains"),
    "a chain of a kind of filter nobody knows": lambda r: _chain(r)["filters"][0].update(
        typed_config={"@type": f"{TYPE}envoy.unknown.v3.Filter"}
    ),
    "a field that nobody knows": lambda r: _manager(r).update(normalise_path=True),
    "filters without a router": lambda r: _manager(r)["http_filters"].pop(),
    "a chain without a codec's route": lambda r: _manager(r).pop("route_config"),
    "a statistics prefix that is missing": lambda r: _manager(r).pop("stat_prefix"),
    "a route to a cluster that is missing": lambda r: _to_one(r).update(cluster="gone"),
    "a route without a match": lambda r: _route(r)["match"].clear(),
    "a match that is no regular expression": lambda r: _route(r).update(
        match={"safe_regex": {"regex": "("}}
    ),
    "a status that HTTP does not have": lambda r: _host(r)["routes"][-1]["direct_response"].update(
        status=1
    ),
    "two hosts for everything": lambda r: _manager(r)["route_config"]["virtual_hosts"].append(
        _host(r) | {"name": "second"}
    ),
    "a policy about nobody": lambda r: _allow(r, {"and_ids": {"ids": []}}),
    "a principal that is no regular expression": lambda r: _allow(
        r,
        {"filter_state": {"key": "k", "string_match": {"safe_regex": {"regex": "["}}}},
    ),
    "a policy of another type": lambda r: _host(r)["typed_per_filter_config"].update(
        {"rbac-allow": {"@type": f"{TYPE}envoy.extensions.filters.http.router.v3.Router"}}
    ),
    "an object that nothing makes": lambda r: _states(r)[2].update(factory_key="gone"),
    "a value in a format that nobody knows": lambda r: _states(r)[2]["format_string"][
        "text_format_source"
    ].update(inline_string="%GONE%"),
    "a certificate that is none": lambda r: _tls(r)["tls_certificates"][0][
        "certificate_chain"
    ].update(inline_string="x"),
    "a key that is none": lambda r: _tls(r)["tls_certificates"][0]["private_key"].update(
        inline_string="x"
    ),
    "roots that are none": lambda r: _tls(r)["validation_context"]["trusted_ca"].update(
        inline_string="x"
    ),
    "an endpoint without an address": lambda r: _endpoints(r)[0]["endpoint"].clear(),
    "an endpoint that weighs nothing": lambda r: _endpoints(r)[0].update(load_balancing_weight=0),
    "an ordinary endpoint at a port that is none": lambda r: _endpoints(r)[1]["endpoint"][
        "address"
    ]["socket_address"].update(port_value=70000),
    "a cluster of a kind that has no addresses": lambda r: _cluster(r).update(type="ORIGINAL_DST"),
    "two clusters of one name": lambda r: r["clusters"].append(deepcopy(_cluster(r))),
    "an inner socket that is missing": lambda r: _cluster(r)["transport_socket"][
        "typed_config"
    ].pop("transport_socket"),
    "a filter of one alternative": lambda r: _listener(r, "main_sniffed")["listener_filters"][
        1
    ].update(filter_disabled={"or_match": {"rules": [{"any_match": True}]}}),
    "a share of a cluster that is missing": lambda r: _shares(r)["route"]["weighted_clusters"][
        "clusters"
    ][0].update(name="gone"),
    "shares that are none": lambda r: [
        each.update(weight=0) for each in _shares(r)["route"]["weighted_clusters"]["clusters"]
    ],
    "a header without a name": lambda r: _added(r).update(key=""),
    "a header whose value is in a format nobody knows": lambda r: _added(r).update(value="%GONE%"),
    "a redirect with a code that is none": lambda r: _written(r, "redirect")["redirect"].update(
        response_code="TEAPOT"
    ),
    "a time that is none": lambda r: _to_one(r).update(timeout="soon"),
    "an issuer with keys that are none": lambda r: _tokens(r)["local_jwks"].update(
        inline_string="{"
    ),
    "an issuer without keys": lambda r: _tokens(r).pop("local_jwks"),
    "tokens of an issuer that is missing": lambda r: _filter(r, "JwtAuthentication").update(
        rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": "gone"}}]
    ),
    "a provider to ask that is missing": lambda r: _filter(r, "ExtAuthz")["http_service"][
        "server_uri"
    ].update(cluster=""),
    "endpoints to discover": lambda r: _cluster(r).update(type="EDS", load_assignment=None),
}


def test_a_configuration_without_faults_is_accepted(tmp_path: Path) -> None:
    assert validate([the_resources(), the_resources()], tmp_path) is None


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_refused(fault: str, tmp_path: Path) -> None:
    resources = the_resources()
    FAULTS[fault](resources)
    assert resources != the_resources(), "the fault is planted"
    assert validate([resources], tmp_path) is not None
