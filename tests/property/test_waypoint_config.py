"""Whatever a mesh is, what its waypoints are sent is accepted by a real Envoy, and is the same."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from controlplane.encode.http_route_action import NOWHERE
from controlplane.encode.waypoint_names import BLACKHOLE
from controlplane.manifests.mesh_config import MeshConfig
from controlplane.manifests.metadata import Manifest
from controlplane.manifests.reading import identity_of, read_documents
from controlplane.model.names import Name
from controlplane.model.token_rule import FetchedKeySet
from controlplane.snapshots.scope import CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE
from tests.support.envoy_validation import some_secrets, validate
from tests.support.tokens import key_set
from tests.support.waypoint_meshes import waypoint_meshes
from tests.support.waypoint_snapshots import Waypoints
from tests.support.written_objects import FETCHED, written_objects

SMALL = Path(__file__).parents[1] / "conformance" / "waypoint_config" / "small.yaml"
_BATCH = 10
_MESHES = 300
_EXTENSIONS = "type.googleapis.com/envoy.extensions."
# What has to occur, or nothing was shown about it.
_SHOWN = {
    *(f"filters.http.{name}" for name in ("jwt_authn", "rbac", "ext_authz", "cors", "router")),
    "filters.http.stateful_session",
    "filters.network.rbac",
    "filters.network.tcp_proxy",
    "access_loggers.stream",
    "transport_sockets.tls",
    "transport_sockets.internal_upstream",
    *("redirect", "weighted_clusters", "request_mirror_policies", "retry_policy", "CorsPolicy"),
    *("safe_regex", "prefix_rewrite", "timeout", "host_rewrite_literal", "query_parameters"),
    *("STATIC", "STRICT_DNS", "ORIGINAL_DST"),
}
MESHES = st.builds(
    lambda *parts: list({identity_of(each): each for part in parts for each in part}.values()),
    waypoint_meshes(),
    written_objects(),
)

Mesh = list[Manifest | MeshConfig]

_SELDOM = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: seldom, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: web}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /origins}}]
    filters: [{type: CORS, cors: {allowOrigins: ["https://*.example"], allowCredentials: true}}]
    backendRefs: [{name: web, port: 80, weight: 9}, {name: web, port: 7070, weight: 1}]
  - matches: [{path: {type: PathPrefix, value: /prefix}}]
    filters:
    - type: URLRewrite
      urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /other}}
    backendRefs: [{name: web, port: 80}]
"""


def the_waypoints(mesh: Mesh, **rest: Any) -> Waypoints:
    waypoints = Waypoints(**rest)
    with waypoints.pipeline.graph.transaction():
        waypoints.pipeline.inputs.key_sets.put(FetchedKeySet(uri=FETCHED, keys=key_set()))
    waypoints.apply(*mesh)
    return waypoints


@pytest.mark.timeout(180)
def test_everything_is_accepted_by_envoy(tmp_path: Path) -> None:
    meshes: list[Mesh] = []

    # Drawn one by one: of several at once only small ones would be.
    @settings(max_examples=_MESHES, phases=[Phase.generate])
    @given(mesh=MESHES)
    def collect(mesh: Mesh) -> None:
        meshes.append(mesh)

    collect()
    assert len(meshes) >= _MESHES
    meshes.append(_seldom())
    seen: Counter[str] = Counter()
    for start in range(0, len(meshes), _BATCH):
        batch = meshes[start : start + _BATCH]
        found = [_everything(mesh) for mesh in batch]
        if validate([each for one in found for each in one], tmp_path) is not None:
            refusals = [
                (mesh, validate(one, tmp_path)) for mesh, one in zip(batch, found, strict=True)
            ]
            assert [each for each in refusals if each[1] is not None] == []
        seen.update(_words(found))
    assert not {word for word in _SHOWN if not seen[word]}


def _seldom() -> Mesh:
    """Return what is drawn so seldom that three hundred meshes may do without."""
    texts = (SMALL.read_text(), _SELDOM)
    return [each.manifest for text in texts for each in read_documents(text).documents]


def _everything(mesh: Mesh) -> list[dict[str, Any]]:
    """All that the waypoints of a mesh are sent, inlined."""
    waypoints = the_waypoints(mesh)
    return [waypoints.static(some_secrets(), key) for key in waypoints.waypoints()]


@pytest.mark.timeout(90)
@given(mesh=MESHES, seed=st.integers(0, 1000))
def test_the_order_of_objects_does_not_matter(mesh: Mesh, seed: int) -> None:
    once, again = the_waypoints(mesh), the_waypoints([], shuffle=seed)
    shuffled = list(mesh)
    random.Random(seed).shuffle(shuffled)
    for manifest in shuffled:
        again.apply(manifest)
    for waypoint in once.waypoints():
        assert once.bodies(waypoint) == again.bodies(waypoint)


@pytest.mark.timeout(90)
@given(mesh=MESHES)
def test_what_is_named_is_there(mesh: Mesh) -> None:
    waypoints = the_waypoints(mesh)
    for waypoint in waypoints.waypoints():
        _check(waypoints, waypoint)


def _check(waypoints: Waypoints, waypoint: Name) -> None:
    """Everything that is named is sent, and what has to be asked for by name is asked for."""
    clusters = waypoints.documents(CLUSTER_TYPE, waypoint)
    discovered = {name for name, cluster in clusters.items() if cluster.get("type") == "EDS"}
    assert waypoints.names(ENDPOINT_TYPE, waypoint) == discovered
    listeners = waypoints.documents(LISTENER_TYPE, waypoint)
    routes = waypoints.documents(ROUTE_TYPE, waypoint)
    endpoints = waypoints.documents(ENDPOINT_TYPE, waypoint)
    assert set(routes) == set(_values("route_config_name", listeners))
    documents = (listeners, routes, clusters, endpoints)
    assert set(_values("cluster", listeners)) - set(clusters) <= {BLACKHOLE, NOWHERE}
    assert set(_values("cluster_name", listeners)) <= set(clusters)
    assert {each for each in _values("cluster", routes) if each != NOWHERE} <= set(clusters)
    for action in _values("weighted_clusters", (listeners, routes)):
        assert {each["name"] for each in action["clusters"]} - {NOWHERE} <= set(clusters)
    assert set(_values("server_listener_name", documents)) <= set(listeners)
    secrets = [*_values("tls_certificate_sds_secret_configs", documents)]
    assert {each["name"] for found in secrets for each in found} == {"default"}
    roots = _values("validation_context_sds_secret_config", documents)
    assert {each["name"] for each in roots} == {"ROOTCA"}
    is_sniffed = "main_sniffed" in listeners
    assert is_sniffed == ("main_sniffed" in clusters)
    tunnels = {host["name"] for host in routes["connect_terminate"]["virtual_hosts"]}
    assert tunnels <= {"main_internal", *(["main_sniffed"] if is_sniffed else [])}
    for listener in listeners.values():
        chains = [chain.get("name") for chain in listener["filter_chains"]]
        assert len(set(chains)) == len(chains)
        assert _actions(listener.get("filter_chain_matcher")) <= set(chains)


def _values(key: str, value: Any) -> Iterator[Any]:
    """Yield what stands under a key, wherever that is."""
    match value:
        case dict():
            for name, each in value.items():
                if name == key:
                    yield each
                yield from _values(key, each)
        case list() | tuple():
            for each in value:
                yield from _values(key, each)


def _words(value: Any) -> Iterator[str]:
    """Yield what occurs: names of fields, types of clusters, and of extensions."""
    match value:
        case dict():
            for name, each in value.items():
                yield name
                if name == "type" and isinstance(each, str):
                    yield each
                elif name == "@type":
                    yield from each.removeprefix(_EXTENSIONS).split(".v3.")
                yield from _words(each)
        case list():
            for each in value:
                yield from _words(each)


def _actions(value: Any) -> set[str]:
    match value:
        case {"action": {"typed_config": {"value": name}}, **rest}:
            return {name} | _actions(rest)
        case dict():
            return set().union(*(_actions(each) for each in value.values()), set())
        case list():
            return set().union(*(_actions(each) for each in value), set())
        case _:
            return set()
