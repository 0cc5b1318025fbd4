"""What a running process tells routes in a cluster, against the double of the API server."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_cluster import put
from tests.support.replicas import cluster_settings, fill, running, until

OURS = "istio.io/gateway-controller"
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: somebody-elses
  listeners: [{name: web, port: 80, protocol: HTTP}]
---
apiVersion: v1
kind: Service
metadata: {name: bound, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec: {clusterIP: 10.96.7.7, ports: [{port: 80, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: shop}
spec: {clusterIP: 10.96.7.8, ports: [{port: 80, name: http}]}
"""
THEIRS = {
    "controllerName": "example.com/ingress",
    "parentRef": {"name": "edge"},
    "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted"}],
}


def a_route(name: str, *parents: str, rules: str = "[]", kind: str = "HTTPRoute") -> str:
    named = ", ".join(f'{{group: "", kind: Service, name: {each}}}' for each in parents)
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: {name}, namespace: shop}}
spec:
  parentRefs: [{named}]
  rules: {rules}
"""


@pytest.fixture
async def api() -> AsyncIterator[KubernetesApi]:
    async with KubernetesApi() as api:
        api.objects.define_all()
        fill(api)
        put(api.objects, GATEWAY)
        yield api


def entries(api: KubernetesApi, name: str, plural: str = "httproutes") -> list[dict[str, Any]]:
    found: Any = api.objects.get(plural, ("shop", name))
    listed: list[dict[str, Any]] = (found.get("status") or {}).get("parents") or []
    return listed


def told(api: KubernetesApi, name: str, parent: int = 0) -> dict[str, tuple[str, str]]:
    """Return status and reason by type of condition, of our entry for one parent."""
    ours = [entry for entry in entries(api, name) if entry["controllerName"] == OURS]
    if len(ours) <= parent:
        return {}
    return {each["type"]: (each["status"], each["reason"]) for each in ours[parent]["conditions"]}


@pytest.mark.proves("RT-1", "RT-2")
async def test_routes_are_told_what_they_ask_for_in_vain(
    api: KubernetesApi, tmp_path: Path
) -> None:
    missing = "[{backendRefs: [{name: nowhere, port: 80}]}]"
    unsupported = (
        "[{filters: [{type: ExtensionRef, "
        "extensionRef: {group: example.com, kind: Filter, name: f}}]}]"
    )
    put(api.objects, a_route("no-service", "absent"))
    put(api.objects, a_route("no-backend", "bound", rules=missing))
    put(api.objects, a_route("no-filter", "bound", rules=unsupported))
    put(api.objects, a_route("unbound", "plain"))
    put(api.objects, a_route("calls", "bound", kind="GRPCRoute"))
    async with running(cluster_settings(tmp_path, api)):
        await until(lambda: told(api, "no-service"), 30)
        assert told(api, "no-service")["Accepted"] == ("False", "NoMatchingParent")
        await until(lambda: told(api, "no-backend"))
        assert told(api, "no-backend")["Accepted"] == ("True", "Accepted")
        assert told(api, "no-backend")["ResolvedRefs"] == ("False", "BackendNotFound")
        await until(lambda: told(api, "no-filter"))
        assert told(api, "no-filter")["ResolvedRefs"][0] == "False"
        await until(lambda: told(api, "unbound"))
        assert told(api, "unbound")["ResolvedWaypoints"][0] == "True"
        (entry,) = entries(api, "unbound")
        assert entry["parentRef"] == {"group": "", "kind": "Service", "name": "plain"}
        (message,) = (
            each["message"] for each in entry["conditions"] if each["type"] == "ResolvedWaypoints"
        )
        assert "istio.io/use-waypoint" in message
        await until(lambda: entries(api, "calls", "grpcroutes"))
        # The backend comes: the route is told so.
        service = {
            "metadata": {"name": "nowhere", "namespace": "shop"},
            "spec": {"clusterIP": "10.96.7.9", "ports": [{"port": 80}]},
        }
        api.objects.write("services", ("shop", "nowhere"), service)
        await until(lambda: told(api, "no-backend")["ResolvedRefs"] == ("True", "ResolvedRefs"))


@pytest.mark.proves("RT-3", "RT-7")
@pytest.mark.refutes("RT-1")
async def test_what_is_somebody_elses_is_left_to_them(api: KubernetesApi, tmp_path: Path) -> None:
    foreign = a_route("foreign").replace("parentRefs: []", "parentRefs: [{name: edge}]")
    both = a_route("both", "bound").replace("parentRefs: [", "parentRefs: [{name: edge}, ")
    for text, name in ((foreign, "foreign"), (both, "both")):
        put(api.objects, text)
        route: Any = api.objects.get("httproutes", ("shop", name))
        api.objects.write("httproutes", ("shop", name), {**route, "status": {"parents": [THEIRS]}})
    async with running(cluster_settings(tmp_path, api)):
        await until(lambda: told(api, "both"), 30)
        assert entries(api, "both")[0] == THEIRS
        assert len(entries(api, "both")) == 2
        assert entries(api, "foreign") == [THEIRS]
        route = api.objects.get("httproutes", ("shop", "both"))
        spec = {**route["spec"], "parentRefs": [{"name": "edge"}]}
        metadata = {**route["metadata"], "generation": route["metadata"]["generation"] + 1}
        api.objects.write(
            "httproutes", ("shop", "both"), {**route, "metadata": metadata, "spec": spec}
        )
        await until(lambda: entries(api, "both") == [THEIRS])


@pytest.mark.proves("UR-4")
async def test_a_virtual_service_for_what_a_waypoint_serves_is_told_so(
    api: KubernetesApi, tmp_path: Path
) -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {0}, namespace: shop}}
spec: {{hosts: [{0}]}}
"""
    put(api.objects, text.format("plain"))
    put(api.objects, text.format("bound"))

    def conditions(name: str) -> Any:
        found: Any = api.objects.get("virtualservices", ("shop", name))
        return (found.get("status") or {}).get("conditions")

    async with running(cluster_settings(tmp_path, api)):
        await until(lambda: conditions("bound"), 30)
        (condition,) = conditions("bound")
        assert (condition["type"], condition["status"]) == ("WaypointAccepted", "False")
        assert condition["reason"] == "UnsupportedKind"
        assert not conditions("plain")
        service: Any = api.objects.get("services", ("shop", "bound"))
        metadata = {**service["metadata"], "labels": {}}
        api.objects.write("services", ("shop", "bound"), {**service, "metadata": metadata})
        await until(lambda: not conditions("bound"))
