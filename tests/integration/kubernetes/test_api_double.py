"""The double behaves as an API server does, where the control plane relies on it."""

import asyncio
import json
from typing import Any

import pytest

from controlplane.cluster.api_server import ApiServer
from controlplane.cluster.errors import ClusterRefusedError, ClusterUnavailableError
from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_cluster import client_of, put
from tests.support.sources import pod

APPLY = "application/apply-patch+yaml"
MAPS = "/api/v1/namespaces/default/configmaps"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"


class Server:
    def __init__(self, api: KubernetesApi, client: ApiServer) -> None:
        self.api = api
        self.client = client

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        kind: str = "application/json",
        **params: str,
    ) -> tuple[int, Any]:
        answer = await self.client.request(
            method,
            path,
            params=params,
            body=None if body is None else json.dumps(body).encode(),
            content_type=kind,
        )
        return answer.status, json.loads(answer.body)

    async def apply(
        self, path: str, body: Any, manager: str = "m", force: str = "false"
    ) -> tuple[int, Any]:
        return await self.ask("PATCH", path, body, APPLY, fieldManager=manager, force=force)


@pytest.fixture
async def server() -> Any:
    async with KubernetesApi() as api, client_of(api) as client:
        put(api.objects, "apiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n")
        yield Server(api, client)


def a_map(**data: str) -> Any:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data}


async def test_tokens_are_reviewed(server: Server) -> None:
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    server.api.reviews["good"] = {"authenticated": True, "user": {"username": "u"}}
    status, found = await server.ask("POST", path, {"spec": {"token": "good"}})
    assert (status, found["status"]["user"]) == (201, {"username": "u"})
    _, found = await server.ask("POST", path, {"spec": {"token": "bad"}})
    assert not found["status"]["authenticated"]


async def test_definitions_make_and_unmake_kinds(server: Server) -> None:
    path = "/apis/security.istio.io/v1/authorizationpolicies"
    assert (await server.ask("GET", path))[0] == 404
    server.api.objects.define_all()
    assert (await server.ask("GET", path))[0] == 200
    names = {each["name"] for each in (await server.ask("GET", "/apis"))[1]["groups"]}
    assert {"security.istio.io", "gateway.networking.k8s.io", "apps"} <= names
    _, found = await server.ask("GET", "/apis/security.istio.io/v1")
    assert {each["kind"] for each in found["resources"]} >= {"AuthorizationPolicy"}


async def test_what_is_owned_or_inside_goes_too(server: Server) -> None:
    _, owner = await server.apply(f"{MAPS}/m", a_map())
    owned = a_map()
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "m"}
    reference["uid"] = owner["metadata"]["uid"]
    owned["metadata"] = {"name": "n", "ownerReferences": [reference]}
    await server.apply(f"{MAPS}/n", owned)
    assert (await server.ask("DELETE", f"{MAPS}/m"))[0] == 200
    await server.api.until(lambda: server.api.objects.get("configmaps", ("default", "n")) is None)
    await server.apply(f"{MAPS}/m", a_map())
    await server.ask("DELETE", "/api/v1/namespaces/default")
    assert (await server.ask("GET", f"{MAPS}/m"))[0] == 404
    assert (await server.apply(f"{MAPS}/m", a_map()))[0] == 404


async def test_an_ending_namespace_takes_nothing_new(server: Server) -> None:
    namespace = server.api.objects.get("namespaces", ("", "default"))
    assert namespace is not None
    ending = {**namespace, "metadata": {**namespace["metadata"], "deletionTimestamp": "now"}}
    server.api.objects.write("namespaces", ("", "default"), ending)
    status, refusal = await server.apply(f"{MAPS}/m", a_map())
    assert (status, refusal["details"]["causes"]) == (403, [{"reason": "NamespaceTerminating"}])


async def test_a_watch_from_too_long_ago_is_gone(server: Server) -> None:
    revision = str(server.api.objects.revision)
    put(server.api.objects, pod("a"))
    server.api.objects.compact()
    stream = server.client.stream("/api/v1/pods", {"watch": "true", "resourceVersion": revision})
    lines = [json.loads(line) async for line in stream if line]
    assert [(line["type"], line["object"]["code"]) for line in lines] == [("ERROR", 410)]


async def test_a_watch_that_is_refused_is_an_error(server: Server) -> None:
    server.api.denied.add(("watch", "pods"))
    with pytest.raises(ClusterRefusedError, match="403"):
        await anext(server.client.stream("/api/v1/pods", {"watch": "true"}))


async def test_a_broken_watch_and_an_absent_server_are_unavailable(server: Server) -> None:
    stream = server.client.stream("/api/v1/pods", {"watch": "true"})
    await anext(stream)
    await server.api.stop()
    with pytest.raises(ClusterUnavailableError):
        await asyncio.wait_for(anext(stream), 5)
    with pytest.raises(ClusterUnavailableError):
        await server.client.request("GET", "/version")
