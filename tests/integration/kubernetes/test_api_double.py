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


async def test_apply_makes_changes_and_removes_our_fields_only(server: Server) -> None:
    assert (await server.apply(f"{MAPS}/m", a_map(a="1", b="2")))[0] == 201
    assert (await server.apply(f"{MAPS}/m", a_map(c="3"), manager="other"))[0] == 200
    status, found = await server.apply(f"{MAPS}/m", a_map(a="1"))
    assert status == 200
    assert found["data"] == {"a": "1", "c": "3"}


async def test_an_apply_that_changes_nothing_writes_nothing(server: Server) -> None:
    _, first = await server.apply(f"{MAPS}/m", a_map(a="1"))
    writes = server.api.objects.writes
    _, second = await server.apply(f"{MAPS}/m", a_map(a="1"))
    assert first == second
    assert server.api.objects.writes == writes


async def test_fields_of_others_are_a_conflict_unless_forced(server: Server) -> None:
    await server.apply(f"{MAPS}/m", a_map(a="1"), manager="other")
    status, refusal = await server.apply(f"{MAPS}/m", a_map(a="2"))
    assert status == 409
    assert refusal["details"]["causes"] == [{"reason": "FieldManagerConflict"}]
    assert (await server.apply(f"{MAPS}/m", a_map(a="2"), force="true"))[1]["data"] == {"a": "2"}
    assert (await server.apply(f"{MAPS}/m", a_map(a="3"), manager="other"))[0] == 409


async def test_an_update_takes_fields_over(server: Server) -> None:
    _, made = await server.apply(f"{MAPS}/m", a_map(a="1"))
    made["data"]["a"] = "2"
    assert (await server.ask("PUT", f"{MAPS}/m", made))[0] == 200
    assert (await server.apply(f"{MAPS}/m", a_map(a="1")))[0] == 409


async def test_status_and_the_rest_are_written_apart(server: Server) -> None:
    server.api.objects.define_all()
    path = "/apis/gateway.networking.k8s.io/v1/namespaces/default/gateways"
    gateway = {"metadata": {"name": "g"}, "spec": {"a": 1}, "status": {"b": 1}}
    _, made = await server.ask("POST", path, gateway)
    assert "status" not in made
    condition = {"type": "Accepted", "status": "True"}
    wanted = {"metadata": {"name": "g"}, "spec": {"a": 2}, "status": {"conditions": [condition]}}
    _, found = await server.apply(f"{path}/g/status", wanted)
    assert (found["spec"], found["status"]) == ({"a": 1}, {"conditions": [condition]})
    assert found["metadata"]["generation"] == 1
    other = {**wanted, "status": {"conditions": [{"type": "Programmed", "status": "False"}]}}
    _, found = await server.apply(f"{path}/g/status", other, manager="other")
    assert [each["type"] for each in found["status"]["conditions"]] == ["Accepted", "Programmed"]
    assert (await server.apply(f"{path}/none/status", wanted))[0] == 404


async def test_of_two_who_update_a_lease_one_is_stale(server: Server) -> None:
    _, lease = await server.ask("POST", LEASES, {"metadata": {"name": "l"}, "spec": {}})
    lease["spec"] = {"holderIdentity": "a"}
    assert (await server.ask("PUT", f"{LEASES}/l", lease))[0] == 200
    lease["spec"] = {"holderIdentity": "b"}
    assert (await server.ask("PUT", f"{LEASES}/l", lease))[0] == 409
    assert (await server.ask("POST", LEASES, {"metadata": {"name": "l"}}))[1]["reason"] == (
        "AlreadyExists"
    )


async def test_a_json_patch_tests_first(server: Server) -> None:
    await server.apply(f"{MAPS}/m", a_map(a="1"))
    kind = "application/json-patch+json"
    test = {"op": "test", "path": "/data/a", "value": "0"}
    change = {"op": "replace", "path": "/data/a", "value": "2"}
    assert (await server.ask("PATCH", f"{MAPS}/m", [test, change], kind))[0] == 422
    test["value"] = "1"
    assert (await server.ask("PATCH", f"{MAPS}/m", [test, change], kind))[1]["data"] == {"a": "2"}


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


async def test_a_watch_tells_what_happened_since(server: Server) -> None:
    revision = str(server.api.objects.revision)
    put(server.api.objects, pod("a"))
    put(server.api.objects, pod("a", "other"))
    server.api.objects.delete("pods", ("default", "a"))
    stream = server.client.stream("/api/v1/pods", {"watch": "true", "resourceVersion": revision})
    assert await anext(stream) == b""
    types = [json.loads(await anext(stream))["type"] for _ in range(3)]
    await stream.aclose()
    assert types == ["ADDED", "MODIFIED", "DELETED"]


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


async def test_a_watch_ends_when_its_time_is_over(server: Server) -> None:
    parameters = {"watch": "true", "timeoutSeconds": "0.05"}
    assert [line async for line in server.client.stream("/api/v1/pods", parameters)] == [b""]


async def test_a_broken_watch_and_an_absent_server_are_unavailable(server: Server) -> None:
    stream = server.client.stream("/api/v1/pods", {"watch": "true"})
    await anext(stream)
    await server.api.stop()
    with pytest.raises(ClusterUnavailableError):
        await asyncio.wait_for(anext(stream), 5)
    with pytest.raises(ClusterUnavailableError):
        await server.client.request("GET", "/version")
