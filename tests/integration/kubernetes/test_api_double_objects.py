"""The double keeps objects as an API server does: owners, finalizers, generations, old versions."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controlplane.cluster.api_server import ApiServer
from tests.support.kubernetes_api import KubernetesApi
from tests.support.kubernetes_cluster import client_of, put, put_document

APPLY = "application/apply-patch+yaml"
GATEWAYS = "/apis/gateway.networking.k8s.io/v1/namespaces/default/gateways"
SERVICES = "/api/v1/namespaces/default/services"


class Server:
    def __init__(self, api: KubernetesApi, client: ApiServer) -> None:
        self.api = api
        self.client = client

    async def ask(
        self, method: str, path: str, body: Any = None, kind: str = APPLY, **params: str
    ) -> tuple[int, Any]:
        text = None if body is None else json.dumps(body).encode()
        answer = await self.client.request(
            method, path, params=params, body=text, content_type=kind
        )
        return answer.status, json.loads(answer.body)

    def has(self, name: str) -> bool:
        return self.api.objects.get("configmaps", ("default", name)) is not None


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with KubernetesApi() as api, client_of(api) as client:
        api.objects.define_all()
        put(api.objects, "apiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n")
        yield Server(api, client)


def owned(name: str, *owners: Any) -> Any:
    references = [
        {
            "apiVersion": each["apiVersion"],
            "kind": each["kind"],
            "name": each["metadata"]["name"],
            "uid": each["metadata"]["uid"],
        }
        for each in owners
    ]
    metadata = {"name": name, "ownerReferences": references}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


async def a_gateway(server: Server, name: str = "g") -> Any:
    gateway = {"metadata": {"name": name}, "spec": {"gatewayClassName": "istio-waypoint"}}
    return (await server.ask("POST", GATEWAYS, gateway, "application/json"))[1]


async def test_what_is_owned_goes_with_its_last_owner(server: Server) -> None:
    one, two = await a_gateway(server, "one"), await a_gateway(server, "two")
    put_document(server.api.objects, owned("of-one", one))
    put_document(server.api.objects, owned("of-both", one, two))
    await server.ask("DELETE", f"{GATEWAYS}/one")
    await server.api.until(lambda: not server.has("of-one"))
    left = server.api.objects.get("configmaps", ("default", "of-both")) or {}
    assert [each["name"] for each in left["metadata"]["ownerReferences"]] == ["two"]
    await server.ask("DELETE", f"{GATEWAYS}/two")
    await server.api.until(lambda: not server.has("of-both"))


async def test_owners_of_owners_and_names_that_were_taken_again(server: Server) -> None:
    gateway = await a_gateway(server)
    middle = put_document(server.api.objects, owned("middle", gateway))
    middle |= {"apiVersion": "v1", "kind": "ConfigMap"}
    put_document(server.api.objects, owned("leaf", middle))
    await server.ask("DELETE", f"{GATEWAYS}/g")
    await server.api.until(lambda: not server.has("leaf"))
    assert not server.has("middle")
    await a_gateway(server)
    put_document(server.api.objects, owned("late", gateway))
    await server.api.until(lambda: not server.has("late"))


async def test_owners_of_a_kind_that_is_not_served_are_not_judged(server: Server) -> None:
    stranger = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "r", "uid": "u"},
    }
    put_document(server.api.objects, owned("of-stranger", stranger))
    gateway = await a_gateway(server)
    put_document(server.api.objects, owned("of-gateway", gateway))
    await server.ask("DELETE", f"{GATEWAYS}/g")
    await server.api.until(lambda: not server.has("of-gateway"))
    assert server.has("of-stranger")


async def test_what_is_owned_stays_when_asked_to(server: Server) -> None:
    gateway = await a_gateway(server)
    put_document(server.api.objects, owned("kept", gateway))
    put_document(server.api.objects, owned("marker", await a_gateway(server, "other")))
    await server.ask("DELETE", f"{GATEWAYS}/g", {"propagationPolicy": "Orphan"})
    await server.ask("DELETE", f"{GATEWAYS}/other")
    await server.api.until(lambda: not server.has("marker"))
    assert server.has("kept")


async def test_a_list_of_an_older_version(server: Server) -> None:
    put_document(server.api.objects, owned("a"))
    revision = str(server.api.objects.revision)
    put_document(server.api.objects, owned("b"))
    server.api.objects.delete("configmaps", ("default", "a"))
    path = "/api/v1/configmaps"

    async def names(**params: str) -> list[str]:
        status, found = await server.ask("GET", path, **params)
        assert status == 200, found
        return [each["metadata"]["name"] for each in found["items"]]

    assert await names(resourceVersion=revision, resourceVersionMatch="Exact") == ["a"]
    assert await names(resourceVersion=revision) == ["b"]
    assert await names(resourceVersion="0") == ["b"]
    status, found = await server.ask("GET", path, resourceVersion="999999999")
    assert (status, found["details"]["causes"]) == (504, [{"reason": "ResourceVersionTooLarge"}])
    server.api.objects.compact()
    old = {"resourceVersion": revision, "resourceVersionMatch": "Exact"}
    assert (await server.ask("GET", path, **old))[0] == 410
